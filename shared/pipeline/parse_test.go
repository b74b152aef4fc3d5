package pipeline

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"parkstream/shared/parking"
)

// TestTimesAreRFC3339: parking.ParseTime reads the times of both kinds of event.
// Its own test has all forms.
func TestTimesAreRFC3339(t *testing.T) {
	for _, kind := range []parking.Kind{parking.Entry, parking.Exit} {
		for text, accepted := range map[string]bool{
			"2026-11-23t06:15:00z": true, "2016-12-31T23:59:60Z": true, "2026-11-23T06:15:00.1234567890Z": true,
			"2026-11-23T6:15:00Z": false, "2026-11-23T06:15:00,5Z": false, "2026-11-23T06:15:00+24:00": false, "2026-11-23T06:15:00+00:60": false,
			"": false,
		} {
			e, err := parseEvent(kind, []byte(`{"id":"1","vehicle_plate":"A","`+kind.String()+`_date_time":"`+text+`"}`))
			if (err == nil) != accepted || accepted == e.Time.IsZero() {
				t.Errorf("%s at %q: %v, error %v", kind, text, e.Time, err)
			}
			if err != nil && !strings.HasPrefix(err.Error(), kind.String()+"_date_time ") {
				t.Errorf("%q: reason %q does not name the field", text, err)
			}
		}
	}
}

// TestBothTimes: an event that is an entry and an exit is refused by both processors.
func TestBothTimes(t *testing.T) {
	const entry, exit = `"entry_date_time":"2026-11-23T06:15:00Z"`, `"exit_date_time":"2026-11-23T07:15:00Z"`
	for fields, accepted := range map[string][2]bool{
		entry:                            {true, false},
		exit:                             {false, true},
		entry + "," + exit:               {false, false},
		exit + "," + entry:               {false, false},
		entry + `,"exit_date_time":"?"`:  {false, false},
		entry + `,"exit_date_time":null`: {true, false},
		entry + `,"exit_date_time":""`:   {true, false},
		exit + `,"entry_date_time":""`:   {false, true},
	} {
		for i, kind := range []parking.Kind{parking.Entry, parking.Exit} {
			e, err := parseEvent(kind, []byte(`{"id":"1","vehicle_plate":"A",`+fields+`}`))
			if (err == nil) != accepted[i] || e.ID != "1" {
				t.Errorf("%s as an %s: %+v, error %v", fields, kind, e, err)
			}
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	for _, text := range []string{
		`{"id":"e1","vehicle_plate":"KA01AB1234","entry_date_time":"2026-11-24T11:53:07Z"}`,
		`{"id":"x1","vehicle_plate":"ﷺ","exit_date_time":"2026-11-24T11:53:07.999999999+23:59","site":"a","gate":"b"}`,
		`{"id":"x1","vehicle_plate":"मे १","exit_date_time":"2016-12-31t23:59:60z","entry_date_time":null}`,
		`{"id":"e2","vehicle_plate":"ka\n01","entry_date_time":"2026-11-24T11:53:07Z"}`,
		`{"id":1}`, `null`, `[]`, `{"id":"a","id":"b"}`, "{\"id\":\"\\ud800\"}",
	} {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, exit bool) {
		kind := parking.Entry
		if exit {
			kind = parking.Exit
		}
		e, err := parseEvent(kind, data)
		if err != nil {
			if !errors.Is(err, parking.ErrInvalid) || !utf8.ValidString(err.Error()) || len(err.Error()) > 1000 {
				t.Fatalf("error %q", err)
			}
			return
		}
		if again, err := parking.NewEvent(e); err != nil || again != e {
			t.Fatalf("%+v is no event: %+v, %v", e, again, err)
		}
		if e.Kind != kind || e.Plate != parking.NormalizePlate(e.Plate) {
			t.Fatalf("event %+v", e)
		}
		// The store separates fields with control characters.
		for _, text := range []string{e.ID, e.Plate, e.RawPlate, e.Site, e.Gate} {
			if strings.ContainsFunc(text, unicode.IsControl) || strings.Contains(e.Plate, "+") {
				t.Fatalf("a separator in %q", text)
			}
		}
		if n := e.Time.UnixNano(); n < 0 || !time.Unix(0, n).Equal(e.Time) {
			t.Fatalf("time does not survive UnixNano: %v", e.Time)
		}
	})
}
