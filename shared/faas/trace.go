package faas

import (
	"context"
	"fmt"
	"net/http"

	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"parkstream/shared/process"
	"parkstream/shared/tracing"
)

// span begins the span of a call as the child of its caller's, and returns nil if
// tracing is off. It has neither path nor query, which may contain a plate.
func (s *server) span(ctx context.Context, r *http.Request) (context.Context, trace.Span) {
	if s.tracer == nil {
		return ctx, nil
	}
	method := knownMethod(r.Method)
	ctx, span := s.tracer.Start(tracing.Extract(ctx, r.Header), method+" "+s.rt.Name,
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(semconv.FaaSTriggerHTTP, semconv.HTTPRequestMethodKey.String(method)))
	if id := process.CallID(ctx); id != "" {
		span.SetAttributes(semconv.FaaSInvocationID(id))
	}
	return ctx, span
}

func endSpan(span trace.Span, status int) {
	if span == nil {
		return
	}
	span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, fmt.Sprintf("%d %s", status, http.StatusText(status)))
	}
	span.End()
}
