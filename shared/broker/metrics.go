package broker

import (
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// connMetrics are the metrics of all connections of one name.
type connMetrics struct {
	up       prometheus.Gauge
	blocked  prometheus.Gauge
	connects prometheus.Counter
	failures prometheus.Counter

	mu                      sync.Mutex
	wanted, there, blocking int // connections
}

// newConnMetrics returns the metrics of a name, which its connections share.
func newConnMetrics(r prometheus.Registerer, name string) *connMetrics {
	m := &connMetrics{
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "parkstream_amqp_connected", Help: "1 while there is a connection to RabbitMQ, and each one that there should be.",
		}),
		blocked: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "parkstream_amqp_blocked", Help: "1 while RabbitMQ takes no messages because of an alarm.",
		}),
		connects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parkstream_amqp_connects_total", Help: "Connections to RabbitMQ that were made; all but the first of each are reconnects.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parkstream_amqp_connect_failures_total", Help: "Attempts to connect to RabbitMQ that reached no node.",
		}),
	}
	if r == nil {
		return m
	}
	err := prometheus.WrapRegistererWith(connectionLabel(name), r).Register(m)
	if known, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if shared, ok := known.ExistingCollector.(*connMetrics); ok {
			return shared
		}
	}
	if err != nil {
		panic(err) // as for all metrics: two of one name are a bug
	}
	return m
}

func (m *connMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.up, m.blocked, m.connects, m.failures}
}

// Describe implements [prometheus.Collector].
func (m *connMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (m *connMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
}

// want records that n more connections should exist.
func (m *connMetrics) want(n int) { m.note(&m.wanted, n) }

// have records that n more connections exist.
func (m *connMetrics) have(n int) { m.note(&m.there, n) }

// block records that n more connections are blocked.
func (m *connMetrics) block(n int) { m.note(&m.blocking, n) }

func (m *connMetrics) note(what *int, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*what += n
	m.up.Set(boolean(m.there > 0 && m.there >= m.wanted))
	m.blocked.Set(boolean(m.blocking > 0))
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// connectionLabel returns the label of the metrics of one connection of several in a
// process.
func connectionLabel(name string) prometheus.Labels { return prometheus.Labels{"connection": name} }

type publishMetrics struct {
	confirmed, failed prometheus.Counter
}

func newPublishMetrics(r prometheus.Registerer, name string) *publishMetrics {
	if r != nil {
		r = prometheus.WrapRegistererWith(connectionLabel(name), r)
	}
	published := promauto.With(r).NewCounterVec(prometheus.CounterOpts{
		Name: "parkstream_amqp_published_total",
		Help: "Messages published, by result: confirmed by the broker, or failed (refused, unroutable or unconfirmed).",
	}, []string{"result"})
	return &publishMetrics{confirmed: published.WithLabelValues("confirmed"), failed: published.WithLabelValues("failed")}
}
