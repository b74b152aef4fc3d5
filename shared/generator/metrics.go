package generator

import (
	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/parking"
)

// Metrics of the generators.
type Metrics struct {
	events   *prometheus.CounterVec
	failures *prometheus.CounterVec
}

// NewMetrics registers the metrics of both generators.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkstream_generated_events_total",
			Help: "Events that were generated and confirmed by the broker, by type and by where the plate is from: random, or matched with an entry generated before.",
		}, []string{"event_type", "plate"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkstream_generator_publish_failures_total",
			Help: "Events that were generated and not confirmed by the broker.",
		}, []string{"event_type"}),
	}
	r.MustRegister(m.events, m.failures)
	return m
}

func (m *Metrics) published(kind parking.Kind, t counts, failed int) {
	m.events.WithLabelValues(kind.String(), "random").Add(float64(t.published - t.matched))
	if kind == parking.Exit {
		m.events.WithLabelValues(kind.String(), "matched").Add(float64(t.matched))
	}
	m.failures.WithLabelValues(kind.String()).Add(float64(failed))
}
