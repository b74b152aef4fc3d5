// Package tracing follows an event from process to process with OpenTelemetry.
//
// Only the server of a function and the connector start traces: they have a
// [trace.TracerProvider], made by [New]. All other code calls [Start], which continues
// the span in the context with the provider of that span. If tracing is off, no context
// has a span, and Start costs one lookup.
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

// w3c is the format of the context between processes. It cannot be
// chosen: batches and queues carry it in documented fields.
var w3c propagation.TraceContext

// Start begins a child of the span in ctx; the caller ends it. If ctx has no span, or
// one that is not recorded, Start returns ctx unchanged and a span that records
// nothing.
func Start(ctx context.Context, kind trace.SpanKind, name string) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, unrecorded
	}
	return parent.TracerProvider().Tracer(Scope).Start(ctx, name, trace.WithSpanKind(kind))
}

// unrecorded is returned instead of the parent: ending it must not end the parent.
var unrecorded = trace.SpanFromContext(context.Background())

// End ends a span and marks it as failed if err is not nil.
func End(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// Inject writes the span's context into the headers of a request, or nothing if tracing
// is off.
func Inject(ctx context.Context, h http.Header) { w3c.Inject(ctx, propagation.HeaderCarrier(h)) }

// Extract returns ctx with the caller's span of a request as its parent.
func Extract(ctx context.Context, h http.Header) context.Context {
	return w3c.Extract(ctx, propagation.HeaderCarrier(h))
}

// The fields that carry the context outside of HTTP headers.
const (
	FieldParent = "traceparent"
	FieldState  = "tracestate"
)

// Fields returns the span's context as text, empty if tracing is off.
func Fields(ctx context.Context) (parent, state string) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return "", ""
	}
	fields := propagation.MapCarrier{}
	w3c.Inject(ctx, fields)
	return fields[FieldParent], fields[FieldState]
}

// Parse parses the result of [Fields]. It returns an invalid context if it cannot.
func Parse(parent, state string) trace.SpanContext {
	if parent == "" {
		return trace.SpanContext{}
	}
	fields := propagation.MapCarrier{FieldParent: parent, FieldState: state}
	return trace.SpanContextFromContext(w3c.Extract(context.Background(), fields))
}
