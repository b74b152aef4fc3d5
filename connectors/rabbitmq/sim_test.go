package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/attempt"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/message/messagetest"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/connectors/rabbitmq/internal/unacked"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
)

// sim is a queue with its retry queues and dead letters, its consumer with all that is
// behind it, and functions that a test scripts: all but RabbitMQ and HTTP. It lives in a
// bubble of synctest, so that minutes of waiting pass at once.
type sim struct {
	t          *testing.T
	connector  *Connector
	consumer   *consumer
	deliveries chan amqp.Delivery
	// respond is what a function makes of a call with events.
	respond func(function string, ids []string) openfaas.Response
	takes   func(ids []string) time.Duration // by a call
	// refuse is the broker's error for a message that is published, nil if it takes it.
	refuse  func(m *broker.Message) error
	blocked error // during an alarm
	more    int   // events of traffic

	mu      sync.Mutex
	tag     uint64
	unacked map[uint64]amqp.Delivery
	acked   []string
	retries []broker.Message // in the order in which they were published
	dead    []broker.Message
	calls   []simCall
}

type simCall struct {
	function string
	ids      []string
	at       time.Time
}

const simQueue = "vehicle_entries"

// simFunction is as the connector makes it of annotations.
func simFunction(name string, batchSize, maxAttempts int) *openfaas.Function {
	return &openfaas.Function{
		Name: name, Queues: []string{simQueue}, BatchSize: batchSize, BatchBytes: 4 << 20, Linger: 2 * time.Millisecond,
		MinInFlight: 2, MaxInFlight: 4, MaxAttempts: maxAttempts, Timeout: time.Minute, SlowAfter: 30 * time.Second,
	}
}

// simulate runs test in a bubble with a consumer for functions.
func simulate(t *testing.T, functions []*openfaas.Function, test func(s *sim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		settings, err := SettingsFrom(nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(Config{Settings: settings})
		if err != nil {
			t.Fatal(err)
		}
		s := &sim{
			t: t, connector: c, deliveries: make(chan amqp.Delivery, 10_000), unacked: make(map[uint64]amqp.Delivery),
			respond: func(_ string, ids []string) openfaas.Response { return doneAll(ids) },
			takes:   func([]string) time.Duration { return time.Millisecond },
			refuse:  func(*broker.Message) error { return nil },
		}
		settling, stopSettling := context.WithCancel(c.calls)
		source := &message.Source{Queue: simQueue, Connection: "sim"}
		tracker := unacked.New(s, c.metrics.queue(simQueue))
		s.consumer = c.newConsumer(settling, source, tracker, functions, func() error { return nil })
		s.consumer.settler.publisher = s
		for _, d := range s.consumer.dispatchers {
			d.callee.Invoker = simInvoker{s, d.endpoint.function.Name}
		}
		ctx, stop := context.WithCancel(t.Context())
		var consuming sync.WaitGroup
		consuming.Go(func() { _ = s.consumer.consume(ctx, c.calls, s.deliveries, nil) })
		test(s)
		stop()
		consuming.Wait()
		stopSettling()
		c.endCalls()
		s.consumer.calls.Wait()
	})
}

type simInvoker struct {
	sim      *sim
	function string
}

// Invoke implements [attempt.Invoker].
func (i simInvoker) Invoke(ctx context.Context, ms []*message.Delivery) (openfaas.Response, *attempt.Call) {
	s, ids := i.sim, make([]string, len(ms))
	for j, m := range ms {
		ids[j] = m.ID()
	}
	s.mu.Lock()
	s.calls = append(s.calls, simCall{i.function, ids, time.Now()})
	s.mu.Unlock()
	select {
	case <-time.After(i.sim.takes(ids)):
	case <-ctx.Done():
		return openfaas.Response{Cancelled: true}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.respond(i.function, ids)
	r.Took = time.Millisecond
	return r, nil
}

// Ack implements [unacked.Channel].
func (s *sim) Ack(tag uint64, multiple bool) error {
	for _, d := range s.take(tag, multiple) {
		s.acked = append(s.acked, d.MessageId)
	}
	return nil
}

// Nack implements [unacked.Channel].
func (s *sim) Nack(tag uint64, multiple, _ bool) error {
	for _, d := range s.take(tag, multiple) {
		s.t.Errorf("%s is given back", d.MessageId)
	}
	return nil
}

func (s *sim) take(tag uint64, multiple bool) (ds []amqp.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t, d := range s.unacked {
		if t == tag || multiple && t < tag {
			ds = append(ds, d)
			delete(s.unacked, t)
		}
	}
	return ds
}

// Blocked implements [publisher].
func (s *sim) Blocked() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blocked
}

// Publish implements [publisher]: a message for a retry queue returns after its delay,
// with the broker's record of it.
func (s *sim) Publish(_ context.Context, ms []broker.Message) error {
	failed := map[int]error{}
	for i := range ms {
		m := ms[i]
		m.Fit(&m, 128<<10)
		s.mu.Lock()
		err := s.refuse(&m)
		switch {
		case err != nil:
			failed[i] = err
		case m.Queue == broker.DeadQueue(simQueue):
			s.dead = append(s.dead, m)
		default:
			s.retries = append(s.retries, m)
			time.AfterFunc(m.TTL, func() {
				h := maps.Clone(m.Headers)
				h["x-death"] = messagetest.RecordOf(m.Queue)
				s.deliver(amqp.Delivery{MessageId: m.ID, Body: m.Body, Headers: h, RoutingKey: simQueue, Timestamp: m.Timestamp})
			})
		}
		s.mu.Unlock()
	}
	if len(failed) > 0 {
		return &broker.PublishError{Failed: failed}
	}
	return nil
}

func (s *sim) deliver(ds ...amqp.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range ds {
		s.tag++
		d.DeliveryTag = s.tag
		s.unacked[s.tag] = d
		s.deliveries <- d
	}
}

// publish delivers n events, e-0 to e-(n-1), that were published just now.
func (s *sim) publish(n int) {
	for i := range n {
		s.deliver(amqp.Delivery{MessageId: fmt.Sprint("e-", i), Body: []byte("{}"), RoutingKey: simQueue, Timestamp: time.Now()})
	}
}

// pass lets a time pass. Between two calls nothing runs but the test, which may read and
// change everything.
func (s *sim) pass(d time.Duration) {
	s.mu.Lock()
	s.mu.Unlock() //nolint:staticcheck // what the test has done happens before what it lets run
	time.Sleep(d)
	synctest.Wait()
}

// until lets time pass until a condition holds, for an hour of the bubble at most.
func (s *sim) until(what string, cond func() bool) {
	s.t.Helper()
	s.pass(0)
	for range 360_000 {
		if cond() {
			return
		}
		s.pass(10 * time.Millisecond)
	}
	s.t.Fatalf("waited in vain: %s; acked %d, dead %d, unacked %d, problems %q", what, len(s.acked), len(s.dead), len(s.unacked), s.connector.health.problems(nil))
}

// trafficEvery is less than the shortest delay of a retry: an event that comes back finds
// that others were done meanwhile.
const trafficEvery = 250 * time.Millisecond

// traffic publishes events until a condition holds, more-0, more-1, ..., and returns how
// many it has published in the test.
func (s *sim) traffic(what string, cond func() bool) int {
	s.t.Helper()
	for range int(time.Hour / trafficEvery) {
		if cond() {
			return s.more
		}
		s.deliver(amqp.Delivery{MessageId: fmt.Sprint("more-", s.more), Body: []byte("{}"), RoutingKey: simQueue})
		s.more++
		s.pass(trafficEvery)
	}
	s.t.Fatalf("waited in vain: %s", what)
	return s.more
}

// settled lets time pass until all messages are done or dead, and checks the counts.
func (s *sim) settled(done, dead int) {
	s.t.Helper()
	s.until("all is settled", func() bool { return len(s.unacked) == 0 && s.done() == done && len(s.dead) == dead })
	n := s.connector.metrics.queue(simQueue).Totals()
	if n.Acked != done || n.DeadLettered != dead || n.Unacked != 0 || n.Received != done+dead+n.Retried {
		s.t.Errorf("counts %+v", n)
	}
}

// done returns how many messages were acknowledged because they are done.
func (s *sim) done() int { return len(s.acked) - len(s.retries) - len(s.dead) }

// problem reports whether readiness tells of something.
func (s *sim) problem(part string) bool {
	return slices.ContainsFunc(s.connector.health.problems(nil), func(p string) bool { return strings.Contains(p, part) })
}

// delays returns for which times events have waited in retry queues.
func (s *sim) delays() (ds []string) {
	for i := range s.retries {
		ds = append(ds, strings.TrimPrefix(s.retries[i].Queue, broker.RetryQueue(simQueue, 0)[:len(simQueue)+len(".retry.")]))
	}
	return ds
}

// attempts returns the attempts in the headers of a copy, 0 if there are none.
func attempts(m *broker.Message) int32 {
	n, _ := m.Headers[message.HeaderAttempts].(int32)
	return n
}

func (s *sim) checkNoAttempts() {
	s.t.Helper()
	for i := range s.retries {
		if n := attempts(&s.retries[i]); n != 0 {
			s.t.Errorf("%s has spent %d attempts", s.retries[i].ID, n)
		}
	}
}

func eachResult(ids []string, r batch.Result) openfaas.Response {
	results := make([]batch.Result, len(ids))
	for i, id := range ids {
		results[i] = r
		results[i].ID = id
	}
	return openfaas.Response{Verdict: batch.Answered, Status: http.StatusOK, Results: results}
}

func doneAll(ids []string) openfaas.Response {
	return eachResult(ids, batch.Result{Outcome: batch.Done})
}

// failed is a response with a status other than success.
func failed(status int) openfaas.Response {
	return openfaas.Response{Verdict: batch.Classify(status), Status: status, Reason: fmt.Sprint(status, " ", http.StatusText(status))}
}

// failsWith responds with a status to calls that have an event.
func failsWith(status int, event string) func(string, []string) openfaas.Response {
	return func(_ string, ids []string) openfaas.Response {
		if slices.Contains(ids, event) {
			return failed(status)
		}
		return doneAll(ids)
	}
}

var errFull = errors.New("the queue is full")
