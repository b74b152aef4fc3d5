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
// An event without a result counts as [Retry]: silence is never success.
package batch

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ContentType marks a request body as a batch.
const ContentType = "application/cloudevents-batch+json"

// EventType is the CloudEvents type of every event that a connector delivers.
const EventType = "io.parkstream.delivery"

// Outcome says what became of one event.
type Outcome string

const (
	// Done: the effect is durable. The connector acknowledges the message.
	Done Outcome = "done"
	// Retry: it could not be done now. The connector tries again later, within
	// the message's budget.
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
	// Time is when the message was published; zero where that is not known.
	Time time.Time
	// TraceParent and TraceState are the W3C trace context of the publisher, or
	// empty.
	TraceParent, TraceState string
	// Attributes are CloudEvents extension attributes: what else the publisher said
	// of the message. Their names have lower case letters and digits only, none
	// stands twice, and they begin with "amqp", so that they are no other's. They
	// are for functions; [ParseRequest] does not read them.
	Attributes []Attribute
	// Data is the message's body, byte for byte.
	Data []byte
}

// Attribute is a CloudEvents extension attribute.
type Attribute struct{ Name, Value string }

// Result is a function's word on one event.
type Result struct {
	ID      string  `json:"id"`
	Outcome Outcome `json:"outcome"`
	// Reason says why an event was not done, in words for the person who finds
	// it among the dead letters.
	Reason string `json:"reason,omitempty"`
}

// AppendRequest appends the request body for events to dst. source is the
// CloudEvents source of all of them, for example "/rabbitmq/vehicle_entries".
// Data that is JSON in valid UTF-8 travels as it is, anything else as base64.
func AppendRequest(dst []byte, source string, events []Event) []byte {
	dst = append(dst, '[')
	for i := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendEvent(dst, source, &events[i])
	}
	return append(dst, ']')
}

func appendEvent(dst []byte, source string, e *Event) []byte {
	dst = append(dst, `{"specversion":"1.0","id":`...)
	dst = appendString(dst, e.ID)
	dst = append(dst, `,"source":`...)
	dst = appendString(dst, source)
	dst = append(dst, `,"type":"`+EventType+`"`...)
	if !e.Time.IsZero() {
		dst = append(dst, `,"time":"`...)
		dst = e.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
		dst = append(dst, '"')
	}
	if e.TraceParent != "" {
		dst = append(dst, `,"traceparent":`...)
		dst = appendString(dst, e.TraceParent)
	}
	if e.TraceState != "" {
		dst = append(dst, `,"tracestate":`...)
		dst = appendString(dst, e.TraceState)
	}
	for _, a := range e.Attributes {
		dst = append(dst, ',')
		dst = appendString(dst, a.Name)
		dst = append(dst, ':')
		dst = appendString(dst, a.Value)
	}
	if jsontext.Value(e.Data).IsValid() {
		dst = append(dst, `,"data":`...)
		dst = append(dst, e.Data...)
	} else {
		dst = append(dst, `,"data_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, e.Data)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			dst, _ = jsontext.AppendQuote(dst, strings.ToValidUTF8(s, "\uFFFD")) // fails on invalid UTF-8 only
			return dst
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// ParseRequest reads a request body. Its errors concern the whole request: the
// sender does not speak the contract.
func ParseRequest(body []byte) ([]Event, error) {
	var wire []struct {
		ID          string         `json:"id"`
		Time        time.Time      `json:"time"`
		TraceParent string         `json:"traceparent"`
		TraceState  string         `json:"tracestate"`
		Data        jsontext.Value `json:"data"`
		DataBase64  *[]byte        `json:"data_base64"`
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		return nil, fmt.Errorf("parse batch as a CloudEvents JSON array: %w", err)
	}
	events := make([]Event, len(wire))
	seen := make(map[string]struct{}, len(wire))
	for i, w := range wire {
		if w.ID == "" {
			return nil, fmt.Errorf("event %d of the batch has no id", i)
		}
		if _, twice := seen[w.ID]; twice {
			return nil, fmt.Errorf("two events of the batch have the id %q", w.ID)
		}
		seen[w.ID] = struct{}{}
		events[i] = Event{ID: w.ID, Time: w.Time, TraceParent: w.TraceParent, TraceState: w.TraceState, Data: w.Data}
		if w.DataBase64 != nil {
			events[i].Data = *w.DataBase64
		}
	}
	return events, nil
}

type response struct {
	Results []Result `json:"results"`
}

// AppendResponse appends the response body for results to dst.
func AppendResponse(dst []byte, results []Result) []byte {
	dst = append(dst, `{"results":[`...)
	for i, r := range results {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"id":`...)
		dst = appendString(dst, r.ID)
		dst = append(dst, `,"outcome":`...)
		dst = appendString(dst, string(r.Outcome))
		if r.Reason != "" {
			dst = append(dst, `,"reason":`...)
			dst = appendString(dst, r.Reason)
		}
		dst = append(dst, '}')
	}
	return append(dst, `]}`...)
}

// ErrNoContract says that a function answered 200 with something other than
// results: it does not speak the batch contract.
var ErrNoContract = errors.New("the answer has no results: the function does not speak the batch contract")

// ParseResponse reads a 200 answer and returns one result per event, in the
// order of events. An event that the answer does not name, or names with an
// unknown outcome or with several, is a [Retry] that says so.
func ParseResponse(body []byte, events []Event) ([]Result, error) {
	var wire response
	if err := json.Unmarshal(body, &wire); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoContract, err)
	}
	if wire.Results == nil && len(events) > 0 {
		return nil, ErrNoContract
	}
	byID := make(map[string]Result, len(wire.Results))
	for _, r := range wire.Results {
		if other, twice := byID[r.ID]; twice && other.Outcome != r.Outcome {
			r.Outcome, r.Reason = Retry, "the function's answer has different outcomes for this event"
		}
		byID[r.ID] = r
	}
	results := make([]Result, len(events))
	for i := range events {
		id := events[i].ID
		r, named := byID[id]
		switch {
		case !named:
			r = Result{ID: id, Outcome: Retry, Reason: "the function's answer does not name this event"}
		case r.Outcome != Done && r.Outcome != Retry && r.Outcome != Reject:
			r = Result{ID: id, Outcome: Retry, Reason: "unknown outcome " + strconv.Quote(string(r.Outcome))}
		}
		results[i] = r
	}
	return results, nil
}

// Verdict says what the status of a whole call means for its events.
type Verdict int

const (
	// Answered: the body has the results; for a single raw message, it is done.
	Answered Verdict = iota
	// Outage: nobody processed anything. It is not the events' fault and costs
	// them nothing.
	Outage
	// Crash: the function took the call and did not survive it, or did not
	// answer in time. One of the events may be to blame.
	Crash
	// Refused: the function understood the call and will never accept it.
	Refused
)

// Classify is the one place that turns an HTTP status into a [Verdict]. A call
// without any answer is an Outage when it could not be delivered (connection
// refused) and a Crash when it was cut short or timed out.
func Classify(status int) Verdict {
	switch {
	case status >= 200 && status < 300:
		return Answered
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable,
		// 401 and 404 come from a gateway that is misconfigured or does not know
		// the function (yet); neither says anything about the event.
		status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound,
		status >= 300 && status < 400:
		return Outage
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500:
		return Crash
	default:
		return Refused
	}
}
