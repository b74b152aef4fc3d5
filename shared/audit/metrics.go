package audit

import "github.com/prometheus/client_golang/prometheus"

// metrics of the audit, by action.
type metrics struct {
	entries, displaced, failures *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parkstream_audit_" + name, Help: help}, []string{"action"})
		for _, a := range Actions() {
			vec.WithLabelValues(string(a))
		}
		r.MustRegister(vec)
		return vec
	}
	return &metrics{
		entries:   counter("entries_total", "Entries of the audit that this process wrote."),
		displaced: counter("displaced_entries_total", "Entries that were removed before AUDIT_RETENTION, because there were AUDIT_MAX_ENTRIES of their action."),
		failures:  counter("failures_total", "Entries that could not be written. An act was then not done, except of a login that was refused, or an end of an act."),
	}
}
