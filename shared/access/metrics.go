package access

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	refusals *prometheus.CounterVec
}

// kinds of refusals, as the label reason has them.
var kinds = []string{"no_login", "login", "throttled", "limited", "forbidden", "origin", "content_type", "not_set_up", "unavailable"}

func newMetrics(r prometheus.Registerer, setUp func() bool) *metrics {
	m := &metrics{refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parkstream_access_refusals_total",
		Help: "Requests that were refused because of who sent them or how, by reason.",
	}, []string{"reason"})}
	for _, kind := range kinds {
		m.refusals.WithLabelValues(kind)
	}
	r.MustRegister(m.refusals, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "parkstream_access_set_up",
		Help: "1 if there are users, or another way to log in, or access is open.",
	}, func() float64 {
		if setUp() {
			return 1
		}
		return 0
	}))
	return m
}
