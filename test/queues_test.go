package test

import (
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// dial opens a channel with a plain AMQP client, as any camera might.
func (s *system) dial(t *testing.T) *amqp.Channel {
	t.Helper()
	ch, err := s.tryDial(t)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// tryDial is dial while parts may be unavailable.
func (s *system) tryDial(t *testing.T) (*amqp.Channel, error) {
	t.Helper()
	var (
		conn *amqp.Connection
		err  error
	)
	for url := range strings.SplitSeq(s.secret(t, "rabbitmq-url"), ",") {
		if conn, err = amqp.Dial(url); err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.Channel()
}

// publish sends one message through the default exchange.
func publish(t *testing.T, ch *amqp.Channel, queue string, body []byte) {
	t.Helper()
	err := ch.PublishWithContext(t.Context(), "", queue, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body})
	if err != nil {
		t.Fatal(err)
	}
}

// depth is how many messages wait in a queue.
func depth(t *testing.T, ch *amqp.Channel, queue string) int {
	t.Helper()
	n, err := tryDepth(ch, queue)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// tryDepth is depth while parts may be unavailable.
func tryDepth(ch *amqp.Channel, queue string) (int, error) {
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	return q.Messages, err
}
