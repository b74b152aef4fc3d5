// Package deadletter is an operator's library: it lists the messages that no function
// could handle, puts them back into their queue and deletes them.
//
// A queue's dead letters are in [broker.DeadQueue]. Those that come while one of the
// functions works are left for the next time. While it works, others do not see the dead
// letters that it has read.
package deadletter

import (
	"context"
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/shared/broker"
)

// List calls visit with the dead letters of a queue that a filter selects, oldest first,
// and leaves them where they are. It returns how many dead letters there are in all. An
// error of visit ends it and is returned. A queue without a queue of dead letters is an
// error.
func List(ctx context.Context, conn *broker.Conn, queue string, f Filter, visit func(Letter) error) (all int, err error) {
	r, err := open(conn, queue)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for {
		d, err := r.next(ctx)
		if d == nil || err != nil {
			return all, err
		}
		all++
		if letter := newLetter(queue, d); f.selects(&letter) {
			if err := visit(letter); err != nil {
				return all, err
			}
		}
	}
}

// Replay puts the dead letters of a queue that a filter selects back into the queue, as
// they were first published, and returns how many. Each is taken from the dead letters
// only when the broker has confirmed its copy: after a failure in between it is in both
// places, and the function gets it twice, with the same id. If several functions listen
// to the queue, only the one that failed gets it. One whose headers cannot be read goes
// back with those that can, and is dead-lettered again.
func Replay(ctx context.Context, conn *broker.Conn, p *broker.Publisher, queue string, f Filter) (replayed int, err error) {
	// What comes twice may have failed again, if others took dead letters meanwhile
	// and it moved up: it is left for the next time.
	type identity struct{ id, function string }
	seen := make(map[identity]struct{})
	first := func(l *Letter) bool {
		this := identity{l.ID, l.Function}
		_, again := seen[this]
		seen[this] = struct{}{}
		return !again
	}
	// first remembers what it was asked of: only of what the filter selects.
	return remove(ctx, conn, queue, func(l *Letter) bool { return f.selects(l) && first(l) }, func(ds []*amqp.Delivery) ([]*amqp.Delivery, error) {
		return putBack(ctx, conn, p, queue, ds)
	})
}

// Purge deletes the dead letters of a queue that a filter selects and returns how many.
func Purge(ctx context.Context, conn *broker.Conn, queue string, f Filter) (purged int, err error) {
	return remove(ctx, conn, queue, f.selects, func(ds []*amqp.Delivery) ([]*amqp.Delivery, error) { return ds, nil })
}

// batchSize is how many dead letters are removed at a time.
const batchSize = 500

// remove takes the selected dead letters out of a queue for good, in batches, and returns
// how many. Of each batch it takes those that release returns; an error ends it after
// them.
func remove(ctx context.Context, conn *broker.Conn, queue string, selects func(*Letter) bool, release func([]*amqp.Delivery) ([]*amqp.Delivery, error)) (removed int, err error) {
	r, err := open(conn, queue)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for more := true; more; {
		var selected []*amqp.Delivery
		for more && len(selected) < batchSize {
			d, err := r.next(ctx)
			if err != nil {
				return removed, err
			}
			if more = d != nil; more {
				if letter := newLetter(queue, d); selects(&letter) {
					selected = append(selected, d)
				}
			}
		}
		released, err := release(selected)
		n, ackErr := r.acknowledge(released)
		if removed += n; err != nil || ackErr != nil {
			return removed, errors.Join(err, ackErr)
		}
	}
	return removed, nil
}

// putBack publishes dead letters to their queue and returns those that the broker has
// confirmed.
func putBack(ctx context.Context, conn *broker.Conn, p *broker.Publisher, queue string, letters []*amqp.Delivery) (confirmed []*amqp.Delivery, err error) {
	msgs := make([]broker.Message, len(letters))
	for i, d := range letters {
		msgs[i] = message.Replay(d, queue, conn.FrameMax())
	}
	err = p.Publish(ctx, msgs)
	var failed map[int]error
	if pe, ok := errors.AsType[*broker.PublishError](err); ok {
		failed = pe.Failed
	}
	for i, d := range letters {
		if _, bad := failed[i]; !bad {
			confirmed = append(confirmed, d)
		}
	}
	return confirmed, err
}
