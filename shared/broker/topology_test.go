package broker

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestDeclareQueue(t *testing.T) {
	quorum := amqp.Table{"x-queue-type": "quorum"}
	tests := []struct {
		name    string
		durable bool
		args    amqp.Table // of the queue that exists already
		foreign string
		wrong   string // part of the sentence
	}{
		{name: "new"},
		{name: "plain-quorum", durable: true, args: quorum, foreign: "no x-dead-letter-exchange"},
		{name: "other-arguments", durable: true, args: amqp.Table{
			"x-queue-type": "quorum", "x-delivery-limit": int64(5), "x-max-length": int64(1000), "x-overflow": "reject-publish", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "elsewhere",
		}, foreign: "x-delivery-limit=5"},
		{name: "classic", durable: true, args: amqp.Table{"x-message-ttl": int64(60000), "x-queue-mode": "lazy"}, wrong: "exists as a classic queue"},
		{name: "named-classic", durable: true, args: amqp.Table{"x-queue-type": "classic"}, wrong: "rabbitmqctl delete_queue TestDeclareQueue-named-classic"},
		{name: "full", durable: true, args: amqp.Table{"x-queue-type": "quorum", "x-max-length": int64(1000)}, wrong: "drops messages when it is full"},
		{name: "expiring", durable: true, args: amqp.Table{"x-queue-type": "quorum", "x-message-ttl": int64(1000)}, wrong: "drops messages after its x-message-ttl"},
		{name: "stream", durable: true, args: amqp.Table{"x-queue-type": "stream"}, wrong: "exists as a stream queue"},
		{name: "transient", args: amqp.Table{}, wrong: "not a durable shared queue"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			queue := strings.ReplaceAll(t.Name(), "/", "-")
			conn := testConn(t, testConfig())
			if tt.args != nil {
				ch, err := conn.Channel()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := ch.QueueDeclare(queue, tt.durable, false, false, false, tt.args); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				q, err := DeclareQueue(conn, queue)
				if tt.wrong != "" {
					if !errors.Is(err, ErrWrongQueue) || !strings.Contains(err.Error(), tt.wrong) {
						t.Errorf("error: %v", err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if all := strings.Join(q.Foreign, ", "); !strings.Contains(all, tt.foreign) || (all == "") != (tt.foreign == "") {
					t.Errorf("foreign: %v", q.Foreign)
				}
			}
		})
	}
}

// What the queue hands its messages on to must not lose them either.
func TestDeclareCompanions(t *testing.T) {
	for _, tt := range []struct {
		name, queue string // the queue that exists already
		args        amqp.Table
		wrong       string
	}{
		{"dead", "q.dead", amqp.Table{"x-message-ttl": int64(1000)}, "drops messages after its x-message-ttl"},
		{"nowhere", "q.retry.20", nil, "messages would not come back"},
		{"elsewhere", "q.retry.20", deadLetterTo("other", amqp.Table{"x-message-ttl": int64(20)}), "its x-dead-letter-routing-key is not TestDeclareCompanions-elsewhere-q"},
		{"late", "q.retry.20", deadLetterTo("TestDeclareCompanions-late-q", amqp.Table{"x-message-ttl": int64(20_000)}), "its x-message-ttl is not 20"},
		{"ours", "q.retry.20", deadLetterTo("TestDeclareCompanions-ours-q", amqp.Table{"x-message-ttl": int64(20)}), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			prefix := strings.ReplaceAll(t.Name(), "/", "-") + "-"
			conn := testConn(t, testConfig())
			ch, err := conn.Channel()
			if err != nil {
				t.Fatal(err)
			}
			args := amqp.Table{"x-queue-type": "quorum"}
			maps.Copy(args, tt.args)
			if _, err := ch.QueueDeclare(prefix+tt.queue, true, false, false, false, args); err != nil {
				t.Fatal(err)
			}
			_, err = DeclareQueue(conn, prefix+"q")
			if tt.queue != "q.dead" {
				err = DeclareRetryQueue(conn, prefix+"q", 20*time.Millisecond)
			}
			if tt.wrong == "" && err == nil {
				return
			}
			if !errors.Is(err, ErrWrongQueue) || !strings.Contains(err.Error(), tt.wrong) || tt.wrong == "" {
				t.Errorf("error: %v", err)
			}
		})
	}
}

// A message returns from its retry queue when its TTL ends. A message that its queue
// gives up becomes a dead letter.
func TestTopologyMovesMessages(t *testing.T) {
	queue := testQueue(t)
	conn := testConn(t, testConfig())
	const delay = 300 * time.Millisecond
	if err := DeclareRetryQueue(conn, queue, delay); err != nil {
		t.Fatal(err)
	}
	p := testPublisher(t, testConfig())
	start := time.Now()
	msgs := []Message{{Queue: RetryQueue(queue, delay), ID: "1", TTL: 200 * time.Millisecond}, {Queue: RetryQueue(queue, delay), ID: "2"}}
	if err := p.Publish(t.Context(), msgs); err != nil {
		t.Fatal(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		id    string
		after time.Duration
	}{{"1", 200 * time.Millisecond}, {"2", delay}} {
		d := <-deliveries
		if took := time.Since(start); d.MessageId != want.id || took < want.after {
			t.Errorf("message %s after %s", d.MessageId, took)
		}
		if err := d.Reject(false); err != nil {
			t.Fatal(err)
		}
	}
	drain(t, DeadQueue(queue), 2)
}
