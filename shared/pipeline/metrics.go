package pipeline

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/latency"
	"parkstream/shared/parking"
)

// The stages of the pipeline, as metric labels.
const (
	stageParse     = "parse"
	stageStore     = "store"
	stageSummarise = "summarise"
	stagePost      = "post"
)

// The outcomes of an event, as metric labels. An exit without an entry is expected and
// no failure. So is one that repeats the exit before it, an event of which a higher
// version is known, and a read without a plate.
const (
	outcomeDone          = "done"
	outcomeDuplicate     = "duplicate"
	outcomeUnmatchedExit = "unmatched_exit"
	outcomeRepeat        = "repeat"
	outcomeNoPlate       = "no_plate"
	outcomeVoid          = "void"
	outcomeSuperseded    = "superseded"
	outcomeReject        = "reject"
	outcomeRetry         = "retry"
)

// maxGates bounds the gates with series of their own, because the senders of events
// choose their names. A car park has some ten.
const maxGates = 200

// otherGates is the site and the gate of all gates beyond maxGates. It is not a valid
// name of a site.
const otherGates = "(other)"

// Metrics of the pipeline. The latency of an event is that of the call that contains
// it.
type Metrics struct {
	latency  *prometheus.HistogramVec
	endToEnd *prometheus.HistogramVec
	stays    prometheus.Histogram
	stages   *prometheus.HistogramVec
	steps    *prometheus.CounterVec
	outcomes *prometheus.CounterVec
	gates    *prometheus.CounterVec
	sites    *prometheus.CounterVec
	function string

	mu    sync.Mutex
	known map[gate]struct{} // gates with series of their own
}

// noGate is the gate of events without one.
const noGate = "(none)"

// gate is the place of a camera.
type gate struct{ site, gate string }

// NewMetrics registers the metrics of a processor. function is the processor's name.
func NewMetrics(r prometheus.Registerer, function string) *Metrics {
	m := &Metrics{
		function: function, known: make(map[gate]struct{}),
		latency: latency.New(r, "event_processing_latency_seconds",
			"Seconds from taking an event in to its result, by event type; that of the call that carried it, once for each of its events.", "event_type"),
		endToEnd: latency.New(r, "parkstream_end_to_end_latency_seconds",
			"Seconds from the publishing of an event to its effect being durable and its stays being visible, once for each event that is done and whose time of publishing is known and within a week.", "event_type"),
		stays: prometheus.NewHistogram(latency.Options("parkstream_stay_duration_seconds",
			"Seconds that a vehicle stayed, once for each completed stay; a stay that a late event changes counts again.",
			[]float64{60, 300, 900, 1800, 3600, 7200, 10800, 14400, 21600, 28800, 43200, 86400, 172800, 604800})),
		stages: latency.NewStages(r),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkstream_pipeline_stage_events_total",
			Help: "Events that went through a stage of the pipeline, by success or failure.",
		}, []string{"event_type", "stage", "result"}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkstream_events_total",
			Help: "Events by what became of them: done, duplicate, unmatched_exit (expected), repeat (of an exit), no_plate, void, superseded (a higher version is known), reject, retry.",
		}, []string{"event_type", "outcome"}),
		gates: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkstream_gate_events_total",
			Help: "Events that were new and are done, by where they were seen: done, unmatched_exit, repeat or no_plate. A further version counts again. Of each process 200 gates have series of their own, the rest count as (other).",
		}, []string{"event_type", "site", "gate", "outcome"}),
	}
	m.sites = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parkstream_site_rejects_total",
		Help: "Events that were rejected because their site is new and there are as many sites as MAX_SITES allows.",
	}, []string{"event_type"})
	r.MustRegister(m.stays, m.steps, m.outcomes, m.gates, m.sites)
	return m
}

// expect creates the series of one kind of event, so they are zero before the first
// event.
func (m *Metrics) expect(kind parking.Kind) {
	m.latency.WithLabelValues(kind.String())
	m.endToEnd.WithLabelValues(kind.String())
	m.sites.WithLabelValues(kind.String())
	for _, stage := range []string{stageParse, stageStore, stageSummarise, stagePost} {
		m.stages.WithLabelValues(m.function, stageNames[stage])
	}
	for _, stage := range []string{stageParse, stageStore, stagePost} {
		m.steps.WithLabelValues(kind.String(), stage, "success")
		m.steps.WithLabelValues(kind.String(), stage, "failure")
	}
	outcomes := []string{outcomeDone, outcomeDuplicate, outcomeNoPlate, outcomeVoid, outcomeSuperseded, outcomeReject, outcomeRetry}
	if kind == parking.Exit {
		outcomes = append(outcomes, outcomeUnmatchedExit, outcomeRepeat)
	}
	for _, outcome := range outcomes {
		m.outcomes.WithLabelValues(kind.String(), outcome)
	}
}

// stageNames maps stages to their names in shared/latency.
var stageNames = map[string]string{
	stageParse: latency.Parsed, stageStore: latency.Stored, stageSummarise: latency.Summarised, stagePost: latency.Posted,
}

// stage starts the timer of a stage. The returned function stops it.
func (m *Metrics) stage(ctx context.Context, stage string) func() {
	start := time.Now()
	return func() {
		latency.Observe(ctx, m.stages.WithLabelValues(m.function, stageNames[stage]), time.Since(start))
	}
}

func (m *Metrics) passed(kind parking.Kind, stage string, success, failure int) {
	m.steps.WithLabelValues(kind.String(), stage, "success").Add(float64(success))
	m.steps.WithLabelValues(kind.String(), stage, "failure").Add(float64(failure))
}

// answered counts the events of a call by outcome.
func (m *Metrics) answered(ctx context.Context, kind parking.Kind, counts map[string]int, took time.Duration) {
	observer, exemplar := m.latency.WithLabelValues(kind.String()), ctx
	for outcome, n := range counts {
		m.outcomes.WithLabelValues(kind.String(), outcome).Add(float64(n))
		for range n {
			latency.Observe(exemplar, observer, took)
			exemplar = context.Background() // one exemplar per call is enough
		}
	}
}

// arrived observes the time from the publishing of events that are done to now.
func (m *Metrics) arrived(ctx context.Context, kind parking.Kind, published []time.Time, now time.Time) {
	observer := m.endToEnd.WithLabelValues(kind.String())
	for _, t := range published {
		latency.ObserveSince(ctx, observer, t, now)
		ctx = context.Background() // one exemplar per call is enough
	}
}

// seen counts events by site, gate and outcome, and observes the completed stays.
func (m *Metrics) seen(kind parking.Kind, at map[sighting]int, stays []time.Duration) {
	for s, n := range at {
		if s.gate.gate == "" {
			s.gate.gate = noGate
		}
		g := m.gate(s.gate)
		m.gates.WithLabelValues(kind.String(), g.site, g.gate, s.outcome).Add(float64(n))
	}
	for _, d := range stays {
		m.stays.Observe(d.Seconds())
	}
}

// sighting is the key by which events are counted: gate and outcome.
type sighting struct {
	gate
	outcome string
}

// gate returns g, or otherGates if maxGates others have series.
func (m *Metrics) gate(g gate) gate {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.known[g]; !known {
		if len(m.known) >= maxGates {
			return gate{otherGates, otherGates}
		}
		m.known[g] = struct{}{}
	}
	return g
}
