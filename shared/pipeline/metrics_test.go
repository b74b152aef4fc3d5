package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/trace"

	"parkstream/shared/batch"
	"parkstream/shared/pipeline"
)

// histogram returns the histogram with a label of this value.
func histogram(t *testing.T, r *prometheus.Registry, name, value string) *dto.Histogram {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, label := range m.GetLabel() {
				if f.GetName() == name && label.GetValue() == value {
					return m.GetHistogram()
				}
			}
		}
	}
	t.Fatalf("no %s of %s", name, value)
	return nil
}

// Every stage of a call is measured once. The latency of each event that is done is
// measured from its publishing, with its trace as the exemplar.
func TestLatencyOfAStay(t *testing.T) {
	registry := prometheus.NewRegistry()
	c := config(newStore(t), &summaries{})
	c.Metrics = pipeline.NewMetrics(registry, "exit-processor")
	exits := pipeline.NewExitEventProcessor(c)
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{7}, SpanID: trace.SpanID{7}, TraceFlags: trace.FlagsSampled})
	a, b, unknown := exit("a", "A", 1), exit("b", "B", 1), exit("c", "C", 1)
	a.Time, b.Time = time.Now().Add(-time.Minute), time.Now().Add(-time.Minute)
	exits.ProcessMessages(trace.ContextWithSpanContext(t.Context(), span), []batch.Event{a, b, unknown, {ID: "bad", Time: time.Now()}})

	for _, stage := range []string{"parsed", "stored", "summarised", "posted"} {
		if n := histogram(t, registry, "parkstream_stage_duration_seconds", stage).GetSampleCount(); n != 1 {
			t.Errorf("stage %s was observed %d times", stage, n)
		}
	}
	way := histogram(t, registry, "parkstream_end_to_end_latency_seconds", "exit")
	if way.GetSampleCount() != 2 || way.GetSampleSum() < 120 || way.GetSampleSum() > 180 {
		t.Errorf("%d events took %g s together", way.GetSampleCount(), way.GetSampleSum())
	}
	if n := histogram(t, registry, "event_processing_latency_seconds", "exit").GetSampleCount(); n != 4 {
		t.Errorf("processing was observed %d times for 4 events", n)
	}
	traces := 0
	for _, bucket := range way.GetBucket() {
		if e := bucket.GetExemplar(); e != nil && e.GetLabel()[0].GetValue() == span.TraceID().String() {
			traces++
		}
	}
	if traces != 1 {
		t.Errorf("%d exemplars with the trace", traces)
	}
}

// Each event is counted once by gate. The number of series is bounded for any number of
// names. A completed stay is in the histogram of durations.
func TestGates(t *testing.T) {
	registry := prometheus.NewRegistry()
	c := config(newStore(t), &summaries{})
	c.Metrics = pipeline.NewMetrics(registry, "test")
	at := func(kind, id, gate string, second int) batch.Event {
		return batch.Event{ID: id, Data: fmt.Appendf(nil, `{"id":%q,"vehicle_plate":%q,"site":"P1","gate":%q,"%s_date_time":%q}`,
			kind+id, id, gate, kind, start.Add(time.Duration(second)*time.Second).Format(time.RFC3339))}
	}
	entries, exits := pipeline.NewEntryEventProcessor(c), pipeline.NewExitEventProcessor(c)
	entries.ProcessMessages(t.Context(), []batch.Event{at("entry", "a", "north", 0)})
	for range 2 {
		exits.ProcessMessages(t.Context(), []batch.Event{at("exit", "a", "south", 600), at("exit", "b", "south", 600)})
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP parkstream_gate_events_total Events that were new and are done, by where they were seen: done, unmatched_exit, repeat or no_plate. A further version counts again. Of each process 200 gates have series of their own, the rest count as (other).
# TYPE parkstream_gate_events_total counter
parkstream_gate_events_total{event_type="entry",gate="north",outcome="done",site="P1"} 1
parkstream_gate_events_total{event_type="exit",gate="south",outcome="done",site="P1"} 1
parkstream_gate_events_total{event_type="exit",gate="south",outcome="unmatched_exit",site="P1"} 1
`), "parkstream_gate_events_total"); err != nil {
		t.Error(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if h := f.GetMetric()[0].GetHistogram(); f.GetName() == "parkstream_stay_duration_seconds" && (h.GetSampleCount() != 1 || h.GetSampleSum() != 600) {
			t.Errorf("%d stays of %g s together, want one of 600 s", h.GetSampleCount(), h.GetSampleSum())
		}
	}

	many := make([]batch.Event, 300)
	for i := range many {
		many[i] = at("entry", fmt.Sprint("v", i), fmt.Sprint("gate ", i), 0)
	}
	entries.ProcessMessages(t.Context(), many)
	if n, err := testutil.GatherAndCount(registry, "parkstream_gate_events_total"); err != nil || n > 203 {
		t.Errorf("%d series of gates, error %v", n, err)
	}
	text, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, f := range text {
		if f.GetName() == "parkstream_gate_events_total" {
			for _, m := range f.GetMetric() {
				total += m.GetCounter().GetValue()
			}
		}
	}
	if total != 303 {
		t.Errorf("%g events at all gates together, want 303", total)
	}
}
