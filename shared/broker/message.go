package broker

import (
	"errors"
	"fmt"
	"maps"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// HeaderTime is the header with the time of publishing as whole milliseconds
// since 1970, because the timestamp of AMQP counts whole seconds.
const HeaderTime = "timestamp_in_ms"

// maxShort is the length in bytes that AMQP allows a short string.
const maxShort = 255

// Message is a message to publish. It is persistent.
type Message struct {
	// Queue is the name of the queue, the routing key in the default exchange.
	Queue string
	// ID is its message id; at most 255 bytes.
	ID          string
	Body        []byte
	ContentType string
	Headers     amqp.Table
	// Timestamp is when it was first published. If it is zero, the message gets the
	// current time and the header [HeaderTime] with its milliseconds, unless Forwarded
	// is set.
	Timestamp time.Time
	Forwarded bool
	// TTL is the longest time in the queue, in whole milliseconds; 0 is no limit.
	TTL time.Duration
	// The other properties of AMQP, for messages that are forwarded.
	ContentEncoding, CorrelationID, ReplyTo, Type, AppID string
	Priority                                             uint8
	// Fit, if set, is called with a copy of the message before each attempt to publish
	// it, and with the frame size of that connection. It replaces headers that do not
	// fit.
	Fit func(m *Message, frameMax int)
}

// validate returns an error for a message that would make the client or the broker
// close the connection.
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

// HeaderRoom returns how many bytes of headers, as [HeadersSize] counts them, fit into a
// frame beside the other properties of the message. RabbitMQ closes a connection with
// larger headers.
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

// fieldSize returns the encoded size of a value with its type.
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
	return 9 // all others have 8 bytes
}

// publishing returns m as the client publishes it. stamp has the header of now.
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

// withHeader returns a copy of t with one more header.
func withHeader(t amqp.Table, key string, value any) amqp.Table {
	c := make(amqp.Table, len(t)+1)
	maps.Copy(c, t)
	c[key] = value
	return c
}
