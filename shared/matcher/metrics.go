package matcher

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/parking"
)

// Metrics of a matcher. They have no label of the site: the log has one line a site.
type Metrics struct {
	seconds   prometheus.Histogram
	lone      prometheus.Gauge
	beyond    prometheus.Gauge
	left      prometheus.Gauge
	complete  prometheus.Gauge
	decisions *prometheus.CounterVec
	withdrawn prometheus.Counter
	refused   prometheus.Counter
	posted    prometheus.Counter
	unposted  prometheus.Counter
	failures  prometheus.Counter
	hidden    prometheus.Gauge
	near      prometheus.Gauge
	wrongNear prometheus.Gauge
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "parkstream_match_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "parkstream_match_" + name, Help: help})
	}
	m := &Metrics{
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "parkstream_match_site_seconds", Help: "Time that the matcher took for one site.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 50},
		}),
		lone:     gauge("lone_reads", "Lone reads of all sites that the last tick of the matcher looked at."),
		beyond:   gauge("sites_beyond_limit", "Sites with more than a million lone reads: the last tick left the oldest out."),
		left:     gauge("sites_left", "Sites that the last tick had no time for, or that failed."),
		complete: gauge("completed_timestamp_seconds", "When a tick of this process last ended without a failure; 0 if none has."),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkstream_match_decisions_total", Help: "Stays that the matcher decided otherwise than before, by method.",
		}, []string{"method"}),
		withdrawn: counter("withdrawn_total", "Decisions that the matcher withdrew, because of later events, rejections or models."),
		refused:   counter("refused_total", "Decisions that were not made, because what they build on had changed meanwhile. The next tick decides again."),
		posted:    counter("posted_total", "Stays that the matcher posted to the summary."),
		unposted:  counter("unposted_total", "Stays, and decisions of persons, that the summary refused. They are posted again by the next tick."),
		failures:  counter("failures_total", "Sites whose reads could not be matched in a tick."),
	}
	m.hidden = gauge("estimate_exits", "Exits whose entries were hidden to estimate how many near stays are wrong, of all sites in their last estimates.")
	m.near = gauge("estimate_near_stays", "Near stays of all sites in their last estimates.")
	m.wrongNear = gauge("estimate_wrong", "Near stays that are wrong by the last estimates. It is rather too high.")
	for _, method := range parking.Methods() {
		m.decisions.WithLabelValues(string(method))
	}
	r.MustRegister(m.seconds, m.lone, m.beyond, m.left, m.complete, m.decisions, m.withdrawn, m.refused, m.posted, m.unposted, m.failures, m.hidden, m.near, m.wrongNear)
	return m
}

// matched counts what was done at a site.
func (m *Metrics) matched(c SiteCounts, took time.Duration, err error) {
	m.seconds.Observe(took.Seconds())
	for method, n := range c.Decided {
		m.decisions.WithLabelValues(string(method)).Add(float64(n))
	}
	m.withdrawn.Add(float64(c.Withdrawn))
	m.refused.Add(float64(c.Refused))
	m.posted.Add(float64(c.Posted))
	m.unposted.Add(float64(c.Unposted))
	if err != nil {
		m.failures.Inc()
	}
}

// ticked counts a tick.
func (m *Metrics) ticked(total Counts, done []SiteCounts, complete bool, now time.Time) {
	var lone, beyond int
	for i := range done {
		lone += done[i].Lone
		if done[i].LeftOut {
			beyond++
		}
	}
	m.lone.Set(float64(lone))
	m.beyond.Set(float64(beyond))
	m.left.Set(float64(total.Left))
	if complete {
		m.complete.Set(float64(now.Unix()))
	}
}

// estimated sets the sums of the estimates.
func (m *Metrics) estimated(hidden, near int, wrong float64) {
	m.hidden.Set(float64(hidden))
	m.near.Set(float64(near))
	m.wrongNear.Set(wrong)
}
