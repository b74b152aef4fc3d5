package rabbitmq

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// Events that cannot be done, more of them than may be in hand, do not keep those
// behind them from being tried.
func TestAWindowOfBadEventsTurnsOver(t *testing.T) {
	const inHand, bad, good = 20, 50, 20
	for _, tt := range []struct {
		name, size string
		fail       func(w http.ResponseWriter)
	}{
		{"batch-503", "10", func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }},
		{"batch-404", "5", func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }},
		{"raw-503", "0", func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }},
		{"one-503", "1", func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }},
		{"unavailable", "10", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			queue := queueName(t)
			g := newGateway(t)
			f := g.add("fn", queue, map[string]string{annotationBatchSize: tt.size})
			l := newLossy()
			f.result = l.result
			f.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
				if tt.fail == nil || !l.lost.Load() || !slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(id, "lost") }) {
					return false
				}
				tt.fail(w)
				return true
			})
			declareQueue(t, queue)
			publish(t, append(events(queue, "lost", bad), events(queue, "good", good)...)...)
			c := startConnector(t, g, func(cfg *Config) {
				cfg.MaxPrefetch, cfg.ProbeDelay, cfg.ProbeMaxDelay = inHand, 2*time.Millisecond, 20*time.Millisecond
			})
			waitFor(t, "the good ones are done", func() bool { once, twice := f.done(); return once+twice == good })
			if c.counters(t, queue)["in_hand"] > inHand {
				t.Errorf("counters: %v", c.counters(t, queue))
			}
			l.lost.Store(false)
			counters := c.settled(t, queue, bad+good)
			if once, twice := f.done(); once+twice != bad+good || counters["dead_lettered"] != 0 {
				t.Errorf("%d done, %v", once+twice, counters)
			}
			// A 503 for an event alone, while others are done, counts every fifth time.
			if spent := c.outcomes(t, queue, "retry"); spent > bad {
				t.Errorf("%d attempts were spent", spent)
			}
		})
	}
}
