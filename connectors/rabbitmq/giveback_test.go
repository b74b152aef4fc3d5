package rabbitmq

import (
	"encoding/binary"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/broker/brokertest"
	"parkstream/shared/eventually"
)

// unackedRecorder follows which deliveries are unacked on each channel.
type unackedRecorder struct {
	mu     sync.Mutex
	nacked int // deliveries that were given back
	lost   int // deliveries that were unacked when their channel or connection was closed, or settled without a commit
}

// recordedChannel is what was seen of one channel.
type recordedChannel struct {
	unacked       map[uint64]bool
	uncommitted   int // deliveries that were settled in the transaction
	transactional bool
}

func (r *unackedRecorder) filter() brokertest.Filter {
	channels := make(map[uint16]*recordedChannel)
	return func(fromClient bool, f brokertest.Frame) []byte {
		r.mu.Lock()
		defer r.mu.Unlock()
		ch := channels[f.Channel()]
		if ch == nil {
			ch = &recordedChannel{unacked: make(map[uint64]bool)}
			channels[f.Channel()] = ch
		}
		switch m := f.Method(); {
		case !fromClient && m == brokertest.BasicDeliver:
			args := f.Payload()[4:]
			ch.unacked[binary.BigEndian.Uint64(args[1+int(args[0]):])] = true
		case fromClient && (m == brokertest.BasicAck || m == brokertest.BasicNack):
			r.settle(ch, m, binary.BigEndian.Uint64(f.Payload()[4:]), f.Payload()[12]&1 == 1)
		case fromClient && m == brokertest.TxSelect:
			ch.transactional = true
		case fromClient && m == brokertest.TxCommit:
			ch.uncommitted = 0
		case fromClient && m == brokertest.ChannelClose:
			r.lost += len(ch.unacked) + ch.uncommitted
			delete(channels, f.Channel())
		case fromClient && m == brokertest.ConnectionClose:
			for _, ch := range channels {
				r.lost += len(ch.unacked) + ch.uncommitted
			}
			clear(channels)
		}
		return f
	}
}

func (r *unackedRecorder) settle(ch *recordedChannel, m brokertest.Method, tag uint64, multiple bool) {
	for t := range ch.unacked {
		if t != tag && (!multiple || t > tag && tag != 0) {
			continue
		}
		delete(ch.unacked, t)
		if m == brokertest.BasicNack {
			r.nacked++
		}
		if ch.transactional {
			ch.uncommitted++
		}
	}
}

// Unacked messages are given back before their channel is closed on purpose, and
// acknowledged ones stay acknowledged.
func TestMessagesAreGivenBack(t *testing.T) {
	t.Parallel()
	unavailable := func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	// one call hangs while the others are answered
	hangOne := func(_ http.ResponseWriter, r *http.Request, ids []string) bool {
		hangs := strings.Contains(ids[0], `"e-0"`)
		if hangs {
			<-r.Context().Done()
		}
		return hangs
	}
	raw := map[string]string{annotationMaxInFlight: "10"}
	// no probe, after which an event may go to the end of the queue
	fewProbes := func(cfg *Config) { cfg.ProbeDelay, cfg.ProbeMaxDelay = time.Minute, time.Minute }
	unacked := func(n int) func(*testing.T, *running, string) {
		return func(t *testing.T, c *running, queue string) {
			eventually.True(t, "the messages are unacked", func() bool { return c.counters(t, queue)["unacked"] == n })
		}
	}
	for _, tt := range []struct {
		name        string
		annotations map[string]string
		script      func(w http.ResponseWriter, r *http.Request, ids []string) bool
		reject      bool // with a queue of dead letters that is full
		change      func(*Config)
		meanwhile   func(t *testing.T, c *running, queue string)
		end         func(t *testing.T, g *gateway, c *running, queue string)
		acked       int
		copies      bool // functions share the queue in the end: each may be owed a copy of its own
	}{
		{name: "stop in an outage", annotations: batched, script: unavailable, meanwhile: unacked(20)},
		{
			name: "drain timeout", annotations: raw, script: hangOne, acked: 19,
			change: func(cfg *Config) { cfg.DrainTimeout = 200 * time.Millisecond },
			meanwhile: func(t *testing.T, c *running, queue string) {
				eventually.True(t, "the others are done", func() bool { return c.counters(t, queue)["acked"] == 19 })
			},
		},
		{
			name: "half of consumer_timeout", annotations: map[string]string{annotationBatchSize: "10", annotationTimeout: "100ms"}, script: unavailable,
			change: func(cfg *Config) { cfg.Timeout, cfg.ConsumerTimeout = 100*time.Millisecond, time.Second },
			meanwhile: func(t *testing.T, c *running, queue string) {
				eventually.True(t, "messages are given back", func() bool { return c.counters(t, queue)["returned"] >= 20 })
			},
		},
		{
			name: "the function is deployed again", annotations: batched, script: unavailable, change: fewProbes, meanwhile: unacked(20),
			end: func(t *testing.T, g *gateway, c *running, queue string) {
				g.add("fn", queue, map[string]string{annotationBatchSize: "50"}).setScript(unavailable)
				eventually.True(t, "messages are given back", func() bool { return c.counters(t, queue)["returned"] >= 20 })
			},
		},
		{
			name: "a function is added", annotations: batched, script: unavailable, change: fewProbes, meanwhile: unacked(20), copies: true,
			end: func(t *testing.T, g *gateway, c *running, queue string) {
				g.add("second", queue, batched).setScript(unavailable)
				eventually.True(t, "messages are given back", func() bool { return c.counters(t, queue)["returned"] >= 20 })
			},
		},
		{
			name: "the function is removed", annotations: batched, script: unavailable, change: fewProbes, meanwhile: unacked(20),
			end: func(t *testing.T, g *gateway, c *running, queue string) {
				g.remove("fn")
				eventually.True(t, "messages are given back", func() bool { return c.counters(t, queue)["returned"] >= 20 })
			},
		},
		{name: "dead letters that are not taken", annotations: batched, reject: true, meanwhile: unacked(20)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			queue := strings.ReplaceAll(queueName(t), " ", "-")
			if tt.reject {
				ch, err := dialNode(t).Channel()
				if err != nil {
					t.Fatal(err)
				}
				full := amqp.Table{"x-queue-type": "quorum", "x-max-length-bytes": int64(1), "x-overflow": "reject-publish"}
				if _, err := ch.QueueDeclare(broker.DeadQueue(queue), true, false, false, false, full); err != nil {
					t.Fatal(err)
				}
				publish(t, events(broker.DeadQueue(queue), "old", 1)...)
			}
			declareQueue(t, queue)
			publish(t, events(queue, "e", 20)...)
			g := newGateway(t)
			f := g.add("fn", queue, tt.annotations)
			f.setScript(tt.script)
			if tt.reject {
				f.result = func(id string) batch.Result { return batch.Result{ID: id, Outcome: batch.Reject, Reason: "malformed"} }
			}
			var recorder unackedRecorder
			proxy := brokertest.NewProxy(t, nodeOf(t).URL())
			proxy.Filter(recorder.filter)
			c := startConnector(t, g, func(cfg *Config) {
				cfg.Broker = func() ([]string, error) { return []string{proxy.Through(nodeOf(t).URL())}, nil }
				if tt.change != nil {
					tt.change(cfg)
				}
			})
			tt.meanwhile(t, c, queue)
			if tt.end != nil {
				tt.end(t, g, c, queue)
			}
			c.stop()
			counters := c.counters(t, queue)
			c.checkIdentity(t, counters)
			recorder.mu.Lock()
			defer recorder.mu.Unlock()
			if recorder.nacked < 20-tt.acked || recorder.lost != 0 {
				t.Errorf("%d deliveries were given back, %d were unacked, or settled without a commit, when their channel was closed", recorder.nacked, recorder.lost)
			}
			if counters["acked"] != tt.acked || counters["unacked"] != 0 {
				t.Errorf("counters: %v", counters)
			}
			if tt.copies {
				conn := dialNode(t)
				eventually.True(t, "no event is lost", func() bool { return ready(t, conn, queue) >= 20 })
				return
			}
			left(t, queue, 20-tt.acked)
		})
	}
}

// A message may be given back more often than its queue's delivery limit: RabbitMQ
// does not count that since 4.3, and before the message becomes a dead letter.
func TestGivenBackBeyondTheDeliveryLimit(t *testing.T) {
	t.Parallel()
	const messages, limit = 20, 2
	queue := queueName(t)
	conn := dialNode(t)
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{
		"x-queue-type": "quorum", "x-delivery-limit": int64(limit), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": broker.DeadQueue(queue),
		"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish",
	}); err != nil {
		t.Fatal(err)
	}
	publish(t, events(queue, "e", messages)...)
	g := newGateway(t)
	g.add("fn", queue, batched).setScript(func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	atBroker := func() (inQueue, dead int) { return ready(t, conn, queue), ready(t, conn, broker.DeadQueue(queue)) }
	for range limit + 2 {
		c := startConnector(t, g, nil)
		eventually.True(t, "all that is left is unacked", func() bool {
			ready, dead := atBroker()
			return ready == 0 && c.counters(t, queue)["unacked"] == messages-dead
		})
		c.stop()
		eventually.True(t, "all is at the broker", func() bool {
			inQueue, dead := atBroker()
			return inQueue+dead == messages
		})
	}
	want := 0
	if isSince(t, 4, 3) {
		want = messages
	}
	if inQueue, dead := atBroker(); inQueue != want || dead != messages-want {
		t.Errorf("%d messages are in the queue and %d are dead letters, want %d and %d", inQueue, dead, want, messages-want)
	}
}
