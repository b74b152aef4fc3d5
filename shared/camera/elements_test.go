package camera

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// seen is a [Read] as texts, with the number of its pictures.
type seen struct {
	ID, Plate, Time, Direction, Kind, Vehicle string
	Confidence, Candidates                    string
	Country, Make, Color                      string
	Order                                     int64
	Pictures                                  int
	Void, Ambiguous, Counts                   bool
}

func seenOf(r Read) seen {
	s := seen{
		ID: r.ID, Plate: r.Plate, Direction: r.Direction, Vehicle: r.Vehicle, Confidence: text(r.Confidence),
		Country: r.Country, Make: r.Make, Color: r.Color, Order: r.Order, Pictures: len(r.Pictures),
		Void: r.Void, Ambiguous: r.AmbiguousTime, Counts: r.VehicleCounts,
	}
	if !r.Time.IsZero() {
		s.Time = r.Time.Format(time.RFC3339Nano)
	}
	if r.Kind != 0 {
		s.Kind = r.Kind.String()
	}
	for i, c := range r.Candidates {
		if i > 0 {
			s.Candidates += ", "
		}
		s.Candidates += strings.TrimSpace(c.Plate + " " + text(c.Confidence))
	}
	return s
}

func text(number *float64) string {
	if number == nil {
		return ""
	}
	return strconv.FormatFloat(*number, 'g', -1, 64)
}

// formatTest is one request of a format and what it tells.
type formatTest struct {
	name string
	file string // of testdata
	body string // in JSON, if there is no file
	want []seen
	// heartbeat is what the message tells besides.
	heartbeat bool
	// refused is a part of the error.
	refused string
}

// testFormat parses the requests of a format as those of a camera in Berlin, whose format
// is not configured, and checks that the reads become events.
func testFormat(t *testing.T, format string, tests []formatTest) {
	t.Helper()
	c := site.Camera{ID: "gate-1", Site: "north", Role: site.Both, Format: site.Auto, Location: in(t, "Europe/Berlin")}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := posted("application/json", tt.body)
			if tt.file != "" {
				r = sample(t, "testdata/"+tt.file)
			}
			r.Received = received
			if claimed := claims(r); !reflect.DeepEqual(claimed, []string{format}) {
				t.Fatalf("recognised by %v, want %s", claimed, format)
			}
			_, m, err := Parse(r, c)
			if tt.refused != "" {
				if !errors.Is(err, parking.ErrInvalid) || !strings.Contains(err.Error(), tt.refused) {
					t.Fatalf("error %v, want %s", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []seen
			for _, read := range m.Reads {
				got = append(got, seenOf(read))
			}
			if !reflect.DeepEqual(got, tt.want) || m.Heartbeat != tt.heartbeat {
				t.Errorf("heartbeat %v, reads\n%s\nwant\n%s", m.Heartbeat, lines(got), lines(tt.want))
			}
			entries := c
			entries.Role = site.Entries
			events, _, err := Events(m, entries, received)
			if err != nil || len(events) != len(m.Reads) {
				t.Errorf("%d events: %v", len(events), err)
			}
		})
	}
}

func lines(reads []seen) string {
	var b strings.Builder
	for _, r := range reads {
		fmt.Fprintf(&b, "%+v\n", r)
	}
	return b.String()
}

// fuzzFormat makes up requests of a format, beginning with its samples, with the given
// header besides their type. An error is an ErrInvalid, reads are bounded, and they are
// valid events or have a reason why not.
func fuzzFormat(f *testing.F, format string, header ...string) {
	for folder, names := range samples(f) {
		for _, name := range names {
			if r := sample(f, name); folder == format || folder == "shared" {
				f.Add(r.Header.Get("Content-Type"), r.Body)
			}
		}
	}
	adapter, err := ByName(format)
	if err != nil {
		f.Fatal(err)
	}
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		f.Fatal(err)
	}
	c := site.Camera{ID: "gate-1", Site: "north", Role: site.Entries, Location: zone}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		r := posted(contentType, string(body)).prepared()
		r.Received = received
		for _, name := range header {
			r.Header.Set(name, "1.0")
		}
		if _, err := r.form(); err != nil {
			return
		}
		adapter.Recognise(r)
		m, err := adapter.Parse(r, c)
		if err != nil {
			if !errors.Is(err, parking.ErrInvalid) || len(m.Reads) > 0 {
				t.Fatalf("%d reads, error %v", len(m.Reads), err)
			}
			return
		}
		if len(m.Reads) > maxElements {
			t.Fatalf("%d reads of %d bytes", len(m.Reads), len(body))
		}
		events, _, err := Events(m, c, received)
		if err != nil && !errors.Is(err, parking.ErrInvalid) {
			t.Fatal(err)
		}
		for _, e := range events {
			if again, err := parking.NewEvent(e); err != nil || !reflect.DeepEqual(again, e) {
				t.Fatalf("event %+v, again %+v: %v", e, again, err)
			}
		}
	})
}

func TestElements(t *testing.T) {
	for body, want := range map[string]string{
		`{"a":1}`:                               `[{"a":1}]`,
		`[{"a":1}, {"b":[2,{}]} ]`:              `[{"a":1} {"b":[2,{}]}]`,
		"{\"a\":1}\n{\"b\":2}\r\n{}":            `[{"a":1} {"b":2} {}]`,
		`[]`:                                    `[]`,
		`[{"a":1}`:                              "the JSON is malformed after 8 bytes",
		`{"a":1} x`:                             "the JSON is malformed after 7 bytes",
		`{"a":`:                                 "the JSON is malformed after 0 bytes",
		`<a/>`:                                  "want JSON",
		`[` + strings.Repeat("1,", 1000) + `1]`: "the JSON has a list of more than 1000 elements",
	} {
		elements, err := posted("", body).elements()
		got := fmt.Sprintf("%s", elements)
		if err != nil {
			got = err.Error()
		}
		if got != want || err != nil && !errors.Is(err, parking.ErrInvalid) {
			t.Errorf("%.40s: %s, want %s", body, got, want)
		}
	}
}
