package camera

import (
	"strings"
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

func TestOwn(t *testing.T) {
	testFormat(t, "own", []formatTest{
		{name: "read", file: "own/simple.json", want: []seen{{Plate: "B-PS 1234", Time: "2026-07-01T06:00:00.25Z", Direction: "entry", Kind: "entry", Confidence: "0.93"}}},
		{name: "entry event, whole", file: "own/wire_entry.json", want: []seen{{
			ID: "A-1", Plate: "B-PS 1234", Time: "2026-07-01T06:00:00Z", Direction: "entry", Kind: "entry", Vehicle: "t17", Order: 2, Confidence: "0.93",
			Candidates: "B-PS 1234 0.93, 8-PS 1234", Country: "D", Make: "vw", Color: "blue",
		}}},
		{name: "exit event without a plate", file: "own/wire_exit_noplate.json", want: []seen{{ID: "X-9", Time: "2026-07-01T07:00:00Z", Direction: "exit", Kind: "exit"}}},
		{name: "void", file: "own/void.json", want: []seen{{ID: "A-1", Void: true, Order: 3, Time: "2026-07-01T06:00:00Z", Direction: "entry", Kind: "entry"}}},
		{name: "void, without a time", body: `{"id":"A-1","void":true,"version":"2"}`, want: []seen{{ID: "A-1", Void: true, Order: 2}}},
		{name: "list, local time, no plate", file: "own/list.json", want: []seen{
			{Plate: "B-PS 1234", Time: "2026-07-01T06:00:00.25Z", Direction: "entry", Kind: "entry", Confidence: "0.93"},
			{Time: "2026-10-25T01:30:00Z", Direction: "exit", Kind: "exit", Confidence: "0.93", Ambiguous: true},
			{ID: "A-2", Plate: "XY 99", Time: "2026-07-01T07:00:00Z", Direction: "exit", Kind: "exit"},
		}},
		{name: "empty list", body: ` [ ] `},
		{name: "read without a time, direction of its own", body: `{"plate":"unknown","direction":"Northbound"}`, want: []seen{{Direction: "northbound"}}},
		{name: "seconds since 1970, confidence as a text", body: `{"time":1782885600.25,"plate":"","confidence":"0.5"}`, want: []seen{{Time: "2026-07-01T06:00:00.25Z", Confidence: "0.5"}}},
		{
			name: "its own site", body: `{"site":"north","vehicle_plate":"A1","exit_date_time":"2026-07-01T06:00:00Z"}`,
			want: []seen{{Plate: "A1", Time: "2026-07-01T06:00:00Z", Direction: "exit", Kind: "exit"}},
		},
		{name: "some of a list that cannot be read", body: `[null,{"hello":1},{"plate":"A1","direction":"in"},"SECRET",{"plate":{},"direction":"in"},{"plate":"A2","time":"now"},{"plate":"A3","direction":"in","void":"no"},{"plate":"A4","direction":"in","candidates":5}]`, want: []seen{
			{Plate: "A1", Direction: "in", Kind: "entry"},
		}, unread: "element 1 of 8: the JSON has null instead of an object\nelement 2 of 8: vehicle_plate or plate is missing; it is null if none was read\nelement 4 of 8: the JSON has a value of the wrong type in \"\": string\nelement 5 of 8: "},
		{name: "one of several objects that cannot be read", body: `{"plate":"A1","time":"now"}{"plate":"A2","direction":"in"}`, want: []seen{{Plate: "A2", Direction: "in", Kind: "entry"}}, unread: `element 1 of 2: "now" is no time`},
		{name: "another site", body: `{"site":"south","vehicle_plate":"A1","exit_date_time":"2026-07-01T06:00:00Z"}`, refused: `of the site "south"`},
		{name: "no plate at all", body: `{"id":"A-1","exit_date_time":"2026-07-01T06:00:00Z"}`, refused: "vehicle_plate or plate is missing"},
		{name: "empty plate of an event", body: `{"id":"A-1","vehicle_plate":"","exit_date_time":"2026-07-01T06:00:00Z"}`, refused: "vehicle_plate is empty"},
		{name: "both times", body: `{"vehicle_plate":"A1","entry_date_time":"2026-07-01T05:00:00Z","exit_date_time":"2026-07-01T06:00:00Z"}`, refused: "an event is one of both"},
		{name: "the zero time", body: `{"vehicle_plate":"A1","entry_date_time":"0001-01-01T00:00:00Z"}`, refused: "entry_date_time is \"0001"},
		{name: "an id without a time", body: `{"id":"A-1","vehicle_plate":"A1"}`, refused: "time is \"\""},
		{name: "a time that is none", body: `{"plate":"A1","time":"now"}`, refused: "is no time"},
		{name: "version 0", body: `{"id":"A-1","version":0,"vehicle_plate":"A1","entry_date_time":"2026-07-01T06:00:00Z"}`, refused: "version is \"0\""},
		{name: "version too high", body: `{"id":"A-1","version":9007199254740992,"vehicle_plate":"A1","entry_date_time":"2026-07-01T06:00:00Z"}`, refused: "version is"},
		{name: "confidence in percent", body: `{"plate":"A1","time":"2026-07-01T06:00:00Z","confidence":93}`, refused: "want 0 to 1"},
		{name: "confidence of a candidate", body: `{"plate":"A1","time":"2026-07-01T06:00:00Z","candidates":[{"plate":"A2","confidence":-1}]}`, refused: "want 0 to 1"},
		{name: "17 candidates", body: `{"plate":"A1","time":"2026-07-01T06:00:00Z","candidates":[` + strings.Repeat(`{"plate":"A2"},`, 16) + `{"plate":"A3"}]}`, refused: "more than 16"},
		{name: "void without an id", body: `{"void":true,"vehicle_plate":null,"id":""}`, refused: "a void event has no id"},
		{name: "void that is no boolean", body: `{"id":"A-1","void":"yes"}`, refused: "wrong type in \"void\""},
	})
}

// A camera cannot amend an event of another one: its ids begin with its own id.
func TestOwnIDs(t *testing.T) {
	m, err := parseOwn(posted("", `[{"id":"A-1","vehicle_plate":"A1","entry_date_time":"2026-07-01T06:00:00Z"},{"id":"A-1","void":true,"version":2}]`), site.Camera{ID: "gate-1", Site: "north"})
	if err != nil {
		t.Fatal(err)
	}
	events, _, err := Events(m, site.Camera{ID: "gate-1", Site: "north", Role: site.Entries}, received)
	if err != nil || len(events) != 2 {
		t.Fatalf("%+v, %v", events, err)
	}
	if void := events[1]; void.NoPlate || void.Details.ReceivedTime || !void.Time.IsZero() {
		t.Errorf("the void event has %+v", void)
	}
	current := parking.Current(events)
	if events[0].ID != "gate-1:A-1" || events[1].ID != events[0].ID || !events[1].Void || events[1].Version != 2 || len(current) != 0 {
		t.Errorf("events %+v, current %+v", events, current)
	}
}

func FuzzOwn(f *testing.F) { fuzzFormat(f, "own") }
