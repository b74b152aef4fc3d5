package broker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker/brokertest"
)

// The parts of a content header, as they are on the wire.
func short(s string) []byte { return append([]byte{byte(len(s))}, s...) }

func long(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}
func cat(parts ...[]byte) []byte             { return bytes.Join(parts, nil) }
func value(kind byte, content []byte) []byte { return cat([]byte{kind}, content) }
func entry(name string, value []byte) []byte { return cat(short(name), value) }
func payload(flags uint16, p ...[]byte) []byte {
	head := binary.BigEndian.AppendUint64([]byte{0, 60, 0, 0}, 1)
	return cat(binary.BigEndian.AppendUint16(head, flags), cat(p...))
}

// withHeaders has a message id after the table of headers.
func withHeaders(entries ...[]byte) []byte {
	return payload(propertyFlag(headers)|propertyFlag(7), long(cat(entries...)), short("the id"))
}

// nested nests arrays and tables, in the repeated order of kinds.
func nested(kinds string, depth int) []byte {
	v := value('V', nil)
	for i := range depth {
		if kind := kinds[i%len(kinds)]; kind == 'F' {
			v = value(kind, long(entry("k", v)))
		} else {
			v = value(kind, long(v))
		}
	}
	return v
}

func array(n int) []byte { return value('A', long(bytes.Repeat([]byte{'V'}, n))) }

func table(n int) []byte {
	var b []byte
	for i := range n {
		b = append(b, entry(fmt.Sprint(i), value('V', nil))...)
	}
	return b
}

var soundHeader = entry("sound", value('S', long([]byte("kept"))))

// contentHeaders are payloads and why each is refused.
var contentHeaders = []struct {
	name    string
	payload []byte
	want    error
}{
	{"no properties", payload(0), nil},
	{"no headers", withHeaders(), nil},
	{"every property", payload(0xfffc, short("type"), short("gzip"), long(soundHeader), []byte{2}, []byte{9}, short("c"), short("r"), short("60000"), short("id"),
		make([]byte, 8), short("t"), short("u"), short("a"), short("")), nil},
	{"every type", withHeaders(
		entry("t", value('t', []byte{2})), entry("b", value('b', []byte{1})), entry("B", value('B', []byte{1})), entry("s", value('s', []byte{1, 2})),
		entry("u", value('u', []byte{1, 2})), entry("I", value('I', []byte{1, 2, 3, 4})), entry("i", value('i', []byte{1, 2, 3, 4})),
		entry("f", value('f', []byte{0x7f, 0xc0, 0, 0})), entry("l", value('l', make([]byte, 8))), entry("d", value('d', bytes.Repeat([]byte{255}, 8))),
		entry("T", value('T', bytes.Repeat([]byte{255}, 8))), entry("D", value('D', bytes.Repeat([]byte{255}, 5))), entry("V", value('V', nil)),
		entry("S", value('S', long([]byte{0xff, 0}))), entry("x", value('x', long(nil))), entry("A", array(3)), entry("F", nested("F", 2)),
	), nil},
	{"names", withHeaders(entry("", value('V', nil)), entry("\xff\x00", value('V', nil)), entry(strings.Repeat("n", 255), value('V', nil))), nil},
	{"unknown flags and what follows", payload(3, []byte("rest")), nil},
	{"tables 32 deep", withHeaders(entry("deep", nested("F", 32)), soundHeader), nil},
	{"tables 33 deep", withHeaders(entry("deep", nested("F", 33)), soundHeader), errNested},
	{"arrays 32 deep", withHeaders(entry("deep", nested("A", 32)), soundHeader), nil},
	{"arrays 33 deep", withHeaders(entry("deep", nested("A", 33)), soundHeader), errNested},
	{"both in each other, 33 deep", withHeaders(soundHeader, entry("deep", nested("AF", 33))), errNested},
	{"5,000 deep", withHeaders(soundHeader, entry("deep", nested("FA", 5000))), errNested},
	{"deep in an x-death", withHeaders(entry("x-death", value('A', long(value('F', long(entry("queue", nested("A", 31))))))), soundHeader), errNested},
	{"8192 elements", withHeaders(entry("many", array(8192)), soundHeader), nil},
	{"8193 elements", withHeaders(entry("many", array(8193)), soundHeader), errElements},
	{"8193 elements, deep", withHeaders(entry("x-death", value('A', long(value('F', long(entry("many", array(8193))))))), soundHeader), errElements},
	{"8192 headers", withHeaders(table(8192)), nil},
	{"8193 headers", withHeaders(table(8193)), errElements},
	{"8193 values in a table", withHeaders(entry("many", value('F', long(table(8193)))), soundHeader), errElements},
	{"unknown type", withHeaders(soundHeader, entry("odd", value('Z', []byte{1}))), errKind},
	{"unknown type in an array", withHeaders(entry("odd", value('A', long([]byte{'?'}))), soundHeader), errKind},
	{"cut value", withHeaders(soundHeader, entry("cut", value('I', []byte{0}))), errCut},
	{"cut value in an array", withHeaders(entry("cut", value('A', long([]byte{'I'}))), soundHeader), errCut},
	{"cut name", withHeaders(soundHeader, []byte{9, 'n'}), errCut},
	{"no value", withHeaders(soundHeader, short("n")), errCut},
	{"text longer than its table", withHeaders(soundHeader, entry("cut", value('S', []byte{255, 255, 255, 255, 1}))), errCut},
	{"cut table", payload(propertyFlag(headers), []byte{0, 0, 0, 9, 1}), errCut},
	{"no length of the table", payload(propertyFlag(0)|propertyFlag(headers), short("type"), []byte{0, 0}), errCut},
	{"cut property", payload(propertyFlag(0)|propertyFlag(7), short("type"), []byte{9, 'i'}), errCut},
	{"no property", payload(0xfffc), errCut},
	{"no flags", payload(0)[:contentFlags], errCut},
	{"nothing", nil, errCut},
}

// A content header that is refused is replaced by one that is not, with every
// property and header that can be read and the table as it was.
func TestInspector(t *testing.T) {
	const frameMax = 131072
	before, after := brokertest.NewFrame(brokertest.FrameMethod, 7, []byte("before")), brokertest.NewFrame(brokertest.FrameBody, 7, []byte("after"))
	for _, tt := range contentHeaders {
		t.Run(tt.name, func(t *testing.T) {
			if err := refusal(tt.payload); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("refused for %v, want %v", err, tt.want)
			}
			in := brokertest.NewFrame(brokertest.FrameHeader, 0x0102, tt.payload)
			out := inspect(t, frameMax, before, in, after)
			if tt.want == nil {
				if !bytes.Equal(out, cat(before, in, after)) {
					t.Error("a sound content header was changed")
				}
				return
			}
			out, found := bytes.CutPrefix(out, before)
			out, alsoFound := bytes.CutSuffix(out, after)
			if !found || !alsoFound {
				t.Fatal("the frames around it were changed")
			}
			frame := brokertest.Frame(out)
			if frame.Kind() != brokertest.FrameHeader || frame.Channel() != 0x0102 || len(frame.Payload()) > frameMax-frameOverhead || out[len(out)-1] != frameEnd {
				t.Fatalf("frame %x", out)
			}
			if err := refusal(frame.Payload()); err != nil {
				t.Fatalf("the replacement is refused: %v", err)
			}
			was, _ := parseContent(tt.payload)
			is, _ := parseContent(frame.Payload())
			if !bytes.Equal(is.before, was.before) || !bytes.Equal(is.after, was.after) || is.flags != was.flags|propertyFlag(headers) {
				t.Errorf("properties %+v, before %+v", is, was)
			}
			if !bytes.Contains(is.table, cat(short(HeaderUnreadable), []byte{'S'})) || !bytes.Contains(is.table, []byte(tt.want.Error())) {
				t.Errorf("it is not told: %q", is.table)
			}
			if len(was.table) > 0 && !bytes.Contains(is.table, cat(short(HeaderOriginal), value('x', long(was.table)))) {
				t.Errorf("the original is not kept: %q", is.table)
			}
			if bytes.Count(was.table, soundHeader) != bytes.Count(is.table[:len(is.table)-len(HeaderOriginal)], soundHeader)-bytes.Count(was.table, soundHeader) {
				t.Errorf("a sound header is not kept: %q", is.table)
			}
		})
	}
}

// inspect returns what an inspector forwards, read in parts of one byte, where that
// is not too slow, up to all.
func inspect(t *testing.T, frameMax int, frames ...[]byte) []byte {
	t.Helper()
	var first []byte
	total := len(cat(frames...))
	for i, in := range []io.Reader{bytes.NewReader(cat(frames...)), iotest.OneByteReader(bytes.NewReader(cat(frames...))), iotest.DataErrReader(bytes.NewReader(cat(frames...)))} {
		if i == 1 && total > 200_000 {
			continue
		}
		r := &inspector{in: bufio.NewReaderSize(in, readBuffer)}
		r.frameMax.Store(int64(frameMax))
		var reader io.Reader = r
		if i == 1 {
			reader = iotest.HalfReader(r)
		}
		out, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = out
		} else if !bytes.Equal(out, first) {
			t.Fatalf("another way of reading gives other bytes: %d, not %d", len(out), len(first))
		}
	}
	return first
}

// A content header that is larger than a frame may be loses its largest headers,
// which are named, and takes no more memory than a frame.
func TestInspectorOfHugeHeaders(t *testing.T) {
	text := func(n int) []byte { return value('x', long(bytes.Repeat([]byte{'.'}, n))) }
	for _, size := range []int{4089, 5000, 131072, 2 << 20} {
		for _, frameMax := range []int{4096, 8192, 131072, 0} {
			limit := frameMax - frameOverhead
			if frameMax == 0 {
				limit = maxUnnegotiated
			}
			in := withHeaders(entry("a", text(100)), soundHeader, entry("huge", text(size)), entry("b", text(1000)))
			out := brokertest.Frame(inspect(t, frameMax, brokertest.NewFrame(brokertest.FrameHeader, 1, in)))
			if len(in) <= limit {
				if !bytes.Equal(out.Payload(), in) {
					t.Errorf("%d bytes with frame_max %d are replaced", size, frameMax)
				}
				continue
			}
			c, err := parseContent(out.Payload())
			if err != nil || len(out.Payload()) > limit || refusal(out.Payload()) != nil || string(c.after) != "\x06the id" {
				t.Fatalf("%d bytes with frame_max %d: %d bytes, %v, %+v", size, frameMax, len(out.Payload()), err, c)
			}
			want := fmt.Sprintf("the properties of the message have %d bytes, and a frame has room for %d", len(in), limit)
			if !bytes.Contains(c.table, []byte(want)) || !bytes.Contains(c.table, []byte(`"huge"`)) || !bytes.Contains(c.table, soundHeader) || bytes.Contains(c.table, []byte(HeaderOriginal)) {
				t.Errorf("%d bytes with frame_max %d: %q", size, frameMax, c.table)
			}
		}
	}
}

// Headers that a publisher sends under our names are dropped.
func TestInspectorReplacesForgedMarks(t *testing.T) {
	forged := value('S', long([]byte("forged")))
	in := withHeaders(entry(HeaderUnreadable, forged), entry(HeaderOriginal, forged), entry("deep", nested("F", 40)))
	c, _ := parseContent(replacement(in, refusal(in), 4088))
	readable, others := splitTable(c.table)
	if len(readable) != 2 || len(others) != 0 {
		t.Fatalf("headers %v, %v", readable, others)
	}
	for _, h := range readable {
		if bytes.HasSuffix(h.bytes, forged) {
			t.Errorf("%s is the publisher's", h.name)
		}
	}
}

// A connection that ends in the middle of a frame ends for the reader, too.
func TestInspectorOfCutStreams(t *testing.T) {
	whole := cat(brokertest.NewFrame(brokertest.FrameMethod, 1, []byte("method")), brokertest.NewFrame(brokertest.FrameHeader, 1, withHeaders(entry("deep", nested("F", 33)))),
		brokertest.NewFrame(brokertest.FrameHeader, 1, withHeaders(soundHeader)))
	for n := range whole {
		r := &inspector{in: bufio.NewReader(bytes.NewReader(whole[:n]))}
		if _, err := io.ReadAll(r); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// soundMessage is a delivery of an ordinary message.
func soundMessage() []byte {
	headers := withHeaders(entry("traceparent", value('S', long([]byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")))), entry(HeaderTime, value('l', make([]byte, 8))))
	return cat(brokertest.NewFrame(brokertest.FrameMethod, 1, make([]byte, 60)), brokertest.NewFrame(brokertest.FrameHeader, 1, headers), brokertest.NewFrame(brokertest.FrameBody, 1, make([]byte, 120)))
}

func TestInspectorAllocatesNothing(t *testing.T) {
	messages := bytes.Repeat(soundMessage(), 100)
	in := bytes.NewReader(messages)
	r := &inspector{in: bufio.NewReaderSize(in, readBuffer)}
	buf := make([]byte, 4096)
	if n := testing.AllocsPerRun(20, func() {
		in.Reset(messages)
		for {
			if _, err := r.Read(buf); err != nil {
				return
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations for 100 messages", n)
	}
}

func BenchmarkInspector(b *testing.B) {
	messages := bytes.Repeat(soundMessage(), 1000)
	buf := make([]byte, 4096)
	for _, bb := range []struct {
		name   string
		reader func(in *bufio.Reader) io.Reader
	}{
		{"with", func(in *bufio.Reader) io.Reader { return &inspector{in: in} }},
		{"without", func(in *bufio.Reader) io.Reader { return in }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			in := bytes.NewReader(nil)
			r := bb.reader(bufio.NewReaderSize(in, readBuffer))
			for b.Loop() {
				in.Reset(messages)
				for {
					if _, err := r.Read(buf); err != nil {
						break
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/message")
		})
	}
}

// fakeBroker delivers content headers to a client that consumes.
type fakeBroker struct {
	conn       net.Conn
	client     *Conn
	deliveries <-chan amqp.Delivery
}

const fakeFrameMax = 64 << 10

func newFakeBroker(t testing.TB) *fakeBroker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := &fakeBroker{}
	var handshake sync.WaitGroup
	handshake.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		b.conn = conn
		_, _ = io.CopyN(io.Discard, conn, 8)
		method := func(channel uint16, class, number byte, args ...[]byte) {
			_, _ = conn.Write(brokertest.NewFrame(brokertest.FrameMethod, channel, cat([]byte{0, class, 0, number}, cat(args...))))
		}
		method(0, 10, 10, []byte{0, 9}, long(nil), long([]byte("PLAIN")), long([]byte("en_US")))
		for {
			head := make([]byte, frameHead)
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			rest := make([]byte, payloadSize(head)+1)
			if _, err := io.ReadFull(conn, rest); err != nil {
				return
			}
			switch brokertest.Frame(cat(head, rest)).Method() {
			case brokertest.ConnectionStartOk:
				method(0, 10, 30, []byte{0, 0}, binary.BigEndian.AppendUint32(nil, fakeFrameMax), []byte{0, 0})
			case brokertest.ConnectionOpen:
				method(0, 10, 41, short(""))
			case brokertest.ChannelOpen:
				method(1, 20, 11, long(nil))
			case brokertest.BasicConsume:
				method(1, 60, 21, short("tag"))
				return
			}
		}
	})
	b.client, err = Dial(context.Background(), Config{URLs: urls("amqp://u:p@" + l.Addr().String())})
	if err != nil {
		t.Fatal(err)
	}
	ch, err := b.client.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if b.deliveries, err = ch.Consume("q", "tag", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	handshake.Wait()
	return b
}

func (b *fakeBroker) close() {
	b.client.Abort()
	_ = b.client.Close()
	_ = b.conn.Close()
}

// deliver sends a message with one byte of body, in two parts, and returns what the
// client makes of it.
func (b *fakeBroker) deliver(payload []byte, part int) (amqp.Delivery, error) {
	method := cat([]byte{0, 60, 0, 60}, short("tag"), make([]byte, 8), []byte{0}, short(""), short("q"))
	all := cat(brokertest.NewFrame(brokertest.FrameMethod, 1, method), brokertest.NewFrame(brokertest.FrameHeader, 1, payload),
		brokertest.NewFrame(brokertest.FrameBody, 1, []byte{'b'}))
	for _, part := range [][]byte{all[:part%len(all)], all[part%len(all):]} {
		if _, err := b.conn.Write(part); err != nil {
			return amqp.Delivery{}, err
		}
	}
	d, open := <-b.deliveries
	if !open {
		<-b.client.Done()
		return d, b.client.Err()
	}
	return d, nil
}

// FuzzInspector compares the inspector with the client library: the client reads every
// content header of the broker and keeps its connection.
func FuzzInspector(f *testing.F) {
	for i, tt := range contentHeaders {
		if len(tt.payload) >= contentFlags {
			f.Add(tt.payload[contentFlags:], uint16(i*37))
		}
	}
	f.Add(withHeaders(entry("huge", value('S', long(make([]byte, 70_000)))))[contentFlags:], uint16(0))
	var b *fakeBroker
	f.Cleanup(func() {
		if b != nil {
			b.close()
		}
	})
	f.Fuzz(func(t *testing.T, properties []byte, part uint16) {
		if b == nil || b.client.IsClosed() {
			b = newFakeBroker(t)
		}
		in := cat(payload(0)[:contentFlags], properties)
		d, err := b.deliver(in, int(part))
		if err != nil {
			t.Fatalf("the client closed the connection: %v", err)
		}
		refused := refusal(in)
		if len(in) > fakeFrameMax-frameOverhead {
			refused = errors.New("too large")
		}
		if mark, _ := d.Headers[HeaderUnreadable].(string); refused != nil && mark == "" {
			t.Errorf("refused for %v, and not marked: %v", refused, d.Headers)
		}
		if string(d.Body) != "b" {
			t.Errorf("body %q", d.Body)
		}
	})
}
