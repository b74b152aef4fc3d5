package broker

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type connMetrics struct {
	up       prometheus.Gauge
	blocked  prometheus.Gauge
	connects prometheus.Counter
	failures prometheus.Counter
}

// named adds the connection's name to every metric, so that one process can have
// several connections.
func named(r prometheus.Registerer, name string) promauto.Factory {
	if r != nil {
		r = prometheus.WrapRegistererWith(prometheus.Labels{"connection": name}, r)
	}
	return promauto.With(r)
}

func newConnMetrics(r prometheus.Registerer, name string) *connMetrics {
	f := named(r, name)
	return &connMetrics{
		up: f.NewGauge(prometheus.GaugeOpts{
			Name: "parkstream_amqp_connected", Help: "1 while there is a connection to RabbitMQ.",
		}),
		blocked: f.NewGauge(prometheus.GaugeOpts{
			Name: "parkstream_amqp_blocked", Help: "1 while RabbitMQ takes no messages because of an alarm.",
		}),
		connects: f.NewCounter(prometheus.CounterOpts{
			Name: "parkstream_amqp_connects_total", Help: "Connections to RabbitMQ that were made; all but the first are reconnects.",
		}),
		failures: f.NewCounter(prometheus.CounterOpts{
			Name: "parkstream_amqp_connect_failures_total", Help: "Attempts to connect to RabbitMQ that reached no node.",
		}),
	}
}

type publishMetrics struct {
	confirmed, failed prometheus.Counter
}

func newPublishMetrics(r prometheus.Registerer, name string) *publishMetrics {
	published := named(r, name).NewCounterVec(prometheus.CounterOpts{
		Name: "parkstream_amqp_published_total",
		Help: "Messages published, by result: confirmed by the broker, or failed (refused, unroutable or unconfirmed).",
	}, []string{"result"})
	return &publishMetrics{confirmed: published.WithLabelValues("confirmed"), failed: published.WithLabelValues("failed")}
}
