package rabbitmq

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"parkstream/connectors/rabbitmq/internal/attempt"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
	"parkstream/shared/process"
)

// invoker calls a function with the messages of one queue: each call has an id, a span,
// a line in the log and its place in the metrics.
type invoker struct {
	function *openfaas.Function
	queue    string
	gateway  *openfaas.Gateway
	metrics  *metrics
	log      *slog.Logger
	tracer   trace.Tracer // nil if tracing is off
}

// Invoke implements [attempt.Invoker].
func (i *invoker) Invoke(ctx context.Context, ms []*message.Delivery) (openfaas.Response, *attempt.Call) {
	callID := uuid.NewString()
	ctx, span := i.span(process.ContextWithCallID(ctx, callID), callID, ms)
	call := &attempt.Call{ID: callID, Span: trace.SpanContextFromContext(ctx)}
	buf := message.NewRequestBuffer()
	defer buf.Release()
	start := time.Now()
	r := i.gateway.Invoke(ctx, i.function, buf.Request(i.function, i.queue, callID, ms))
	r.Reason = message.Clip(r.Reason, message.MaxReason)
	endSpan(span, &r)
	if !r.Cancelled {
		i.metrics.call(ctx, i.function.Name, ms, start, &r)
		i.logCall(ctx, &r, len(ms))
	}
	return r, call
}

// callContext returns the context to log with: with the id and the span of a call, if
// there was one.
func callContext(ctx context.Context, call *attempt.Call) context.Context {
	if call == nil {
		return ctx
	}
	return process.ContextWithCallID(trace.ContextWithSpanContext(ctx, call.Span), call.ID)
}

// logCall writes one line for each call, at debug if it was a single raw message that is
// done.
func (i *invoker) logCall(ctx context.Context, r *openfaas.Response, events int) {
	level := slog.LevelInfo
	switch {
	case r.Verdict != batch.Answered:
		level = slog.LevelWarn
	case !i.function.Batched():
		level = slog.LevelDebug
	}
	if !i.log.Enabled(ctx, level) {
		return
	}
	attrs := []any{"function", i.function.Name, "queue", i.queue, "events", events, "verdict", verdictNames[r.Verdict], "took", r.Took}
	if r.Verdict == batch.Answered {
		outcomes := make(map[batch.Outcome]int)
		for j := range r.Results {
			outcome := r.Results[j].Outcome
			if r.Results[j].Unavailable {
				outcome = "unavailable"
			}
			outcomes[outcome]++
		}
		attrs = append(attrs, "outcomes", outcomes)
	} else {
		attrs = append(attrs, "reason", r.Reason)
	}
	i.log.Log(ctx, level, "called", attrs...)
}

// maxLoggedID bounds an id in a log line.
const maxLoggedID = 128
