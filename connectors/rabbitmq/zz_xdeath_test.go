package rabbitmq

import (
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker"
)

func TestXDeathExperiment(t *testing.T) {
	queue := queueName(t)
	declareQueue(t, queue)
	conn := dialNode(t)
	for _, d := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond} {
		if err := broker.DeclareRetryQueue(conn, queue, d); err != nil {
			t.Fatal(err)
		}
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	get := func() amqp.Delivery {
		var d amqp.Delivery
		waitFor(t, "message", func() bool {
			var ok bool
			d, ok, err = ch.Get(queue, true)
			if err != nil {
				t.Fatal(err)
			}
			return ok
		})
		return d
	}
	show := func(name string, to string, h amqp.Table, exp string) amqp.Delivery {
		if err := ch.PublishWithContext(t.Context(), "", to, true, false, amqp.Publishing{MessageId: name, Headers: h, Expiration: exp, Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		d := get()
		fmt.Printf("== %s: key %q exchange %q exp %q\n", name, d.RoutingKey, d.Exchange, d.Expiration)
		for k, v := range d.Headers {
			fmt.Printf("   %s = %#v\n", k, v)
		}
		return d
	}
	retry := broker.RetryQueue(queue, 100*time.Millisecond)
	fmt.Println("version", conn.ServerVersion())
	d := show("plain", queue, amqp.Table{"a": "b"}, "")
	d = show("via retry with ttl", retry, amqp.Table{"a": "b"}, "50")
	d = show("again with its headers", retry, d.Headers, "50")
	d = show("other retry", broker.RetryQueue(queue, 200*time.Millisecond), d.Headers, "50")
	show("headers republished straight into the queue (shovel)", queue, d.Headers, "")
	show("forged", queue, amqp.Table{"x-death": []any{amqp.Table{"queue": retry, "reason": "expired", "count": int64(1), "time": time.Now(), "exchange": "", "routing-keys": []any{retry}}}, "x-first-death-queue": retry}, "")
	show("forged via retry", retry, amqp.Table{"x-death": []any{amqp.Table{"queue": retry, "reason": "expired", "count": int64(700), "time": time.Unix(1, 0), "exchange": "", "routing-keys": []any{retry}}}}, "50")
	show("garbage x-death via retry", retry, amqp.Table{"x-death": "text", "x-first-death-queue": "elsewhere"}, "50")
}
