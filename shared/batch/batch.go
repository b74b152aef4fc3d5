// Package batch is the contract between a connector and a function: a request
// carries several events, and the response has one result for each of them.
//
// The request is the CloudEvents JSON batch format (CloudEvents 1.0.2, JSON
// Event Format, section 4), so that a function in any language can serve it.
// The response is a JSON object with one result per event id:
//
//	POST /function/<name>
//	Content-Type: application/cloudevents-batch+json
//	[{"specversion":"1.0","id":"17","source":"/rabbitmq/vehicle_entries","type":"io.parkstream.delivery","data":{...}}, ...]
//
//	200 OK
//	{"results":[{"id":"17","outcome":"done"},{"id":"18","outcome":"reject","reason":"vehicle_plate is missing"}]}
//
// An event without a result counts as [Retry]: silence is never success. A result
// "retry" with "unavailable":true costs the event no attempt: a dependency of the
// function is unavailable.
//
// The content of an event never makes a request invalid: [AppendRequest] omits an
// optional attribute that CloudEvents cannot express, and [ParseRequest] ignores one
// that it cannot read. ParseRequest refuses a request only if it is not valid JSON or
// if an event has no id of its own, since it could not be answered.
package batch

import (
	"fmt"
	"time"
)

// ContentType marks a request body as a batch.
const ContentType = "application/cloudevents-batch+json"

// MaxEvents is how many events a request may have.
const MaxEvents = 10_000

// ErrTooMany is the error for a request with more than [MaxEvents] events.
var ErrTooMany = fmt.Errorf("a batch has at most %d events", MaxEvents)

// EventType is the CloudEvents type of every event that a connector delivers.
const EventType = "io.parkstream.delivery"

// Outcome is what became of one event.
type Outcome string

const (
	// Done: the effect is durable. The connector acknowledges the message.
	Done Outcome = "done"
	// Retry: the event could not be processed now. The connector tries again later.
	// That counts as an attempt unless the result is Unavailable or the whole call
	// was answered with 503.
	Retry Outcome = "retry"
	// Reject: the event can never succeed. The connector dead-letters the message
	// with the reason.
	Reject Outcome = "reject"
)

// Event is one message on its way into a function.
type Event struct {
	// ID identifies the event within its batch and is repeated in its Result.
	// It is the message id of the broker if that is set and unique in the batch: a
	// function may use it to recognise a redelivery.
	ID string
	// Time is the time of publishing; zero if unknown. A time that RFC 3339 cannot
	// express is omitted.
	Time time.Time
	// TraceParent and TraceState are the W3C trace context of the publisher, or
	// empty.
	TraceParent, TraceState string
	// Attributes are CloudEvents extension attributes with the other properties of
	// the message. Their names are unique, consist of lower case letters and digits,
	// and begin with "amqp", which keeps them apart from attributes of CloudEvents.
	// Values that are not [IsText] are not written. They are meant for functions;
	// [ParseRequest] does not read them.
	Attributes []Attribute
	// ContentType is the content type of the message, or empty. It is omitted if it
	// adds nothing to how the data is encoded or contradicts it. ParseRequest does not
	// read it.
	ContentType string
	// Data is the message's body, byte for byte.
	Data []byte
	// DataErr is the error of ParseRequest for unreadable data. Such an event can only
	// be rejected. It does not affect the other events of its batch.
	DataErr error
}

// Attribute is a CloudEvents extension attribute.
type Attribute struct{ Name, Value string }

// Result is the outcome of one event as the function reports it.
type Result struct {
	ID      string
	Outcome Outcome
	// Reason explains why an event was not done, to the operator who finds it among the
	// dead letters.
	Reason string
	// Unavailable reports, of a Retry, that a dependency of the function is
	// unavailable for this event, such as a shard of its store. The event waits for
	// the end of the outage, which does not count as an attempt.
	Unavailable bool
}
