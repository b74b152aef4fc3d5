package summary

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the summary endpoint.
type Metrics struct {
	stored, ignored prometheus.Counter
	duration        prometheus.Histogram
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	stays := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parkstream_summary_stays_total",
		Help: "Stays posted to the summary: stored, or ignored because this revision or a higher one was known.",
	}, []string{"result"})
	m := &Metrics{
		stored: stays.WithLabelValues("stored"), ignored: stays.WithLabelValues("ignored"),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "parkstream_summary_post_duration_seconds",
			Help:    "Seconds from a posted batch to its being durable.",
			Buckets: []float64{.0005, .001, .002, .003, .005, .0075, .01, .015, .02, .03, .05, .1, .2, .5, 1, 2, 5, 10},

			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}),
	}
	r.MustRegister(stays, m.duration)
	return m
}

func (m *Metrics) put(stored, ignored int, took time.Duration) {
	m.stored.Add(float64(stored))
	m.ignored.Add(float64(ignored))
	m.duration.Observe(took.Seconds())
}
