package pipeline_test

import (
	"bytes"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/batch"
	"parkstream/shared/pipeline"
)

// post posts a body as a batch.
func post(h http.Handler, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", batch.ContentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// An invalid event is rejected alone. An invalid attribute rejects no event.
func TestOneBadEventOfABatch(t *testing.T) {
	h := documented(t, pipeline.NewExitEventProcessor(config(newStore(t), &summaries{})))
	w := post(h, `[{"id":"1","data_base64":"?"},{"id":"2","time":"58875-01-01T00:00:00Z","data":`+string(exit("x", "A", 0).Data)+`},{"id":"3","data":"`+"\xff"+`"}]`)
	want := `{"results":[{"id":"1","outcome":"reject","reason":"data_base64 cannot be read: illegal base64 data at input byte 0"},` +
		`{"id":"2","outcome":"done"},{"id":"3","outcome":"reject","reason":"the event is not valid UTF-8"}]}`
	if w.Code != http.StatusOK || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// No latency includes a time of publishing that is far from now.
func TestFarTimesAreNotMeasured(t *testing.T) {
	registry := prometheus.NewRegistry()
	c := config(newStore(t), &summaries{})
	c.Metrics = pipeline.NewMetrics(registry, "exit-processor")
	now := time.Now()
	times := []time.Time{
		now.Add(-time.Minute), time.Unix(0, 0), time.Unix(-1, 0), now.AddDate(-1, 0, 0), now.Add(time.Hour), time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), time.UnixMilli(math.MaxInt64), time.UnixMilli(math.MinInt64),
	}
	events := make([]batch.Event, len(times))
	for i, at := range times {
		events[i] = exit(string(rune('a'+i)), "A", i)
		events[i].Time = at
	}
	for i, r := range pipeline.NewExitEventProcessor(c).ProcessMessages(t.Context(), events) {
		if r.Outcome != batch.Done {
			t.Errorf("an event of %s became %+v", times[i], r)
		}
	}
	way := histogram(t, registry, "parkstream_end_to_end_latency_seconds", "exit")
	if way.GetSampleCount() != 1 || way.GetSampleSum() < 60 || way.GetSampleSum() > 600 {
		t.Errorf("%d events took %g s together", way.GetSampleCount(), way.GetSampleSum())
	}
}

// Contents of an event cannot make reasons or log lines long.
func TestReasonsAndLogLinesAreBounded(t *testing.T) {
	var log bytes.Buffer
	c := config(newStore(t), &summaries{})
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	long := strings.Repeat("ü", 20_000)
	for _, data := range []string{`{"id":"` + long + `"}`, `{"` + long + `":1,"` + long + `":2}`, `{"id":"x","vehicle_plate":"` + long + `"}`, `{"id":"x","site":"` + long + `"}`} {
		r := pipeline.NewExitEventProcessor(c).ProcessMessages(t.Context(), []batch.Event{{ID: "1", Data: []byte(data)}})[0]
		if r.Outcome != batch.Reject || len(r.Reason) > 1100 || !utf8.ValidString(r.Reason) {
			t.Errorf("%.50s: %s with a reason of %d bytes", data, r.Outcome, len(r.Reason))
		}
	}
	for line := range strings.Lines(log.String()) {
		if len(line) > 2000 {
			t.Errorf("a line of %d bytes: %.300s", len(line), line)
		}
	}
}
