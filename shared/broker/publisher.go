package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cenkalti/backoff/v5"
)

// PublishError says which messages of a call of Publish are not known to be with
// the broker. One whose confirm did not arrive may be there all the same.
type PublishError struct {
	// Failed has the reason by the index of the message.
	Failed map[int]error
}

func (e *PublishError) Error() string {
	for _, err := range e.Failed {
		return fmt.Sprintf("publish: %d messages failed, one of them: %v", len(e.Failed), err)
	}
	return "publish: no message failed"
}

// Unwrap returns the reasons.
func (e *PublishError) Unwrap() []error {
	errs := make([]error, 0, len(e.Failed))
	for _, err := range e.Failed {
		errs = append(errs, err)
	}
	return errs
}

// Reasons for which a message is not published. What else there is are errors
// that wrap [ErrLost] or the context's.
var (
	ErrUnroutable = errors.New("the queue does not exist")
	ErrNacked     = errors.New("the broker refused the message: the queue is full or its leader is away")
	ErrClosed     = errors.New("the publisher is closed")
)

// Publisher publishes to RabbitMQ. It connects when it is first used and again
// when the connection was lost; it is safe for concurrent use.
type Publisher struct {
	cfg     Config
	metrics *publishMetrics
	conns   *connMetrics
	life    context.Context
	end     context.CancelFunc
	calls   sync.WaitGroup // of the client, that their callers did not wait for

	mu      sync.Mutex
	conn    *Conn
	lanes   []*lane       // idle ones, of conn
	dialing chan struct{} // open while one caller connects
	failure error         // of the last attempt to connect
	wait    *backoff.ExponentialBackOff
}

// NewPublisher returns a Publisher. It uses a connection of its own, because
// RabbitMQ stops reading from a connection that publishes during an alarm.
func NewPublisher(cfg Config) *Publisher {
	cfg = cfg.withDefaults()
	life, end := context.WithCancel(context.Background())
	wait := newBackoff()
	wait.Reset()
	return &Publisher{
		cfg: cfg, life: life, end: end, wait: wait,
		metrics: newPublishMetrics(cfg.Registerer, cfg.Name), conns: newConnMetrics(cfg.Registerer, cfg.Name),
	}
}

// Publish publishes msgs and waits until the broker has confirmed every one of
// them. While there is no connection it tries to make one; ctx bounds that. nil
// means that all are confirmed; otherwise the error is a *[PublishError] and
// what it does not list is confirmed.
func (p *Publisher) Publish(ctx context.Context, msgs []Message) error {
	if len(msgs) == 0 {
		return nil
	}
	failed := make(map[int]error)
	l, err := p.lane(ctx)
	if err != nil {
		for i := range msgs {
			failed[i] = err
		}
	} else {
		clean := l.publish(ctx, msgs, failed)
		p.release(l, clean)
	}
	p.metrics.failed.Add(float64(len(failed)))
	p.metrics.confirmed.Add(float64(len(msgs) - len(failed)))
	if len(failed) > 0 {
		return &PublishError{Failed: failed}
	}
	return nil
}

// lane returns an idle lane or opens one.
func (p *Publisher) lane(ctx context.Context) (*lane, error) {
	for {
		conn, err := p.connection(ctx)
		if err != nil {
			return nil, err
		}
		if l := p.idle(conn); l != nil {
			return l, nil
		}
		if err := conn.waitUnblocked(ctx); err != nil {
			return nil, err
		}
		l, err := await(ctx, p, func() (*lane, error) { return openLane(conn) }, func(l *lane) { p.release(l, true) })
		switch {
		case err == nil:
			return l, nil
		case !conn.IsClosed(): // the connection is fine: the broker does not want this channel, or not now
			return nil, fmt.Errorf("open a channel to publish on: %w", err)
		}
	}
}

// await makes a call that the client does not end with a context: a broker with
// an alarm leaves it without an answer. Where ctx ends first, late gets what the
// call brings after all; Close waits for it.
func await[T any](ctx context.Context, p *Publisher, call func() (T, error), late func(T)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done, given := make(chan outcome), make(chan struct{})
	if !p.inBackground(func() {
		v, err := call()
		select {
		case done <- outcome{v, err}:
		case <-given:
			if err == nil && late != nil {
				late(v)
			}
		}
	}) {
		var none T
		return none, ErrClosed
	}
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		close(given)
		var none T
		return none, fmt.Errorf("the broker has not answered: %w", ctx.Err())
	}
}

// inBackground runs f in a goroutine that Close waits for; it does not when the
// publisher is closed.
func (p *Publisher) inBackground(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life.Err() != nil {
		return false
	}
	p.calls.Go(f)
	return true
}

func (p *Publisher) idle(conn *Conn) *lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.lanes) > 0 {
		l := p.lanes[len(p.lanes)-1]
		p.lanes = p.lanes[:len(p.lanes)-1]
		if l.conn == conn && !l.ch.IsClosed() {
			return l
		}
	}
	return nil
}

// release takes a lane back. One that is not clean is not used again: see publish;
// and confirms of earlier messages would be taken for those of later ones.
func (p *Publisher) release(l *lane, clean bool) {
	if clean && p.keep(l) || l.ch.IsClosed() {
		return
	}
	p.inBackground(func() { _ = l.ch.Close() }) // Close closes the connection with it
}

func (p *Publisher) keep(l *lane) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.ch.IsClosed() || l.conn != p.conn || p.life.Err() != nil {
		return false
	}
	p.lanes = append(p.lanes, l)
	return true
}

// connection returns the present connection, or makes one.
func (p *Publisher) connection(ctx context.Context) (*Conn, error) {
	for {
		p.mu.Lock()
		switch {
		case p.life.Err() != nil:
			p.mu.Unlock()
			return nil, ErrClosed
		case p.conn != nil && !p.conn.IsClosed():
			defer p.mu.Unlock()
			return p.conn, nil
		case p.dialing == nil:
			p.dialing = make(chan struct{})
			p.mu.Unlock()
			if err := p.connect(ctx); err != nil {
				return nil, err
			}
		default:
			dialing := p.dialing
			p.mu.Unlock()
			select {
			case <-dialing:
			case <-ctx.Done():
				return nil, fmt.Errorf("no connection to RabbitMQ: %w", ctx.Err())
			}
		}
	}
}

// connect is called by whoever has set p.dialing. It returns nil also when
// another attempt is needed.
func (p *Publisher) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	conn, err := dial(ctx, p.cfg, p.conns)

	p.mu.Lock()
	delay := p.wait.NextBackOff()
	closed := p.life.Err() != nil
	p.failure = err
	if err == nil && !closed {
		p.wait.Reset()
		p.conn, p.lanes = conn, nil
	}
	p.mu.Unlock()
	if err == nil && closed { // Close does not see it
		_ = conn.Close()
		err = ErrClosed
	}
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		close(p.dialing)
		p.dialing = nil
	}()
	if err == nil {
		p.cfg.Log.Info("connected to RabbitMQ", "node", conn.Addr, "version", conn.ServerVersion(), "connection", p.cfg.Name)
		return nil
	}
	if ctx.Err() == nil {
		p.cfg.Log.Warn("no connection to RabbitMQ", "connection", p.cfg.Name, "error", err, "again_in", delay)
	}
	if !sleep(ctx, delay) && p.life.Err() == nil {
		return fmt.Errorf("no connection to RabbitMQ: %w: %w", ctx.Err(), err)
	}
	return nil
}

// Waiting returns what keeps messages from being published at present: that there
// is no connection, or an alarm of the broker. It is nil when nothing is known to.
func (p *Publisher) Waiting() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil || p.conn.IsClosed() {
		return errors.Join(errors.New("there is no connection to RabbitMQ"), p.failure)
	}
	return p.blocked()
}

// Blocked returns the alarm for which the broker takes no messages at present, nil if
// none is known. Unlike [Publisher.Waiting] it reports no missing connection, which
// Publish makes.
func (p *Publisher) Blocked() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		return nil
	}
	return p.blocked()
}

func (p *Publisher) blocked() error {
	if reason := p.conn.Blocked(); reason != "" && !p.conn.IsClosed() {
		return fmt.Errorf("RabbitMQ has an alarm and takes no messages: %s", reason)
	}
	return nil
}

// DeclareQueue makes sure that queue and its dead-letter queue exist; see
// [DeclareQueue].
func (p *Publisher) DeclareQueue(ctx context.Context, queue string) (Queue, error) {
	conn, err := p.connection(ctx)
	if err != nil {
		return Queue{}, err
	}
	return await(ctx, p, func() (Queue, error) { return DeclareQueue(conn, queue) }, nil)
}

// Close ends the connection; calls under way fail. It is safe to call twice.
func (p *Publisher) Close() error {
	p.end()
	p.mu.Lock()
	conn := p.conn
	p.mu.Unlock()
	var err error
	if conn != nil {
		err = conn.Close()
	}
	p.calls.Wait()
	return err
}
