package rabbitmq

import (
	"context"
	"errors"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker"
)

// Purge deletes the dead letters of a queue that a filter selects and returns how
// many. Dead letters that come while it works are left.
func Purge(ctx context.Context, conn *broker.Conn, queue string, f Filter) (purged int, err error) {
	r, err := openDead(conn, queue)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for more := true; more; {
		var batch []*amqp.Delivery
		for more && len(batch) < replayBatch {
			d, err := r.next(ctx)
			if err != nil {
				return purged, err
			}
			if more = d != nil; more {
				if letter := newDeadLetter(queue, d); f.selects(&letter) {
					batch = append(batch, d)
				}
			}
		}
		n, err := r.acknowledge(batch)
		if purged += n; err != nil {
			return purged, err
		}
	}
	return purged, nil
}

// since returns when a message became a dead letter: at its last attempt, or as
// the broker says when it made it one, or else no earlier than it was published.
// A time after now tells nothing. It is zero when nothing tells.
func since(d *amqp.Delivery, now time.Time) time.Time {
	if last := notAfter(now, headerInstant(d.Headers, headerLastTime)); !last.IsZero() {
		return last
	}
	if deaths, ok := d.Headers["x-death"].([]any); ok && len(deaths) > 0 {
		if death, ok := deaths[0].(amqp.Table); ok {
			if at, _ := death["time"].(time.Time); !notAfter(now, at).IsZero() {
				return at
			}
		}
	}
	return notAfter(now, published(d))
}

// notAfter returns an instant, zero if it is after now.
func notAfter(now, t time.Time) time.Time {
	if t.After(now) {
		return time.Time{}
	}
	return t
}
