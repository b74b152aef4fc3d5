package faas

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/latency"
)

type metrics struct {
	calls    *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer, inflight func() float64) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkstream_http_calls_total",
			Help: "Calls of the function, by HTTP method and status code of the answer.",
		}, []string{"method", "code"}),
		duration: latency.New(r, "parkstream_http_call_duration_seconds",
			"Seconds from the header of a call to its answer, by HTTP method.", "method"),
	}
	r.MustRegister(m.calls, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "parkstream_http_calls_in_flight",
		Help: "Calls that are being served now.",
	}, inflight))
	return m
}

func (m *metrics) called(ctx context.Context, method string, status int, took time.Duration) {
	method = knownMethod(method)
	m.calls.WithLabelValues(method, strconv.Itoa(status)).Inc()
	latency.Observe(ctx, m.duration.WithLabelValues(method), took)
}

// knownMethod keeps callers from making new series with invented methods.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	default:
		return "other"
	}
}
