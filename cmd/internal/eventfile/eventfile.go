// Package eventfile reads recorded events from JSON and CSV. An invalid record is
// reported with its line, and reading continues after it.
package eventfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"parkstream/shared/parking"
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
	Time  time.Time
	// Body is the message to publish: a JSON object, unchanged.
	Body []byte
}

// LineError is the error of one record; reading can continue after it.
type LineError struct {
	Line   int
	Reason string
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

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
// and over several lines are read too. CSV has a first row that names the columns:
// id, vehicle_plate, entry_date_time, exit_date_time, site, gate, in any order,
// separated by comma, semicolon, tab or bar. Other columns and empty rows are ignored.
func New(r io.Reader, format Format) (Reader, error) {
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
	return newTable(l)
}

// wire is an event before its times are parsed. Its fields have the names that the
// functions read.
type wire struct {
	ID        string `json:"id"`
	Plate     string `json:"vehicle_plate"`
	EntryTime string `json:"entry_date_time"`
	ExitTime  string `json:"exit_date_time"`
	Site      string `json:"site"`
	Gate      string `json:"gate"`
}

// parse reads the JSON of one event and checks it as the functions do.
func parse(line int, body []byte) (Event, error) {
	refuse := func(format string, args ...any) (Event, error) {
		return Event{}, &LineError{line, fmt.Sprintf(format, args...)}
	}
	var w wire
	if err := json.Unmarshal(body, &w); err != nil {
		return refuse("%s", explain(err))
	}
	e := Event{Line: line, ID: w.ID, Body: body, Queue: Entries}
	kind, text := parking.Entry, w.EntryTime
	switch {
	case w.EntryTime != "" && w.ExitTime != "":
		return refuse("it has an entry_date_time and an exit_date_time: make two events of it")
	case w.EntryTime == "" && w.ExitTime == "":
		return refuse("it has neither an entry_date_time nor an exit_date_time")
	case w.ExitTime != "":
		e.Queue, kind, text = Exits, parking.Exit, w.ExitTime
	}
	if strings.ContainsRune(w.ID+w.Plate+w.Site+w.Gate, utf8.RuneError) {
		return refuse("it has the character U+FFFD, which stands for one that was lost: save the file again as UTF-8")
	}
	var err error
	if e.Time, err = parking.ParseTime(text); err != nil {
		return refuse("%.60q is no RFC 3339 time with a zone", text)
	}
	if _, err := parking.NewEvent(parking.Event{ID: w.ID, Kind: kind, Site: w.Site, Gate: w.Gate, RawPlate: w.Plate, Time: e.Time}); err != nil {
		return refuse("%v", err)
	}
	return e, nil
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
