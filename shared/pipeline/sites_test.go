package pipeline_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"parkstream/shared/batch"
	"parkstream/shared/pipeline"
)

// The events of a site beyond the bound are rejected with instructions, and counted.
// Other events of the batch are done.
func TestTooManySites(t *testing.T) {
	data := newStore(t)
	data.MaxSites = 1
	c, registry := config(data, &summaries{}), prometheus.NewRegistry()
	c.Metrics = pipeline.NewMetrics(registry, "test")
	stranger := entry("s", "B", 0)
	stranger.Data = []byte(strings.Replace(string(stranger.Data), "{", `{"site":"evil",`, 1))
	got := pipeline.NewEntryEventProcessor(c).ProcessMessages(t.Context(), []batch.Event{entry("e", "A", 0), stranger, entry("f", "A", 1)})
	if got[0].Outcome != batch.Done || got[2].Outcome != batch.Done {
		t.Errorf("events of the known site became %+v, %+v", got[0], got[2])
	}
	if got[1].Outcome != batch.Reject || !strings.Contains(got[1].Reason, "site evil") || !strings.Contains(got[1].Reason, "MAX_SITES") {
		t.Errorf("the event of the new site became %+v", got[1])
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP parkstream_site_rejects_total Events that were rejected because their site is new and there are as many sites as MAX_SITES allows.
# TYPE parkstream_site_rejects_total counter
parkstream_site_rejects_total{event_type="entry"} 1
`), "parkstream_site_rejects_total"); err != nil {
		t.Error(err)
	}
}
