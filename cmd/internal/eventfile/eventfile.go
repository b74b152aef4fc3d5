// Package eventfile reads recorded events from JSON and CSV. An invalid record is
// reported with its line, and reading continues after it.
package eventfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
)

// The queues of events.
const (
	Entries = "vehicle_entries"
	Exits   = "vehicle_exits"
)

// Bounds of a record that continues after the end of its line.
const (
	maxRecordLines = 64
	maxRecord      = 1 << 20
)

// Event is one record of a file.
type Event struct {
	Line  int // the record's first one
	Queue string
	ID    string
	Time  time.Time // zero if the event is void and has none
	// Body is the message to publish: a JSON object, unchanged.
	Body []byte
}

// LineError is the error of one record; reading can continue after it.
type LineError struct {
	Line   int
	Reason string
}

func (e *LineError) Error() string {
	if e.Line == 0 {
		return e.Reason
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Reason)
}

// Reader reads events one by one.
type Reader interface {
	// Next returns the next event, a *LineError, or io.EOF after the last record. Any
	// other error ends the reading.
	Next() (Event, error)
}

// Format of a file.
type Format string

// Auto is JSON if the first character is a brace or a bracket, else CSV.
const (
	Auto  Format = "auto"
	JSONL Format = "jsonl"
	CSV   Format = "csv"
)

// New returns a Reader of text in UTF-8 or UTF-16 whose lines end in LF, CRLF or
// CR.
//
// JSON is one object a line; objects in an array, one after the other on a line
// and over several lines are read too. CSV has a first row that names the columns, which
// are the fields of an event but candidates, in any order, separated by comma, semicolon,
// tab or bar. Other columns and empty rows are ignored.
func New(r io.Reader, format Format) (Reader, error) { return NewOf(r, format, nil) }

// NewOf is New of a file that may also be a table which a camera has exported. nil is no
// camera.
func NewOf(r io.Reader, format Format, c *Camera) (Reader, error) {
	text, err := decode(r)
	if err != nil {
		return nil, err
	}
	l := &lines{in: text}
	first, err := l.nextFilled()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty")
	}
	if err != nil {
		return nil, err
	}
	l.unread(first)
	if format == Auto {
		format = CSV
		if strings.ContainsRune("{[", rune(bytes.TrimSpace(first.text)[0])) {
			format = JSONL
		}
	}
	if format == JSONL {
		return &objects{lines: l}, nil
	}
	return newTable(l, c)
}

// wire has the fields that tell an entry from an exit, of any type.
type wire struct {
	EntryTime any `json:"entry_date_time"`
	ExitTime  any `json:"exit_date_time"`
	Void      any `json:"void"`
}

// given reports whether a field is there and not empty.
func given(field any) bool { return field != nil && field != "" }

// parse reads the JSON of one event and checks it as the functions do.
func parse(line int, body []byte) (Event, error) {
	refuse := func(format string, args ...any) (Event, error) {
		return Event{}, &LineError{line, fmt.Sprintf(format, args...)}
	}
	var w wire
	if err := json.Unmarshal(body, &w); err != nil {
		return refuse("%s", explain(err))
	}
	kind, queue := parking.Entry, Entries
	switch {
	case given(w.EntryTime) && given(w.ExitTime):
		return refuse("it has an entry_date_time and an exit_date_time: make two events of it")
	case given(w.ExitTime):
		kind, queue = parking.Exit, Exits
	case !given(w.EntryTime) && w.Void != true:
		return refuse("it has neither an entry_date_time nor an exit_date_time")
	}
	e, err := pipeline.ParseEvent(kind, body)
	switch {
	case lost(&e):
		return refuse("it has the character U+FFFD, which stands for one that was lost: save the file again as UTF-8")
	case err != nil:
		return refuse("%v", err)
	}
	return Event{Line: line, ID: e.ID, Body: body, Queue: queue, Time: e.Time}, nil
}

// lost reports whether a field has the character that stands for one that was lost.
func lost(e *parking.Event) bool {
	d := &e.Details
	texts := []string{e.ID, e.RawPlate, e.Site, e.Gate, e.Camera, d.Vehicle, d.Country, d.Make, d.Color, d.Image}
	for i := range d.Candidates {
		texts = append(texts, d.Candidates[i].Plate)
	}
	return slices.ContainsFunc(texts, func(text string) bool { return strings.ContainsRune(text, utf8.RuneError) })
}

// explain returns an error of JSON in words for users.
func explain(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends in the middle of its JSON"
	}
	if wrong, ok := errors.AsType[*json.SemanticError](err); ok {
		kind := map[jsontext.Kind]string{'{': "object", '[': "array", '"': "string", '0': "number", 'n': "null", 't': "true", 'f': "false"}[wrong.JSONKind]
		if field := strings.TrimPrefix(string(wrong.JSONPointer), "/"); field != "" {
			return fmt.Sprintf("%.60s: a JSON %s, want a string", field, kind)
		}
		return fmt.Sprintf("a JSON %s, want an object", kind)
	}
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return "it names a field twice"
	}
	return fmt.Sprintf("it is not JSON: %.120s", strings.TrimPrefix(err.Error(), "jsontext: "))
}
