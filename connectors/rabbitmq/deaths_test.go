package rabbitmq

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
)

// An x-death header that RabbitMQ has not written makes it fail when it dead-letters
// the message, with all retry queues of the node.
func TestForeignDeaths(t *testing.T) {
	t.Parallel()
	death := func(name string, v any) []any {
		return []any{amqp.Table{"queue": "elsewhere", "reason": "expired", "count": int64(1), name: v}}
	}
	foreign := []any{
		[]any{true},
		[]any{"text"},
		[]any{nil},
		[]any{[]any{}},
		[]any{amqp.Table{"queue": "elsewhere"}, int64(1)},
		"text", nil,
		amqp.Table{"queue": "elsewhere"},
		death("count", "text"), death("count", int32(1)), death("queue", []byte("elsewhere")), death("reason", int64(1)), death("time", "yesterday"),
		death("exchange", nil), death("routing-keys", "text"), death("routing-keys", []any{int64(1)}), make([]any, 8192), slices.Repeat([]any{amqp.Table{}}, 8192),
	}
	brokers := []any{
		death("count", int64(7)),
		[]any{amqp.Table{
			"queue": "elsewhere", "reason": "rejected", "count": int64(7), "exchange": "x", "routing-keys": []any{"a", "b"}, "time": time.Unix(1700000000, 0), "original-expiration": "60000",
		}},
	}
	queue, other := queueName(t), queueName(t)+"-other"
	g := newGateway(t)
	// each event has to be tried again once, and is then refused
	retryOnce := func(id string) batch.Result { return batch.Result{ID: id, Outcome: batch.Retry, Reason: "not yet"} }
	for name, queue := range map[string]string{"fn": queue, "other": other} {
		g.add(name, queue, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: "2"}).result = retryOnce
		declareQueue(t, queue)
	}
	var msgs []broker.Message
	for i, v := range slices.Concat(foreign, brokers) {
		msgs = append(msgs, broker.Message{Queue: queue, ID: strconv.Itoa(i), Body: []byte("{}"), Headers: amqp.Table{"x-death": v, "small": "kept"}})
	}
	publish(t, append(msgs, events(other, "e", 20)...)...)
	c := startConnector(t, g, nil)
	c.settled(t, other, 20)
	c.settled(t, queue, len(msgs))
	dead := takeDead(t, queue)
	if len(dead) != len(msgs) {
		t.Errorf("%d dead letters", len(dead))
	}
	for _, d := range dead {
		i, err := strconv.Atoi(d.MessageId)
		if err != nil {
			t.Fatal(err)
		}
		name := "x-death"
		if i < len(foreign) {
			name = message.HeaderDeaths
		}
		if got, want := fmt.Sprint(d.Headers[name]), fmt.Sprint(msgs[i].Headers["x-death"]); got != want || d.Headers["small"] != "kept" || d.Headers[message.HeaderAttempts] != int32(2) {
			t.Errorf("message %d has %s %.200s, want %.200s", i, name, got, want)
		}
	}
}
