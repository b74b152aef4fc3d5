package batch

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

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

// ErrNoContract is the error for a response with status 200 and without results: the
// function does not follow the batch contract.
var ErrNoContract = errors.New("the answer has no results: the function does not speak the batch contract")

// ParseResponse parses a response body and returns one result per event, in the order
// of events. An event that the response does not name, or that has an unknown outcome
// or several different ones, gets a [Retry] with that as its reason. An event is
// Unavailable if each of its results is a Retry with "unavailable":true.
func ParseResponse(body []byte, events []Event) ([]Result, error) {
	d := responseDecoder{Decoder: jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowInvalidUTF8(true)), events: events, results: make([]Result, len(events))}
	err := members(d.Decoder, func(name []byte) error {
		if string(name) != "results" || d.PeekKind() == 'n' {
			return d.SkipValue()
		}
		d.found = true
		return elements(d.Decoder, d.result)
	})
	if err == nil {
		err = atEnd(d.Decoder)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoContract, err)
	}
	if !d.found && len(events) > 0 {
		return nil, ErrNoContract
	}
	for i := range d.results {
		switch r := &d.results[i]; {
		case r.ID == "":
			*r = Result{ID: events[i].ID, Outcome: Retry, Reason: "the function's answer does not name this event"}
		case r.Outcome != Done && r.Outcome != Retry && r.Outcome != Reject:
			*r = Result{ID: r.ID, Outcome: Retry, Reason: "unknown outcome " + strconv.Quote(string(r.Outcome))}
		}
	}
	return d.results, nil
}

// responseDecoder decodes one response.
type responseDecoder struct {
	*jsontext.Decoder
	events  []Event
	results []Result       // of the events; without an id until the response names the event
	found   bool           // the response has results
	next    int            // the expected index of the next result's event
	indexes map[string]int // of the events by id; nil until needed
	current Result
	index   int // of the current result's event; negative if unknown
}

// result decodes one element of the results. It ignores a result for an unknown event.
func (d *responseDecoder) result() error {
	if d.PeekKind() == 'n' {
		return d.SkipValue()
	}
	d.current, d.index = Result{}, -1
	if err := members(d.Decoder, d.member); err != nil || d.index < 0 {
		return err
	}
	r := &d.results[d.index]
	d.current.Unavailable = d.current.Unavailable && d.current.Outcome == Retry && (r.ID == "" || r.Unavailable)
	if r.ID != "" && r.Outcome != d.current.Outcome {
		d.current.Outcome, d.current.Reason = Retry, "the function's answer has different outcomes for this event"
	}
	*r = d.current
	r.ID = d.events[d.index].ID
	return nil
}

// member decodes one member of a result.
func (d *responseDecoder) member(name []byte) (err error) {
	switch string(name) {
	case "id":
		var id []byte
		if id, err = readBytes(d.Decoder); err == nil {
			d.index = d.indexOf(id)
		}
	case "outcome":
		var outcome []byte
		if outcome, err = readBytes(d.Decoder); err == nil {
			d.current.Outcome = outcomeOf(outcome)
		}
	case "reason":
		d.current.Reason, err = readReason(d.Decoder)
	case "unavailable":
		var value jsontext.Value
		value, err = d.ReadValue()
		d.current.Unavailable = value.Kind() == 't'
	default:
		return d.SkipValue()
	}
	if err != nil {
		return fmt.Errorf("%s of a result: %w", name, err)
	}
	return nil
}

// readReason reads a reason as far as possible: the outcome does not depend on it.
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

// indexOf returns the index of an event, -1 if it is unknown. Most functions answer
// in the order of the request, which needs no search.
func (d *responseDecoder) indexOf(id []byte) int {
	index := d.next
	if index >= len(d.events) || d.events[index].ID != string(id) {
		if d.indexes == nil {
			d.indexes = make(map[string]int, len(d.events))
			for i := range d.events {
				d.indexes[d.events[i].ID] = i
			}
		}
		var known bool
		if index, known = d.indexes[string(id)]; !known {
			return -1
		}
	}
	d.next = index + 1
	return index
}

// outcomeOf returns the outcome that text names. The known ones need no copy.
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
