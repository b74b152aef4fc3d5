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
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
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

// AppendRequest appends the request body for events to dst. source is the
// CloudEvents source of all of them, for example "/rabbitmq/vehicle_entries".
// Data that is JSON in valid UTF-8 and not nested deeply travels as it is, anything
// else as base64.
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
	if !e.Time.IsZero() && expressible(e.Time) {
		dst = append(dst, `,"time":"`...)
		dst = e.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
		dst = append(dst, '"')
	}
	dst = appendAttribute(dst, "traceparent", e.TraceParent)
	dst = appendAttribute(dst, "tracestate", e.TraceState)
	for _, a := range e.Attributes {
		dst = appendAttribute(dst, a.Name, a.Value)
	}
	asJSON := shallow(e.Data) && jsontext.Value(e.Data).IsValid()
	if describes(e.ContentType, asJSON) {
		dst = appendAttribute(dst, "datacontenttype", e.ContentType)
	}
	if asJSON {
		dst = append(dst, `,"data":`...)
		dst = append(dst, e.Data...)
	} else {
		dst = append(dst, `,"data_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, e.Data)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// appendAttribute appends an optional attribute, unless it is empty or CloudEvents
// has no such value.
func appendAttribute(dst []byte, name, value string) []byte {
	if value == "" || !IsText(value) {
		return dst
	}
	dst = append(dst, ',')
	dst = appendString(dst, name)
	dst = append(dst, ':')
	return appendString(dst, value)
}

// IsText reports whether an attribute may have the value s: CloudEvents excludes
// invalid UTF-8, control characters and Unicode's noncharacters.
func IsText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return isText(s[i:])
		}
	}
	return true
}

func isText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe {
			return false
		}
	}
	return true
}

// expressible reports whether RFC 3339 has the time: its years have four digits.
func expressible(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 0 && year <= 9999
}

// describes reports whether a content type says more of data than the way in which
// it travels, and nothing else: data that is written as JSON is JSON by the rules of
// CloudEvents.
func describes(contentType string, asJSON bool) bool {
	if contentType == "" || asJSON && contentType == "application/json" {
		return false
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil || !strings.Contains(kind, "/") {
		return false
	}
	return !asJSON || strings.HasSuffix(kind, "/json") || strings.HasSuffix(kind, "+json")
}

// maxDepth is how deeply data may be nested that travels as JSON: the parsers of
// some languages end at 64 levels and would refuse the whole batch.
const maxDepth = 60

// shallow reports whether JSON is nested no more than maxDepth deep.
func shallow(data []byte) bool {
	if bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) <= maxDepth {
		return true
	}
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++ // what follows does not end the string
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[', c == '{':
			if depth++; depth > maxDepth {
				return false
			}
		case c == ']', c == '}':
			depth--
		}
	}
	return true
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
// sender does not speak the contract. An optional attribute that cannot be read is
// dropped, and data that cannot be read is the event's DataErr. The events' data are
// parts of body, which must not change as long as they are used.
func ParseRequest(body []byte) ([]Event, error) {
	var events []Event
	// Of a name that stands twice the last one counts; in the data of an event it is
	// for the function to say what it makes of that.
	// Nor does invalid UTF-8 in one event concern the others.
	d := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	attribute := func(name []byte) error { return events[len(events)-1].read(d, name, body) }
	err := elements(d, func() error {
		if len(events) == MaxEvents {
			return ErrTooMany
		}
		events = append(events, Event{})
		return members(d, attribute)
	})
	if err == nil {
		err = atEnd(d)
	}
	if err != nil {
		return nil, fmt.Errorf("parse batch as a CloudEvents JSON array: %w", err)
	}
	seen := make(map[string]struct{}, len(events))
	for i := range events {
		id := events[i].ID
		if id == "" {
			return nil, fmt.Errorf("event %d of the batch has no id", i)
		}
		if _, twice := seen[id]; twice {
			return nil, fmt.Errorf("two events of the batch have the id %q", id)
		}
		seen[id] = struct{}{}
	}
	return events, nil
}

// read takes one member of an event in.
func (e *Event) read(d *jsontext.Decoder, name, body []byte) (err error) {
	switch string(name) {
	case "id":
		e.ID, err = readText(d)
	case "traceparent":
		e.TraceParent, err = readAttribute(d)
	case "tracestate":
		e.TraceState, err = readAttribute(d)
	case "time":
		var text string
		text, err = readAttribute(d)
		if e.Time, _ = time.Parse(time.RFC3339, text); !expressible(e.Time) {
			e.Time = time.Time{}
		}
	case "data":
		var value jsontext.Value
		value, err = d.ReadValue()
		end := d.InputOffset()
		e.Data, e.DataErr = body[end-int64(len(value)):end:end], nil
	case "data_base64":
		err = e.readBase64(d)
	default:
		return d.SkipValue()
	}
	if err != nil {
		return fmt.Errorf("%s of an event: %w", name, err)
	}
	return nil
}

func (e *Event) readBase64(d *jsontext.Decoder) error {
	value, err := d.ReadValue()
	if err != nil || value.Kind() == 'n' {
		return err
	}
	text, err := unquote(value)
	if err == nil {
		e.Data, err = base64.StdEncoding.AppendDecode(nil, text)
	}
	if err != nil {
		e.Data, err = nil, fmt.Errorf("data_base64 cannot be read: %w", err)
	}
	e.DataErr = err
	return nil
}

// readAttribute reads an optional attribute; one that is not a text is as if it
// were not there.
func readAttribute(d *jsontext.Decoder) (string, error) {
	value, err := d.ReadValue()
	if err != nil {
		return "", err
	}
	text, err := unquote(value)
	if err != nil || !IsText(string(text)) {
		return "", nil //nolint:nilerr // see above
	}
	return string(text), nil
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
		if r.Unavailable {
			dst = append(dst, `,"unavailable":true`...)
		}
		dst = append(dst, '}')
	}
	return append(dst, `]}`...)
}

// ErrNoContract says that a function answered 200 with something other than
// results: it does not speak the batch contract.
var ErrNoContract = errors.New("the answer has no results: the function does not speak the batch contract")

// ParseResponse reads an answer and returns one result per event, in the
// order of events. An event that the answer does not name, or names with an
// unknown outcome or with several, is a [Retry] that says so. An event is
// Unavailable if all of its results are a Retry with the JSON value true for it.
func ParseResponse(body []byte, events []Event) ([]Result, error) {
	a := answer{Decoder: jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowInvalidUTF8(true)), events: events, results: make([]Result, len(events))}
	err := members(a.Decoder, func(name []byte) error {
		if string(name) != "results" || a.PeekKind() == 'n' {
			return a.SkipValue()
		}
		a.found = true
		return elements(a.Decoder, a.result)
	})
	if err == nil {
		err = atEnd(a.Decoder)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoContract, err)
	}
	if !a.found && len(events) > 0 {
		return nil, ErrNoContract
	}
	for i := range a.results {
		switch r := &a.results[i]; {
		case r.ID == "":
			*r = Result{ID: events[i].ID, Outcome: Retry, Reason: "the function's answer does not name this event"}
		case r.Outcome != Done && r.Outcome != Retry && r.Outcome != Reject:
			*r = Result{ID: r.ID, Outcome: Retry, Reason: "unknown outcome " + strconv.Quote(string(r.Outcome))}
		}
	}
	return a.results, nil
}

// answer is one that is being read.
type answer struct {
	*jsontext.Decoder
	events  []Event
	results []Result // of the events; those that were not named yet have no id
	found   bool     // there are results
	next    int      // mostly the event of the next result
	places  map[string]int
	current Result
	place   int // of the current result's event; none where it is negative
}

// result reads one element of the results. One that is for no event is ignored.
func (a *answer) result() error {
	if a.PeekKind() == 'n' {
		return a.SkipValue()
	}
	a.current, a.place = Result{}, -1
	if err := members(a.Decoder, a.member); err != nil || a.place < 0 {
		return err
	}
	r := &a.results[a.place]
	a.current.Unavailable = a.current.Unavailable && a.current.Outcome == Retry && (r.ID == "" || r.Unavailable)
	if r.ID != "" && r.Outcome != a.current.Outcome {
		a.current.Outcome, a.current.Reason = Retry, "the function's answer has different outcomes for this event"
	}
	*r = a.current
	r.ID = a.events[a.place].ID
	return nil
}

func (a *answer) member(name []byte) (err error) {
	switch string(name) {
	case "id":
		var id []byte
		if id, err = readBytes(a.Decoder); err == nil {
			a.place = a.find(id)
		}
	case "outcome":
		var outcome []byte
		if outcome, err = readBytes(a.Decoder); err == nil {
			a.current.Outcome = outcomeOf(outcome)
		}
	case "reason":
		a.current.Reason, err = readReason(a.Decoder)
	case "unavailable":
		var value jsontext.Value
		value, err = a.ReadValue()
		a.current.Unavailable = value.Kind() == 't'
	default:
		return a.SkipValue()
	}
	if err != nil {
		return fmt.Errorf("%s of a result: %w", name, err)
	}
	return nil
}

// readReason reads a reason as well as can be: what the outcome is does not depend
// on it.
func readReason(d *jsontext.Decoder) (string, error) {
	value, err := d.ReadValue()
	if err != nil || value.Kind() == 'n' {
		return "", err
	}
	if text, err := unquote(value); text != nil || err == nil {
		return string(text), nil
	}
	return string(value), nil
}

// find returns the place of an event. Most functions answer in the order in which
// they were asked, so that nothing has to be searched.
func (a *answer) find(id []byte) int {
	place := a.next
	if place >= len(a.events) || a.events[place].ID != string(id) {
		if a.places == nil {
			a.places = make(map[string]int, len(a.events))
			for i := range a.events {
				a.places[a.events[i].ID] = i
			}
		}
		var known bool
		if place, known = a.places[string(id)]; !known {
			return -1
		}
	}
	a.next = place + 1
	return place
}

// outcomeOf spares the usual outcomes their copies.
func outcomeOf(text []byte) Outcome {
	switch Outcome(text) {
	case Done:
		return Done
	case Retry:
		return Retry
	case Reject:
		return Reject
	}
	return Outcome(text)
}

// members reads a JSON object. read reads the value of one member, whose name is
// its own until it does.
func members(d *jsontext.Decoder, read func(name []byte) error) error {
	if err := begin(d, '{'); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		name, _ := unquote(value) // one that is not valid UTF-8 is none that is looked for
		if err := read(name); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// elements reads a JSON array.
func elements(d *jsontext.Decoder, read func() error) error {
	if err := begin(d, '['); err != nil {
		return err
	}
	for d.PeekKind() != ']' {
		if err := read(); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

func begin(d *jsontext.Decoder, kind jsontext.Kind) error {
	t, err := d.ReadToken()
	if err == nil && t.Kind() != kind {
		err = fmt.Errorf("want a JSON %s, not a %s", kind, t.Kind())
	}
	return err
}

// atEnd is an error where something follows.
func atEnd(d *jsontext.Decoder) error {
	switch t, err := d.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	default:
		return fmt.Errorf("a JSON %s follows at the end", t.Kind())
	}
}

func readText(d *jsontext.Decoder) (string, error) {
	text, err := readBytes(d)
	return string(text), err
}

// readBytes reads a string, which is valid until d reads on, or null as nil.
func readBytes(d *jsontext.Decoder) ([]byte, error) {
	value, err := d.ReadValue()
	if err != nil || value.Kind() == 'n' {
		return nil, err
	}
	return unquote(value)
}

// unquote returns the text of a JSON string, which is valid as long as value is.
func unquote(value jsontext.Value) ([]byte, error) {
	if value.Kind() != '"' {
		return nil, fmt.Errorf("want a JSON string, not a %s", value.Kind())
	}
	text := value[1 : len(value)-1]
	if bytes.IndexByte(value, '\\') < 0 && utf8.Valid(text) {
		return text, nil
	}
	return jsontext.AppendUnquote(nil, value)
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
