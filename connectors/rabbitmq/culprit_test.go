package rabbitmq

import (
	"net/http"
	"testing"
)

// A function that takes no batch without events, as the contract does not ask of
// it, is up all the same when it says so.
func TestPoisonAloneWhereEmptyBatchesAreRefused(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(w http.ResponseWriter){
		"400":     func(w http.ResponseWriter) { http.Error(w, "no events", http.StatusBadRequest) },
		"no-list": func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"results":null}`)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: "2"})
			f.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
				if len(ids) == 0 {
					refuse(w)
				} else {
					w.WriteHeader(http.StatusInternalServerError)
				}
				return true
			})
			publish(t, events(queue, "e", 1)...)
			c := startConnector(t, g, nil)
			if counters := c.settled(t, queue, 1); counters["dead_lettered"] != 1 {
				t.Errorf("counters: %v", counters)
			}
		})
	}
}
