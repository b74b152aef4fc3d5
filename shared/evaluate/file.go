package evaluate

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
)

// Bounds of what is read and told of a file.
const (
	maxLine = 1 << 20
	// mostFaults is how many faults are told of each file. The others are counted.
	mostFaults = 20
)

// Fault is a line that cannot be used. It is left out.
type Fault struct {
	Line   int
	Reason string
}

// Faults are those of a file, the first ones of Count.
type Faults struct {
	Count int
	First []Fault
}

func (f *Faults) add(line int, format string, args ...any) {
	if f.Count++; len(f.First) < mostFaults {
		f.First = append(f.First, Fault{line, fmt.Sprintf(format, args...)})
	}
}

// Files are what was found in the files beside what can be evaluated.
type Files struct {
	Events, Truth Faults
	// Unknown are events that the truth lacks, Missing events that only the truth has.
	Unknown, Missing int
}

// Read reads events, a JSON object a line as on the wire, and the truth of them:
//
//	{"event_id":"in-1:17","vehicle":12,"visit":40}
//
// Ids may be numbers or text. The site of an event may be told, too; it has to be if
// several sites use the same ids. Without a vehicle it is a read of none. What cannot be used is left out and told.
func Read(events, truth io.Reader) (*Data, *Files, error) {
	d, told := &Data{of: make(map[read]int32)}, new(Files)
	texts := make(interning)
	err := lines(events, &told.Events, func(number int, text []byte) {
		e, err := parseEvent(text)
		if err != nil {
			told.Events.add(number, "%v", err)
			return
		}
		texts.event(&e)
		d.Events = append(d.Events, e)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read events: %w", err)
	}
	if len(d.Events) == 0 {
		return nil, nil, fmt.Errorf("there is no event: %w", told.Events.first())
	}
	r := newTruthReader(d, told)
	if err := errors.Join(lines(truth, &told.Truth, r.line), r.err); err != nil {
		return nil, nil, fmt.Errorf("read the truth: %w", err)
	}
	if len(d.of) == 0 {
		return nil, nil, fmt.Errorf("there is no truth: %w", told.Truth.first())
	}
	r.compare()
	return d, told, nil
}

// first returns an error with the first fault.
func (f *Faults) first() error {
	if f.Count == 0 {
		return errors.New("the file is empty")
	}
	return fmt.Errorf("line %d: %s", f.First[0].Line, f.First[0].Reason)
}

// foreign is what files begin with that have no lines of JSON.
var foreign = []struct{ begins, what string }{
	{"\x1f\x8b", "compressed by gzip"},
	{"\x28\xb5\x2f\xfd", "compressed by zstd"},
	{"\xfd7zXZ", "compressed by xz"},
	{"BZh", "compressed by bzip2"},
	{"PK\x03\x04", "a zip file"},
	{"\xff\xfe", "in UTF-16"},
	{"\xfe\xff", "in UTF-16"},
}

// lines passes the lines of a file that are not blank to each. A line that is too long is a
// fault.
func lines(r io.Reader, faults *Faults, each func(number int, text []byte)) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var text []byte
	for number := 1; ; number++ {
		text = text[:0]
		part, err := in.ReadSlice('\n')
		text = append(text, part...)
		long := false
		for errors.Is(err, bufio.ErrBufferFull) {
			part, err = in.ReadSlice('\n')
			if long = long || len(text)+len(part) > maxLine; !long {
				text = append(text, part...)
			}
		}
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if number == 1 {
			for _, f := range foreign {
				if bytes.HasPrefix(text, []byte(f.begins)) {
					return fmt.Errorf("it is %s: want text in UTF-8, one JSON object a line", f.what)
				}
			}
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		switch line := bytes.TrimSpace(text); {
		case long:
			faults.add(number, "it has more than %d bytes: want one JSON object a line", maxLine)
		case len(line) > 0:
			each(number, line)
		}
		if ended {
			return nil
		}
	}
}

// timesOf tells an entry from an exit.
type timesOf struct {
	Entry jsontext.Value `json:"entry_date_time"`
	Exit  jsontext.Value `json:"exit_date_time"`
}

func given(v jsontext.Value) bool { return len(v) > 0 && v.Kind() != 'n' && string(v) != `""` }

// parseEvent parses an event. Ids may be numbers.
func parseEvent(text []byte) (parking.Event, error) {
	var at timesOf
	if err := json.Unmarshal(text, &at); err != nil {
		return parking.Event{}, pipelineError(text)
	}
	kind := parking.Entry
	if given(at.Exit) {
		kind = parking.Exit
	}
	e, err := pipeline.ParseEvent(kind, text)
	if err == nil {
		return e, nil
	}
	// Text that is a number is not on the wire, but in tables of others.
	if mended := withTexts(text); mended != nil {
		return pipeline.ParseEvent(kind, mended)
	}
	return parking.Event{}, err
}

// pipelineError returns the error of a text that is no JSON object.
func pipelineError(text []byte) error {
	_, err := pipeline.ParseEvent(parking.Entry, text)
	return err
}

// withTexts returns an event with numbers as texts, or nil.
func withTexts(text []byte) []byte {
	var fields map[string]jsontext.Value
	if json.Unmarshal(text, &fields) != nil {
		return nil
	}
	changed := false
	for _, name := range []string{"id", "vehicle_plate", "site", "gate", "camera", "vehicle", "country"} {
		if v := fields[name]; v.Kind() == '0' {
			changed = true
			quoted, err := jsontext.AppendQuote(nil, number(v))
			if err != nil {
				return nil
			}
			fields[name] = quoted
		}
	}
	mended, err := json.Marshal(fields)
	if err != nil || !changed {
		return nil
	}
	return mended
}

// number returns the text of a number; 12.0 is 12.
func number(v jsontext.Value) string {
	text := string(v)
	if f, err := strconv.ParseFloat(text, 64); err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			return strconv.FormatInt(int64(f), 10)
		}
	}
	return text
}

// name is a text, or a number that stands for one. It is empty if there is none.
type name string

// UnmarshalJSON implements [json.Unmarshaler].
func (n *name) UnmarshalJSON(text []byte) error {
	switch v := jsontext.Value(text); v.Kind() {
	case 'n':
		*n = ""
	case '0':
		*n = name(number(v))
	case '"':
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			return err
		}
		*n = name(s)
	default:
		return errors.New("want text or a number")
	}
	return nil
}

// interning keeps one copy of texts that many events have.
type interning map[string]string

// mostTexts bounds the copies.
const mostTexts = 10_000

func (t interning) of(text string) string {
	if kept, found := t[text]; found {
		return kept
	}
	if len(t) < mostTexts {
		t[text] = text
	}
	return text
}

func (t interning) event(e *parking.Event) {
	e.Site, e.Gate, e.Camera = t.of(e.Site), t.of(e.Gate), t.of(e.Camera)
	e.Details.Country, e.Details.Make, e.Details.Color = t.of(e.Details.Country), t.of(e.Details.Make), t.of(e.Details.Color)
	e.Details.Vehicle = "" // says nothing of other cameras
}

// truthReader reads the truth of events.
type truthReader struct {
	*Data
	told     *Files
	siteOf   map[string]string // of the ids of events; several: empty
	shared   map[string]bool   // ids that events of several sites have
	err      error             // of the first line of which it is not known which event it is about
	only     string            // the site of all events, if there is one only
	at       map[truthKey]int32
	vehicles map[name]int32
	lineOf   map[read]int
}

// truthKey identifies a visit. Visits may be numbered by site or by vehicle.
type truthKey struct {
	site           string
	vehicle, visit name
}

func newTruthReader(d *Data, told *Files) *truthReader {
	r := &truthReader{
		Data: d, told: told, siteOf: make(map[string]string, len(d.Events)), shared: make(map[string]bool), at: make(map[truthKey]int32), vehicles: make(map[name]int32), lineOf: make(map[read]int),
	}
	r.only = d.Events[0].Site
	for i := range d.Events {
		e := &d.Events[i]
		if e.Site != r.only {
			r.only = ""
		}
		if site, known := r.siteOf[e.ID]; known && site != e.Site {
			r.siteOf[e.ID] = ""
			r.shared[e.ID] = true
		} else {
			r.siteOf[e.ID] = e.Site
		}
	}
	return r
}

// line reads a line.
func (r *truthReader) line(number int, text []byte) {
	var w struct {
		Event   name `json:"event_id"`
		Site    name `json:"site"`
		Vehicle name `json:"vehicle"`
		Visit   name `json:"visit"`
	}
	if err := json.Unmarshal(text, &w); err != nil {
		r.told.Truth.add(number, "%s", explain(err))
		return
	}
	if w.Event == "" {
		r.told.Truth.add(number, `event_id is missing: want a line such as {"event_id":"in-1:17","vehicle":12,"visit":40}`)
		return
	}
	key := read{string(w.Site), string(w.Event)}
	site := key.site
	if site == "" && r.shared[key.id] && r.err == nil {
		r.err = fmt.Errorf("line %d: events of several sites have the id %.60q: tell their site in each line of the truth", number, key.id)
	}
	if site == "" {
		site = cmp.Or(r.siteOf[key.id], r.only)
	}
	v := r.visit(truthKey{site, w.Vehicle, w.Visit})
	if known, twice := r.of[key]; twice {
		if known != v {
			r.told.Truth.add(number, "event %.60q is of another visit in line %d, which counts; if several sites use this id tell the site in each line", key.id, r.lineOf[key])
		}
		return
	}
	r.of[key], r.lineOf[key] = v, number
}

// visit returns the place of a visit.
func (r *truthReader) visit(key truthKey) int32 {
	if key.vehicle == "" {
		return nowhere
	}
	if at, known := r.at[key]; known && key.visit != "" {
		return at
	}
	vehicle, known := r.vehicles[key.vehicle]
	if !known {
		vehicle = int32(len(r.vehicles)) //nolint:gosec // fewer than 2^31 fit into memory
		r.vehicles[key.vehicle] = vehicle
	}
	at := int32(len(r.visits)) //nolint:gosec // fewer than 2^31 fit into memory
	r.visits = append(r.visits, visit{vehicle: vehicle, none: key.visit == ""})
	r.at[key] = at
	return at
}

// compare counts what only one of the files has, and notes which visits have ended.
func (r *truthReader) compare() {
	used := make(map[read]bool, len(r.of))
	seen := make(map[read]bool, len(r.of))
	for i := range r.Events {
		e := &r.Events[i]
		key := read{e.Site, e.ID}
		if seen[key] {
			continue
		}
		seen[key] = true
		if _, known := r.of[key]; !known {
			key.site = ""
		}
		if _, known := r.of[key]; known {
			used[key] = true
		} else {
			r.told.Unknown++
		}
	}
	for key, v := range r.of {
		if used[key] {
			continue
		}
		r.told.Missing++
		if v != nowhere {
			r.visits[v].ended = true // a read of it is lost, which may be the exit
		}
	}
}

// explain returns an error of JSON in words for users.
func explain(err error) string {
	if wrong, ok := errors.AsType[*json.SemanticError](err); ok && wrong.JSONPointer != "" {
		return fmt.Sprintf("%.60s: want text or a number", string(wrong.JSONPointer)[1:])
	}
	if _, ok := errors.AsType[*json.SemanticError](err); ok {
		return "want a JSON object"
	}
	return fmt.Sprintf("it is not JSON: %.120v", err)
}
