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
			e, err := ParseEvent(kind, []byte(`{"id":"1","vehicle_plate":"A","`+kind.String()+`_date_time":"`+text+`"}`))
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
			e, err := ParseEvent(kind, []byte(`{"id":"1","vehicle_plate":"A",`+fields+`}`))
			if (err == nil) != accepted[i] || e.ID != "1" {
				t.Errorf("%s as an %s: %+v, error %v", fields, kind, e, err)
			}
		}
	}
}

// TestFieldsOfVersions has the reason for each field of a wrong type or value, and what
// the others are read as.
func TestFieldsOfVersions(t *testing.T) {
	for _, tt := range []struct{ fields, reason string }{
		{`"version":0`, "version is 0, want a whole number from 1 to 9007199254740991"},
		{`"version":-1`, "version is -1, want a whole number from 1 to 9007199254740991"},
		{`"version":1.5`, "version is 1.5: want a whole number from 1 to 9007199254740991"},
		{`"version":2.0`, "version is 2.0: want a whole number from 1 to 9007199254740991"},
		{`"version":"2"`, "version is a JSON string: want a whole number from 1 to 9007199254740991"},
		{`"version":9007199254740992`, "version is 9007199254740992, want 1 to 9007199254740991"},
		{`"version":18446744073709551617`, "version is 18446744073709551617: want a whole number from 1 to 9007199254740991"},
		{`"void":"true"`, "void is a JSON string: want true or false"},
		{`"void":1`, "void is a JSON number: want true or false"},
		{`"ambiguous_time":"no"`, "ambiguous_time is a JSON string: want true or false"},
		{`"received_time":0`, "received_time is a JSON number: want true or false"},
		{`"camera":7`, "camera is a JSON number: want a string"},
		{`"camera":"` + strings.Repeat("c", 65) + `"`, `camera "` + strings.Repeat("c", 40) + `"... must be at most 64 printable characters`},
		{`"vehicle":7`, "vehicle is a JSON number: want a string"},
		{`"vehicle":"\n"`, `vehicle "\n" must be at most 128 bytes of printable text`},
		{`"confidence":"0.9"`, "confidence is a JSON string: want a number from 0 to 1"},
		{`"confidence":1e400`, "confidence is 1e400: want a number from 0 to 1"},
		{`"confidence":92`, "confidence is 92, want 0 to 1"},
		{`"candidates":{}`, `candidates is a JSON object: want an array such as [{"plate":"PLATE","confidence":0.9}]`},
		{`"candidates":["B"]`, `candidates/0 is a JSON string: want an object such as {"plate":"PLATE","confidence":0.9}`},
		{`"candidates":[{"plate":7}]`, "candidates/0/plate is a JSON number: want a string"},
		{`"candidates":[{"plate":"B"},{"plate":"C","confidence":"x"}]`, "candidates/1/confidence is a JSON string: want a number from 0 to 1"},
		{`"candidates":[null]`, `plate "" in candidates must be 1 to 64 printable characters`},
		{`"candidates":[{"plate":"B","confidence":-0.1}]`, "confidence in candidates is -0.1, want 0 to 1"},
		{`"country":["D"]`, "country is a JSON array: want a string"},
		{`"make":"` + strings.Repeat("m", 33) + `"`, `make "` + strings.Repeat("m", 33) + `" must be at most 32 printable characters`},
		{`"color":true`, "color is a JSON true: want a string"},
		{`"image":{}`, "image is a JSON object: want a string"},
		{`"version":null,"void":null,"camera":null,"confidence":null,"candidates":null,"image":null`, ""},
	} {
		for _, kind := range []parking.Kind{parking.Entry, parking.Exit} {
			e, err := ParseEvent(kind, []byte(`{"id":"1","vehicle_plate":"A","`+kind.String()+`_date_time":"2026-11-23T06:15:00Z",`+tt.fields+`}`))
			if err == nil && (tt.reason != "" || e.Version != 1 || !e.Details.IsZero()) || err != nil && err.Error() != tt.reason || e.ID != "1" {
				t.Errorf("%s: %+v, %v, want the reason %q", tt.fields, e, err, tt.reason)
			}
		}
	}
}

// TestPlateOrNone: null is a read without a plate, a void event needs neither a plate nor
// a time, and a missing or empty plate is refused.
func TestPlateOrNone(t *testing.T) {
	const at = `,"entry_date_time":"2026-11-23T06:15:00Z"`
	for fields, want := range map[string]string{
		`"vehicle_plate":"a"` + at:                                 "A",
		`"vehicle_plate":null` + at:                                "no plate",
		`"vehicle_plate":null,"void":false` + at:                   "no plate",
		`"vehicle_plate":""` + at:                                  "vehicle_plate is missing",
		`"gate":"g"` + at:                                          "vehicle_plate is missing",
		`"vehicle_plate":7` + at:                                   "vehicle_plate is a JSON number: want a string, or null if no plate was read",
		`"vehicle_plate":null`:                                     "entry_date_time is missing or is the zero time",
		`"vehicle_plate":"-"` + at:                                 `vehicle_plate "-" has no letter or digit`,
		`"void":true`:                                              "void",
		`"void":true,"version":3,"vehicle_plate":null` + at:        "void",
		`"void":true,"vehicle_plate":"A"` + at:                     "void",
		`"void":true,"vehicle_plate":""` + at:                      "void",
		`"void":true,"exit_date_time":"2026-11-23T06:15:00Z"`:      "void",
		`"void":true,"exit_date_time":""` + at:                     "void",
		`"void":true,"exit_date_time":"1970-01-01T00:00:00Z"` + at: "void",
		`"void":true,"entry_date_time":"?"`:                        "void",
	} {
		e, err := ParseEvent(parking.Entry, []byte(`{"id":"1",`+fields+`}`))
		got := e.Plate
		switch {
		case err != nil:
			got = err.Error()
		case e.Void && !e.NoPlate && e.Plate == "" && e.Time.IsZero():
			got = "void"
		case e.NoPlate && !e.Void && e.Plate == "":
			got = "no plate"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", fields, got, want)
		}
	}
}
