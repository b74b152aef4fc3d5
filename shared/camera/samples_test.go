package camera

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// gate is a camera in Berlin.
var gate = site.Camera{ID: "gate-1", Site: "north", Role: site.Entries, Format: site.Auto, Location: berlin}

var berlin, _ = time.LoadLocation("Europe/Berlin")

// seen is a [Read] as texts.
type seen struct {
	ID, Plate, Time, Direction, Kind, Vehicle string
	Confidence, Candidates                    string // such as 0.93, and "A 0.5, B"
	Country, Make, Color                      string
	Order                                     int64
	Pictures                                  string // their names in testdata/pictures, or their types
	Void, Ambiguous, Counts                   bool
}

func seenOf(t *testing.T, r Read) seen {
	t.Helper()
	s := seen{
		ID: r.ID, Plate: r.Plate, Direction: r.Direction, Vehicle: r.Vehicle, Confidence: text(r.Confidence),
		Country: r.Country, Make: r.Make, Color: r.Color, Order: r.Order,
		Void: r.Void, Ambiguous: r.AmbiguousTime, Counts: r.VehicleCounts,
	}
	if !r.Time.IsZero() {
		s.Time = r.Time.Format(time.RFC3339Nano)
	}
	if r.Kind != 0 {
		s.Kind = r.Kind.String()
	}
	var candidates, pictures []string
	for _, c := range r.Candidates {
		candidates = append(candidates, strings.TrimSpace(c.Plate+" "+text(c.Confidence)))
	}
	for _, p := range r.Pictures {
		pictures = append(pictures, pictureName(t, p))
	}
	s.Candidates, s.Pictures = strings.Join(candidates, ", "), strings.Join(pictures, " ")
	return s
}

// text returns a number in six digits.
func text(number *float64) string {
	if number == nil {
		return ""
	}
	return strconv.FormatFloat(*number, 'g', 6, 64)
}

func pictureName(t *testing.T, p Picture) string {
	t.Helper()
	files, err := filepath.Glob("testdata/pictures/*.jpg")
	if err != nil || len(files) == 0 {
		t.Fatalf("no pictures: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(data, p.Data) {
			return strings.TrimSuffix(filepath.Base(file), ".jpg")
		}
	}
	return strings.TrimPrefix(p.ContentType, "image/")
}

// formatTest is one request of a format and what it tells.
type formatTest struct {
	name string
	file string // of testdata
	body string // in JSON or XML, if there is no file
	want []seen
	// heartbeat is what the message tells besides.
	heartbeat bool
	// unread is a part of the reason why the other parts of the request are no reads.
	unread string
	// refused is a part of the error.
	refused string
}

// testFormat parses the requests of a format as those of a camera in Berlin, whose format
// is not configured, and checks that the reads become events. Every sample of the format
// has to be among the tests.
func testFormat(t *testing.T, format string, tests []formatTest) {
	t.Helper()
	for _, file := range samples(t)[format] {
		name := strings.TrimPrefix(filepath.ToSlash(file), "testdata/")
		if !slices.ContainsFunc(tests, func(tt formatTest) bool { return tt.file == name }) {
			t.Errorf("nothing is expected of %s", name)
		}
	}
	both := gate
	both.Role = site.Both
	for _, tt := range tests {
		t.Run(tt.name+" "+filepath.Base(tt.file), func(t *testing.T) {
			r := posted("application/json", tt.body)
			if tt.file != "" {
				r = sample(t, "testdata/"+tt.file)
			}
			r.Received = received
			if claimed := claims(r); !reflect.DeepEqual(claimed, []string{format}) {
				t.Fatalf("recognised by %v, want %s", claimed, format)
			}
			_, m, err := Parse(r, both)
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
				got = append(got, seenOf(t, read))
			}
			if !reflect.DeepEqual(got, tt.want) || m.Heartbeat != tt.heartbeat {
				t.Errorf("heartbeat %v, reads\n%s\nwant\n%s", m.Heartbeat, lines(got), lines(tt.want))
			}
			events, _, err := Events(m, gate, received)
			if (err == nil) != (tt.unread == "") || err != nil && !strings.Contains(err.Error(), tt.unread) || len(events) != len(m.Reads) {
				t.Errorf("%d events: %v, want %q", len(events), err, tt.unread)
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

// refused is a request that an adapter refuses, with a part of the error.
type refused struct{ contentType, body, want string }

// testRefused compares the errors of an adapter, whose format is configured.
func testRefused(t *testing.T, f Format, tests map[string]refused) {
	t.Helper()
	for name, tt := range tests {
		c := gate
		c.Format = f.Name
		r := posted(tt.contentType, tt.body)
		r.Received = received
		_, m, err := Parse(r, c)
		if !errors.Is(err, parking.ErrInvalid) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %+v, %v, want %q", name, m, err, tt.want)
		}
	}
}

// fuzzFormat makes up requests of a format, beginning with its samples, with the given
// header besides their type. An error is an ErrInvalid, reads are bounded and always the
// same, and they are valid events or have a reason why not.
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
	mapped := gate
	mapped.Role, mapped.Directions = site.Both, map[string]parking.Kind{"forward": parking.Entry, "90": parking.Exit}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		r := posted(contentType, string(body)).prepared()
		r.Received = received
		for _, name := range header {
			r.Header.Set(name, "1.0")
		}
		if _, err := r.form(); err != nil { // refused before it is parsed
			return
		}
		adapter.Recognise(r)
		for _, c := range []site.Camera{gate, mapped} {
			m, err := adapter.Parse(r, c)
			if err != nil {
				if !errors.Is(err, parking.ErrInvalid) || len(m.Reads) > 0 {
					t.Fatalf("%d reads, error %v", len(m.Reads), err)
				}
				continue
			}
			if len(m.Reads) > max(maxElements, len(body)) {
				t.Fatalf("%d reads of %d bytes", len(m.Reads), len(body))
			}
			if again, err := adapter.Parse(r, c); err != nil || !reflect.DeepEqual(again, m) {
				t.Fatalf("%+v, again %+v: %v", m, again, err)
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
		}
	})
}
