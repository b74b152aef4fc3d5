package rabbitmq

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/connectors/rabbitmq/internal/unacked"
	"parkstream/shared/broker"
	"parkstream/shared/eventually"
)

// BenchmarkDrain empties a queue into a function that does nothing. The function
// runs in the same process; its cost is a part of cpu-µs/event.
func BenchmarkDrain(b *testing.B) {
	const n = 100_000
	queue := queueName(b)
	g := newGateway(b)
	g.add("fn", queue, map[string]string{annotationBatchSize: "500"})
	g.server.Config.Handler = noop(g.server.Config.Handler)
	declareQueue(b, queue)
	p := broker.NewPublisher(broker.Config{URLs: nodeURLs(b)})
	defer p.Close()
	var took, cpu time.Duration
	for b.Loop() {
		for i := range n / 10_000 {
			msgs := events(queue, string(rune('a'+i)), 10_000)
			for j := range msgs {
				msgs[j].Body = []byte(`{"id":"` + msgs[j].ID + `","vehicle_plate":"KA01AB1234","entry_date_time":"2026-11-23T08:15:00.123Z"}`)
			}
			if err := p.Publish(b.Context(), msgs); err != nil {
				b.Fatal(err)
			}
		}
		start, used := time.Now(), cpuTime()
		c := startConnector(b, g, nil)
		s := c.metrics.queue(queue)
		eventually.True(b, "the queue is empty", func() bool {
			return s.Totals().Acked >= n
		})
		took += time.Since(start)
		cpu += cpuTime() - used
		c.stop()
	}
	total := float64(b.N * n)
	b.ReportMetric(total/took.Seconds(), "events/s")
	b.ReportMetric(float64(cpu.Microseconds())/total, "cpu-µs/event")
}

// ackCounter is a channel that counts the messages acknowledged in order.
type ackCounter struct{ acked atomic.Uint64 }

func (a *ackCounter) Ack(tag uint64, _ bool) error {
	a.acked.Store(max(tag, a.acked.Load()))
	return nil
}

func (a *ackCounter) Nack(uint64, bool, bool) error { return nil }

// BenchmarkDelivery brings one delivery after the other through consumer, batch, call and
// settlement, without RabbitMQ. The function runs in the same process.
func BenchmarkDelivery(b *testing.B) {
	const unacknowledged = 4000
	server := httptest.NewServer(noop(http.NotFoundHandler()))
	defer server.Close()
	c, err := New(Config{Settings: testSettings(server.URL)})
	if err != nil {
		b.Fatal(err)
	}
	channel := new(ackCounter)
	tracker := unacked.New(channel, c.metrics.queue("q"))
	k := c.newConsumer(b.Context(), &message.Source{Queue: "q"}, tracker, []*openfaas.Function{simFunction("fn", 500, 8)}, nil)
	go k.dispatchers[0].run(b.Context(), b.Context(), &k.calls)
	body := []byte(`{"id":"x","vehicle_plate":"KA01AB1234","entry_date_time":"2026-11-23T08:15:00.123Z"}`)
	b.ReportAllocs()
	n, used := uint64(0), cpuTime()
	for b.Loop() {
		n++
		now := time.Now()
		k.receive(b.Context(), &amqp.Delivery{
			DeliveryTag: n, MessageId: strconv.FormatUint(n, 10), Body: body, ContentType: "application/json", RoutingKey: "q",
			Timestamp: now, Headers: amqp.Table{broker.HeaderTime: now.UnixMilli()},
		})
		for n-channel.acked.Load() >= unacknowledged {
			runtime.Gosched()
		}
	}
	b.ReportMetric(float64((cpuTime()-used).Nanoseconds())/float64(n), "cpu-ns/event")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// noop answers calls of functions with done for every event, at the least cost.
func noop(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		var in bytes.Buffer
		if _, err := io.Copy(&in, r.Body); err != nil {
			return
		}
		out := []byte(`{"results":[`)
		mark := []byte(`{"specversion":"1.0","id":"`)
		for body := in.Bytes(); ; {
			i := bytes.Index(body, mark)
			if i < 0 {
				break
			}
			body = body[i+len(mark):]
			id := body[:bytes.IndexByte(body, '"')]
			out = append(out, `{"id":"`...)
			out = append(out, id...)
			out = append(out, `","outcome":"done"},`...)
		}
		out = append(bytes.TrimSuffix(out, []byte{','}), `]}`...)
		_, _ = w.Write(out)
	})
}
