package eventfile

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/camera"
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

func gate(t *testing.T) *Camera {
	t.Helper()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return &Camera{Camera: site.Camera{
		ID: "gate-1", Site: "north", Role: site.Both, Format: site.Auto, Location: berlin, Directions: map[string]parking.Kind{"forward": parking.Entry},
	}, Received: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)}
}

// told is read with the id, which is a hash, left out.
func told(t *testing.T, r Reader) []string {
	t.Helper()
	got := read(t, r)
	for i, text := range got {
		before, rest, found := strings.Cut(text, `"id":"gate-1:`)
		if _, after, cut := strings.Cut(rest, `",`); found && cut {
			got[i] = before + after
		}
	}
	return got
}

func TestExportedTable(t *testing.T) {
	entry := func(line, plate, more string) string {
		return line + ` vehicle_entries 07:15:30 {"vehicle_plate":"` + plate + `","entry_date_time":"2026-11-23T07:15:30Z","site":"north","camera":"gate-1"` + more + `}`
	}
	const semicolons = "Kennzeichen;Datum/Uhrzeit;Richtung;Konfidenz;Bemerkung\nB-AB 1234;23.11.2026 08:15:30;Einfahrt;98,5;\n"
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"semicolons, decimal comma", semicolons, []string{entry("2", "B-AB 1234", `,"confidence":0.985`)}},
		{"UTF-16", utf16Text(binary.LittleEndian, "\ufeff"+semicolons), []string{entry("2", "B-AB 1234", `,"confidence":0.985`)}},
		{"byte order mark, CRLF, tabs", "\ufeffPlate\tTime\tDirection\r\nA1\t2026-11-23 08:15:30\tin\r\n", []string{entry("2", "A1", "")}},
		{"commas and quotes", "\"Plate\",\"Date\",\"Time\",\"Direction\"\n\"A,1\",\"11/23/2026\",\"8:15:30 AM\",\"In\"\n", []string{entry("2", "A,1", "")}},
		{"titles above, empty rows, the header again", "Report of gate 1\n\nfrom,to\nplate,time,direction\n,,\nA1,2026-11-23T08:15:30,in\nplate,time,direction\nA2,2026-11-23T08:15:30,in\n", []string{
			entry("6", "A1", ""), entry("8", "A2", ""),
		}},
		{"refused", "plate,time,direction\nA1,yesterday,in\nA2,2026-11-23T08:15:30\nA3,2026-11-23T08:15:30,sideways\nA4,2026-11-23T08:15:30,\nA5,,in\n\"A6,2026-11-23T08:15:30,in\nA7,2026-11-23T08:15:30,forward\n", []string{
			`line 2: "yesterday" is no time such as 2026-11-23 08:15:30 or 23.11.2026 08:15:30`,
			"line 3: it has 2 fields, and the header names 3 columns",
			`line 4: the camera sees both directions, and its configuration does not have the direction "sideways": map it to entry or exit in the camera's directions`,
			"line 5: the camera sees both directions, and the request does not tell which one: set the camera's role to entry or exit",
			"line 6: it has no time",
			`line 7: a quote (") is not closed, or not at the end of its field`,
			entry("8", "A7", ""),
		}},
		{"no plate in a row", "plate,time,direction\n-,2026-11-23T08:15:30,in\n", []string{
			`2 vehicle_entries 07:15:30 {"vehicle_plate":null,"entry_date_time":"2026-11-23T07:15:30Z","site":"north","camera":"gate-1"}`,
		}},
		{"events as before", "id,vehicle_plate,entry_date_time\ne1,P,2026-11-23T07:15:30Z\n", []string{
			`2 vehicle_entries 07:15:30 {"entry_date_time":"2026-11-23T07:15:30Z","id":"e1","vehicle_plate":"P"}`,
		}},
		{"no plates", "a;b\n1;2\n", []string{"start: line 1: no column is named plate, license plate, Kennzeichen, plaque, matrícula, targa or the like"}},
		{"letters of Windows", "Kennzeichen;Zeitpunkt;Zuverl\xe4ssigkeit\n", []string{"start: line 1: it is not valid UTF-8: save the file as UTF-8"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := NewOf(strings.NewReader(tt.in), Auto, gate(t))
			got := []string{}
			if err != nil {
				got = append(got, "start: "+err.Error())
			} else {
				got = told(t, r)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	alert := func(plate, time string) string {
		return `<EventNotificationAlert><eventType>ANPR</eventType><dateTime>` + time + `</dateTime><ANPR><licensePlate>` + plate + `</licensePlate><direction>forward</direction></ANPR></EventNotificationAlert>`
	}
	const at = "2026-11-23T08:15:30"
	write("1.xml", alert("A1", at))
	write("2.http", "POST /camera HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Type: text/xml\r\n\r\n"+alert("A2", at)+"\r\n--b--\r\n")
	write("3.http", "Host: a\n\n"+alert("A3", at))
	write("4.body", "--b\r\nContent-Type: text/xml\r\n\r\n"+alert("A4", at)+"\r\n--b--\r\n")
	write("5.jsonl", `{"plate":"A5","time":"`+at+`","direction":"entry"}`+"\n\n"+`{"plate":`+"\n"+`{"plate":"A6","time":"`+at+`","direction":"entry"}`)
	write("6.json", `[{"plate":"A7","time":"`+at+`","direction":"entry"},{"plate":"A8","time":"`+at+`","direction":"north"}]`)
	write("7.xml", alert("A9", ""))
	write("8.txt", "hello")
	write("9.xml", `<EventNotificationAlert><eventType>heartBeat</eventType></EventNotificationAlert>`)
	write("a.http", "no header")
	write("b.jpg", "a picture")
	write("c.json", `[{"plate":"B1","direction":"entry"},{"plate":"B2","time":"now","direction":"entry"},{"plate":"B3","time":"`+at+`","direction":"entry"}]`)
	write(".hidden", "hidden")
	requests, err := NewRequests([]string{dir}, gate(t))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, text := range told(t, requests) {
		got = append(got, strings.ReplaceAll(text, dir+string(filepath.Separator), ""))
	}
	entry := func(number, plate string) string {
		return number + ` vehicle_entries 07:15:30 {"vehicle_plate":"` + plate + `","entry_date_time":"2026-11-23T07:15:30Z","site":"north","camera":"gate-1"}`
	}
	if diff := cmp.Diff([]string{
		entry("1", "A1"), entry("2", "A2"), entry("3", "A3"), entry("4", "A4"), entry("5", "A5"),
		"5.jsonl: line 3: the request has JSON that is malformed",
		entry("7", "A6"), entry("8", "A7"),
		`6.json: the camera sees both directions, and its configuration does not have the direction "north": map it to entry or exit in the camera's directions`,
		"7.xml: a read has no time, and when the camera sent it is not known",
		"8.txt: the request is of no known format: it has neither JSON nor XML nor a form. Looked for: " + strings.Join(camera.Names()[1:], ", ") + ". Set the camera's format if it is one of them",
		"a.http: want the lines of a header, an empty line and the body: malformed MIME header: missing colon: \"no header\"",
		entry("13", "B3"),
		"c.json: element 2 of 3: \"now\" is no time such as 2026-11-27T08:15:00.000+01:00\na read has no time, and when the camera sent it is not known",
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := NewRequests([]string{filepath.Join(dir, "nothing")}, gate(t)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// What was posted before doubles nothing: the events are those of the webhook.
func TestRequestsAreEventsOfTheWebhook(t *testing.T) {
	const body = `{"plate":"A1","time":"2026-11-23T08:15:30+01:00","direction":"exit","confidence":0.9}`
	file := filepath.Join(t.TempDir(), "1.json")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	c := gate(t)
	_, m, err := camera.Parse(camera.Request{Body: []byte(body), Received: c.Received}, c.Camera)
	if err != nil {
		t.Fatal(err)
	}
	posted, _, err := camera.Events(m, c.Camera, c.Received)
	if err != nil || len(posted) != 1 {
		t.Fatalf("%+v, %v", posted, err)
	}
	requests, err := NewRequests([]string{file}, c)
	if err != nil {
		t.Fatal(err)
	}
	e, err := requests.Next()
	if err != nil || e.ID != posted[0].ID || e.Queue != Exits || !e.Time.Equal(posted[0].Time) {
		t.Errorf("%+v, %v; posted %+v", e, err, posted[0])
	}
	// The same vehicle in a table is the same event, too.
	rows, err := NewOf(strings.NewReader("plate;time;direction;confidence\nA1;23.11.2026 08:15:30;exit;0,9\n"), Auto, c)
	if err != nil {
		t.Fatal(err)
	}
	if row, err := rows.Next(); err != nil || row.ID != posted[0].ID {
		t.Errorf("%+v, %v", row, err)
	}
	if _, err := requests.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
