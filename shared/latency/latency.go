// Package latency has the histograms with which every process measures how long
// something takes: one list of buckets, native histograms beside them, and the
// trace of a call as exemplar.
package latency

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// Buckets resolve 1 ms to 10 s and reach to five minutes, in seconds.
var Buckets = []float64{
	.0005, .001, .002, .003, .005, .0075, .01, .015, .02, .03, .05, .075, .1, .15, .2, .3, .5, .75, 1, 1.5, 2, 3, 5, 7.5, 10, 30, 60, 300,
}

// Options returns those of a histogram with buckets, and with a native histogram
// beside them whose buckets are at most 10 % apart.
func Options(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}
}

// New registers a histogram of seconds.
func New(r prometheus.Registerer, name, help string, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(Options(name, help, Buckets), labels)
	if r != nil {
		r.MustRegister(h)
	}
	return h
}

// The stages of an event on its way, in order.
const (
	// Consumed: from the publishing of a message to its delivery to the connector.
	Consumed = "consumed"
	// Invoked: from the delivery to the call of the function.
	Invoked = "invoked"
	// Parsed: reading and checking the events of a call.
	Parsed = "parsed"
	// Stored: taking them into the timelines in Redis.
	Stored = "stored"
	// Summarised: working out the stays that changed.
	Summarised = "summarised"
	// Posted: handing the stays to the summary until it has answered; Visible is
	// a part of it.
	Posted = "posted"
	// Visible: from the arrival of stays at the summary until they are listed.
	Visible = "visible"
)

// NewStages registers the histogram of the stages. Every process has those that
// it measures; the label "function" is the function that the events are for, or
// that measures.
func NewStages(r prometheus.Registerer) *prometheus.HistogramVec {
	return New(r, "parkstream_stage_duration_seconds",
		"Seconds in a stage on the way of an event: consumed and invoked once an event, parsed, stored, summarised, posted and visible once a call.",
		"function", "stage")
}

// Instants of other machines that are farther from now are no measurements.
const (
	// longest is more than an outage of a long weekend. What was published earlier
	// was put back from the dead letters, or comes from a clock that was never set;
	// one such instant, 1970, would outweigh years of latencies in a sum.
	longest = 7 * 24 * time.Hour
	// ahead is what a clock may be ahead of ours, the default of MAX_FUTURE.
	ahead = 2 * time.Minute
)

// ObserveSince adds an observation of the time from an instant that another machine
// has noted, such as that of publishing, to now. It observes nothing if the instant
// is unknown (zero) or far from now.
func ObserveSince(ctx context.Context, o prometheus.Observer, from, now time.Time) {
	if from.IsZero() || from.Before(now.Add(-longest)) || from.After(now.Add(ahead)) {
		return
	}
	Observe(ctx, o, now.Sub(from))
}

// Observe adds an observation. If ctx has a span that is sampled, its trace is the
// observation's exemplar.
func Observe(ctx context.Context, o prometheus.Observer, took time.Duration) {
	seconds := max(0, took.Seconds()) // publishers have clocks of their own
	if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
		if e, ok := o.(prometheus.ExemplarObserver); ok {
			e.ObserveWithExemplar(seconds, prometheus.Labels{"trace_id": span.TraceID().String()})
			return
		}
	}
	o.Observe(seconds)
}
