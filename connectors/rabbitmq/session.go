package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/connectors/rabbitmq/internal/unacked"
	"parkstream/shared/broker"
	"parkstream/shared/latency"
	"parkstream/shared/restart"
)

// serve serves a queue until ctx ends, over a connection of its own: whatever makes
// the broker or the client close it, the other queues go on.
func (c *Connector) serve(ctx context.Context, queue string, functions []*openfaas.Function) {
	cfg := c.cfg.broker(connectorName)
	cfg.Log = c.log.With("queue", queue)
	broker.Run(ctx, cfg, func(ctx context.Context, conn *broker.Conn) error {
		return c.serveConnection(ctx, conn, queue, functions)
	}, func(err error) { c.health.failing(queue, fmt.Errorf("no connection to RabbitMQ: %w", err)) })
}

// serveConnection serves a queue over one connection until ctx or the connection ends,
// with a fresh channel after each failure.
func (c *Connector) serveConnection(ctx context.Context, conn *broker.Conn, queue string, functions []*openfaas.Function) error {
	if err := checkVersion(conn.ServerVersion()); err != nil {
		return err
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watching.Go(func() { c.watchDepths(ctx, conn, queue) })
	source := &message.Source{Queue: queue, Connection: uuid.NewString()[:8], FrameMax: conn.FrameMax()}
	var repeated repetition
	for delays := restart.NewDelays(); ctx.Err() == nil; {
		start := time.Now()
		err := c.serveChannel(ctx, conn, source, functions)
		if ctx.Err() != nil || conn.IsClosed() {
			return err
		}
		c.health.failing(queue, err)
		pause := delays.Next(time.Since(start))
		c.log.Log(ctx, repeated.level(err), "consuming a queue was interrupted", "queue", queue, "error", err, "again_in", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-conn.Done():
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// serveChannel serves a queue over one channel until ctx ends or something is wrong with
// the channel. It returns when the calls have ended, unless the channel is lost: nothing
// can be settled then, and they end on their own.
func (c *Connector) serveChannel(ctx context.Context, conn *broker.Conn, source *message.Source, functions []*openfaas.Function) error {
	queue := source.Queue
	declare := func() error { return c.declare(conn, queue) }
	if err := declare(); err != nil {
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
	tag := c.name + "-" + source.Connection
	deliveries, err := ch.Consume(queue, tag, false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("consume %s: %w", queue, err)
	}

	settling, stopSettling := context.WithCancel(c.calls)
	defer stopSettling()
	tracker := unacked.New(ch, c.metrics.queue(queue))
	defer tracker.Close()
	k := c.newConsumer(settling, source, tracker, functions, declare)
	if ctx.Err() == nil { // else another worker may have the queue
		c.health.consuming(queue)
	}
	// The dispatchers end first: no call may begin with a message that is given back. The
	// consumer is cancelled next, which ends the deliveries. The messages go back last.
	err = k.consume(ctx, c.calls, deliveries, closed)
	if ctx.Err() != nil {
		err = nil
	}
	// Both fail only with the channel, which is the end of the consumer as well. The answer to
	// the second comes when the queue has taken what was acknowledged before the transaction.
	_ = ch.Tx()
	_ = ch.Cancel(tag, false)
	c.giveBack(k, ch, deliveries, closed, stopSettling)
	return err
}

// giveBack gives back to the queue what no function was called with, and the rest when
// the calls have ended, if the channel is not lost before.
//
// It does so in transactions, or what is acknowledged could come back: RabbitMQ has at most
// 32 commands of a channel under way to a quorum queue, and forgets further ones when the
// channel is closed (rabbitmq-server issue 10327). Each frame is one command, but so is a run
// of frames of one kind in a transaction. See ADR 27.
func (c *Connector) giveBack(k *consumer, ch *amqp.Channel, deliveries <-chan amqp.Delivery, closed <-chan *amqp.Error, stopSettling func()) {
	commit := func(err error) {
		if err == nil {
			err = ch.TxCommit()
		}
		if err != nil && !ch.IsClosed() {
			c.log.Warn("messages could not be given back", "queue", k.source.Queue, "error", err)
		}
	}
	commit(k.giveBackUntouched(deliveries))
	ended := make(chan struct{})
	c.background.Go(func() {
		k.calls.Wait()
		close(ended)
	})
	select {
	case <-ended:
	case <-closed: //nolint:errcheck // that it is closed is all; why, the caller says
		stopSettling()
	}
	commit(k.tracker.GiveBackAll())
}

// newConsumer returns a consumer whose messages can be settled until settling ends.
// declare makes the queues that copies are published to.
func (c *Connector) newConsumer(settling context.Context, source *message.Source, tracker *unacked.Tracker, functions []*openfaas.Function, declare func() error) *consumer {
	k := &consumer{
		source: source, tracker: tracker, maxBytes: c.cfg.MaxMessageBytes, maxAttempts: c.cfg.MaxAttempts, unackedFor: c.cfg.ConsumerTimeout / 2,
		settler: &settler{
			queue: source.Queue, delays: c.delays, tracker: tracker, publisher: c.publisher, declare: declare,
			outcomes: c.metrics.outcomes, health: c.health, log: c.log, settling: settling,
		},
	}
	for _, f := range functions {
		i := &invoker{function: f, queue: source.Queue, gateway: c.gateway, metrics: c.metrics, log: c.log, tracer: c.tracer}
		k.dispatchers = append(k.dispatchers, newDispatcher(c.endpoints.get(f), i, k.settler, len(functions) > 1, c.gateway.CloseIdleConnections))
		k.fromBroker = append(k.fromBroker, c.metrics.stages.WithLabelValues(f.Name, latency.Consumed))
	}
	return k
}

// prefetch is enough for all calls of a function and the batches that are
// collected meanwhile.
func (c *Connector) prefetch(functions []*openfaas.Function) int {
	n := 0
	for _, f := range functions {
		n = max(n, 2*f.PerCall()*f.MaxInFlight)
	}
	return min(n, c.cfg.MaxPrefetch)
}

// declare makes the queues that a queue needs, and reports once what is odd about
// one that exists.
func (c *Connector) declare(conn *broker.Conn, queue string) error {
	q, err := broker.DeclareQueue(conn, queue)
	if err != nil {
		return err
	}
	for _, delay := range c.delays {
		if err := broker.DeclareRetryQueue(conn, queue, delay); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if odd := strings.Join(q.Foreign, ", "); odd != c.warned[queue] {
		c.warned[queue] = odd
		c.log.Warn("the queue was declared by another client and is used as it is; RabbitMQ 4 drops a message that was delivered 20 times "+
			"where the queue has no dead-letter exchange and no delivery limit of its own: set both with a policy, or delete the empty queue",
			"queue", queue, "differs", odd)
	}
	return nil
}

// checkVersion refuses brokers whose quorum queues have no message TTL and no
// dead-lettering at least once, which the retry queues need.
func checkVersion(version string) error {
	var x, y int
	if n, _ := fmt.Sscanf(version, "%d.%d", &x, &y); n < 2 {
		return nil // not a RabbitMQ release; declaring the queues will tell
	}
	if x < 3 || x == 3 && y < 10 {
		return fmt.Errorf("RabbitMQ %s is too old: the retry queues need 3.10 or later", version)
	}
	return nil
}

var (
	errCancelled   = errors.New("the broker cancelled the consumer: its queue was deleted, or is moving to another node")
	errUnackedLong = errors.New("messages were unacknowledged for half the broker's consumer_timeout; they went back to the queue")
)

// lost returns why there are no more deliveries from a queue.
func lost(queue string, closed <-chan *amqp.Error) error {
	select {
	case cause := <-closed:
		if cause != nil {
			return fmt.Errorf("the channel of %s was closed: %w", queue, cause)
		}
		return fmt.Errorf("the channel of %s was closed: %w", queue, broker.ErrLost)
	default:
		return fmt.Errorf("%s: %w", queue, errCancelled)
	}
}

// repetition tells a failure that is new from one that was logged before and goes on:
// readiness shows that all the time.
type repetition string

// level returns at which level to log err: as a warning if it differs from the last
// one, otherwise for debugging only.
func (r *repetition) level(err error) slog.Level {
	if text := err.Error(); text != string(*r) {
		*r = repetition(text)
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// jitter returns three quarters to the whole of d.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/4+1) }
