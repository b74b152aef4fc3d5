package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/attempt"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/connectors/rabbitmq/internal/unacked"
	"parkstream/shared/broker"
	"parkstream/shared/latency"
)

// flushDelay is how long messages that were settled out of order wait for an older one,
// so that all can be acknowledged in one frame.
const flushDelay = 50 * time.Millisecond

var (
	errCancelled = errors.New("the broker cancelled the consumer: its queue was deleted, or is moving to another node")
	errHeldLong  = errors.New("messages were in hand for half the broker's consumer_timeout; they went back to the queue")
)

// consumer takes messages from one queue over one AMQP channel and feeds them to
// the functions that listen to it.
type consumer struct {
	queue   string
	source  message.Source
	conn    *broker.Conn
	feeds   []*feed
	tracker *unacked.Tracker
	inQueue []prometheus.Observer // of each function
	life    context.Context       // of what is of no use without the channel
	taking  context.Context       // while it takes messages
	calls   sync.WaitGroup        // calls and their settlement
	*Connector
}

// consume serves a queue until ctx ends or something is wrong with the channel.
// It returns when its calls have ended, unless the channel is lost: nothing can be
// settled then, and they end on their own.
func (c *Connector) consume(ctx context.Context, conn *broker.Conn, epoch, queue string, functions []*openfaas.Function) error {
	if err := c.declare(conn, queue); err != nil {
		return err
	}
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel for %s: %w", queue, err)
	}
	defer ch.Close()
	if err := ch.Qos(c.prefetch(functions), 0, false); err != nil {
		return fmt.Errorf("set the prefetch for %s: %w", queue, err)
	}
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	tag := c.name + "-" + epoch
	deliveries, err := ch.Consume(queue, tag, false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("consume %s: %w", queue, err)
	}

	life, end := context.WithCancel(c.callCtx)
	defer end()
	k := &consumer{
		queue: queue, source: message.Source{Queue: queue, Connection: epoch, FrameMax: conn.FrameMax()}, conn: conn, Connector: c,
		tracker: unacked.New(ch, c.metrics.queue(queue)),
		life:    life,
	}
	defer k.tracker.Close()
	for _, f := range functions {
		k.feeds = append(k.feeds, newFeed(c.endpoint(f), k, len(functions) > 1))
		k.inQueue = append(k.inQueue, c.metrics.stages.WithLabelValues(f.Name, latency.Consumed))
	}
	taking, stopTaking := context.WithCancel(ctx)
	defer stopTaking()
	k.taking = taking
	var feeds sync.WaitGroup
	for _, f := range k.feeds {
		feeds.Go(func() { f.run(taking) })
	}

	if ctx.Err() == nil { // else another worker may have the queue
		c.health.consuming(queue)
	}
	err = k.intake(ctx, deliveries, closed)
	if ctx.Err() != nil {
		err = nil
	}
	_ = ch.Cancel(tag, false) // fails only with the channel, which is the end of the consumer as well
	stopTaking()
	feeds.Wait()
	if backErr := k.giveBackUntouched(deliveries); backErr != nil && !ch.IsClosed() {
		c.log.Warn("messages could not be given back", "queue", queue, "error", backErr)
	}
	k.wait(end, closed)
	if backErr := k.tracker.GiveBackAll(); backErr != nil && !ch.IsClosed() {
		c.log.Warn("messages could not be given back", "queue", queue, "error", backErr)
	}
	return err
}

// giveBackUntouched gives back to the queue what no function was called with and none
// has settled, also what the client has not handed over yet: another consumer can have it
// while the calls under way end. It is called when the feeds have ended and the consumer
// is cancelled, so that deliveries ends.
func (k *consumer) giveBackUntouched(deliveries <-chan amqp.Delivery) error {
	var tags []uint64
	for _, f := range k.feeds {
		if f.shared {
			continue // another function may be called with it
		}
		f.mu.Lock()
		for _, e := range f.batcher.TakeAll() {
			tags = append(tags, e.Message.Tag())
		}
		f.mu.Unlock()
	}
	for d := range deliveries {
		k.tracker.Add(time.Now(), 1)
		tags = append(tags, d.DeliveryTag)
	}
	return k.tracker.GiveBack(tags)
}

// wait returns when the calls have ended or the channel has.
func (k *consumer) wait(end context.CancelFunc, closed <-chan *amqp.Error) {
	ended := make(chan struct{})
	k.background.Go(func() {
		k.calls.Wait()
		close(ended)
	})
	select {
	case <-ended:
	case <-closed: //nolint:errcheck // that it is closed is all; why, the caller says
		end()
	}
}

// prefetch is enough for all calls of a function and the batches that are
// collected meanwhile.
func (c *Connector) prefetch(functions []*openfaas.Function) int {
	n := 0
	for _, f := range functions {
		n = max(n, 2*f.PerCall()*f.MaxInFlight)
	}
	return min(n, c.MaxPrefetch)
}

// intake hands deliveries to the feeds until ctx ends or there are no more.
func (k *consumer) intake(ctx context.Context, deliveries <-chan amqp.Delivery, closed <-chan *amqp.Error) error {
	limit := k.ConsumerTimeout / 2
	check := time.NewTicker(min(limit/4, 10*time.Second))
	defer check.Stop()
	var flush <-chan time.Time
	for {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return k.ended(closed)
			}
			k.take(d)
		case <-k.tracker.OutOfOrder():
			if flush == nil {
				flush = time.After(flushDelay)
			}
		case <-flush:
			flush = nil
			if err := k.tracker.Flush(); err != nil {
				return fmt.Errorf("acknowledge messages of %s: %w", k.queue, err)
			}
		case <-check.C:
			if oldest := k.tracker.Oldest(); !oldest.IsZero() && time.Since(oldest) > limit {
				return fmt.Errorf("%s: %w", k.queue, errHeldLong)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// ended says why there are no more deliveries.
func (k *consumer) ended(closed <-chan *amqp.Error) error {
	select {
	case cause := <-closed:
		if cause != nil {
			return fmt.Errorf("the channel of %s was closed: %w", k.queue, cause)
		}
		return fmt.Errorf("the channel of %s was closed: %w", k.queue, broker.ErrLost)
	default:
		return fmt.Errorf("%s: %w", k.queue, errCancelled)
	}
}

// take hands a delivery to every function that still has to get it.
func (k *consumer) take(d amqp.Delivery) {
	now := time.Now()
	m := k.source.Read(&d, now)
	at := m.Published()
	for _, o := range k.inQueue {
		latency.ObserveSince(k.life, o, at, now)
	}
	only := m.OnlyFunction()
	switch reason := m.Unreadable(); {
	case reason != "":
		k.tracker.Add(now, 1)
		k.rule(m, recipient{}, attempt.Decision{Disposition: attempt.Reject, Reason: reason})
	case m.Size() > k.MaxMessageBytes:
		k.tracker.Add(now, 1)
		k.rule(m, recipient{}, attempt.Decision{
			Disposition: attempt.Reject, Reason: fmt.Sprintf("the message has %d bytes; at most %d are possible", m.Size(), k.MaxMessageBytes),
		})
	case only == "":
		k.tracker.Add(now, len(k.feeds))
		for _, f := range k.feeds {
			f.add(attempt.NewEvent(m), now)
		}
	default:
		k.tracker.Add(now, 1)
		for _, f := range k.feeds {
			if f.endpoint.function.Name == only {
				f.add(attempt.NewEvent(m), now)
				return
			}
		}
		k.rule(m, recipient{name: only, maxAttempts: k.MaxAttempts, shared: true, unknown: true},
			attempt.Decision{Disposition: attempt.Retry, Reason: "the function " + only + ", which still has to get the event, does not listen to the queue"})
	}
}

// rule settles a message that no function is called with: a retry or a reject.
func (k *consumer) rule(m *message.Delivery, r recipient, d attempt.Decision) {
	k.calls.Go(func() { k.settle(r, []attempt.Event{attempt.NewEvent(m)}, []attempt.Decision{d}, nil) })
}
