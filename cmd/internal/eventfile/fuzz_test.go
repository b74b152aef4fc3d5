package eventfile

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode"
)

// FuzzReader checks that reading ends for any bytes, that lines are numbered in order,
// and that the events read can be written and read again, as JSON and as CSV.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"id,vehicle_plate,entry_date_time\ne1,\"P\n1\",2026-11-23T08:15:00Z\r\"", "[{\"id\":\n\"a\"},[{", "sep=|\nid|vehicle_plate|exit_date_time\n", "\xff\xfei\x00",
		"ID;Vehicle_Plate;exit_date_time;site;gate;more\nx1;\"KA;01\";2016-12-31t23:59:60z;a;b;c\nid;vehicle_plate;entry_date_time\ne1; P ;2026-11-23T08:15:00.5+05:30\n",
		`{"id":"x1","version":3,"void":true}{"id":"e1","vehicle_plate":null,"version":9007199254740991,"entry_date_time":"2026-11-23T08:15:00Z","confidence":1e-2,"candidates":[{"plate":"P"}]}`,
		"id,version,void,vehicle_plate,exit_date_time,confidence,camera\nx1,2,true,,2026-11-23T08:15:00Z,,\nx1,1,,P,2026-11-23T08:15:00Z,.5,c\n",
		`[{"id":"e1","vehicle_plate":"KA 01","entry_date_time":"2026-11-23T08:15:00Z","more":[{}]},{"id":"x1","vehicle_plate":"\u0905","exit_date_time":"2026-11-23T09:00:00Z","site":"b"}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		events, err := all(t, text, Auto)
		if err != nil || len(events) == 0 {
			return
		}
		again, err := all(t, asJSON(t, events), JSONL)
		if diff := difference(events, again); err != nil || diff != "" {
			t.Fatalf("%q is read otherwise from its own JSON: %v %s", text, err, diff)
		}
		table, left := asCSV(t, events)
		if len(left) == 0 {
			return
		}
		again, err = all(t, table, CSV)
		if diff := difference(left, again); err != nil || diff != "" {
			t.Fatalf("%q is read otherwise from the CSV %q: %v %s", text, table, err, diff)
		}
	})
}

// all returns the events of a file without the records that are none.
func all(t *testing.T, text []byte, format Format) (events []Event, err error) {
	t.Helper()
	r, err := New(bytes.NewReader(text), format)
	if err != nil {
		return nil, err
	}
	last := 0
	for range len(text) + 2 {
		e, err := r.Next()
		line := e.Line
		mistake, bad := errors.AsType[*LineError](err)
		switch {
		case errors.Is(err, io.EOF):
			return events, nil
		case err != nil && !reflect.DeepEqual(e, Event{}):
			t.Fatalf("the event %+v and the error %v", e, err)
		case bad:
			line = mistake.Line
		case err != nil:
			return events, err
		default:
			events = append(events, e)
		}
		if line < last && !strings.Contains(fmt.Sprint(err), "no end") {
			t.Fatalf("line %d after line %d: %v", line, last, err)
		}
		last = line
	}
	t.Fatal("it does not end")
	return nil, nil
}

// difference compares what of the events does not depend on how they were written.
func difference(want, got []Event) string {
	if len(want) != len(got) {
		return fmt.Sprintf("%d events, want %d", len(got), len(want))
	}
	for i, w := range want {
		if g := got[i]; g.ID != w.ID || g.Queue != w.Queue || !g.Time.Equal(w.Time) {
			return fmt.Sprintf("%+v, want %+v", g, w)
		}
	}
	return ""
}

// asJSON writes events as one object a line.
func asJSON(t *testing.T, events []Event) []byte {
	t.Helper()
	var text bytes.Buffer
	for _, e := range events {
		if err := json.Compact(&text, e.Body); err != nil {
			t.Fatalf("the body %q: %v", e.Body, err)
		}
		text.WriteByte('\n')
	}
	return text.Bytes()
}

// asCSV writes events as a table and returns the events that a table can hold: cells
// are read without surrounding blanks and without control characters.
func asCSV(t *testing.T, events []Event) (table []byte, left []Event) {
	t.Helper()
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	rows := [][]string{columns}
	for _, e := range events {
		var members map[string]any
		body := json.NewDecoder(bytes.NewReader(e.Body))
		body.UseNumber()
		if err := body.Decode(&members); err != nil {
			t.Fatalf("the body %q: %v", e.Body, err)
		}
		row := make([]string, len(columns))
		fits := members["vehicle_plate"] != nil || members["void"] == true // a table has no null
		for i, name := range columns {
			if members[name] != nil {
				row[i] = fmt.Sprint(members[name])
			}
			fits = fits && row[i] == strings.TrimSpace(row[i]) && !strings.ContainsFunc(row[i], unicode.IsControl)
		}
		if fits && !namesColumns(row) {
			rows, left = append(rows, row), append(left, e)
		}
	}
	if err := w.WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	return text.Bytes(), left
}
