package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker"
)

// reader gets the dead letters of a queue, without those that came after the
// first was got. What is not acknowledged goes back to its place.
type reader struct {
	ch      *amqp.Channel
	queue   string
	got     bool
	left    uint32 // how many of those that were there at the first get are not got yet
	end     bool
	waiting []*amqp.Delivery // got, not yet returned by next
}

// open returns a reader of the dead letters of a queue. It has to be closed.
func open(conn *broker.Conn, queue string) (*reader, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	r := &reader{ch: ch, queue: broker.DeadQueue(queue)}
	if _, err := ch.QueueDeclarePassive(r.queue, true, false, false, false, nil); err != nil {
		return nil, fmt.Errorf("look into the queue %s: %w", r.queue, err)
	}
	return r, nil
}

// next returns the next dead letter, nil after the last.
func (r *reader) next(ctx context.Context) (*amqp.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(r.waiting) == 0 && !r.end {
		if err := r.get(); err != nil {
			return nil, err
		}
	}
	if len(r.waiting) == 0 {
		return nil, nil
	}
	d := r.waiting[0]
	r.waiting = r.waiting[1:]
	return d, nil
}

// get gets one more dead letter from the queue, if there is one.
func (r *reader) get() error {
	d, found, err := r.ch.Get(r.queue, false)
	if err != nil {
		return fmt.Errorf("get from the queue %s: %w", r.queue, err)
	}
	if found && !r.got {
		// The answer to a get counts in the order of the queue, what was given back
		// before it included, unlike the answer to a declaration. Times in headers are
		// no end to go by: every publisher can send one.
		r.got, r.left = true, d.MessageCount+1
	}
	if r.end = r.end || !found; !r.end {
		r.waiting = append(r.waiting, &d)
		r.left--
		r.end = r.left == 0
	}
	return nil
}

// acksInFlight is half of how many acknowledgements of a quorum queue RabbitMQ has
// in flight (quorum_commands_soft_limit). What is beyond waits in the channel's
// process, and is lost with it: seen with 3.10, the messages came back.
const acksInFlight = 16

// acknowledge takes dead letters out of the queue for good and returns how many.
func (r *reader) acknowledge(ds []*amqp.Delivery) (n int, err error) {
	for group := range slices.Chunk(ds, acksInFlight) {
		for _, d := range group {
			if err := d.Ack(false); err != nil {
				return n, fmt.Errorf("acknowledge a dead letter in %s: %w", r.queue, err)
			}
		}
		// The answer to a get says that what was sent before is done.
		if err := r.get(); err != nil {
			return n, err
		}
		n += len(group)
	}
	return n, nil
}

// close gives back what was not acknowledged.
func (r *reader) close() error {
	if r.ch.IsClosed() {
		return nil
	}
	var err error
	if r.got {
		// Without it the broker would give them back some time after the channel is
		// closed, and the next reader would not find them.
		err = r.ch.Nack(0, true, true)
	}
	return errors.Join(err, r.ch.Close())
}
