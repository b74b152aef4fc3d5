package faas

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// callBuckets resolve 0.5 ms to 60 s, in seconds.
var callBuckets = []float64{.0005, .001, .002, .003, .005, .0075, .01, .015, .02, .03, .05, .075, .1, .2, .5, 1, 2, 5, 10, 30, 60}

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
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "parkstream_http_call_duration_seconds",
			Help: "Seconds from the header of a call to its answer, by HTTP method.", Buckets: callBuckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"method"}),
	}
	r.MustRegister(m.calls, m.duration, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "parkstream_http_calls_in_flight",
		Help: "Calls that are being served now.",
	}, inflight))
	return m
}

func (m *metrics) called(method string, status int, took time.Duration) {
	method = knownMethod(method)
	m.calls.WithLabelValues(method, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(method).Observe(took.Seconds())
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
