// Package batch is the contract between a connector and a function: a request
// carries several events, the answer says for each of them what became of it.
//
// The request is the CloudEvents JSON batch format (CloudEvents 1.0.2, JSON
// Event Format, section 4), so that a function in any language can serve it.
// The answer is a JSON object with one result per event id:
//
//	POST /function/<name>
//	Content-Type: application/cloudevents-batch+json
//	[{"specversion":"1.0","id":"17","source":"/rabbitmq/vehicle_entries","type":"io.parkstream.delivery","data":{...}}, ...]
//
//	200 OK
//	{"results":[{"id":"17","outcome":"done"},{"id":"18","outcome":"reject","reason":"vehicle_plate is missing"}]}
//
// An event without a result counts as [Retry]: silence is never success. A result
// "retry" with "unavailable":true costs the event no attempt: what the function needs
// for it is unavailable.
//
// A request is valid whatever is in its events: an optional attribute that
// CloudEvents cannot express is left out. In the same spirit [ParseRequest] drops
// an optional attribute that it cannot read; only what is needed to answer for an
// event, its id and sound JSON, refuses a request.
package batch

import (
	"fmt"
	"time"
)

// ContentType marks a request body as a batch.
const ContentType = "application/cloudevents-batch+json"

// MaxEvents is how many events a request may have.
const MaxEvents = 10_000

// ErrTooMany says that a request has more than [MaxEvents] events.
var ErrTooMany = fmt.Errorf("a batch has at most %d events", MaxEvents)

// EventType is the CloudEvents type of every event that a connector delivers.
const EventType = "io.parkstream.delivery"

// Outcome says what became of one event.
type Outcome string

const (
	// Done: the effect is durable. The connector acknowledges the message.
	Done Outcome = "done"
	// Retry: it could not be done now. The connector tries again later, within
	// the message's budget. It costs nothing of the budget if the result is
	// Unavailable, or if a function that can do nothing answers 503.
	Retry Outcome = "retry"
	// Reject: it can never succeed. The connector dead-letters the message with
	// the reason.
	Reject Outcome = "reject"
)

// Event is one message on its way into a function.
type Event struct {
	// ID identifies the event within its batch and is repeated in its Result.
	// It is the message id of the broker where that is set and unique in the
	// batch, so that a function may use it to recognise a redelivery.
	ID string
	// Time is when the message was published; zero where that is not known. One
	// that RFC 3339 cannot express is not written.
	Time time.Time
	// TraceParent and TraceState are the W3C trace context of the publisher, or
	// empty.
	TraceParent, TraceState string
	// Attributes are CloudEvents extension attributes: what else the publisher said
	// of the message. Their names have lower case letters and digits only, none
	// stands twice, and they begin with "amqp", so that they are no other's. Those
	// whose value is not [IsText] are not written. They are for functions;
	// [ParseRequest] does not read them.
	Attributes []Attribute
	// ContentType is the message's, or empty. It is not written where it adds
	// nothing or contradicts how the data travels. ParseRequest does not read it.
	ContentType string
	// Data is the message's body, byte for byte.
	Data []byte
	// DataErr says why ParseRequest could not read the data. Such an event can only
	// be rejected; the others of its batch are sound.
	DataErr error
}

// Attribute is a CloudEvents extension attribute.
type Attribute struct{ Name, Value string }

// Result is a function's word on one event.
type Result struct {
	ID      string
	Outcome Outcome
	// Reason says why an event was not done, in words for the person who finds
	// it among the dead letters.
	Reason string
	// Unavailable reports, of a Retry, that what the function needs for this event is
	// unavailable, such as a shard of its store: the event waits for the end of the
	// outage and spends no attempt.
	Unavailable bool
}
