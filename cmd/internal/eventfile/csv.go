package eventfile

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"parkstream/shared/parking"
)

// columns are the known columns of a table.
var columns = []string{
	"id", "vehicle_plate", entryTime, exitTime, "site", "gate", "version", "void", "camera", "vehicle", "confidence", "country", "make", "color", "image",
	"ambiguous_time", "received_time",
}

const entryTime, exitTime = "entry_date_time", "exit_date_time"

// separators are the possible ones of columns; the first row decides.
var separators = []rune{',', ';', '\t', '|'}

// table reads CSV.
type table struct {
	lines     *lines
	separator rune
	header    []string // one name for each column, empty when it is left out
	export    *export  // of a camera's reads instead of events, or nil
}

func newTable(l *lines, c *Camera) (*table, error) {
	first, err := l.nextFilled()
	if err != nil {
		return nil, err
	}
	t := &table{lines: l}
	among := separators
	// Excel's way to name the separator.
	if text, found := bytes.CutPrefix(bytes.ToLower(bytes.TrimRight(first.text, " ")), []byte("sep=")); found && len(text) == 1 {
		among = []rune{rune(text[0])}
		if first, err = l.nextFilled(); err != nil {
			return nil, fmt.Errorf("it has no row that names the columns: %s", strings.Join(columns, ", "))
		}
	}
	var failed error
	for _, t.separator = range among {
		names, err := t.record(first)
		switch {
		case err != nil && failed == nil:
			failed = fmt.Errorf("the row that names the columns cannot be read: %w", err)
		case err == nil && namesColumns(names):
			return t, t.setHeader(first.number, names)
		}
	}
	if c != nil {
		return t, t.findExport(first, among, c)
	}
	if failed != nil {
		return nil, failed
	}
	return nil, fmt.Errorf("its first row names no column id and vehicle_plate, separated by comma, semicolon, tab or bar, but begins with %.80q; the columns can be %s. A table that a camera has exported needs --camera",
		first.text, strings.Join(columns, ", "))
}

// columnName returns a column's name as we write it.
func columnName(text string) string { return strings.ToLower(strings.TrimSpace(text)) }

// namesColumns reports whether a row is a header rather than an event.
func namesColumns(fields []string) bool {
	return slices.ContainsFunc(fields, func(f string) bool { return columnName(f) == "id" }) &&
		slices.ContainsFunc(fields, func(f string) bool { return columnName(f) == "vehicle_plate" })
}

func (t *table) setHeader(line int, names []string) error {
	header := make([]string, len(names))
	for i, name := range names {
		name = columnName(name)
		switch {
		case !slices.Contains(columns, name):
		case slices.Contains(header, name):
			return fmt.Errorf("line %d: the column %s is named twice", line, name)
		default:
			header[i] = name
		}
	}
	if !slices.Contains(header, entryTime) && !slices.Contains(header, exitTime) {
		return fmt.Errorf("line %d: no column is named %s or %s", line, entryTime, exitTime)
	}
	t.header = header
	return nil
}

func (t *table) Next() (Event, error) {
	for {
		first, err := t.lines.nextFilled()
		if err != nil {
			return Event{}, err
		}
		fields, err := t.record(first)
		if err != nil {
			return Event{}, err
		}
		switch {
		case !slices.ContainsFunc(fields, func(f string) bool { return strings.TrimSpace(f) != "" }):
			continue // as spreadsheets leave them
		case t.export == nil && namesColumns(fields): // of files that were put together
			if err := t.setHeader(first.number, fields); err != nil {
				return Event{}, err
			}
		case len(fields) != len(t.header):
			return Event{}, &LineError{first.number, fmt.Sprintf("it has %d fields, and the header names %d columns", len(fields), len(t.header))}
		case t.export != nil:
			e, err := t.export.event(first.number, fields)
			if err != nil && t.export.rename(fields) {
				continue
			}
			return e, err
		default:
			return t.event(first.number, fields)
		}
	}
}

// record returns the fields of the record that begins with a line. Its errors are
// of the kind *LineError.
func (t *table) record(first line) (fields []string, err error) {
	if first.long {
		return nil, first.tooLong()
	}
	_, _, ok := t.lines.extend(first, func(text []byte) (done, more bool) {
		var wrong error
		fields, wrong = t.split(text, false)
		// Of an invalid record the error of the first line is reported.
		if err == nil {
			err = wrong
		}
		return wrong == nil, errors.Is(wrong, csv.ErrQuote) && bytes.Count(text, []byte(`"`))%2 == 1
	}, t.alone)
	switch {
	case ok:
		return fields, nil
	case errors.Is(err, csv.ErrQuote):
		return nil, &LineError{first.number, `a quote (") is not closed, or not at the end of its field`}
	case errors.Is(err, csv.ErrBareQuote):
		return nil, &LineError{first.number, `a quote (") stands within a field that does not begin with one: put the field in quotes and write it twice`}
	default:
		return nil, &LineError{first.number, err.Error()}
	}
}

// split returns the fields of one record.
func (t *table) split(text []byte, lazy bool) ([]string, error) {
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, errors.New("it has a NUL byte")
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = t.separator, lazy, -1
	r.TrimLeadingSpace = t.separator != '\t' // of empty fields it would take the separator
	fields, err := r.Read()
	if bad, ok := errors.AsType[*csv.ParseError](err); ok {
		err = bad.Err
	}
	return fields, err
}

// alone reports whether a line is a complete row, valid or not: whatever its quotes, it
// has as many columns as the header, and a time in the column of the time.
func (t *table) alone(l line) bool {
	fields, err := t.split(l.text, true)
	if err != nil || len(fields) != len(t.header) {
		return false
	}
	if t.export != nil {
		_, err := t.export.rows.Read(fields, t.export.Camera.Camera, t.export.Received)
		return err == nil
	}
	for i, name := range t.header {
		if name == entryTime || name == exitTime {
			if _, err := parking.ParseTime(strings.TrimSpace(fields[i])); err == nil {
				return true
			}
		}
	}
	return false
}

func (t *table) event(line int, fields []string) (Event, error) {
	event := make(map[string]any, len(fields))
	for i, name := range t.header {
		value := strings.TrimSpace(fields[i])
		if name == "" || value == "" {
			continue
		}
		if !utf8.ValidString(value) { // JSON would lose the letters that are not
			return Event{}, &LineError{line, notUTF8}
		}
		cell, err := cellOf(name, value)
		if err != nil {
			return Event{}, &LineError{line, err.Error()}
		}
		event[name] = cell
	}
	body, err := json.Marshal(event)
	if err != nil {
		return Event{}, &LineError{line, err.Error()}
	}
	return parse(line, body)
}

// cellOf returns the value of a cell that is not empty, in the type of its column.
func cellOf(column, text string) (any, error) {
	switch column {
	case "version", "confidence":
		if number := json.Number(text); strings.Trim(text, "+-.0123456789eE") == "" && json.Valid([]byte(text)) {
			return number, nil
		}
		return nil, fmt.Errorf("%s %.40q is no number", column, text)
	case "void", "ambiguous_time", "received_time":
		value, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("%s %.40q: want true or false", column, text)
		}
		return value, nil
	}
	return text, nil
}
