// Package attempt brings a batch of events into a function, and finds out whose fault it
// is when that fails: the function's, or that of one of the events. A [Batcher] cuts the
// batch; [Run] makes the calls that it takes, and returns one [Decision] for each event.
// docs/adr/0021 and 0025 say why it is decided so.
package attempt

import (
	"go.opentelemetry.io/otel/trace"

	"parkstream/connectors/rabbitmq/internal/message"
)

// Event is a message on its way into one function.
type Event struct {
	Message *message.Delivery
	// History is what became of calls with the event so far. It begins as that of the
	// message, and changes while the event is unacknowledged.
	History message.History
}

// NewEvent returns the event of a message that was just received.
func NewEvent(m *message.Delivery) Event { return Event{Message: m, History: m.History()} }

// envelope is about what an event costs in a request besides its body, in bytes.
const envelope = 256

func (e *Event) size() int { return e.Message.Size() + envelope }

// Disposition is what is to become of an event.
type Disposition uint8

const (
	undecided   Disposition = iota
	Keep                    // it stays unacknowledged for the next attempt, at no cost
	Defer                   // it waits at the broker for the end of an outage, at no cost
	Unavailable             // likewise: what the function needs for it is unavailable
	Done                    // its effect is durable
	Retry                   // it spends one of its attempts
	Reject                  // it can never succeed
)

// Decision is what is to become of an event, and why.
type Decision struct {
	Disposition Disposition
	Reason      string // why it is not done; at most [message.MaxReason] bytes
	Status      int    // of the call's HTTP response, 0 if there was none
	Call        *Call  // that the decision stems from, nil if there was none
}

// Call identifies a call of a function in logs and traces.
type Call struct {
	ID   string
	Span trace.SpanContext
}
