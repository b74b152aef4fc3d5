package broker

import (
	"bufio"
	"net"
	"sync/atomic"
	"time"
)

// timedConn gives every write a deadline, and every read after the handshake. The
// client sets a read deadline only after it has read something, and would never notice
// a peer that is silent from the start. The client also reads at most 4 KiB at a time,
// for which the buffer here makes up.
type timedConn struct {
	net.Conn
	silence time.Duration // the longest before the peer counts as lost
	open    atomic.Bool
	frames  *inspector
}

const readBuffer = 64 << 10

func newTimedConn(raw net.Conn, silence time.Duration) *timedConn {
	c := &timedConn{Conn: raw, silence: silence}
	c.frames = &inspector{in: bufio.NewReaderSize(readerFunc(c.read), readBuffer)}
	return c
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func (c *timedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *timedConn) Read(p []byte) (int, error) { return c.frames.Read(p) }

func (c *timedConn) read(p []byte) (int, error) {
	if c.open.Load() {
		if err := c.Conn.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}

// SetDeadline lifts the deadline of the handshake when t is zero.
func (c *timedConn) SetDeadline(t time.Time) error {
	if err := c.Conn.SetDeadline(t); err != nil || !t.IsZero() {
		return err
	}
	c.open.Store(true)
	return c.Conn.SetReadDeadline(time.Now().Add(c.silence)) // for a read under way
}

// SetReadDeadline ignores the client's own idea of a deadline.
func (c *timedConn) SetReadDeadline(time.Time) error { return nil }
