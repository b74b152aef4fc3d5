// Package brokertest has a TCP proxy between a program and its broker, with which a
// test cuts, freezes and restores the network, and sees and changes frames.
package brokertest

import (
	"context"
	"encoding/binary"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Proxy forwards connections, and disturbs them on request.
type Proxy struct {
	listener net.Listener
	target   string
	serving  sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	down   bool          // new connections are closed at once
	frozen chan struct{} // open while nothing is forwarded
	filter func() Filter
}

// Filter sees every frame of a connection, in the order of each direction, and what
// it returns is forwarded instead: the frame itself, another one, several or none.
// It is called by one goroutine for each direction.
type Filter func(fromClient bool, f Frame) []byte

// Frame is one frame of AMQP: its type, channel and payload stand at their places.
type Frame []byte

// The types of frames.
const (
	FrameMethod = 1
	FrameHeader = 2
	FrameBody   = 3
)

// NewFrame makes a frame of a payload.
func NewFrame(kind byte, channel uint16, payload []byte) Frame {
	f := binary.BigEndian.AppendUint16([]byte{kind}, channel)
	f = binary.BigEndian.AppendUint32(f, uint32(len(payload)))
	return append(append(f, payload...), frameEnd)
}

const (
	frameHead = 7
	frameEnd  = 0xce
)

// Kind is the frame's type.
func (f Frame) Kind() byte { return f[0] }

// Channel is the number of the frame's channel.
func (f Frame) Channel() uint16 { return binary.BigEndian.Uint16(f[1:]) }

// Payload is what the frame holds.
func (f Frame) Payload() []byte { return f[frameHead : len(f)-1] }

// Method is the method of a frame of that type, zero for another one.
func (f Frame) Method() Method {
	if f.Kind() != FrameMethod {
		return Method{}
	}
	return Method{binary.BigEndian.Uint16(f.Payload()), binary.BigEndian.Uint16(f.Payload()[2:])}
}

// Method is a method of AMQP by the numbers of its class and its own.
type Method struct{ Class, Number uint16 }

// Some methods.
var (
	ConnectionStartOk = Method{10, 11}
	ConnectionOpen    = Method{10, 40}
	ConnectionClose   = Method{10, 50}
	ChannelOpen       = Method{20, 10}
	ChannelClose      = Method{20, 40}
	BasicConsume      = Method{60, 20}
	BasicCancelOk     = Method{60, 31}
	BasicDeliver      = Method{60, 60}
	BasicAck          = Method{60, 80}
	BasicNack         = Method{60, 120}
	TxSelect          = Method{90, 10}
	TxCommit          = Method{90, 20}
)

// NewProxy starts a proxy in front of the broker at rawURL. It ends with the
// test.
func NewProxy(t testing.TB, rawURL string) *Proxy {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: u.Host, conns: make(map[net.Conn]struct{})}
	p.serving.Go(p.accept)
	t.Cleanup(func() {
		p.Resume()
		_ = l.Close()
		p.Cut()
		p.serving.Wait()
	})
	return p
}

// Through returns rawURL with the proxy's address.
func (p *Proxy) Through(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return rawURL
	}
	u.Host = p.listener.Addr().String()
	return u.String()
}

// Cut resets all connections. New ones are forwarded, unless SetDown(true) was called.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

// SetDown has new connections refused, or forwarded again.
func (p *Proxy) SetDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// Pause stops forwarding until Resume. All connections stay open.
func (p *Proxy) Pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen == nil {
		p.frozen = make(chan struct{})
	}
}

// Resume forwards again. Nothing is lost.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen != nil {
		close(p.frozen)
		p.frozen = nil
	}
}

// Filter has filter called for a filter of each later connection.
func (p *Proxy) Filter(filter func() Filter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.filter = filter
}

func (p *Proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		down := p.down
		var filter Filter
		if p.filter != nil {
			filter = p.filter()
		}
		p.mu.Unlock()
		if down {
			_ = in.Close()
			continue
		}
		out, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", p.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.serving.Go(func() { p.forward(in, out, true, filter) })
		p.serving.Go(func() { p.forward(out, in, false, filter) })
	}
}

// protocolHeader is what a client sends before its first frame.
const protocolHeader = "AMQP\x00\x00\x09\x01"

func (p *Proxy) forward(from, to net.Conn, fromClient bool, filter Filter) {
	p.mu.Lock()
	p.conns[from] = struct{}{}
	p.mu.Unlock()
	var part []byte // of a frame that has not come in whole
	pass := func(in []byte) (out []byte) { return in }
	if filter != nil {
		skip := 0
		if fromClient {
			skip = len(protocolHeader)
		}
		pass = func(in []byte) (out []byte) {
			n := min(skip, len(in))
			skip -= n
			out, part = append(out, in[:n]...), append(part, in[n:]...)
			for len(part) >= frameHead {
				size := frameHead + int(binary.BigEndian.Uint32(part[3:])) + 1
				if len(part) < size {
					break
				}
				out = append(out, filter(fromClient, Frame(part[:size:size]))...)
				part = part[size:]
			}
			return out
		}
	}
	defer func() {
		p.mu.Lock()
		delete(p.conns, from)
		p.mu.Unlock()
		_ = from.Close()
		_ = to.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		frozen := p.frozen
		p.mu.Unlock()
		if frozen != nil {
			<-frozen
		}
		if n > 0 {
			if _, err := to.Write(pass(buf[:n])); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
