package rabbitmq

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/attempt"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/unacked"
	"parkstream/shared/latency"
)

// flushDelay is how long messages that were settled out of order wait for an older one,
// so that all can be acknowledged in one frame.
const flushDelay = 50 * time.Millisecond

// consumer takes messages from one queue over one channel and hands them to the
// dispatchers of the functions that listen to it. It owns every goroutine that works on
// them.
type consumer struct {
	source      *message.Source
	tracker     *unacked.Tracker
	dispatchers []*dispatcher
	settler     *settler
	fromBroker  []prometheus.Observer // the stage from publishing to here, of each function
	calls       sync.WaitGroup        // and what they settle

	// maxBytes bounds a message. maxAttempts is for one that only a function gets which does
	// not listen to the queue.
	maxBytes, maxAttempts int
	// unackedFor is how long a message may stay unacknowledged.
	unackedFor time.Duration
}

// consume hands deliveries to the dispatchers until ctx ends, which is no error, or there
// are no more. It returns when the dispatchers have ended; calls may be under way, until
// the context of calls ends.
func (k *consumer) consume(ctx, calls context.Context, deliveries <-chan amqp.Delivery, closed <-chan *amqp.Error) error {
	taking, stopTaking := context.WithCancel(ctx)
	var dispatching sync.WaitGroup
	defer dispatching.Wait()
	defer stopTaking()
	for _, d := range k.dispatchers {
		dispatching.Go(func() { d.run(taking, calls, &k.calls) })
	}
	check := time.NewTicker(min(k.unackedFor/4, 10*time.Second))
	defer check.Stop()
	var flush <-chan time.Time
	for {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return lost(k.source.Queue, closed)
			}
			k.receive(taking, &d)
		case <-k.tracker.OutOfOrder():
			if flush == nil {
				flush = time.After(flushDelay)
			}
		case <-flush:
			flush = nil
			if err := k.tracker.Flush(); err != nil {
				return fmt.Errorf("acknowledge messages of %s: %w", k.source.Queue, err)
			}
		case <-check.C:
			if oldest := k.tracker.Oldest(); !oldest.IsZero() && time.Since(oldest) > k.unackedFor {
				return fmt.Errorf("%s: %w", k.source.Queue, errUnackedLong)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// receive hands a delivery to every function that still has to get it.
func (k *consumer) receive(taking context.Context, d *amqp.Delivery) {
	now := time.Now()
	m := k.source.Read(d, now)
	published := m.Published()
	for _, o := range k.fromBroker {
		latency.ObserveSince(taking, o, published, now)
	}
	only := m.OnlyFunction()
	switch reason := m.Unreadable(); {
	case reason != "":
		k.tracker.Add(now, 1)
		k.settleUncalled(taking, m, recipient{}, attempt.Reject, reason)
	case m.Size() > k.maxBytes:
		k.tracker.Add(now, 1)
		k.settleUncalled(taking, m, recipient{}, attempt.Reject, fmt.Sprintf("the message has %d bytes; at most %d are possible", m.Size(), k.maxBytes))
	case only == "":
		k.tracker.Add(now, len(k.dispatchers))
		for _, each := range k.dispatchers {
			each.add(attempt.NewEvent(m), now)
		}
	default:
		k.tracker.Add(now, 1)
		for _, each := range k.dispatchers {
			if each.endpoint.function.Name == only {
				each.add(attempt.NewEvent(m), now)
				return
			}
		}
		k.settleUncalled(taking, m, recipient{name: only, maxAttempts: k.maxAttempts, shared: true, unknown: true},
			attempt.Retry, "the function "+only+", which still has to get the event, does not listen to the queue")
	}
}

// settleUncalled settles a message that no function is called with.
func (k *consumer) settleUncalled(taking context.Context, m *message.Delivery, r recipient, becomes attempt.Disposition, reason string) {
	k.calls.Go(func() {
		k.settler.settle(taking, r, []attempt.Event{attempt.NewEvent(m)}, []attempt.Decision{{Disposition: becomes, Reason: reason}}, nil)
	})
}

// giveBackUntouched gives back to the queue what no function was called with and none
// has settled, also what the client has not handed over yet: another consumer can have it
// while the calls under way end. It is called when consume has returned and the consumer
// is cancelled, so that deliveries ends.
func (k *consumer) giveBackUntouched(deliveries <-chan amqp.Delivery) error {
	var tags []uint64
	for _, d := range k.dispatchers {
		if d.shared {
			continue // another function may be called with it
		}
		for _, e := range d.takeAll() {
			tags = append(tags, e.Message.Tag())
		}
	}
	for unread := range deliveries {
		k.tracker.Add(time.Now(), 1)
		tags = append(tags, unread.DeliveryTag)
	}
	return k.tracker.GiveBack(tags)
}
