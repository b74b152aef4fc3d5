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
