package summary

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/latency"
)

// Metrics of the summary endpoint.
type Metrics struct {
	stored, ignored prometheus.Counter
	visible         prometheus.Observer
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	stays := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parkstream_summary_stays_total",
		Help: "Stays posted to the summary: stored, or ignored because this revision or a higher one was known.",
	}, []string{"result"})
	m := &Metrics{
		stored: stays.WithLabelValues("stored"), ignored: stays.WithLabelValues("ignored"),
		visible: latency.NewStages(r).WithLabelValues("summary", latency.Visible),
	}
	r.MustRegister(stays)
	return m
}

func (m *Metrics) received(ctx context.Context, stored, ignored int, took time.Duration) {
	m.stored.Add(float64(stored))
	m.ignored.Add(float64(ignored))
	latency.Observe(ctx, m.visible, took)
}
