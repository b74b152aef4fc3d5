package eventfile

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// read returns one line for each event or mistake.
func read(t *testing.T, r Reader) []string {
	t.Helper()
	var got []string
	for {
		e, err := r.Next()
		switch mistake, ok := errors.AsType[*LineError](err); {
		case errors.Is(err, io.EOF):
			return got
		case ok:
			got = append(got, mistake.Error())
		case err != nil:
			return append(got, "end: "+err.Error())
		default:
			got = append(got, fmt.Sprintf("%d %s %s %s", e.Line, e.Queue, e.Time.UTC().Format("15:04:05"), e.Body))
		}
	}
}

func TestJSONL(t *testing.T) {
	const entry = `{"id":"e1","vehicle_plate":"P","entry_date_time":"2026-11-23T08:15:00+01:00"}`
	const exit = `{"id":"x1","vehicle_plate":"P","exit_date_time":"2026-11-23T09:00:00Z","more":1}`
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"empty", "", nil},
		{"entry and exit", entry + "\n" + exit + "\n", []string{"1 vehicle_entries 07:15:00 " + entry, "2 vehicle_exits 09:00:00 " + exit}},
		{"no last line end, blank lines, CRLF", "\r\n" + entry + "\r\n\n  " + exit, []string{"2 vehicle_entries 07:15:00 " + entry, "4 vehicle_exits 09:00:00 " + exit}},
		{"byte order mark", "\ufeff" + entry, []string{"1 vehicle_entries 07:15:00 " + entry}},
		{"mistakes", strings.Join([]string{
			"hello", `[]`, `{"id":7}`, `{"id":"a"}`, `{"entry_date_time":"2026-11-23T08:15:00"}`, entry,
			`{"entry_date_time":"2026-11-23T08:15:00Z","exit_date_time":"2026-11-23T08:15:00Z"}`,
		}, "\n"), []string{
			"line 1: it is not JSON: invalid character 'h' looking for beginning of value",
			"line 2: a JSON array, want an object",
			"line 3: id: a JSON number, want a string",
			"line 4: it has neither an entry_date_time nor an exit_date_time",
			`line 5: "2026-11-23T08:15:00" is no RFC 3339 time with a zone`,
			"6 vehicle_entries 07:15:00 " + entry,
			"line 7: it has an entry_date_time and an exit_date_time: make two events of it",
		}},
		{"a line without end", entry + "\n" + strings.Repeat("x", maxLine+1), []string{
			"1 vehicle_entries 07:15:00 " + entry, "end: line 2 has more than 1048576 bytes: want one event a line",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, read(t, NewJSONL(strings.NewReader(tt.in)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCSV(t *testing.T) {
	const head = "id,vehicle_plate,entry_date_time,exit_date_time\n"
	const e1 = `{"entry_date_time":"2026-11-23T08:15:00Z","id":"e1","vehicle_plate":"P 1"}`
	const x1 = `{"exit_date_time":"2026-11-23T09:00:00Z","id":"x1","site":"a,b","vehicle_plate":"P"}`
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"entry", head + "e1,P 1,2026-11-23T08:15:00Z,\n", []string{"2 vehicle_entries 08:15:00 " + e1}},
		{
			"other order, quotes, unknown column, capitals, byte order mark, CRLF",
			"\ufeffSite, ID ,note,vehicle_plate,exit_date_time\r\n\"a,b\",x1,\"two\nlines\",P,2026-11-23T09:00:00Z\r\n",
			[]string{"2 vehicle_exits 09:00:00 " + x1},
		},
		{
			"mistakes", head + "e1,P\ne2,\"P\"x,,\ne3,P,,\ne1,P 1,2026-11-23T08:15:00Z,\n",
			[]string{
				"line 2: wrong number of fields", "line 3: extraneous or missing \" in quoted-field",
				"line 4: it has neither an entry_date_time nor an exit_date_time", "5 vehicle_entries 08:15:00 " + e1,
			},
		},
		{
			"Latin-1", head + "e1,M\xdc 1,2026-11-23T08:15:00Z,\ne1,P 1,2026-11-23T08:15:00Z,\n",
			[]string{"line 2: it is not valid UTF-8: save the file as UTF-8", "3 vehicle_entries 08:15:00 " + e1},
		},
		{"header alone", head, nil},
		{
			"byte order mark before a quote, as PowerShell writes it", "\ufeff" + `"id","vehicle_plate","entry_date_time"` + "\r\n" + `"e1","P 1","2026-11-23T08:15:00Z"` + "\r\n",
			[]string{"2 vehicle_entries 08:15:00 " + e1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := NewCSV(strings.NewReader(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, read(t, r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for in, want := range map[string]string{
		"":                          "the CSV is empty: want a first row with the columns' names: id, vehicle_plate,",
		"id,\"a\"b\n":               "read the header of the CSV: parse error on line 1",
		"plate,time\n":              `no column "id"`,
		"id,entry_date_time\n1,2\n": `no column "vehicle_plate"`,
	} {
		if _, err := NewCSV(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}
