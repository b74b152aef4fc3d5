package rabbitmq

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/message/messagetest"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/eventually"
)

func retryQueue(queue string) string { return broker.RetryQueue(queue, 20*time.Millisecond) }

// No header makes a message immortal, and forged headers are dropped.
func TestForgedHeaders(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	// One event a call: a bare "retry" as the response to several opens the breaker.
	f := g.add("fn", queue, map[string]string{annotationBatchSize: "1", annotationMaxInFlight: "16", annotationMaxAttempts: "3"})
	f.result = func(id string) batch.Result { return batch.Result{ID: id, Outcome: batch.Retry, Reason: "not now"} }
	declareQueue(t, queue)
	if err := broker.DeclareRetryQueue(dialNode(t), queue, 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Second)
	var msgs []broker.Message
	send := func(to string, h amqp.Table) {
		msgs = append(msgs, broker.Message{Queue: to, ID: fmt.Sprint(len(msgs)), Timestamp: before, Headers: h, Body: []byte("{}")})
	}
	for _, value := range messagetest.Forged {
		if number, ok := value.(float64); ok && (math.IsNaN(number) || math.IsInf(number, 0)) {
			continue // RabbitMQ ends the connection of who publishes these
		}
		for _, with := range []amqp.Table{{}, {message.HeaderOnlyFunction: "gone"}, {message.HeaderOnlyFunction: "fn"}, {"x-death": messagetest.RecordOf(retryQueue(queue))}, {"x-death": "text", message.HeaderOnlyFunction: value}} {
			h := amqp.Table{}
			for _, name := range append(messagetest.OwnHeaders, "x-parkstream-new") {
				if broker.HeadersSize(amqp.Table{name: value}) < 5_000 || name == message.HeaderReason || name == message.HeaderFunction { // all together have to fit into a frame
					h[name] = value
				}
			}
			maps.Copy(h, with)
			send(queue, h)
			send(retryQueue(queue), h)
		}
	}
	n := len(msgs)
	publish(t, msgs...)
	c := startConnector(t, g, func(cfg *Config) { cfg.MaxAttempts = 3 })
	counters := c.settled(t, queue, n)
	if counters["dead_lettered"] != n || counters["retried"] > 2*n {
		t.Errorf("%d messages: %v", n, counters)
	}
	for _, d := range takeDead(t, queue) {
		checkOwn(t, d, before)
	}
	if text := c.scrape(t); strings.Contains(text, `function="gone"`) || strings.Contains(text, `function="7"`) {
		t.Error("a header made a series")
	}
}

// checkOwn checks that our headers of a dead letter are ours.
func checkOwn(t *testing.T, d amqp.Delivery, published time.Time) {
	t.Helper()
	size := 0
	for name, v := range d.Headers {
		if !strings.HasPrefix(name, message.Prefix) {
			continue
		}
		size += broker.HeadersSize(amqp.Table{name: v})
		text, isText := v.(string)
		number, isNumber := v.(int32)
		switch name {
		case message.HeaderAttempts:
			if !isNumber || number < 1 || number > openfaas.AttemptsLimit {
				t.Errorf("%s: %s is %v", d.MessageId, name, v)
			}
		case message.HeaderStatus, message.HeaderMaxBatch, message.HeaderFailedAlone:
			if !isNumber || number < 0 || number > batch.MaxEvents {
				t.Errorf("%s: %s is %v", d.MessageId, name, v)
			}
		case message.HeaderFirstTime, message.HeaderLastTime:
			if at, err := time.Parse(time.RFC3339Nano, text); err != nil || at.Before(published.Truncate(time.Second)) || at.After(time.Now()) {
				t.Errorf("%s: %s is %v", d.MessageId, name, v)
			}
		case message.HeaderReason, message.HeaderFunction, message.HeaderQueue, message.HeaderOnlyFunction, message.HeaderUser, message.HeaderExpiration, message.HeaderRoutingKey, message.HeaderOmitted:
			if !isText || len(text) > message.MaxReason+3 {
				t.Errorf("%s: %s is %.50v", d.MessageId, name, v)
			}
		case message.HeaderCC, message.HeaderDeaths: // the publisher's own
		default:
			t.Errorf("%s: %s travelled on", d.MessageId, name)
		}
	}
	if size > 2*(8<<10) {
		t.Errorf("%s: our headers have %d bytes", d.MessageId, size)
	}
}

// A dead letter that RabbitMQ's own tools move back to its queue has all its attempts
// again, and goes to the function that failed only.
func TestMovedDeadLetters(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	one, two := g.add("one", queue, batched), g.add("two", queue, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: "3"})
	two.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
		results := make([]batch.Result, len(ids))
		for i, id := range ids {
			results[i] = batch.Result{ID: id, Outcome: batch.Retry, Reason: "not now"}
		}
		_, _ = w.Write(batch.AppendResponse(nil, results))
		return true
	})
	calls := func() (n int) {
		two.mu.Lock()
		defer two.mu.Unlock()
		for _, size := range two.sizes {
			n += size
		}
		return n
	}
	declareQueue(t, queue)
	ch, err := dialNode(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	deaths := []any{amqp.Table{"queue": "elsewhere", "reason": "rejected", "count": int64(1)}}
	if err := ch.PublishWithContext(t.Context(), "", queue, true, false, amqp.Publishing{MessageId: "e", Headers: amqp.Table{"x-death": deaths}, Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	c := startConnector(t, g, nil)
	conn := dialNode(t)
	for round := 1; round <= 3; round++ {
		eventually.True(t, "it is dead", func() bool {
			return calls() >= 3*round && ready(t, conn, broker.DeadQueue(queue)) == 1 && c.counters(t, queue)["unacked"] == 0
		})
		if n := calls(); n != 3*round {
			t.Errorf("%d attempts in %d rounds, want 3 each", n, round)
		}
		dead := takeDead(t, queue)
		if len(dead) != 1 || dead[0].Headers[message.HeaderAttempts] != int32(3) || dead[0].Headers[message.HeaderOnlyFunction] != "two" || fmt.Sprint(dead[0].Headers["x-death"]) != fmt.Sprint(deaths) {
			t.Fatalf("dead letters: %v", dead)
		}
		if round == 3 {
			break
		}
		// As a shovel does, and the management page's "move messages".
		d := dead[0]
		if err := ch.PublishWithContext(t.Context(), "", queue, true, false, amqp.Publishing{MessageId: d.MessageId, Headers: d.Headers, Timestamp: d.Timestamp, Body: d.Body}); err != nil {
			t.Fatal(err)
		}
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if !slices.Equal(one.sizes, []int{1}) {
		t.Errorf("one was called with %v", one.sizes)
	}
}
