package eventfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

// read returns one line for each event or refused record.
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

// readAll is read of a whole text.
func readAll(t *testing.T, text string, format Format) []string {
	t.Helper()
	r, err := New(strings.NewReader(text), format)
	if err != nil {
		return []string{"start: " + err.Error()}
	}
	return read(t, r)
}

func utf16Text(order binary.AppendByteOrder, text string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

func TestJSON(t *testing.T) {
	const entry = `{"id":"e1","vehicle_plate":"P","entry_date_time":"2026-11-23T08:15:00+01:00"}`
	const exit = `{"id":"x1","vehicle_plate":"P","exit_date_time":"2026-11-23T09:00:00Z","more":1}`
	isEntry := func(line int) string { return fmt.Sprint(line, " vehicle_entries 07:15:00 ", entry) }
	isExit := func(line int) string { return fmt.Sprint(line, " vehicle_exits 09:00:00 ", exit) }
	const pretty = "{\n  \"id\": \"e1\",\n  \"vehicle_plate\": \"P\",\n  \"entry_date_time\": \"2026-11-23T08:15:00+01:00\"\n}"
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"entry and exit", entry + "\n" + exit + "\n", []string{isEntry(1), isExit(2)}},
		{"no last line end, blank lines, CRLF", "\r\n" + entry + "\r\n\n  " + exit, []string{isEntry(2), isExit(4)}},
		{"CR", entry + "\r" + exit + "\r", []string{isEntry(1), isExit(2)}},
		{"line ends of all kinds", entry + "\r\n" + exit + "\r" + entry + "\n\r" + exit, []string{isEntry(1), isExit(2), isEntry(3), isExit(5)}},
		{"byte order mark, again in the middle", "\ufeff" + entry + "\n\ufeff" + exit, []string{isEntry(1), isExit(2)}},
		{"refused", strings.Join([]string{
			`{"id":7,"vehicle_plate":"P","entry_date_time":"2026-11-23T08:15:00Z"}`, "hello", `"text"`, `{"id":"a"}`, `{"entry_date_time":"2026-11-23T08:15:00"}`, entry,
			`{"entry_date_time":"2026-11-23T08:15:00Z","exit_date_time":"2026-11-23T08:15:00Z"}`,
			`{"id":"a","id":"b"}`, "{\"id\":\"\xff\"}", `{"id":"\ufffd","vehicle_plate":"P","entry_date_time":"2026-11-23T08:15:00Z"}`,
			`{"vehicle_plate":"P","entry_date_time":"2026-11-23T08:15:00Z"}`, `{"ID":"a","vehicle_plate":"P","entry_date_time":"2026-11-23T08:15:00Z"}`, exit,
		}, "\n"), []string{
			"line 1: id is a JSON number: want a string",
			"line 2: it is not JSON: invalid character 'h' at start of value",
			"line 3: a JSON string, want an object",
			"line 4: it has neither an entry_date_time nor an exit_date_time",
			`line 5: entry_date_time "2026-11-23T08:15:00" is no RFC 3339 time with a zone, such as 2026-11-23T08:15:00Z: the zone is missing`,
			isEntry(6),
			"line 7: it has an entry_date_time and an exit_date_time: make two events of it",
			"line 8: it names a field twice",
			"line 9: it is not valid UTF-8: save the file as UTF-8",
			"line 10: it has the character U+FFFD, which stands for one that was lost: save the file again as UTF-8",
			"line 11: id is missing",
			"line 12: id is missing",
			isExit(13),
		}},
		{"versions", strings.Join([]string{
			`{"id":"x1","version":3,"void":true}`, `{"id":"x1","version":2,"void":true,"exit_date_time":"2026-11-23T09:00:00Z"}`,
			`{"id":"e1","vehicle_plate":null,"entry_date_time":"2026-11-23T08:15:00Z","confidence":0.5,"candidates":[{"plate":"P"}]}`,
			`{"id":"x1","version":1.5,"void":true}`, `{"id":"x1","void":"true"}`, `{"id":"x1","void":false}`, `{"id":"x1","exit_date_time":7}`,
			`{"id":"e1","vehicle_plate":"P","entry_date_time":"2026-11-23T08:15:00Z","candidates":[{"plate":"\ufffd"}]}`,
		}, "\n"), []string{
			`1 vehicle_entries 00:00:00 {"id":"x1","version":3,"void":true}`,
			`2 vehicle_exits 00:00:00 {"id":"x1","version":2,"void":true,"exit_date_time":"2026-11-23T09:00:00Z"}`,
			`3 vehicle_entries 08:15:00 {"id":"e1","vehicle_plate":null,"entry_date_time":"2026-11-23T08:15:00Z","confidence":0.5,"candidates":[{"plate":"P"}]}`,
			"line 4: version is 1.5: want a whole number from 1 to 9007199254740991",
			"line 5: it has neither an entry_date_time nor an exit_date_time",
			"line 6: it has neither an entry_date_time nor an exit_date_time",
			"line 7: exit_date_time is a JSON number: want a string",
			"line 8: it has the character U+FFFD, which stands for one that was lost: save the file again as UTF-8",
		}},
		{"a line without end", entry + "\n{" + strings.Repeat("x", maxLine) + "\n" + exit, []string{
			isEntry(1), "line 2: it has more than 1048576 bytes: want one event a line", isExit(3),
		}},
		{"several on a line", entry + exit + ", " + entry, []string{isEntry(1), isExit(1), isEntry(1)}},
		{"an array on a line", "[" + entry + "," + exit + "]", []string{isEntry(1), isExit(1)}},
		{"an array over lines", "[\n  " + entry + ",\n  " + exit + "\n]\n", []string{isEntry(2), isExit(3)}},
		{"an array without end", "\n[\n  " + entry + ",\n", []string{isEntry(3), "line 2: the array that begins here has no end: is the file complete?"}},
		{"an array of others", "[1,2]\n" + entry, []string{"line 1: a JSON number, want an object", isEntry(2)}},
		{"objects over lines", "[\n" + pretty + ",\n" + pretty + "]" + exit, []string{
			"2 vehicle_entries 07:15:00 " + pretty, "7 vehicle_entries 07:15:00 " + pretty, isExit(11),
		}},
		{"a line that was cut", entry[:20] + "\n" + exit + "\n" + entry[:len(entry)-1] + "\n" + exit + "\n" + `{"id":` + "\n" + entry, []string{
			"line 1: it ends in the middle of its JSON", isExit(2), "line 3: it ends in the middle of its JSON", isExit(4), "line 5: it ends in the middle of its JSON", isEntry(6),
		}},
		{"the last line cut", entry + "\n" + exit[:30], []string{isEntry(1), "line 2: it ends in the middle of its JSON"}},
		{"around the events", `{"events":[` + "\n" + entry + ",\n" + exit + "\n]}", []string{
			"line 1: it ends in the middle of its JSON", isEntry(2), isExit(3), "line 4: it is not JSON: invalid character '}' at start of value",
		}},
		{"NUL bytes", entry + "\n\x00\x00\x00\n" + exit, []string{isEntry(1), `line 2: it is not JSON: invalid character '\x00' at start of value`, isExit(3)}},
		{"UTF-16", "\xff\xfe" + utf16Text(binary.LittleEndian, entry+"\r\n"+exit), []string{isEntry(1), isExit(2)}},
		{"UTF-16, the other order, no byte order mark", utf16Text(binary.BigEndian, entry+"\n"+exit), []string{isEntry(1), isExit(2)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, readAll(t, tt.in, JSONL)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCSV(t *testing.T) {
	const head = "id,vehicle_plate,entry_date_time,exit_date_time\n"
	entry := func(line int, id, plate string) string {
		return fmt.Sprintf(`%d vehicle_entries 08:15:00 {"entry_date_time":"2026-11-23T08:15:00Z","id":%q,"vehicle_plate":%q}`, line, id, plate)
	}
	row := func(id, plate string) string { return id + "," + plate + ",2026-11-23T08:15:00Z,\n" }
	const x1 = `{"exit_date_time":"2026-11-23T09:00:00Z","id":"x1","site":"a.b","vehicle_plate":"P"}`
	const notClosed = `: a quote (") is not closed, or not at the end of its field`
	const within = `: a quote (") stands within a field that does not begin with one: put the field in quotes and write it twice`
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"entry", head + row("e1", "P 1"), []string{entry(2, "e1", "P 1")}},
		{
			"other order, quotes, unknown column, capitals, byte order mark, CRLF",
			"\ufeffSite, ID ,note,vehicle_plate,exit_date_time\r\n\"a.b\",x1,\"two\r\nlines\",P,2026-11-23T09:00:00Z\r\n",
			[]string{"2 vehicle_exits 09:00:00 " + x1},
		},
		{"CR", strings.ReplaceAll(head+row("e1", "P 1")+row("e2", "P 2"), "\n", "\r"), []string{entry(2, "e1", "P 1"), entry(3, "e2", "P 2")}},
		{"a lone CR at the end of rows", head + strings.ReplaceAll(row("e1", "P 1")+row("e2", "P 2"), "\n", "\r\n") + "\r", []string{entry(2, "e1", "P 1"), entry(3, "e2", "P 2")}},
		{"CR CR LF", strings.ReplaceAll(head+row("e1", "P 1"), "\n", "\r\r\n"), []string{entry(3, "e1", "P 1")}},
		{"refused", head + "e1,P\ne2,\"P\"x,,\ne3,P,,\ne4,P,2026-11-23T08:15:00Z,,,\n,P,2026-11-23T08:15:00Z,\ne5,,2026-11-23T08:15:00Z,\n,,,\n" + row("e1", "P 1"), []string{
			"line 2: it has 2 fields, and the header names 4 columns", "line 3" + notClosed,
			"line 4: it has neither an entry_date_time nor an exit_date_time", "line 5: it has 6 fields, and the header names 4 columns",
			"line 6: id is missing", "line 7: vehicle_plate is missing", entry(9, "e1", "P 1"),
		}},
		{"Latin-1, in a column that is read and in another", "note," + head + ",e1,M\xdc 1,2026-11-23T08:15:00Z,\n\xdc," + row("e2", "P 2"), []string{
			"line 2: it is not valid UTF-8: save the file as UTF-8", entry(3, "e2", "P 2"),
		}},
		{"header alone", head, nil},
		{"byte order mark before a quote, as PowerShell writes it", "\ufeff" + `"id","vehicle_plate","entry_date_time"` + "\r\n" + `"e1","P 1","2026-11-23T08:15:00Z"` + "\r\n", []string{entry(2, "e1", "P 1")}},
		{"semicolons", "id;vehicle_plate;entry_date_time\ne1;\"P;1\";2026-11-23T08:15:00Z\n", []string{entry(2, "e1", "P;1")}},
		{"tabs, blanks, an empty field", "id\tgate \t vehicle_plate\tentry_date_time\n e1\t\tP 1 \t2026-11-23T08:15:00Z\n", []string{entry(2, "e1", "P 1")}},
		{"bars", "id|vehicle_plate|entry_date_time\ne1|P 1|2026-11-23T08:15:00Z\n", []string{entry(2, "e1", "P 1")}},
		{"blanks before quotes", "id, vehicle_plate, entry_date_time\ne1, \"P, 1\", \"2026-11-23T08:15:00Z\"\n", []string{entry(2, "e1", "P, 1")}},
		{"the separator in the first line", "sep=;\r\nid;vehicle_plate;entry_date_time\r\ne1;P 1;2026-11-23T08:15:00Z\r\n", []string{entry(3, "e1", "P 1")}},
		{"two files in one", head + row("e1", "P 1") + "\ufeffvehicle_plate,id,entry_date_time\nP 2,e2,2026-11-23T08:15:00Z\n", []string{entry(2, "e1", "P 1"), entry(4, "e2", "P 2")}},
		{"NUL bytes", head + "e1,P\x00 1,2026-11-23T08:15:00Z,\n" + row("e2", "P 2"), []string{"line 2: it has a NUL byte", entry(3, "e2", "P 2")}},
		{"a quote that is not closed", head + "e1,\"P 1,2026-11-23T08:15:00Z,\n" + row("e2", "P 2") + row("e3", "P 3"), []string{"line 2" + notClosed, entry(3, "e2", "P 2"), entry(4, "e3", "P 3")}},
		{"in the last row", head + row("e1", "P 1") + "e2,\"P 1,2026-11-23T08:15:00Z,\n", []string{entry(2, "e1", "P 1"), "line 3" + notClosed}},
		{"in the last column", "id,vehicle_plate,entry_date_time,note\ne1,P 1,2026-11-23T08:15:00Z,\"a\ne2,P 2,2026-11-23T08:15:00Z,b\ne3,P 3,2026-11-23T08:15:00Z,c\"\ne4,P 4,2026-11-23T08:15:00Z,d\n", []string{
			"line 2" + notClosed, entry(3, "e2", "P 2"), "line 4" + within, entry(5, "e4", "P 4"),
		}},
		{"in two rows after each other", head + "e1,\"P 1,2026-11-23T08:15:00Z,\ne2,P 2\",2026-11-23T08:15:00Z,\n" + row("e3", "P 3"), []string{"line 2" + notClosed, "line 3" + within, entry(4, "e3", "P 3")}},
		{"a quote within a field", head + row("e1", `5" P`) + row("e2", "P 2"), []string{"line 2" + within, entry(3, "e2", "P 2")}},
		{"quotes in quotes over lines", "id,vehicle_plate,entry_date_time,note\ne1,P 1,2026-11-23T08:15:00Z,\"a \"\"b\"\",\n\nc\n\"\ne2,P 2,2026-11-23T08:15:00Z,\n", []string{entry(2, "e1", "P 1"), entry(6, "e2", "P 2")}},
		{"UTF-16", "\xfe\xff" + utf16Text(binary.BigEndian, head+row("e1", "Ж 1")), []string{entry(2, "e1", "Ж 1")}},
		{"UTF-16 with half a character", "\xff\xfe" + utf16Text(binary.LittleEndian, head) + "e\x00,\x00\x00\xd8" + utf16Text(binary.LittleEndian, ",2026-11-23T08:15:00Z,\n"+row("e1", "P 1")), []string{
			"line 2: it has the character U+FFFD, which stands for one that was lost: save the file again as UTF-8", entry(3, "e1", "P 1"),
		}},
		{"versions", "id;version;void;vehicle_plate;exit_date_time;camera;confidence;image\nx1;2;;P 1;2026-11-23T08:15:00Z;c;0.9;a/b\nx1;3;TRUE;;;;;\nx1;two;;P;2026-11-23T08:15:00Z;;;\n" +
			"x1;4;yes;;;;;\nx1;4;;P;2026-11-23T08:15:00Z;;0,9;\nx1;4;false;;2026-11-23T08:15:00Z;;;\nx1;1.5;1;;;;;\n", []string{
			`2 vehicle_exits 08:15:00 {"camera":"c","confidence":0.9,"exit_date_time":"2026-11-23T08:15:00Z","id":"x1","image":"a/b","vehicle_plate":"P 1","version":2}`,
			`3 vehicle_entries 00:00:00 {"id":"x1","version":3,"void":true}`,
			`line 4: version "two" is no number`, `line 5: void "yes": want true or false`, `line 6: confidence "0,9" is no number`,
			"line 7: vehicle_plate is missing", "line 8: version is 1.5: want a whole number from 1 to 9007199254740991",
		}},
		{"nothing", "", []string{"start: it is empty"}},
		{"blank lines", "\n \r\n\t", []string{"start: it is empty"}},
		{"a quote in the header", "id,\"a\"b\n", []string{"start: the row that names the columns cannot be read: line 1" + notClosed}},
		{"no id", "plate,time\n", []string{`start: its first row names no column id and vehicle_plate, separated by comma, semicolon, tab or bar, but begins with "plate,time"; the columns can be ` + strings.Join(columns, ", ") + ". A table that a camera has exported needs --camera"}},
		{"no header", row("e1", "P 1"), []string{`start: its first row names no column id and vehicle_plate, separated by comma, semicolon, tab or bar, but begins with "e1,P 1,2026-11-23T08:15:00Z,"; the columns can be ` + strings.Join(columns, ", ") + ". A table that a camera has exported needs --camera"}},
		{"no time", "id,vehicle_plate\n1,2\n", []string{"start: line 1: no column is named entry_date_time or exit_date_time"}},
		{"a column twice", "id,vehicle_plate,entry_date_time,ID\n", []string{"start: line 1: the column id is named twice"}},
		{"a column twice, later", head + row("e1", "P 1") + "id,vehicle_plate,id,entry_date_time\n", []string{entry(2, "e1", "P 1"), "end: line 3: the column id is named twice"}},
		{"an unknown column twice", "id,note,vehicle_plate,entry_date_time,note\ne1,a,P 1,2026-11-23T08:15:00Z,b\n", []string{entry(2, "e1", "P 1")}},
		{"gzip", "\x1f\x8b\x08\x00", []string{"start: it is compressed with gzip: unpack it first, as with `gunzip -c FILE | parkstream send -`"}},
		{"a workbook", "PK\x03\x04", []string{"start: it is a ZIP archive or a workbook such as .xlsx: unpack it, or save the sheet as CSV"}},
		{"UTF-32", "\xff\xfe\x00\x00i\x00\x00\x00", []string{"start: it is UTF-32: save it as UTF-8"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, readAll(t, tt.in, Auto)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Of 300 rows one odd quote, wherever it stands, refuses one row, and two refuse
// two.
func TestQuotesSwallowNothing(t *testing.T) {
	const rows = 300
	for _, tt := range []struct{ field, at int }{{0, 10}, {1, 10}, {2, 10}, {3, 10}, {4, 10}, {1, 0}, {1, rows - 1}, {4, rows - 1}} {
		for _, quote := range []func(string) string{
			func(s string) string { return `"` + s },
			func(s string) string { return s + `"` },
			func(s string) string { return s[:1] + `"` + s[1:] },
		} {
			for _, second := range []int{-1, tt.at + 1, tt.at + 5, tt.at + 70, tt.at + 200} {
				var text strings.Builder
				text.WriteString("id,vehicle_plate,entry_date_time,site,note\n")
				bad := []int{tt.at + 2}
				for i := range rows {
					fields := []string{fmt.Sprint("n", i), fmt.Sprint("N ", i), "2026-11-23T08:15:00Z", "notes", "ok"}
					if i == tt.at || i == second {
						fields[tt.field] = quote(fields[tt.field])
					}
					if i == second {
						bad = append(bad, i+2)
					}
					text.WriteString(strings.Join(fields, ",") + "\n")
				}
				r, err := New(strings.NewReader(text.String()), Auto)
				if err != nil {
					t.Fatal(err)
				}
				var refused []int
				events := 0
				for {
					_, err := r.Next()
					if errors.Is(err, io.EOF) {
						break
					}
					if mistake, ok := errors.AsType[*LineError](err); ok {
						refused = append(refused, mistake.Line)
					} else if err != nil {
						t.Fatal(err)
					} else {
						events++
					}
				}
				if !slices.Equal(refused, bad) || events != rows-len(bad) {
					t.Errorf("%+v, second %d: %d events, lines %v are refused, want %v", tt, second, events, refused, bad)
				}
			}
		}
	}
}

// A record holds no more than its bound of the file in memory, and what comes
// after it is read.
func TestRecordIsBounded(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	text := "id,vehicle_plate,entry_date_time,note\ne1,P 1,2026-11-23T08:15:00Z,\"a\n" + strings.Repeat(long+"\n", 20) + "\"\ne2,P 2,2026-11-23T08:15:00Z,b\n"
	r, err := New(strings.NewReader(text), Auto)
	if err != nil {
		t.Fatal(err)
	}
	got := read(t, r)
	if len(got) != 23 || !strings.HasPrefix(got[0], "line 2: a quote") || !strings.HasPrefix(got[1], "line 3: it has 1 fields") || !strings.HasPrefix(got[22], "24 vehicle_entries") {
		t.Errorf("%d records, %.100q", len(got), got)
	}
	back := r.(*table).lines.back
	if len(back) != 0 {
		t.Errorf("%d lines are left", len(back))
	}
}

func TestFormats(t *testing.T) {
	const object = `{"id":"e1","vehicle_plate":"P","entry_date_time":"2026-11-23T08:15:00Z"}`
	const row = "id,vehicle_plate,entry_date_time\ne1,P,2026-11-23T08:15:00Z\n"
	for _, tt := range []struct {
		format Format
		text   string
		events bool
	}{
		{Auto, object, true},
		{Auto, "\n [" + object + "]", true},
		{Auto, row, true},
		{JSONL, object, true},
		{CSV, row, true},
		{JSONL, row, false},
		{CSV, object, false},
	} {
		got := readAll(t, tt.text, tt.format)
		if events := strings.Contains(got[0], " vehicle_entries "); events != tt.events {
			t.Errorf("%s of %q: %q", tt.format, tt.text, got)
		}
	}
}

// The error of a file that becomes unreadable names the line.
func TestReadingFails(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "start: broken"},
		{"id,vehicle_plate,entry_date_time\ne1,P,2026-11-23T08:15:00Z\ne2,P", "end: read line 3: broken"},
		{`{"id":"e1","vehicle_plate":"P","entry_date_time":"2026-11-23T08:15:00Z"}` + "\n{", "end: read line 2: broken"},
	} {
		r, err := New(io.MultiReader(strings.NewReader(tt.text), iotest.ErrReader(errors.New("broken"))), Auto)
		got := []string{fmt.Sprint("start: ", err)}
		if err == nil {
			got = read(t, r)
		}
		if got[len(got)-1] != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
}
