package pipeline

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/parking"
)

// The stages of the pipeline, as they are labelled.
const (
	stageParse = "parse"
	stageStore = "store"
	stagePost  = "post"
)

// The outcomes of an event, as they are labelled. An exit without an entry is
// expected and is no failure.
const (
	outcomeDone          = "done"
	outcomeDuplicate     = "duplicate"
	outcomeUnmatchedExit = "unmatched_exit"
	outcomeReject        = "reject"
	outcomeRetry         = "retry"
)

// LatencyBuckets resolve 1 ms to 10 s, in seconds.
var LatencyBuckets = []float64{.0005, .001, .002, .003, .005, .0075, .01, .015, .02, .03, .05, .075, .1, .2, .5, 1, 2, 5, 10}

// Metrics of the pipeline. The latency of an event is that of the call that
// carried it.
type Metrics struct {
	latency  *prometheus.HistogramVec
	duration *prometheus.HistogramVec
	steps    *prometheus.CounterVec
	outcomes *prometheus.CounterVec
}

// NewMetrics registers the metrics of both processors.
func NewMetrics(r prometheus.Registerer) *Metrics {
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: LatencyBuckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}, labels)
	}
	m := &Metrics{
		latency: histogram("event_processing_latency_seconds",
			"Seconds from taking an event in to its result, by event type.", "event_type"),
		duration: histogram("parkstream_pipeline_stage_duration_seconds",
			"Seconds that one call spent in a stage of the pipeline.", "event_type", "stage"),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkstream_pipeline_stage_events_total",
			Help: "Events that went through a stage of the pipeline, by success or failure.",
		}, []string{"event_type", "stage", "result"}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkstream_events_total",
			Help: "Events by what became of them: done, duplicate, unmatched_exit (expected), reject, retry.",
		}, []string{"event_type", "outcome"}),
	}
	r.MustRegister(m.latency, m.duration, m.steps, m.outcomes)
	return m
}

// expect makes the series of one kind of event, so that they stand at zero
// before the first event.
func (m *Metrics) expect(kind parking.Kind) {
	m.latency.WithLabelValues(kind.String())
	for _, stage := range []string{stageParse, stageStore, stagePost} {
		m.duration.WithLabelValues(kind.String(), stage)
		m.steps.WithLabelValues(kind.String(), stage, "success")
		m.steps.WithLabelValues(kind.String(), stage, "failure")
	}
	for _, outcome := range []string{outcomeDone, outcomeDuplicate, outcomeReject, outcomeRetry} {
		m.outcomes.WithLabelValues(kind.String(), outcome)
	}
	if kind == parking.Exit {
		m.outcomes.WithLabelValues(kind.String(), outcomeUnmatchedExit)
	}
}

// stage starts the clock of a stage; the returned function stops it.
func (m *Metrics) stage(kind parking.Kind, stage string) func() {
	start := time.Now()
	return func() { m.duration.WithLabelValues(kind.String(), stage).Observe(time.Since(start).Seconds()) }
}

func (m *Metrics) passed(kind parking.Kind, stage string, success, failure int) {
	m.steps.WithLabelValues(kind.String(), stage, "success").Add(float64(success))
	m.steps.WithLabelValues(kind.String(), stage, "failure").Add(float64(failure))
}

func (m *Metrics) settled(kind parking.Kind, tally map[string]int, took time.Duration) {
	latency := m.latency.WithLabelValues(kind.String())
	for outcome, n := range tally {
		m.outcomes.WithLabelValues(kind.String(), outcome).Add(float64(n))
		for range n {
			latency.Observe(took.Seconds())
		}
	}
}
