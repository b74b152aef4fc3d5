package rabbitmq

import (
	"context"

	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
	"parkstream/shared/tracing"
)

// span begins the span of one call; it is nil if tracing is off. It links to the spans in
// which its messages were published. If that is one span, it is the parent, too, and the
// whole way is one trace. A batch of several origins begins a trace of its own.
func (i *invoker) span(ctx context.Context, callID string, ms []*message.Delivery) (context.Context, trace.Span) {
	if i.tracer == nil {
		return ctx, nil
	}
	origins, mixed := origins(ms)
	if len(origins) == 1 && !mixed {
		ctx = trace.ContextWithRemoteSpanContext(ctx, origins[0])
	}
	links := make([]trace.Link, 0, len(origins))
	for _, o := range origins {
		if o.IsSampled() { // the others were not recorded
			links = append(links, trace.Link{SpanContext: o})
		}
	}
	ctx, span := i.tracer.Start(ctx, "process "+i.queue, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...))
	if span.IsRecording() {
		span.SetAttributes(semconv.MessagingSystemRabbitMQ, semconv.MessagingOperationName("process"), semconv.MessagingOperationTypeProcess,
			semconv.MessagingDestinationName(i.queue), semconv.FaaSInvokedName(i.function.Name), semconv.FaaSInvocationID(callID))
		if i.function.Batched() {
			span.SetAttributes(semconv.MessagingBatchMessageCount(len(ms)))
		} else {
			span.SetAttributes(semconv.MessagingMessageID(ms[0].ID()))
		}
	}
	return ctx, span
}

// origins returns each span that messages were published in once, in the order
// of the messages; mixed reports that some were published in none.
func origins(ms []*message.Delivery) (origins []trace.SpanContext, mixed bool) {
	seen := make(map[string]struct{}, 1)
	for _, m := range ms {
		parent, state := m.Trace()
		if _, known := seen[parent]; known {
			continue
		}
		seen[parent] = struct{}{}
		if o := tracing.Parse(parent, state); o.IsValid() {
			origins = append(origins, o)
		} else {
			mixed = true
		}
	}
	return origins, mixed
}

func endSpan(span trace.Span, r *openfaas.Response) {
	if span == nil {
		return
	}
	if r.Status != 0 {
		span.SetAttributes(semconv.HTTPResponseStatusCode(r.Status))
	}
	switch {
	case r.Cancelled:
		span.SetStatus(codes.Error, "the connector stopped before the answer")
	case r.Verdict != batch.Answered:
		span.SetStatus(codes.Error, r.Reason)
	}
	span.End()
}
