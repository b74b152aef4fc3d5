// Package tracing follows an event from process to process with OpenTelemetry.
//
// Only those who begin work of their own accord, the server of a function and
// the connector, have a [trace.TracerProvider], made by [New]. Everybody else
// calls [Start], which continues the span in the context with the provider that
// made it. Where tracing is off there is no span in any context, and Start costs
// a look into it.
//
// Spans carry no plate, event body, query or URL: their attributes are counts,
// names of queues and functions, and statuses.
package tracing

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Scope is the name under which Parkstream's spans are made.
const Scope = "parkstream"

// w3c is the format of the context between processes. Batches and queues carry
// it in documented fields, so that there is no choice.
var w3c propagation.TraceContext

// Start begins a child of the span in ctx; the caller ends it. Where that one is
// not recorded, or there is none, it returns ctx as it is and a span that ignores
// what it is told.
func Start(ctx context.Context, kind trace.SpanKind, name string) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, unrecorded
	}
	return parent.TracerProvider().Tracer(Scope).Start(ctx, name, trace.WithSpanKind(kind))
}

// unrecorded is not the parent: its End must not end that one.
var unrecorded = trace.SpanFromContext(context.Background())

// End ends a span, as failed where err is not nil.
func End(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// Inject writes the span's context into the headers of a request. There is
// nothing to write where tracing is off.
func Inject(ctx context.Context, h http.Header) { w3c.Inject(ctx, propagation.HeaderCarrier(h)) }

// Extract returns ctx with the caller's span of a request as its parent.
func Extract(ctx context.Context, h http.Header) context.Context {
	return w3c.Extract(ctx, propagation.HeaderCarrier(h))
}

// The fields of the context where it does not travel in HTTP headers.
const (
	FieldParent = "traceparent"
	FieldState  = "tracestate"
)

// Fields returns the span's context as text; empty where tracing is off.
func Fields(ctx context.Context) (parent, state string) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return "", ""
	}
	fields := propagation.MapCarrier{}
	w3c.Inject(ctx, fields)
	return fields[FieldParent], fields[FieldState]
}

// Parse reads what [Fields] has written. What it cannot read is an invalid
// context, as if there were none.
func Parse(parent, state string) trace.SpanContext {
	if parent == "" {
		return trace.SpanContext{}
	}
	fields := propagation.MapCarrier{FieldParent: parent, FieldState: state}
	return trace.SpanContextFromContext(w3c.Extract(context.Background(), fields))
}
