package broker

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
)

// The headers of a message whose own headers the client library would refuse.
const (
	// HeaderUnreadable describes what is wrong with the published headers.
	HeaderUnreadable = "x-parkstream-unreadable"
	// HeaderOriginal is the published table of headers, if it fits.
	HeaderOriginal = "x-parkstream-original-headers"
)

// The limits of the client library; RabbitMQ has none. FuzzInspector compares them
// with the library's behaviour.
const (
	maxNesting  = 32   // levels of tables and arrays in the table of headers
	maxElements = 8192 // of one table or array
)

// MaxHeaders is how many headers a message may have to be readable after the broker has
// added its own.
const MaxHeaders = maxElements - 64

// Reasons for which the client library would refuse a content header.
var (
	errNested   = fmt.Errorf("tables and arrays are nested deeper than %d levels", maxNesting)
	errElements = fmt.Errorf("a table or array has more than %d elements", maxElements)
	errKind     = errors.New("a value has a type that AMQP does not know")
	errCut      = errors.New("a value is cut off")
)

// A frame is its type, its channel, the size of its payload, the payload and an
// end mark.
const (
	frameHead     = 1 + 2 + 4
	frameOverhead = frameHead + 1
	frameHeader   = 2 // the type of a content header
	frameEnd      = 0xce
)

// maxUnnegotiated bounds a content header if the broker has no frame_max.
const maxUnnegotiated = 1 << 20

// inspector forwards the stream of a broker to the client library. It replaces each
// content header for which the library would close the connection, since its bytes are
// those of any publisher.
type inspector struct {
	in       *bufio.Reader
	frameMax atomic.Int64 // as it was negotiated; 0 is no limit

	own  []byte // to be forwarded first
	left int64  // bytes of in to be forwarded unchanged
}

// Read blocks until there is a byte to return. If the byte belongs to a content header,
// Read blocks until the whole header has arrived.
func (r *inspector) Read(p []byte) (n int, err error) {
	for n < len(p) {
		switch {
		case len(r.own) > 0:
			k := copy(p[n:], r.own)
			r.own = r.own[k:]
			n += k
		case r.left > 0 && (n == 0 || r.in.Buffered() > 0):
			k, err := r.in.Read(p[n:min(int64(len(p)), int64(n)+r.left)])
			r.left -= int64(k)
			n += k
			if err != nil {
				return n, err
			}
		case n > 0:
			return n, nil
		default:
			if err := r.next(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// next decides about the frames that are buffered, at least about one.
func (r *inspector) next() error {
	if _, err := r.in.Peek(frameHead); err != nil {
		if r.left = int64(r.in.Buffered()); r.left > 0 {
			return nil // the library finds that it is cut off
		}
		return err
	}
	limit := int64(maxUnnegotiated)
	if m := r.frameMax.Load(); m > 0 {
		limit = m - frameOverhead
	}
	there, _ := r.in.Peek(r.in.Buffered())
	if r.left = sound(there, limit); r.left > 0 {
		return nil
	}
	return r.contentHeader(limit)
}

// sound returns how many bytes of the stream that begins with b are to be forwarded
// unchanged: the frames before a content header that is refused or not complete in b.
func sound(b []byte, limit int64) (n int64) {
	for n+frameHead <= int64(len(b)) {
		frame := b[n:]
		size := payloadSize(frame)
		if frame[0] == frameHeader {
			if size > limit || size+frameOverhead > int64(len(frame)) || refusal(frame[frameHead:frameHead+size]) != nil {
				break
			}
		}
		n += size + frameOverhead
	}
	return n
}

func payloadSize(frame []byte) int64 { return int64(binary.BigEndian.Uint32(frame[3:])) }

// contentHeader reads one content header, and replaces it if it is refused.
func (r *inspector) contentHeader(limit int64) error {
	var head [frameHead]byte
	if _, err := io.ReadFull(r.in, head[:]); err != nil {
		return err
	}
	size := payloadSize(head[:])
	payload, err := r.payload(size, limit)
	if err != nil {
		return err
	}
	end, err := r.in.ReadByte()
	if err != nil {
		return err
	}
	refused := refusal(payload)
	if size > limit {
		refused = fmt.Errorf("the properties of the message have %d bytes, and a frame has room for %d", size, limit)
	}
	if refused != nil {
		payload = replacement(payload, refused, int(limit))
	}
	binary.BigEndian.PutUint32(head[3:], uint32(len(payload)))
	r.own = slices.Concat(head[:], payload, []byte{end})
	return nil
}

// payload reads the payload of a content header. If it is larger than limit, payload
// keeps the beginning of the table of headers and the beginning of what follows the
// table. The kept part of the table includes what the broker has prepended to a table
// that was published at the limit.
func (r *inspector) payload(size, limit int64) ([]byte, error) {
	var b bytes.Buffer
	if size <= limit {
		_, err := io.CopyN(&b, r.in, size)
		return b.Bytes(), err
	}
	lead, err := r.in.Peek(maxLead)
	if err != nil {
		return nil, err
	}
	c, _ := parseContent(lead)
	at := int64(c.tableAt)
	table := min(int64(c.tableSize), size-at)
	kept, rest := min(table, max(2*limit, usualTable)), size-at-table
	for _, part := range []struct{ keep, drop int64 }{{at + kept, table - kept}, {min(rest, limit), max(0, rest-limit)}} {
		if _, err := io.CopyN(&b, r.in, part.keep); err != nil {
			return nil, err
		}
		if _, err := io.CopyN(io.Discard, r.in, part.drop); err != nil {
			return nil, err
		}
	}
	if at > 0 {
		binary.BigEndian.PutUint32(b.Bytes()[at-4:], uint32(kept))
	}
	return b.Bytes(), nil
}

// The payload of a content header is the class of the method, a weight, the size of the
// body, the flags of the properties present, and the properties.
const (
	contentFlags = 2 + 2 + 8
	contentHead  = contentFlags + 2
	// properties are their kinds, from the highest flag on: short string, the table
	// of headers, byte, time.
	properties = "ssHbbssssTssss"
	headers    = 2 // the index of the table in properties
	// usualTable is larger than any table of headers that was published with RabbitMQ's
	// default frame_max of 128 KiB: it is read whole even if frame_max was lowered since.
	usualTable = 256 << 10
	// maxLead bounds what precedes the table of headers, with the length of the table.
	maxLead = contentHead + headers*(1+maxShort) + 4
)

func propertyFlag(i int) uint16 { return 1 << (15 - i) }

// content is the payload of a content header in its parts.
type content struct {
	fixed  []byte // before the flags
	flags  uint16 // of the properties that could be read
	before []byte // the properties before the table of headers
	table  []byte // of headers, without its length
	after  []byte // the properties after it
	// the offset of the table in the payload and its declared length; 0 if there is none
	tableAt, tableSize int
}

// parseContent splits a payload into its parts. With an error it returns the parts that
// it could read.
func parseContent(p []byte) (c content, err error) {
	if len(p) < contentHead {
		c.fixed = make([]byte, contentFlags)
		copy(c.fixed, p)
		return c, errCut
	}
	c.fixed = p[:contentFlags]
	flags := binary.BigEndian.Uint16(p[contentFlags:])
	at, after := contentHead, contentHead
	for i := range properties {
		if flags&propertyFlag(i) != 0 {
			n := propertySize(properties[i], p[at:])
			if i == headers && at+4 <= len(p) {
				c.tableAt, c.tableSize = at+4, n-4
			}
			if n > len(p)-at {
				err = errCut
				break
			}
			c.flags |= propertyFlag(i)
			at += n
		}
		switch {
		case i < headers:
			c.before, after = p[contentHead:at], at
		case i == headers:
			after = at
		}
	}
	if c.flags&propertyFlag(headers) != 0 {
		c.table = p[c.tableAt:][:c.tableSize]
	}
	c.after = p[after:at]
	return c, err
}

// propertySize returns the size of the property that p begins with; more than that of p
// if its length is cut off.
func propertySize(kind byte, p []byte) int {
	switch {
	case kind == 'b':
		return 1
	case kind == 'T':
		return 8
	case kind == 's' && len(p) >= 1:
		return 1 + int(p[0])
	case kind == 'H' && len(p) >= 4:
		return 4 + int(binary.BigEndian.Uint32(p))
	}
	return len(p) + 1
}

// refusal returns why the client library would refuse the payload of a content header,
// nil if it would not. It is stricter than the library on malformed values, which
// RabbitMQ does not send, and on thousands of headers of one name.
func refusal(payload []byte) error {
	c, err := parseContent(payload)
	if err != nil {
		return err
	}
	return checkElements(c.table, true, 0)
}

// checkElements checks the content of a table, in which each value has a key, or of
// an array.
func checkElements(b []byte, keyed bool, depth int) error {
	if depth > maxNesting {
		return errNested
	}
	for n := 0; len(b) > 0; n++ {
		if n == maxElements {
			return errElements
		}
		if keyed {
			k := 1 + int(b[0])
			if k > len(b) {
				return errCut
			}
			b = b[k:]
		}
		size, err := valueSize(b)
		if err == nil {
			err = checkValue(b[:size], depth)
		}
		if err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

func checkValue(v []byte, depth int) error {
	if kind := v[0]; kind == 'A' || kind == 'F' {
		return checkElements(v[5:], kind == 'F', depth+1)
	}
	return nil
}

// valueSize returns the size of the value that b begins with, with its type.
func valueSize(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, errCut
	}
	n := 1
	switch b[0] {
	case 'V':
	case 't', 'b', 'B':
		n += 1
	case 's', 'u':
		n += 2
	case 'I', 'i', 'f':
		n += 4
	case 'D':
		n += 5
	case 'l', 'd', 'T':
		n += 8
	case 'S', 'x', 'A', 'F':
		if len(b) < 5 {
			return 0, errCut
		}
		n += 4 + int(binary.BigEndian.Uint32(b[1:]))
	default:
		return 0, errKind
	}
	if n > len(b) {
		return 0, errCut
	}
	return n, nil
}

// maxUnreadable bounds [HeaderUnreadable] in bytes.
const maxUnreadable = 500

// replacement returns a payload of at most limit bytes for one that is refused. It has
// the readable properties. Its headers are [HeaderUnreadable], [HeaderOriginal] if it
// fits, and as many readable headers as fit, the smallest first.
func replacement(payload []byte, refused error, limit int) []byte {
	c, _ := parseContent(payload)
	room := limit - contentHead - len(c.before) - 4 - len(c.after) - headerSize(HeaderUnreadable, maxUnreadable)
	var table []byte
	if size := headerSize(HeaderOriginal, len(c.table)); size <= room && len(c.table) > 0 {
		table = appendHeader(table, HeaderOriginal, 'x', c.table)
		room -= size
	}
	readable, left := splitTable(c.table)
	slices.SortStableFunc(readable, func(a, b header) int { return cmp.Compare(len(a.bytes), len(b.bytes)) })
	for i, h := range readable {
		switch {
		case h.name == HeaderUnreadable || h.name == HeaderOriginal: // not ours
		case len(h.bytes) > room || i >= MaxHeaders:
			left = append(left, h.name)
		default:
			table = append(table, h.bytes...)
			room -= len(h.bytes)
		}
	}
	why := refused.Error()
	if len(left) > 0 {
		why += fmt.Sprintf(" (left out: %+q)", left[:min(len(left), 20)])
	}
	table = appendHeader(table, HeaderUnreadable, 'S', []byte(why[:min(len(why), maxUnreadable)]))

	out := binary.BigEndian.AppendUint16(slices.Clip(c.fixed), c.flags|propertyFlag(headers))
	out = append(out, c.before...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(table)))
	return append(append(out, table...), c.after...)
}

// header is one header of a table.
type header struct {
	name  string
	bytes []byte // with its name
}

// splitTable returns the headers of a table that the client library can read, and the
// names of the others. It ends at a value of unknown size.
func splitTable(table []byte) (readable []header, others []string) {
	for len(table) > 0 {
		k := 1 + int(table[0])
		if k > len(table) {
			break
		}
		name := string(table[1:k])
		size, err := valueSize(table[k:])
		if err != nil {
			others = append(others, name)
			break
		}
		if checkValue(table[k:k+size], 0) == nil {
			readable = append(readable, header{name, table[:k+size]})
		} else {
			others = append(others, name)
		}
		table = table[k+size:]
	}
	return readable, others
}

func headerSize(name string, value int) int { return 1 + len(name) + 1 + 4 + value }

func appendHeader(table []byte, name string, kind byte, value []byte) []byte {
	table = append(append(table, byte(len(name))), name...)
	table = binary.BigEndian.AppendUint32(append(table, kind), uint32(len(value)))
	return append(table, value...)
}
