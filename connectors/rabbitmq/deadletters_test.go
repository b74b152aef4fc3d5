package rabbitmq

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/eventually"
)

// declareFullDeadQueue declares the dead letters' queue of queue, full.
func declareFullDeadQueue(t *testing.T, queue string) {
	t.Helper()
	ch, err := dialNode(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	full := amqp.Table{"x-queue-type": "quorum", "x-max-length": int64(1), "x-overflow": "reject-publish"}
	if _, err := ch.QueueDeclare(broker.DeadQueue(queue), true, false, false, false, full); err != nil {
		t.Fatal(err)
	}
	p := broker.NewPublisher(broker.Config{URLs: nodeURLs(t)})
	defer p.Close()
	eventually.True(t, "no more dead letters are taken", func() bool {
		return errors.Is(p.Publish(t.Context(), events(broker.DeadQueue(queue), "old", 1)), broker.ErrNacked)
	})
}

// Dead letters that their queue refuses stay unacked, which readiness reports. When
// they are given back, they keep neither their queue from being consumed nor the
// connector from stopping.
func TestDeadLettersAreFull(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	declareFullDeadQueue(t, queue)
	declareQueue(t, queue)
	g := newGateway(t)
	f := g.add("fn", queue, batched)
	f.result = func(id string) batch.Result {
		if strings.HasPrefix(id, "bad") {
			return batch.Result{ID: id, Outcome: batch.Reject, Reason: "malformed"}
		}
		return succeed(id)
	}
	publish(t, events(queue, "bad", 3)...)
	c := startConnector(t, g, func(cfg *Config) {
		cfg.Timeout, cfg.ConsumerTimeout, cfg.DrainTimeout = 200*time.Millisecond, 2*time.Second, time.Minute
	})
	eventually.True(t, "it is told", func() bool {
		_, text := readyz(c)
		return strings.Contains(text, "3 messages of queue "+queue+" can be neither retried nor dead-lettered") && strings.Contains(text, "the queue is full")
	})
	eventually.True(t, "they are given back", func() bool { return c.counters(t, queue)["returned"] >= 6 })
	publish(t, events(queue, "good", 10)...)
	eventually.True(t, "others are done", func() bool { once, _ := f.done(); return once == 10 })
	start := time.Now()
	c.stop()
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("the stop took %s", took)
	}
	counters := c.counters(t, queue)
	c.checkIdentity(t, counters)
	if counters["acked"] != 10 || counters["dead_lettered"] != 0 || counters["unacked"] != 0 {
		t.Errorf("counters: %v", counters)
	}
	conn := dialNode(t)
	eventually.True(t, "they are in the queue", func() bool { return ready(t, conn, queue) == 3 })
}

// Headers that leave no room for ours in AMQP's single frame of headers cost no
// connection and delay no other message: the largest is left out.
func TestHugeHeaders(t *testing.T) {
	t.Parallel()
	queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: "2"})
	f.result = func(id string) batch.Result {
		return batch.Result{ID: id, Outcome: batch.Retry, Reason: strings.Repeat("why ", 300)}
	}
	ch, err := dialNode(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{10, 120_000, 127_000, 130_000, 130_900} {
		m := amqp.Publishing{MessageId: fmt.Sprint(i), Headers: amqp.Table{"huge": strings.Repeat("x", n), "small": "kept"}}
		if err := ch.PublishWithContext(t.Context(), "", queue, true, false, m); err != nil {
			t.Fatal(err)
		}
	}
	c := startConnector(t, g, nil)
	c.settled(t, queue, 5)
	dead := takeDead(t, queue)
	if len(dead) != 5 {
		t.Errorf("%d dead letters", len(dead))
	}
	for _, d := range dead {
		_, kept := d.Headers["huge"]
		if want := d.MessageId == "0" || d.MessageId == "1"; kept != want || (headerText(d.Headers, message.HeaderOmitted) == "huge") == want ||
			d.Headers["small"] != "kept" || d.Headers[message.HeaderAttempts] != int32(2) {
			t.Errorf("message %s: kept %t, omitted %q", d.MessageId, kept, headerText(d.Headers, message.HeaderOmitted))
		}
	}
	if text := c.scrape(t); !strings.Contains(text, `parkstream_amqp_connects_total{connection="parkstream-rabbitmq-publish"} 1`) {
		t.Error("the publishing connection was lost")
	}
}
