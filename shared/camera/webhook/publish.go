package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"parkstream/shared/broker"
	"parkstream/shared/camera"
	"parkstream/shared/failure"
	"parkstream/shared/parking"
	"parkstream/shared/tracing"
)

// publishTimeout bounds the wait for the confirms: a camera waits for some seconds.
const publishTimeout = 2 * time.Second

// Publisher publishes events; [broker.Publisher] is one.
type Publisher interface {
	// Publish returns nil if every message is confirmed.
	Publish(ctx context.Context, msgs []broker.Message) error
	// DeclareQueue declares a queue unless it exists.
	DeclareQueue(ctx context.Context, queue string) (broker.Queue, error)
}

// publish returns nil when RabbitMQ has confirmed every event. After an error some may
// be confirmed: the ids of events that are sent again are the same.
func (h *Handler) publish(ctx context.Context, observed []camera.Observation) error {
	if len(observed) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	msgs := make([]broker.Message, len(observed))
	for i := range observed {
		e := observed[i].Event
		body, err := json.Marshal(e)
		if err != nil {
			return failure.Odd("the webhook", fmt.Errorf("encode an event: %w", err))
		}
		msgs[i] = broker.Message{Queue: h.queueOf(e.Kind), ID: e.ID, Body: body, ContentType: "application/json"}
	}
	err := h.send(ctx, msgs)
	if errors.Is(err, broker.ErrUnroutable) { // no connector has run yet
		for _, queue := range []string{h.EntryQueue, h.ExitQueue} {
			if _, err := h.Publisher.DeclareQueue(ctx, queue); err != nil {
				return broker.Failure(fmt.Errorf("make sure that the queue %s exists: %w", queue, err))
			}
		}
		err = h.send(ctx, msgs)
	}
	return broker.Failure(err)
}

func (h *Handler) queueOf(kind parking.Kind) string {
	if kind == parking.Entry {
		return h.EntryQueue
	}
	return h.ExitQueue
}

// send publishes messages under one span, which is the parent in all of them.
func (h *Handler) send(ctx context.Context, msgs []broker.Message) (err error) {
	ctx, span := tracing.Start(ctx, trace.SpanKindProducer, "send")
	defer func() { tracing.End(span, err) }()
	if span.IsRecording() {
		span.SetAttributes(semconv.MessagingSystemRabbitMQ, semconv.MessagingOperationName("send"), semconv.MessagingOperationTypeSend,
			semconv.MessagingBatchMessageCount(len(msgs)))
	}
	if parent, state := tracing.Fields(ctx); parent != "" {
		headers := amqp.Table{tracing.FieldParent: parent}
		if state != "" {
			headers[tracing.FieldState] = state
		}
		for i := range msgs {
			msgs[i].Headers = headers
		}
	}
	return h.Publisher.Publish(ctx, msgs)
}
