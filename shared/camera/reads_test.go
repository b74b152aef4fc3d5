package camera

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// seenRead is a read as tables have it.
type seenRead struct {
	plate, at, direction string
	vehicle              string
	order                int64
	confidence           string // "" is none
	candidates           string // such as "A 0.5, B"
	country, make, color string
	pictures             string // their names in testdata/pictures
	ambiguous            bool
}

// sampleTest is what one sample tells.
type sampleTest struct {
	heartbeat bool
	reads     []seenRead
}

// gate is a camera in Berlin that receives the samples three seconds after the read that
// most of them tell.
var gate = site.Camera{ID: "gate-1", Site: "north", Role: site.Entries, Location: berlin}

var berlin, _ = time.LoadLocation("Europe/Berlin")

var gateReceived = time.Date(2026, 11, 23, 7, 15, 33, 0, time.UTC)

// testSamples compares every sample of a format with what it tells. The names of shared
// samples begin with "shared/".
func testSamples(t *testing.T, format string, want map[string]sampleTest) {
	t.Helper()
	names := samples(t)[format]
	for name := range want {
		if strings.HasPrefix(name, "shared/") {
			names = append(names, filepath.Join("testdata", name))
		}
	}
	if len(names) != len(want) {
		t.Errorf("%d samples, %d are expected", len(names), len(want))
	}
	for _, path := range names {
		name := strings.TrimPrefix(path, "testdata/"+format+"/")
		name = strings.TrimPrefix(name, "testdata/")
		t.Run(name, func(t *testing.T) {
			tt, expected := want[name]
			if !expected {
				t.Fatal("nothing is expected of this sample")
			}
			r := sample(t, path)
			r.Received = gateReceived
			f, m, err := Parse(r, gate)
			if err != nil || f.Name != format {
				t.Fatalf("%s, %v", f.Name, err)
			}
			if m.Heartbeat != tt.heartbeat {
				t.Errorf("heartbeat is %v", m.Heartbeat)
			}
			if diff := cmp.Diff(tt.reads, seenReads(t, m.Reads), cmp.AllowUnexported(seenRead{}), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			events, _, err := Events(m, gate, gateReceived)
			if err != nil || len(events) != len(m.Reads) {
				t.Errorf("%d events of %d reads: %v", len(events), len(m.Reads), err)
			}
			ids := map[string]bool{}
			for _, e := range events {
				ids[e.ID] = true
			}
			if len(ids) != len(events) {
				t.Errorf("%d ids of %d events", len(ids), len(events))
			}
		})
	}
}

func seenReads(t *testing.T, reads []Read) []seenRead {
	t.Helper()
	files, err := filepath.Glob("testdata/pictures/*.jpg")
	if err != nil || len(files) == 0 {
		t.Fatalf("no pictures: %v", err)
	}
	pictures := map[string][]byte{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pictures[strings.TrimSuffix(filepath.Base(file), ".jpg")] = data
	}
	number := func(c *float64) string {
		if c == nil {
			return ""
		}
		return strconv.FormatFloat(*c, 'g', 4, 64)
	}
	var all []seenRead
	for _, r := range reads {
		s := seenRead{
			plate: r.Plate, direction: r.Direction, vehicle: r.Vehicle, order: r.Order, ambiguous: r.AmbiguousTime,
			confidence: number(r.Confidence), country: r.Country, make: r.Make, color: r.Color,
		}
		if !r.Time.IsZero() {
			s.at = r.Time.Format(time.RFC3339Nano)
		}
		var candidates, names []string
		for _, c := range r.Candidates {
			candidates = append(candidates, strings.TrimSpace(c.Plate+" "+number(c.Confidence)))
		}
		for _, p := range r.Pictures {
			name := p.ContentType + "?"
			for known, data := range pictures {
				if bytes.Equal(data, p.Data) {
					name = known
				}
			}
			names = append(names, name)
		}
		s.candidates, s.pictures = strings.Join(candidates, ", "), strings.Join(names, " ")
		all = append(all, s)
	}
	return all
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
		r.Received = gateReceived
		_, m, err := Parse(r, c)
		if !errors.Is(err, parking.ErrInvalid) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %+v, %v, want %q", name, m, err, tt.want)
		}
	}
}

// fuzzReads feeds an adapter with made-up input. Whatever it is, the adapter neither
// panics nor says anything that is no event, and its error is a parking.ErrInvalid.
func fuzzReads(f *testing.F, format Format) {
	for _, names := range samples(f) {
		for _, name := range names {
			r := sample(f, name)
			f.Add(r.Header.Get("Content-Type"), r.Body)
		}
	}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		r := posted(contentType, string(body)).prepared()
		r.Received = gateReceived
		format.Recognise(r)
		if _, err := r.form(); err != nil { // refused before it is parsed
			return
		}
		for _, role := range []site.Role{site.Entries, site.Both} {
			c := gate
			c.Role, c.Directions = role, map[string]parking.Kind{"forward": parking.Entry, "90": parking.Exit}
			m, err := format.Parse(r, c)
			if err != nil {
				if !errors.Is(err, parking.ErrInvalid) || len(m.Reads) > 0 {
					t.Fatalf("%d reads, %v", len(m.Reads), err)
				}
				continue
			}
			again, err := format.Parse(r, c)
			if diff := cmp.Diff(m, again, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); diff != "" || err != nil {
				t.Fatalf("parsed twice: %v %s", err, diff)
			}
			events, _, err := Events(m, c, gateReceived)
			if err != nil && !errors.Is(err, parking.ErrInvalid) {
				t.Fatal(err)
			}
			for _, e := range events {
				if _, err := parking.NewEvent(e); err != nil {
					t.Fatalf("%+v: %v", e, err)
				}
			}
			for _, read := range m.Reads {
				if text := fmt.Sprint(read.Plate, read.Vehicle, read.Country, read.Make, read.Color, read.Direction); len(text) > 4*len(body)+1000 {
					t.Fatalf("%d bytes became a read of %d", len(body), len(text))
				}
			}
		}
	})
}
