package latency_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/trace"

	"parkstream/shared/latency"
)

func gather(t *testing.T, r *prometheus.Registry) *dto.Histogram {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families[0].GetMetric()[0].GetHistogram()
}

// A sampled trace is the exemplar of what it observes; an unsampled one is not.
func TestExemplar(t *testing.T) {
	for _, flags := range []trace.TraceFlags{0, trace.FlagsSampled} {
		r := prometheus.NewRegistry()
		h := latency.New(r, "x_seconds", "help")
		span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: flags})
		latency.Observe(trace.ContextWithSpanContext(t.Context(), span), h.WithLabelValues(), 4*time.Millisecond)
		var found []string
		got := gather(t, r)
		for _, b := range got.GetBucket() {
			for _, label := range b.GetExemplar().GetLabel() {
				found = append(found, label.GetName()+"="+label.GetValue())
			}
		}
		switch want := "trace_id=" + span.TraceID().String(); {
		case got.GetSampleCount() != 1:
			t.Errorf("%d observations", got.GetSampleCount())
		case flags == 0 && len(found) != 0:
			t.Errorf("an unsampled trace left %q", found)
		case flags != 0 && (len(found) != 1 || found[0] != want):
			t.Errorf("exemplars %q, want %q", found, want)
		}
	}
}

// A publisher whose clock is ahead does not make time run backwards, and a native
// histogram stands beside the buckets.
func TestObserve(t *testing.T) {
	r := prometheus.NewRegistry()
	h := latency.New(r, "x_seconds", "help").WithLabelValues()
	latency.Observe(context.Background(), h, -time.Hour)
	latency.Observe(context.Background(), h, 4*time.Millisecond)
	got := gather(t, r)
	if got.GetSampleSum() != .004 || got.GetSampleCount() != 2 {
		t.Errorf("sum %g of %d", got.GetSampleSum(), got.GetSampleCount())
	}
	if len(got.GetPositiveDelta()) == 0 || got.Schema == nil {
		t.Error("there is no native histogram")
	}
}

// No instant of another machine makes a sum absurd.
func TestObserveSince(t *testing.T) {
	now := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		from time.Time
		n    uint64
		sum  float64
	}{
		{now, 1, 0},
		{now.Add(-time.Second), 1, 1},
		{now.Add(-7 * 24 * time.Hour), 1, 604_800},
		{now.Add(-7*24*time.Hour - 1), 0, 0},
		{now.Add(2 * time.Minute), 1, 0},
		{now.Add(2*time.Minute + 1), 0, 0},
		{now.AddDate(-1, 0, 0), 0, 0},
		{now.AddDate(1, 0, 0), 0, 0},
		{time.Time{}, 0, 0},
		{time.Unix(0, 0), 0, 0},
		{time.Unix(-1, 0), 0, 0},
		{time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), 0, 0},
		{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), 0, 0},
		{time.Unix(math.MaxInt64, 0), 0, 0},
		{time.Unix(math.MinInt64, 0), 0, 0},
		{time.UnixMilli(math.MaxInt64), 0, 0},
		{time.UnixMilli(math.MinInt64), 0, 0},
	} {
		r := prometheus.NewRegistry()
		latency.ObserveSince(t.Context(), latency.New(r, "x_seconds", "help").WithLabelValues(), tt.from, now)
		if got := gather(t, r); got.GetSampleCount() != tt.n || got.GetSampleSum() != tt.sum {
			t.Errorf("since %s: %d observations, sum %g; want %d, %g", tt.from, got.GetSampleCount(), got.GetSampleSum(), tt.n, tt.sum)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	h := latency.New(prometheus.NewRegistry(), "x_seconds", "help").WithLabelValues()
	for b.Loop() {
		latency.Observe(b.Context(), h, 4*time.Millisecond)
	}
}
