package pipeline

import (
	"strings"
	"testing"

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
