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

// lane is an AMQP channel in confirm mode, used by one call at a time.
type lane struct {
	conn     *Conn
	ch       *amqp.Channel
	returns  chan amqp.Return // holds as many as can be outstanding: the client drops what it cannot deliver
	returned []amqp.Return    // read from returns, not yet matched
}

func openLane(conn *Conn) (*lane, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	returns := ch.NotifyReturn(make(chan amqp.Return, maxOutstanding))
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	return &lane{conn: conn, ch: ch, returns: returns}, nil
}

type outstanding struct {
	index   int
	confirm *amqp.DeferredConfirmation
}

// publish fills failed and says whether the lane can be used again. One on which a
// message was refused cannot: a channel whose first message to a quorum queue meets
// a dead leader asks that leader for ever and refuses everything (seen with
// RabbitMQ 3.10), while a new channel asks the new one.
func (l *lane) publish(ctx context.Context, msgs []Message, failed map[int]error) (clean bool) {
	var (
		waiting = make([]outstanding, 0, min(len(msgs), maxOutstanding))
		now     = time.Now()
		stamp   = amqp.Table{HeaderTime: now.UnixMilli()}
		broken  error
		refused bool
	)
	settle := func(o outstanding) {
		if err := l.settle(ctx, o.confirm, &msgs[o.index]); err != nil {
			failed[o.index] = err
			refused = refused || errors.Is(err, ErrNacked)
		}
	}
	for i := range msgs {
		if len(waiting) == maxOutstanding {
			settle(waiting[0])
			waiting = waiting[1:]
		}
		m := msgs[i]
		if m.Fit != nil {
			m.Fit(&m, l.conn.FrameMax())
		}
		if err := m.validate(l.conn.FrameMax()); err != nil {
			failed[i] = err
			continue
		}
		if broken == nil {
			broken = l.conn.waitUnblocked(ctx)
		}
		if broken == nil {
			broken = ctx.Err()
		}
		if broken != nil {
			failed[i] = broken
			continue
		}
		confirm, err := l.ch.PublishWithDeferredConfirm("", m.Queue, true, false, m.publishing(now, stamp))
		if err != nil {
			broken = l.lost(err)
			failed[i] = broken
			continue
		}
		waiting = append(waiting, outstanding{i, confirm})
	}
	for _, o := range waiting {
		settle(o)
	}
	return broken == nil && !refused && ctx.Err() == nil
}

// settle waits for the confirm of m. Calls are in the order of publishing.
func (l *lane) settle(ctx context.Context, confirm *amqp.DeferredConfirmation, m *Message) error {
	select {
	case <-confirm.Done():
	case <-ctx.Done():
		return fmt.Errorf("the broker has not confirmed the message: %w", ctx.Err())
	}
	switch {
	case l.unroutable(m):
		return fmt.Errorf("publish to %q: %w", m.Queue, ErrUnroutable)
	case confirm.Acked():
		return nil
	case l.ch.IsClosed():
		return l.lost(errors.New("the broker has not confirmed the message"))
	default:
		return fmt.Errorf("publish to %q: %w", m.Queue, ErrNacked)
	}
}

// unroutable says whether the broker sent m back. It does so before it confirms,
// and in the order of publishing, so that m can only be the first one returned.
func (l *lane) unroutable(m *Message) bool {
	for more := true; more; {
		select {
		case r, open := <-l.returns:
			if more = open; open {
				l.returned = append(l.returned, r)
			}
		default:
			more = false
		}
	}
	if len(l.returned) == 0 {
		return false
	}
	r := &l.returned[0]
	if r.RoutingKey != m.Queue || r.MessageId != m.ID || !bytes.Equal(r.Body, m.Body) {
		return false
	}
	l.returned = l.returned[1:]
	return true
}

func (l *lane) lost(err error) error {
	if cause := l.conn.Err(); cause != nil {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}
