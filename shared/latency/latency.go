// Package latency provides the histograms of durations that all processes share: one
// list of buckets, native histograms beside them, and the trace of a call as exemplar.
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

// Options returns the options of a histogram with buckets. Its native histogram has
// buckets at most 10 % apart.
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

// NewStages registers the histogram of the stages. A process observes only the stages
// that it measures. The label "function" names the function that the events are for, or
// the one that measures.
func NewStages(r prometheus.Registerer) *prometheus.HistogramVec {
	return New(r, "parkstream_stage_duration_seconds",
		"Seconds in a stage on the way of an event: consumed and invoked once an event, parsed, stored, summarised, posted and visible once a call.",
		"function", "stage")
}

// Instants of other machines that are farther from now are ignored.
const (
	// longest exceeds an outage over a long weekend. An older message was replayed from
	// the dead letters, or comes from a clock that was never set. One such instant,
	// 1970, would outweigh years of latencies in a sum.
	longest = 7 * 24 * time.Hour
	// ahead is how far another machine's clock may be ahead: the default of MAX_FUTURE.
	ahead = 2 * time.Minute
)

// ObserveSince observes the time since an instant that another machine has recorded,
// such as the time of publishing. It observes nothing if the instant is zero or far
// from now.
func ObserveSince(ctx context.Context, o prometheus.Observer, from, now time.Time) {
	if from.IsZero() || from.Before(now.Add(-longest)) || from.After(now.Add(ahead)) {
		return
	}
	Observe(ctx, o, now.Sub(from))
}

// Observe adds an observation. The trace of a sampled span in ctx becomes its exemplar.
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
