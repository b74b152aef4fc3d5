package rabbitmq

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

// requestBuffer is what the events of a call are made in, and reused from call to call.
type requestBuffer struct {
	events []batch.Event
	ids    map[string]struct{}
}

var requestBuffers = sync.Pool{New: func() any { return new(requestBuffer) }}

func (b *requestBuffer) giveBack() {
	clear(b.events)
	b.events = b.events[:0]
	clear(b.ids)
	requestBuffers.Put(b)
}

// request makes the request that brings items of a queue into a function.
func (b *requestBuffer) request(f *openfaas.Function, queue, callID string, items []item) openfaas.Request {
	r := openfaas.Request{CallID: callID, Topic: queue}
	if f.Batched() {
		b.addEvents(queue, items)
		r.Source, r.Events = source(queue), b.events
	} else {
		r.Body, r.Header = items[0].Body, rawFields(items[0])
	}
	return r
}

// addEvents gives every item an id that is unique within the batch: the message
// id where that is possible.
func (b *requestBuffer) addEvents(queue string, items []item) {
	if b.ids == nil {
		b.ids = make(map[string]struct{}, len(items))
	}
	for _, it := range items {
		id := it.MessageId
		_, twice := b.ids[id]
		if twice || id == "" || !batch.IsText(id) {
			id = queue + "/" + it.from.epoch + "/" + strconv.FormatUint(it.DeliveryTag, 10)
		}
		b.ids[id] = struct{}{}
		b.events = append(b.events, batch.Event{
			ID: id, Time: published(&it.Delivery), TraceParent: traceField(it.Headers, tracing.FieldParent), TraceState: traceField(it.Headers, tracing.FieldState),
			Attributes: attributes(it.delivery, queue), ContentType: it.ContentType, Data: it.Body,
		})
	}
}

// rawFields returns the headers of a raw message, those that connectors for OpenFaaS
// use.
func rawFields(it item) []openfaas.Field {
	var fields []openfaas.Field
	for _, h := range simple(it.Headers, "") {
		if validName(h.name) {
			fields = append(fields, openfaas.Field{Name: "X-Rabbitmq-Header-" + h.name, Value: h.value})
		}
	}
	return append(fields,
		openfaas.Field{Name: "Content-Type", Value: it.ContentType},
		openfaas.Field{Name: "Content-Encoding", Value: it.ContentEncoding},
		openfaas.Field{Name: "Traceparent", Value: traceField(it.Headers, tracing.FieldParent)},
		openfaas.Field{Name: "Tracestate", Value: traceField(it.Headers, tracing.FieldState)},
		openfaas.Field{Name: "X-Rabbitmq-Msg-Id", Value: it.MessageId},
		openfaas.Field{Name: "X-Rabbitmq-Routing-Key", Value: it.history.routingKey},
	)
}

// traceField returns a field of the publisher's trace context; W3C allows it 512
// bytes.
func traceField(h amqp.Table, name string) string {
	if text := headerText(h, name); len(text) <= maxHeader {
		return text
	}
	return ""
}

// ofPublisher says whether a header is the publisher's own.
func ofPublisher(name string) bool {
	switch name {
	case tracing.FieldParent, tracing.FieldState, cc, "x-delivery-count", "x-acquired-count":
		return false
	}
	for _, prefix := range []string{headerPrefix, "x-first-death-", "x-last-death-"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return true
}

// header is a simple header of a publisher.
type header struct{ name, value string }

const (
	// maxHeader bounds a message header that is passed on, so that the gateway takes
	// the request.
	maxHeader = 1024
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
func attributes(d *delivery, queue string) []batch.Attribute {
	var as []batch.Attribute
	taken := make(map[string]struct{})
	add := func(name, value string) {
		if _, twice := taken[name]; !twice && batch.IsText(value) {
			taken[name] = struct{}{}
			as = append(as, batch.Attribute{Name: name, Value: value})
		}
	}
	if d.ContentEncoding != "" {
		add("amqpcontentencoding", d.ContentEncoding)
	}
	if key := d.history.routingKey; key != queue && key != "" {
		add("amqproutingkey", key)
	}
	for _, h := range simple(d.Headers, broker.HeaderTime) {
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

// validName reports whether a header of AMQP may be a part of a header's name in HTTP.
func validName(n string) bool {
	for i := range len(n) {
		c := n[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return n != ""
}
