// Package message is what the connector knows of a message: what the publisher sent, what
// became of earlier calls with it ([History]), and what is written into the headers of a
// copy that waits for another attempt or is a dead letter.
//
// Headers are read once, when the message comes in, and written in one place
// (republish.go). Anybody who may publish can send the headers of the connector:
// docs/adr/0026 says what is believed.
package message

import (
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/tracing"
)

// Source is a queue as it is consumed over one connection.
type Source struct {
	Queue string
	// Connection identifies the connection. It is a part of the ids that messages
	// without one get.
	Connection string
	// FrameMax is the size of the connection's largest frame in bytes, 0 for no limit. A
	// message that waits in a retry queue comes back over it.
	FrameMax int
}

// Delivery is a message that the broker has delivered. It does not change.
type Delivery struct {
	// Received is when the message came in.
	Received time.Time

	source  *Source
	amqp    amqp.Delivery
	headers headers
}

// Read returns a delivery from the source that was received at a time.
func (s *Source) Read(d *amqp.Delivery, received time.Time) *Delivery {
	return &Delivery{Received: received, source: s, amqp: *d, headers: readHeaders(d, s.Queue, received)}
}

// Tag returns the delivery tag.
func (d *Delivery) Tag() uint64 { return d.amqp.DeliveryTag }

// ID returns the message id of the publisher, which may be empty.
func (d *Delivery) ID() string { return d.amqp.MessageId }

// Size returns how many bytes the body has.
func (d *Delivery) Size() int { return len(d.amqp.Body) }

// Published returns when the message was published, zero if that is not known.
func (d *Delivery) Published() time.Time { return published(&d.amqp) }

// Trace returns the publisher's trace context, as it was sent.
func (d *Delivery) Trace() (parent, state string) {
	return text(d.amqp.Headers, tracing.FieldParent), text(d.amqp.Headers, tracing.FieldState)
}

// Unreadable returns what is wrong with headers that could not be read, "" if nothing is.
func (d *Delivery) Unreadable() string { return unreadable(d.amqp.Headers) }

// History returns what became of earlier calls with the message.
func (d *Delivery) History() History { return d.headers.history }

// OnlyFunction returns the name of the only function that still has to get the message,
// "" if all that listen to its queue do.
func (d *Delivery) OnlyFunction() string { return d.headers.onlyFunction }

// headers are what the headers of the connector, and properties that change when a
// message is published again, say of a message.
type headers struct {
	history History
	deaths  any // the publisher's x-death, put aside so that the broker's record stands alone

	// These are the publisher's word, or of a dead letter that was put back.
	onlyFunction string
	routingKey   string // the one that the message was published with
	userID       string
	expiration   string
	copies       any    // the publisher's CC
	omitted      string // headers that were left out
}

// readHeaders reads the headers of a message from queue.
func readHeaders(d *amqp.Delivery, queue string, now time.Time) headers {
	h := headers{
		onlyFunction: functionName(text(d.Headers, HeaderOnlyFunction)),
		routingKey:   d.RoutingKey,
		userID:       shortText(d.Headers, HeaderUser),
		expiration:   shortText(d.Headers, HeaderExpiration),
		omitted:      Clip(text(d.Headers, HeaderOmitted), MaxReason),
	}
	if key, kept := d.Headers[HeaderRoutingKey].(string); kept && len(key) <= maxShort { // it may be empty
		h.routingKey = key
	}
	if list, ok := d.Headers[HeaderCC].([]any); ok && broker.HeadersSize(amqp.Table{headerCopies: list}) <= maxPassedOn {
		h.copies = list
	}
	if fromRetryQueue(d.Headers, queue) {
		h.history = History{
			Attempts:    number(d.Headers, HeaderAttempts, openfaas.AttemptsLimit),
			FailedAlone: number(d.Headers, HeaderFailedAlone, MaxFailedAlone),
			Waits:       number(d.Headers, HeaderWaits, MaxWaits),
			MaxBatch:    number(d.Headers, HeaderMaxBatch, batch.MaxEvents),
		}
		h.history.First, h.history.Last = failureTimes(d, now)
		h.deaths = d.Headers[HeaderDeaths]
	}
	return h
}

// write puts them into the headers of a copy of a message from queue.
func (h *headers) write(to amqp.Table, queue string) {
	past := &h.history
	for _, c := range [...]struct {
		name    string
		n, most int
	}{
		{HeaderAttempts, past.Attempts, openfaas.AttemptsLimit},
		{HeaderMaxBatch, past.MaxBatch, batch.MaxEvents},
		{HeaderFailedAlone, past.FailedAlone, MaxFailedAlone},
		{HeaderWaits, past.Waits, MaxWaits},
	} {
		if n := min(c.n, c.most); n > 0 {
			to[c.name] = int32(n)
		}
	}
	if !past.Last.IsZero() {
		first := past.First
		if first.IsZero() {
			first = past.Last
		}
		to[HeaderFirstTime] = first.UTC().Format(time.RFC3339Nano)
		to[HeaderLastTime] = past.Last.UTC().Format(time.RFC3339Nano)
	}
	for _, p := range [...]struct{ name, text string }{
		{HeaderOnlyFunction, h.onlyFunction},
		{HeaderUser, h.userID},
		{HeaderExpiration, h.expiration},
	} {
		if p.text != "" {
			to[p.name] = p.text
		}
	}
	if h.routingKey != queue {
		to[HeaderRoutingKey] = h.routingKey
	}
	if h.copies != nil {
		to[HeaderCC] = h.copies
	}
}
