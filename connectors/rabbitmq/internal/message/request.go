package message

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/tracing"
)

// source is the CloudEvents source of a queue's events, which is a URI reference.
func source(queue string) string { return (&url.URL{Path: "/rabbitmq/" + queue}).EscapedPath() }

// RequestBuffer holds the events of one request. It is reused from call to call.
type RequestBuffer struct {
	events []batch.Event
	ids    map[string]struct{}
}

var buffers = sync.Pool{New: func() any { return &RequestBuffer{ids: make(map[string]struct{})} }}

// NewRequestBuffer returns a buffer that has to be released.
func NewRequestBuffer() *RequestBuffer { return buffers.Get().(*RequestBuffer) }

// Release gives the buffer back after the call.
func (b *RequestBuffer) Release() {
	clear(b.events)
	b.events = b.events[:0]
	clear(b.ids)
	buffers.Put(b)
}

// Request returns the request that brings messages of a queue into a function. It is
// valid until Release. A function that takes raw messages gets one.
func (b *RequestBuffer) Request(f *openfaas.Function, queue, callID string, ds []*Delivery) openfaas.Request {
	r := openfaas.Request{CallID: callID, Topic: queue}
	if !f.Batched() {
		r.Body, r.Header = ds[0].amqp.Body, ds[0].fields()
		return r
	}
	for _, d := range ds {
		b.events = append(b.events, d.event(b.id(d)))
	}
	r.Source, r.Events = source(queue), b.events
	return r
}

// id returns an id that is unique within the request: the message id if that is possible.
func (b *RequestBuffer) id(d *Delivery) string {
	id := d.amqp.MessageId
	_, twice := b.ids[id]
	if twice || id == "" || !batch.IsText(id) {
		id = d.source.Queue + "/" + d.source.Connection + "/" + strconv.FormatUint(d.amqp.DeliveryTag, 10)
	}
	b.ids[id] = struct{}{}
	return id
}

func (d *Delivery) event(id string) batch.Event {
	h := d.amqp.Headers
	return batch.Event{
		ID: id, Time: d.Published(), TraceParent: traceField(h, tracing.FieldParent), TraceState: traceField(h, tracing.FieldState),
		Attributes: d.attributes(), ContentType: d.amqp.ContentType, Data: d.amqp.Body,
	}
}

// fields are the headers of a raw message, those that connectors for OpenFaaS use.
func (d *Delivery) fields() []openfaas.Field {
	h := d.amqp.Headers
	var fields []openfaas.Field
	for _, s := range simple(h, "") {
		if isName(s.name) {
			fields = append(fields, openfaas.Field{Name: "X-Rabbitmq-Header-" + s.name, Value: s.value})
		}
	}
	return append(fields,
		openfaas.Field{Name: "Content-Type", Value: d.amqp.ContentType},
		openfaas.Field{Name: "Content-Encoding", Value: d.amqp.ContentEncoding},
		openfaas.Field{Name: "Traceparent", Value: traceField(h, tracing.FieldParent)},
		openfaas.Field{Name: "Tracestate", Value: traceField(h, tracing.FieldState)},
		openfaas.Field{Name: "X-Rabbitmq-Msg-Id", Value: d.amqp.MessageId},
		openfaas.Field{Name: "X-Rabbitmq-Routing-Key", Value: d.headers.routingKey},
	)
}

// traceField returns a field of the publisher's trace context; W3C allows it 512
// bytes.
func traceField(h amqp.Table, name string) string {
	if text := text(h, name); len(text) <= maxHeader {
		return text
	}
	return ""
}

// ofPublisher reports whether a header is the publisher's own.
func ofPublisher(name string) bool {
	switch name {
	case tracing.FieldParent, tracing.FieldState, headerCopies, "x-delivery-count", "x-acquired-count":
		return false
	}
	for _, prefix := range []string{Prefix, "x-first-death-", "x-last-death-"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return true
}

// header is a simple header of a publisher.
type header struct{ name, value string }

const (
	// maxHeader bounds a message header that is passed on.
	maxHeader = openfaas.MaxField
	// maxPassedOn bounds all of one message's, with their names: a batch has those of
	// many messages, and proxies end at 8 or 16 KiB.
	maxPassedOn = 8 << 10
)

// simple returns the publisher's simple headers in the order of the alphabet, without
// one of them. What is too large is left out.
func simple(h amqp.Table, without string) []header {
	var hs []header
	for name, value := range h {
		if name == without || !ofPublisher(name) {
			continue
		}
		if text, ok := scalar(value); ok {
			hs = append(hs, header{name, text})
		}
	}
	slices.SortFunc(hs, func(a, b header) int { return strings.Compare(a.name, b.name) })
	room := maxPassedOn
	return slices.DeleteFunc(hs, func(h header) bool {
		size := len(h.name) + len(h.value)
		if size > room {
			return true
		}
		room -= size
		return false
	})
}

// attributes are what the publisher said of the message besides its body, as
// CloudEvents extension attributes: the header x-tenant becomes amqpxtenant. Of names
// that come to the same the first one counts; properties come before headers, which
// are in the order of the alphabet.
func (d *Delivery) attributes() []batch.Attribute {
	var as []batch.Attribute
	taken := make(map[string]struct{})
	add := func(name, value string) {
		if _, twice := taken[name]; !twice && batch.IsText(value) {
			taken[name] = struct{}{}
			as = append(as, batch.Attribute{Name: name, Value: value})
		}
	}
	if d.amqp.ContentEncoding != "" {
		add("amqpcontentencoding", d.amqp.ContentEncoding)
	}
	if key := d.headers.routingKey; key != d.source.Queue && key != "" {
		add("amqproutingkey", key)
	}
	for _, h := range simple(d.amqp.Headers, broker.HeaderTime) {
		add("amqp"+strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, strings.ToLower(h.name)), h.value)
	}
	return as
}

// scalar returns the text of a header that has a simple one.
func scalar(v any) (string, bool) {
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case []byte:
		text = string(v)
	case time.Time:
		text = v.UTC().Format(time.RFC3339)
	case amqp.Decimal:
		text = fmt.Sprintf("%de-%d", v.Value, v.Scale)
	case nil, []any, amqp.Table:
		return "", false
	default:
		text = fmt.Sprint(v)
	}
	return text, len(text) <= maxHeader
}
