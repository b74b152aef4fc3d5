package broker

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	dialTimeout = 10 * time.Second
	// writeTimeout ends a connection whose peer has stopped reading. Without it a
	// blocked write holds the client's locks, and even the missing heartbeat cannot
	// close the connection.
	writeTimeout = 30 * time.Second
	closeTimeout = 3 * time.Second
)

// ErrLost is wrapped by the error of an operation whose connection ended.
var ErrLost = errors.New("the connection to the broker was lost")

// Conn is one connection; it is never reconnected.
type Conn struct {
	*amqp.Connection
	// Addr is the host and port of the node.
	Addr string

	raw     net.Conn
	frames  *inspector
	done    chan struct{}
	ended   sync.WaitGroup
	err     error // valid once done is closed
	metrics *connMetrics

	mu        sync.Mutex
	blocked   string        // the alarm while the broker takes no messages
	unblocked chan struct{} // open while blocked
}

// Dial connects to one of the URLs; it tries each once, in random order. Its errors
// contain no password.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	cfg = cfg.withDefaults()
	return dial(ctx, cfg, newConnMetrics(nil, cfg.Name))
}

func dial(ctx context.Context, cfg Config, m *connMetrics) (*Conn, error) {
	urls, err := cfg.URLs()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := cfg.TLS.config()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, i := range rand.Perm(len(urls)) {
		uri, err := amqp.ParseURI(urls[i])
		if err != nil {
			// the error of the parser repeats the URL with its password
			errs = append(errs, fmt.Errorf("broker URL %d of %d is not of the form amqp://user:password@host:port/vhost with special characters percent-encoded", i+1, len(urls)))
			continue
		}
		addr := net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port))
		conn := &Conn{Addr: addr, done: make(chan struct{}), metrics: m}
		plain, secure := urls[i], (*tls.Config)(nil)
		if uri.Scheme == "amqps" { // TLS is below the inspector, which the client cannot do
			plain, secure = "amqp"+plain[len(uri.Scheme):], tlsConfig.Clone()
			secure.ServerName = cmp.Or(secure.ServerName, uri.Host)
		}
		ac := amqp.Config{
			Heartbeat:  cfg.Heartbeat,
			Properties: amqp.Table{"connection_name": cfg.Name, "product": "parkstream"},
			Dial:       func(network, _ string) (net.Conn, error) { return conn.open(ctx, network, secure, cfg.Heartbeat*3/2) },
		}
		stop := context.AfterFunc(ctx, conn.Abort)
		conn.Connection, err = amqp.DialConfig(plain, ac)
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			conn.Abort()
			if ctx.Err() == nil && endedEarly(err) {
				err = fmt.Errorf("the broker ended the connection during the handshake, as it does if it does not accept our TLS certificate; its log says why: %w", err)
			}
			errs = append(errs, fmt.Errorf("connect to RabbitMQ at %s: %w", addr, err))
			continue
		}
		conn.frames.frameMax.Store(int64(conn.Config.FrameSize)) // there can be no message yet
		conn.watch()
		m.connects.Inc()
		m.have(1)
		return conn, nil
	}
	m.failures.Inc()
	return nil, errors.Join(errs...)
}

// endedEarly reports whether the peer closed the connection during the handshake.
// Under TLS 1.3 our side of it is over before the broker checks our certificate: its
// refusal can be the error of any later read or write, or of the client's own close.
func endedEarly(err error) bool {
	// the client keeps only the text of an error of its reader
	if lost, ok := errors.AsType[*amqp.Error](err); ok {
		return lost == amqp.ErrClosed || lost.Code == amqp.FrameError && !lost.Server
	}
	return errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// open connects to the node, with TLS if secure is not nil.
func (c *Conn) open(ctx context.Context, network string, secure *tls.Config, silence time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	raw, err := d.DialContext(ctx, network, c.Addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.raw = raw
	c.mu.Unlock()
	// the client lifts this deadline after the handshake
	if err := raw.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		_ = raw.Close()
		return nil, err
	}
	conn := raw
	if secure != nil {
		client := tls.Client(raw, secure)
		if err := client.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		conn = client
	}
	timed := newTimedConn(conn, silence)
	c.frames = timed.frames
	return timed, nil
}

// watch follows alarms and the end of the connection.
func (c *Conn) watch() {
	closed := c.NotifyClose(make(chan *amqp.Error, 1))
	blocks := c.NotifyBlocked(make(chan amqp.Blocking, 16))
	c.ended.Go(func() {
		defer close(c.done)
		defer c.metrics.have(-1)
		defer c.setBlocked(amqp.Blocking{})
		for {
			select {
			case b := <-blocks:
				c.setBlocked(b)
			case cause := <-closed:
				c.err = ErrLost
				if cause != nil {
					c.err = fmt.Errorf("%w: %w", ErrLost, cause)
				}
				return
			}
		}
	})
}

func (c *Conn) setBlocked(b amqp.Blocking) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case b.Active && c.unblocked == nil:
		c.unblocked = make(chan struct{})
		c.blocked = b.Reason
		c.metrics.block(1)
	case !b.Active && c.unblocked != nil:
		close(c.unblocked)
		c.unblocked, c.blocked = nil, ""
		c.metrics.block(-1)
	}
}

// alarm returns the alarm (of memory or disk) due to which the broker takes no
// messages at present, "" if there is none.
func (c *Conn) alarm() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocked
}

// waitUnblocked returns when messages may be published or the connection has ended; with
// an error when ctx has.
func (c *Conn) waitUnblocked(ctx context.Context) error {
	c.mu.Lock()
	unblocked, reason := c.unblocked, c.blocked
	c.mu.Unlock()
	if unblocked == nil {
		return nil
	}
	select {
	case <-unblocked:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the broker takes no messages (%s): %w", reason, ctx.Err())
	}
}

// Done is closed when the connection is lost or closed.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection ended, nil while it has not.
func (c *Conn) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// ServerVersion returns the broker's version, for example "3.10.8".
func (c *Conn) ServerVersion() string {
	v, _ := c.Properties["version"].(string)
	return v
}

// FrameMax returns the negotiated size of the largest frame, 0 for no limit.
func (c *Conn) FrameMax() int { return c.Config.FrameSize }

// Close closes the connection. The broker requeues unacknowledged messages.
func (c *Conn) Close() error {
	// ends a blocked write of another goroutine
	stop := time.AfterFunc(closeTimeout, c.Abort)
	defer stop.Stop()
	err := c.CloseDeadline(time.Now().Add(closeTimeout))
	c.ended.Wait()
	if errors.Is(err, amqp.ErrClosed) {
		return nil
	}
	return err
}

// Abort closes the socket without closing the AMQP connection first.
func (c *Conn) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raw != nil {
		_ = c.raw.Close()
	}
}
