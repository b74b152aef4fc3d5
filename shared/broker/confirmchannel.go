package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// maxOutstanding bounds the unconfirmed messages of one call of Publish.
const maxOutstanding = 1024

// confirmChannel is an AMQP channel in confirm mode. One call uses it at a time.
type confirmChannel struct {
	conn     *Conn
	ch       *amqp.Channel
	returns  chan amqp.Return // has room for maxOutstanding: the client drops what it cannot deliver
	returned []amqp.Return    // read from returns, not yet matched
}

func openConfirmChannel(conn *Conn) (*confirmChannel, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	returns := ch.NotifyReturn(make(chan amqp.Return, maxOutstanding))
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	return &confirmChannel{conn: conn, ch: ch, returns: returns}, nil
}

// outstanding is a published message without a confirm yet.
type outstanding struct {
	index   int
	confirm *amqp.DeferredConfirmation
}

// publish publishes msgs and adds to failed, by index, the reasons of those that
// failed. It reports whether the channel may be used again, which it may not if a
// message was refused. If the first message on a channel to a quorum queue meets a dead
// leader, the channel keeps asking that leader and refuses everything (seen with
// RabbitMQ 3.10). A new channel asks the new leader.
func (c *confirmChannel) publish(ctx context.Context, msgs []Message, failed map[int]error) (clean bool) {
	var (
		waiting = make([]outstanding, 0, min(len(msgs), maxOutstanding))
		now     = time.Now()
		stamp   = amqp.Table{HeaderTime: now.UnixMilli()}
		broken  error
		refused bool
	)
	await := func(o outstanding) {
		if err := c.awaitConfirm(ctx, o.confirm, &msgs[o.index]); err != nil {
			failed[o.index] = err
			refused = refused || errors.Is(err, ErrNacked)
		}
	}
	for i := range msgs {
		if len(waiting) == maxOutstanding {
			await(waiting[0])
			waiting = waiting[1:]
		}
		m := msgs[i]
		if m.Fit != nil {
			m.Fit(&m, c.conn.FrameMax())
		}
		if err := m.validate(c.conn.FrameMax()); err != nil {
			failed[i] = err
			continue
		}
		if broken == nil {
			broken = c.conn.waitUnblocked(ctx)
		}
		if broken == nil {
			broken = ctx.Err()
		}
		if broken != nil {
			failed[i] = broken
			continue
		}
		confirm, err := c.ch.PublishWithDeferredConfirm("", m.Queue, true, false, m.publishing(now, stamp))
		if err != nil {
			broken = c.lost(err)
			failed[i] = broken
			continue
		}
		waiting = append(waiting, outstanding{i, confirm})
	}
	for _, o := range waiting {
		await(o)
	}
	return broken == nil && !refused && ctx.Err() == nil
}

// awaitConfirm waits for the confirm of m. It has to be called in the order of
// publishing.
func (c *confirmChannel) awaitConfirm(ctx context.Context, confirm *amqp.DeferredConfirmation, m *Message) error {
	select {
	case <-confirm.Done():
	case <-ctx.Done():
		return fmt.Errorf("the broker has not confirmed the message: %w", ctx.Err())
	}
	switch {
	case c.unroutable(m):
		return fmt.Errorf("publish to %q: %w", m.Queue, ErrUnroutable)
	case confirm.Acked():
		return nil
	case c.ch.IsClosed():
		return c.lost(errors.New("the broker has not confirmed the message"))
	default:
		return fmt.Errorf("publish to %q: %w", m.Queue, ErrNacked)
	}
}

// unroutable reports whether the broker returned m. It returns a message before it
// confirms it, in the order of publishing: m can only be the first one returned.
func (c *confirmChannel) unroutable(m *Message) bool {
	for more := true; more; {
		select {
		case r, open := <-c.returns:
			if more = open; open {
				c.returned = append(c.returned, r)
			}
		default:
			more = false
		}
	}
	if len(c.returned) == 0 {
		return false
	}
	r := &c.returned[0]
	if r.RoutingKey != m.Queue || r.MessageId != m.ID || !bytes.Equal(r.Body, m.Body) {
		return false
	}
	c.returned = c.returned[1:]
	return true
}

// lost returns why the connection ended, or else wraps err in [ErrLost].
func (c *confirmChannel) lost(err error) error {
	if cause := c.conn.Err(); cause != nil {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}
