package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	amqp "github.com/rabbitmq/amqp091-go"
)

// HeaderTime is the header with the time of publishing as whole milliseconds
// since 1970, because the timestamp of AMQP counts whole seconds.
const HeaderTime = "timestamp_in_ms"

// maxOutstanding bounds the unconfirmed messages of one call of Publish.
const maxOutstanding = 1024

// maxShort is the length in bytes that AMQP allows a short string.
const maxShort = 255

// Message is a message to publish. It is persistent.
type Message struct {
	// Queue is where it goes, through the default exchange.
	Queue string
	// ID is its message id; at most 255 bytes.
	ID          string
	Body        []byte
	ContentType string
	Headers     amqp.Table
	// Timestamp is when it was first published. Where it is zero, the message
	// gets the present time and the header [HeaderTime] with its milliseconds,
	// unless Forwarded is set: then it goes without, as it came.
	Timestamp time.Time
	Forwarded bool
	// TTL is how long it may wait in its queue, in milliseconds; 0 is for ever.
	TTL time.Duration
	// The other properties of AMQP, for messages that are passed on.
	ContentEncoding, CorrelationID, ReplyTo, Type, AppID string
	Priority                                             uint8
	// Fit, if set, is called with a copy of the message each time it is published, and
	// with the frame size of the connection it is published on: it replaces headers
	// that have no room there.
	Fit func(m *Message, frameMax int)
}

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

// lane is an AMQP channel in confirm mode, used by one call at a time.
type lane struct {
	conn     *Conn
	ch       *amqp.Channel
	returns  chan amqp.Return // holds as many as can be outstanding: the client drops what it cannot deliver
	returned []amqp.Return    // read from returns, not yet matched
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

// validate finds what would make the client or the broker close the connection.
func (m *Message) validate(frameMax int) error {
	for _, f := range m.texts() {
		if len(f.value) > maxShort {
			return fmt.Errorf("the %s of the message is %d bytes long; at most %d are possible", f.name, len(f.value), maxShort)
		}
	}
	if m.Queue == "" {
		return errors.New("the message names no queue")
	}
	if n, room := HeadersSize(m.Headers), m.HeaderRoom(frameMax); n > room {
		return fmt.Errorf("the headers of the message have %d bytes; at most %d are possible: it has to fit into a frame of %d with its other properties", n, room, frameMax)
	}
	return m.Headers.Validate()
}

type text struct{ name, value string }

// texts are the queue and the properties that are short strings.
func (m *Message) texts() *[8]text {
	return &[...]text{
		{"queue", m.Queue},
		{"message id", m.ID},
		{"content type", m.ContentType},
		{"content encoding", m.ContentEncoding},
		{"correlation id", m.CorrelationID},
		{"reply-to", m.ReplyTo},
		{"type", m.Type},
		{"app id", m.AppID},
	}
}

// HeaderRoom returns how many bytes of headers, as [HeadersSize] counts them, fit
// into a frame with the other properties of the message. RabbitMQ closes the
// connection of one that does not fit.
func (m *Message) HeaderRoom(frameMax int) int {
	const (
		fixed      = 1 + 1 + 8 // delivery mode, priority and timestamp
		expiration = 1 + 20
		stamp      = 1 + len(HeaderTime) + 1 + 8
	)
	room := frameMax - frameOverhead - contentHead - fixed - expiration - stamp
	for _, f := range m.texts()[1:] { // the queue is in another frame
		room -= 1 + len(f.value)
	}
	return room
}

// HeadersSize returns how many bytes headers take in a frame.
func HeadersSize(h amqp.Table) int { return fieldSize(h) - 1 }

// fieldSize is what a value takes with its type.
func fieldSize(v any) int {
	switch v := v.(type) {
	case nil:
		return 1
	case bool, byte, int8:
		return 2
	case int16, uint16:
		return 3
	case int, int32, uint32, float32:
		return 5
	case amqp.Decimal:
		return 6
	case string:
		return 5 + len(v)
	case []byte:
		return 5 + len(v)
	case []any:
		n := 5
		for _, e := range v {
			n += fieldSize(e)
		}
		return n
	case amqp.Table:
		n := 5
		for k, e := range v {
			n += 1 + len(k) + fieldSize(e)
		}
		return n
	}
	return 9 // the others have 8 bytes
}

func (m *Message) publishing(now time.Time, stamp amqp.Table) amqp.Publishing {
	p := amqp.Publishing{
		Headers: m.Headers, ContentType: m.ContentType, ContentEncoding: m.ContentEncoding, DeliveryMode: amqp.Persistent,
		Priority: m.Priority, CorrelationId: m.CorrelationID, ReplyTo: m.ReplyTo, MessageId: m.ID, Timestamp: m.Timestamp,
		Type: m.Type, AppId: m.AppID, Body: m.Body,
	}
	if m.TTL > 0 {
		p.Expiration = fmt.Sprint(m.TTL.Milliseconds())
	}
	if m.Timestamp.IsZero() && !m.Forwarded {
		p.Timestamp = now
		if len(m.Headers) == 0 {
			p.Headers = stamp
		} else {
			p.Headers = withHeader(m.Headers, HeaderTime, stamp[HeaderTime])
		}
	}
	return p
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
