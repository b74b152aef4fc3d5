// Package eventfile reads recorded events from JSONL and CSV.
package eventfile

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"parkstream/cmd/parkstream/internal/jsonerror"
	"parkstream/shared/parking"
)

// Queues of the events.
const (
	Entries = "vehicle_entries"
	Exits   = "vehicle_exits"
)

// Event is one line of a file.
type Event struct {
	Line  int
	Queue string
	ID    string
	Time  time.Time
	// Body is what is published: a line of JSONL as it stands.
	Body []byte
}

// LineError says what is wrong with one line; reading can go on after it.
type LineError struct {
	Line   int
	Reason string
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// Reader returns the next event, a *LineError, or io.EOF.
type Reader interface {
	Next() (Event, error)
}

// byteOrderMark begins files of some editors and spreadsheets.
const byteOrderMark = "\ufeff"

// maxLine bounds a line in bytes.
const maxLine = 1 << 20

type jsonl struct {
	lines *bufio.Scanner
	line  int
}

// NewJSONL reads one JSON object a line; empty lines are left out.
func NewJSONL(r io.Reader) Reader {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	return &jsonl{lines: s}
}

func (j *jsonl) Next() (Event, error) {
	for j.lines.Scan() {
		j.line++
		text := j.lines.Bytes()
		if j.line == 1 {
			text = bytes.TrimPrefix(text, []byte(byteOrderMark))
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			return parse(j.line, bytes.Clone(text))
		}
	}
	if err := j.lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return Event{}, fmt.Errorf("line %d has more than %d bytes: want one event a line", j.line+1, maxLine)
	} else if err != nil {
		return Event{}, fmt.Errorf("read line %d: %w", j.line+1, err)
	}
	return Event{}, io.EOF
}

// wire has what is needed to know where an event belongs.
type wire struct {
	ID        string `json:"id"`
	EntryTime string `json:"entry_date_time"`
	ExitTime  string `json:"exit_date_time"`
}

func parse(line int, body []byte) (Event, error) {
	var w wire
	if err := json.Unmarshal(body, &w); err != nil {
		return Event{}, &LineError{line, jsonerror.Explain(err).Error()}
	}
	e := Event{Line: line, ID: w.ID, Body: body, Queue: Entries}
	text := w.EntryTime
	switch {
	case w.EntryTime != "" && w.ExitTime != "":
		return Event{}, &LineError{line, "it has an entry_date_time and an exit_date_time: make two events of it"}
	case w.EntryTime == "" && w.ExitTime == "":
		return Event{}, &LineError{line, "it has neither an entry_date_time nor an exit_date_time"}
	case w.ExitTime != "":
		e.Queue, text = Exits, w.ExitTime
	}
	var err error
	if e.Time, err = parking.ParseTime(text); err != nil {
		return Event{}, &LineError{line, fmt.Sprintf("%q is no RFC 3339 time with a zone", text)}
	}
	return e, nil
}

// columns that a CSV file can have.
var columns = []string{"id", "vehicle_plate", "entry_date_time", "exit_date_time", "site", "gate"}

type csvReader struct {
	records *csv.Reader
	header  []string
}

// NewCSV reads events from CSV whose first row names the columns: id,
// vehicle_plate, entry_date_time, exit_date_time, site, gate, in any order.
// Others are left out.
func NewCSV(r io.Reader) (Reader, error) {
	text := bufio.NewReader(r)
	if start, _ := text.Peek(len(byteOrderMark)); string(start) == byteOrderMark {
		_, _ = text.Discard(len(start))
	}
	records := csv.NewReader(text)
	header, err := records.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the CSV is empty: want a first row with the columns' names: %s", strings.Join(columns, ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("read the header of the CSV: %w", err)
	}
	for i := range header {
		header[i] = strings.ToLower(strings.TrimSpace(header[i]))
	}
	for _, name := range []string{"id", "vehicle_plate"} {
		if !slices.Contains(header, name) {
			return nil, fmt.Errorf("the CSV's first row has no column %q; it can have %s", name, strings.Join(columns, ", "))
		}
	}
	return &csvReader{records, header}, nil
}

func (c *csvReader) Next() (Event, error) {
	record, err := c.records.Read()
	var bad *csv.ParseError
	switch {
	case errors.As(err, &bad):
		return Event{}, &LineError{bad.Line, bad.Err.Error()}
	case err != nil:
		return Event{}, err // io.EOF among them
	}
	line, _ := c.records.FieldPos(0)
	fields := make(map[string]string, len(record))
	for i, name := range c.header {
		if !utf8.ValidString(record[i]) { // JSON would lose the letters that are not
			return Event{}, &LineError{line, "it is not valid UTF-8: save the file as UTF-8"}
		}
		if slices.Contains(columns, name) && record[i] != "" {
			fields[name] = record[i]
		}
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return Event{}, &LineError{line, err.Error()}
	}
	return parse(line, body)
}
