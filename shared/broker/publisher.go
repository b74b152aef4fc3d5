package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"parkstream/shared/restart"
)

// PublishError has the messages of a call of Publish that the broker has not
// confirmed. One whose confirm did not arrive may be in its queue all the same.
type PublishError struct {
	// Failed has the reasons by the index of the message.
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

// Reasons for which a message is not published. Other errors wrap [ErrLost] or the
// error of the context.
var (
	ErrUnroutable = errors.New("the queue does not exist")
	ErrNacked     = errors.New("the broker refused the message: the queue is full or its leader is unavailable")
	ErrClosed     = errors.New("the publisher is closed")
)

// Publisher publishes to RabbitMQ. It connects on first use and reconnects when the
// connection was lost. It is safe for concurrent use.
type Publisher struct {
	cfg     Config
	metrics *publishMetrics
	conns   *connMetrics
	life    context.Context
	end     context.CancelFunc
	calls   sync.WaitGroup // of the AMQP client, which may outlive the calls of the publisher

	mu       sync.Mutex
	conn     *Conn
	channels []*confirmChannel // idle ones, of conn
	dialing  chan struct{}     // open while one caller connects
	failure  error             // of the last attempt to connect
	delays   *restart.Delays
}

// NewPublisher returns a Publisher. It uses a connection of its own, because
// RabbitMQ stops reading from a connection that publishes during an alarm.
func NewPublisher(cfg Config) *Publisher {
	cfg = cfg.withDefaults()
	life, end := context.WithCancel(context.Background())
	return &Publisher{
		cfg: cfg, life: life, end: end, delays: restart.NewDelays(),
		metrics: newPublishMetrics(cfg.Registerer, cfg.Name), conns: newConnMetrics(cfg.Registerer, cfg.Name),
	}
}

// Publish publishes msgs and waits until the broker has confirmed every one of
// them. Without a connection it tries to connect until ctx ends. It returns nil if all
// are confirmed, else a *[PublishError] with those that are not.
func (p *Publisher) Publish(ctx context.Context, msgs []Message) error {
	if len(msgs) == 0 {
		return nil
	}
	failed := make(map[int]error)
	ch, err := p.channel(ctx)
	if err != nil {
		for i := range msgs {
			failed[i] = err
		}
	} else {
		clean := ch.publish(ctx, msgs, failed)
		p.release(ch, clean)
	}
	p.metrics.failed.Add(float64(len(failed)))
	p.metrics.confirmed.Add(float64(len(msgs) - len(failed)))
	if len(failed) > 0 {
		return &PublishError{Failed: failed}
	}
	return nil
}

// channel returns an idle channel or opens one.
func (p *Publisher) channel(ctx context.Context) (*confirmChannel, error) {
	for {
		conn, err := p.connection(ctx)
		if err != nil {
			return nil, err
		}
		if ch := p.idle(conn); ch != nil {
			return ch, nil
		}
		if err := conn.waitUnblocked(ctx); err != nil {
			return nil, err
		}
		ch, err := await(ctx, p, func() (*confirmChannel, error) { return openConfirmChannel(conn) }, func(late *confirmChannel) { p.release(late, true) })
		switch {
		case err == nil:
			return ch, nil
		case !conn.IsClosed(): // the connection is sound: the broker refuses this channel
			return nil, fmt.Errorf("open a channel to publish on: %w", err)
		}
	}
}

// await makes a call of the AMQP client that takes no context: a broker with an alarm
// does not answer it. If ctx ends first, await returns; late gets a result that arrives
// later. Close waits for the call.
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

// inBackground runs f in a goroutine that Close waits for. It returns false without
// running f if the publisher is closed.
func (p *Publisher) inBackground(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life.Err() != nil {
		return false
	}
	p.calls.Go(f)
	return true
}

// idle returns an idle channel of conn, nil if there is none.
func (p *Publisher) idle(conn *Conn) *confirmChannel {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.channels) > 0 {
		c := p.channels[len(p.channels)-1]
		p.channels = p.channels[:len(p.channels)-1]
		if c.conn == conn && !c.ch.IsClosed() {
			return c
		}
	}
	return nil
}

// release keeps a clean channel for the next call and closes any other, see
// [confirmChannel.publish]: its late confirms would be taken for those of later
// messages.
func (p *Publisher) release(c *confirmChannel, clean bool) {
	if clean && p.keep(c) || c.ch.IsClosed() {
		return
	}
	p.inBackground(func() { _ = c.ch.Close() }) // Close closes the connection with it
}

func (p *Publisher) keep(c *confirmChannel) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.ch.IsClosed() || c.conn != p.conn || p.life.Err() != nil {
		return false
	}
	p.channels = append(p.channels, c)
	return true
}

// connection returns the current connection, or makes one.
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

// connect makes one attempt to connect, for the caller that has set p.dialing. It also
// returns nil if another attempt is needed.
func (p *Publisher) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	conn, err := dial(ctx, p.cfg, p.conns)

	p.mu.Lock()
	delay := p.delays.Next(0)
	closed := p.life.Err() != nil
	p.failure = err
	if err == nil && !closed {
		p.delays.Reset()
		p.conn, p.channels = conn, nil
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

// Connect returns nil if there is a connection. If there is none it makes one, until
// ctx ends, and returns the error if that fails.
func (p *Publisher) Connect(ctx context.Context) error {
	_, err := p.connection(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && p.failure != nil {
		return p.failure // more telling than that ctx has ended
	}
	return err
}

// Waiting returns why messages cannot be published at present: there is no connection,
// or the broker has an alarm. It returns nil if there is no such reason.
func (p *Publisher) Waiting() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil || p.conn.IsClosed() {
		return errors.Join(errors.New("there is no connection to RabbitMQ"), p.failure)
	}
	return p.blocked()
}

// Blocked returns the alarm due to which the broker takes no messages at present, nil if
// there is none. Unlike [Publisher.Waiting] it does not report a missing connection,
// since Publish makes one.
func (p *Publisher) Blocked() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		return nil
	}
	return p.blocked()
}

// blocked is [Publisher.Blocked] with p.mu held and p.conn not nil.
func (p *Publisher) blocked() error {
	if reason := p.conn.alarm(); reason != "" && !p.conn.IsClosed() {
		return fmt.Errorf("RabbitMQ has an alarm and takes no messages: %s", reason)
	}
	return nil
}

// DeclareQueue is [DeclareQueue] on the publisher's connection.
func (p *Publisher) DeclareQueue(ctx context.Context, queue string) (Queue, error) {
	conn, err := p.connection(ctx)
	if err != nil {
		return Queue{}, err
	}
	return await(ctx, p, func() (Queue, error) { return DeclareQueue(conn, queue) }, nil)
}

// Close closes the connection; calls under way fail. It is safe to call twice.
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
