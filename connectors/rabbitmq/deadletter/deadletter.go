// Package deadletter is an operator's library: it lists the messages that no function
// could handle, puts them back into their queue and deletes them.
package deadletter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/shared/broker"
)

// Letter is a message that no function could handle.
type Letter struct {
	// ID is the message id; where the publisher gave none it is made of the body.
	ID string
	// Queue is the queue that the message came from.
	Queue    string
	Reason   string
	Function string
	// Status is that of the last call, 0 where it had none.
	Status   int
	Attempts int
	// First and Last are when the first and the last attempt failed, zero where
	// nothing tells, or a time in the future.
	First, Last time.Time
	// Since is when it became a dead letter, zero where nothing tells.
	Since       time.Time
	ContentType string
	// Headers are those of the publisher, as far as they can be read.
	Headers map[string]any
	// Original is the publisher's table of headers in the encoding of AMQP where it
	// cannot be read as a whole, and fits.
	Original []byte
	Body     []byte
}

// Filter selects dead letters; the zero value selects all.
type Filter struct {
	IDs      []string // one of these
	Reason   string   // the reason contains this
	Function string   // the function that failed
	// Before selects those that have been dead letters since before it; one whose
	// age nothing tells is not selected.
	Before time.Time
	Match  func(*Letter) bool // nil: all
}

func (f Filter) selects(d *Letter) bool {
	if !f.Before.IsZero() && (d.Since.IsZero() || !d.Since.Before(f.Before)) || f.Match != nil && !f.Match(d) {
		return false
	}
	return (len(f.IDs) == 0 || slices.Contains(f.IDs, d.ID)) && strings.Contains(d.Reason, f.Reason) && (f.Function == "" || f.Function == d.Function)
}

// List calls visit with the dead letters of a queue that a filter
// selects, oldest first, and leaves them where they are. It returns how many dead
// letters there are in all. It is an error where the queue has no dead letters'
// queue.
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

// replayBatch is how many messages are published before they are acknowledged.
const replayBatch = 500

// Replay puts the dead letters of a queue that a filter selects back into the
// queue, as they were first published, and returns how many. Each is taken from
// the dead letters only when the broker has confirmed it: what dies in between
// leaves it in both places, and the function sees it again under its id. Where
// several functions listen to the queue, only the one that failed gets it. Dead
// letters that come while Replay works are left for the next time. One whose
// headers cannot be read goes back with those that can, and is dead-lettered again.
func Replay(ctx context.Context, conn *broker.Conn, p *broker.Publisher, queue string, f Filter) (replayed int, err error) {
	r, err := open(conn, queue)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	// What comes twice may have failed again, if others took dead letters meanwhile
	// and it moved up: it is left for the next time.
	type identity struct{ id, function string }
	seen := make(map[identity]struct{})
	for more := true; more; {
		var batch []*amqp.Delivery
		for more && len(batch) < replayBatch {
			d, err := r.next(ctx)
			if err != nil {
				return replayed, err
			}
			if more = d != nil; more {
				letter := newLetter(queue, d)
				this := identity{letter.ID, letter.Function}
				if _, again := seen[this]; !again && f.selects(&letter) {
					seen[this] = struct{}{}
					batch = append(batch, d)
				}
			}
		}
		confirmed, err := putBack(ctx, p, queue, batch, conn)
		n, ackErr := r.acknowledge(confirmed)
		if replayed += n; err != nil || ackErr != nil {
			return replayed, errors.Join(err, ackErr)
		}
	}
	return replayed, nil
}

// putBack publishes dead letters to their queue and returns those that the broker
// has confirmed.
func putBack(ctx context.Context, p *broker.Publisher, queue string, batch []*amqp.Delivery, conn *broker.Conn) (confirmed []*amqp.Delivery, err error) {
	msgs := make([]broker.Message, len(batch))
	for i, d := range batch {
		msgs[i] = message.Replay(d, queue, conn.FrameMax())
	}
	err = p.Publish(ctx, msgs)
	var failed map[int]error
	if pe, ok := errors.AsType[*broker.PublishError](err); ok {
		failed = pe.Failed
	}
	for i, d := range batch {
		if _, bad := failed[i]; !bad {
			confirmed = append(confirmed, d)
		}
	}
	return confirmed, err
}

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

func (r *reader) get() error {
	d, found, err := r.ch.Get(r.queue, false)
	if err != nil {
		return fmt.Errorf("get from the queue %s: %w", r.queue, err)
	}
	if found && !r.got {
		// The answer to a get counts in the order of the queue, what was given back
		// before it included, unlike the answer to a declaration. Times in headers are
		// no end to go by: anybody who may publish can send one.
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

func (r *reader) close() error {
	if r.ch.IsClosed() {
		return nil
	}
	var err error
	if r.got {
		// Without it the broker would give them back some time after the channel is
		// closed, and whoever looks next would not find them.
		err = r.ch.Nack(0, true, true)
	}
	return errors.Join(err, r.ch.Close())
}

func newLetter(queue string, d *amqp.Delivery) Letter {
	dead := message.ReadDead(d, time.Now())
	letter := Letter{
		ID: d.MessageId, Queue: queue, Reason: dead.Reason, Function: dead.Function, Status: dead.Status, Attempts: dead.Attempts,
		First: dead.First, Last: dead.Last, Since: dead.Since, Original: dead.Original,
		ContentType: d.ContentType, Headers: message.Original(d.Headers, queue), Body: d.Body,
	}
	if letter.ID == "" {
		sum := sha256.Sum256(d.Body)
		letter.ID = "sha256:" + hex.EncodeToString(sum[:6])
	}
	return letter
}
