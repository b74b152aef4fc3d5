package parking

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNewEvent(t *testing.T) {
	good := Event{ID: "a", Kind: Exit, RawPlate: "ka-01", Time: noon.In(time.FixedZone("", 5*3600+1800))}
	got, err := NewEvent(good)
	want := Event{ID: "a", Kind: Exit, Site: "default", Version: 1, RawPlate: "ka-01", Plate: "KA01", Time: noon}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("error %v, -want +got:\n%s", err, diff)
	}
	lines := good
	lines.RawPlate = "ka\n01\t"
	if got, err := NewEvent(lines); err != nil || got.RawPlate != "ka 01 " || got.Plate != "KA01" {
		t.Errorf("a plate of two lines: %+v, error %v", got, err)
	}
	for reason, change := range map[string]func(*Event){
		"id is missing":              func(e *Event) { e.ID = "" },
		"id has 129 bytes":           func(e *Event) { e.ID = strings.Repeat("x", 129) },
		"does not print":             func(e *Event) { e.ID = "a\nb" },
		"site \"{a}\" must be":       func(e *Event) { e.Site = "{a}" },
		"gate":                       func(e *Event) { e.Gate = "a\tb" },
		"vehicle_plate is missing":   func(e *Event) { e.RawPlate = "" },
		"vehicle_plate has 10000":    func(e *Event) { e.RawPlate = strings.Repeat("A", 10000) },
		"has no letter or digit":     func(e *Event) { e.RawPlate = "-?-" },
		"exit_date_time is missing":  func(e *Event) { e.Time = time.Time{} },
		"is impossible":              func(e *Event) { e.Time = time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC) },
		"33 letters and digits":      func(e *Event) { e.RawPlate = strings.Repeat("A", 33) },
		"exit_date_time 2300-01-01T": func(e *Event) { e.Time = time.Date(2300, 1, 1, 0, 0, 1, 0, time.UTC) },
	} {
		bad := good
		change(&bad)
		if _, err := NewEvent(bad); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), reason) {
			t.Errorf("error %v, want an ErrInvalid with %q", err, reason)
		}
	}
}

func TestLimits(t *testing.T) {
	limits := Limits{MaxFuture: 2 * time.Minute, Retention: 24 * time.Hour}
	for age, ok := range map[time.Duration]bool{
		0: true, -2 * time.Minute: true, -2*time.Minute - time.Second: false, -time.Hour: false,
		24 * time.Hour: true, 24*time.Hour + time.Second: false,
	} {
		err := limits.Check(Event{Kind: Exit, Time: noon.Add(-age)}, noon)
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("an event %s old: %v", age, err)
		}
		if err := limits.Check(Event{Kind: Exit, Void: true, Time: noon.Add(-age)}, noon); err != nil {
			t.Errorf("a void event %s old: %v", age, err)
		}
	}
}

func TestStayJSON(t *testing.T) {
	entry, exit := at(Entry, "e", 0), at(Exit, "x", 91)
	exit.Time = exit.Time.Add(999 * time.Millisecond)
	for want, s := range map[string]Stay{
		`{"id":"x","site":"default","vehicle_plate":"KA01","entry_id":"e","entry_date_time":"2026-11-23T12:00:00Z","exit_id":"x","exit_date_time":"2026-11-23T13:31:00.999Z","duration_seconds":5460,"duration":"PT1H31M","status":"completed","revision":1}`: stay(&entry, &exit),
		`{"id":"x","site":"default","vehicle_plate":"KA01","entry_id":null,"entry_date_time":null,"exit_id":"x","exit_date_time":"2026-11-23T13:31:00.999Z","duration_seconds":null,"duration":null,"status":"unmatched_exit","revision":1}`:                  stay(nil, &exit),
	} {
		text, err := json.Marshal(s)
		if diff := cmp.Diff(want, string(text)); err != nil || diff != "" {
			t.Errorf("error %v, -want +got:\n%s", err, diff)
		}
		var back Stay
		if err := json.Unmarshal(text, &back); err != nil || back != s {
			t.Errorf("read back %+v, error %v; want %+v", back, err, s)
		}
	}
}

// TestStayContradictions: a stay with a contradiction is refused as a whole.
func TestStayContradictions(t *testing.T) {
	const exit = `"id":"x","exit_id":"x","exit_date_time":"2026-11-23T09:45:10.5Z"`
	const both = exit + `,"entry_id":"e","entry_date_time":"2026-11-23T08:15:00Z"`
	for fields, reason := range map[string]string{
		exit: "",
		exit + `,"entry_id":null,"entry_date_time":null,"duration_seconds":null,"duration":null,"status":"unmatched_exit"`: "",
		exit + `,"status":""`: "",
		both:                  "",
		both + `,"duration_seconds":5410,"duration":"PT1H30M10S","status":"completed"`: "",
		both + `,"duration_seconds":null,"duration":null`:                              "",

		exit + `,"entry_id":"e"`:                                         "an entry_id but no entry_date_time",
		exit + `,"entry_id":""`:                                          "an empty entry_id",
		exit + `,"entry_date_time":"2026-11-23T08:15:00Z"`:               "an entry_date_time but no entry_id",
		exit + `,"entry_id":"","entry_date_time":"2026-11-23T08:15:00Z"`: "an empty entry_id",
		exit + `,"status":"completed"`:                                   "make it unmatched_exit",
		exit + `,"duration_seconds":0`:                                   "make it null",
		exit + `,"duration":"PT0S"`:                                      "make it null",
		both + `,"status":"unmatched_exit"`:                              "make it completed",
		both + `,"status":"Completed"`:                                   "make it completed",
		both + `,"status":"parked"`:                                      "make it completed",
		both + `,"duration_seconds":5411`:                                "make it 5410",
		both + `,"duration_seconds":-5410`:                               "make it 5410",
		both + `,"duration":"PT1H30M"`:                                   "make it PT1H30M10S",
		exit + `,"exit_id":"y"`:                                          `id "x" is not the exit_id "y"`,
		both + `,"duration":""`:                                          "make it PT1H30M10S",
	} {
		var s Stay
		err := json.Unmarshal([]byte("{"+fields+"}"), &s)
		switch {
		case reason == "" && (err != nil || s.ID != "x"):
			t.Errorf("%s: %+v, %v", fields, s, err)
		case reason != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), reason) || s != Stay{}):
			t.Errorf("%s: %+v, error %v, want an ErrInvalid with %q", fields, s, err, reason)
		}
	}
}

func TestLatest(t *testing.T) {
	stays := []Stay{
		{ID: "1", Site: "a", Revision: 1},
		{ID: "2", Site: "a", Revision: 3},
		{ID: "1", Site: "b", Revision: 1},
		{ID: "1", Site: "a", Revision: 2, Plate: "new"},
		{ID: "2", Site: "a", Revision: 2},
		{ID: "1", Site: "a", Revision: 2, Plate: "again"},
	}
	want := []Stay{{ID: "1", Site: "a", Revision: 2, Plate: "new"}, {ID: "2", Site: "a", Revision: 3}, {ID: "1", Site: "b", Revision: 1}}
	if diff := cmp.Diff(want, Latest(stays)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestISODuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "PT0S", 999 * time.Millisecond: "PT0S", 59 * time.Second: "PT59S", time.Hour: "PT1H",
		26*time.Hour + 5*time.Second: "PT26H5S", 90*time.Minute + 10500*time.Millisecond: "PT1H30M10S",
	} {
		if got := ISODuration(d); got != want {
			t.Errorf("ISODuration(%s) = %s, want %s", d, got, want)
		}
	}
}
