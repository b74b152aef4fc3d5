package camera

import (
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

func TestDahua(t *testing.T) {
	german := seenRead{
		plate: "B AB 1234", at: "2026-11-23T07:15:30.123Z", direction: "obverse", confidence: "0.8",
		country: "DEU", make: "Volkswagen", color: "Black",
	}
	with := func(change func(*seenRead)) []seenRead {
		s := german
		change(&s)
		return []seenRead{s}
	}
	testSamples(t, "dahua", map[string]sampleTest{
		"tollgate.json": {reads: with(func(s *seenRead) { s.pictures = "body scene plate" })},
		"tollgate_wrapped.json": {reads: with(func(s *seenRead) {
			s.at, s.ambiguous, s.direction = "2026-10-25T01:30:00Z", true, "approach"
		})},
		"tollgate_data_url.json": {reads: with(func(s *seenRead) {
			s.plate, s.confidence, s.direction, s.pictures = "HHXY80", "1", "reverse", "scene"
		})},
		"tollgate_minimal.json":         {reads: []seenRead{{plate: "EL123AB", at: "2026-07-10T07:12:00Z"}}},
		"tollgate_unread.json":          {reads: with(func(s *seenRead) { s.plate, s.confidence, s.country, s.make = "", "", "", "" })},
		"tollgate_no_plate_exists.json": {reads: with(func(s *seenRead) { s.plate, s.confidence, s.candidates = "", "", "B AB 12" })},
		"keepalive.json":                {heartbeat: true},
		"keepalive_true.json":           {heartbeat: true},
		"deviceinfo.json":               {heartbeat: true},
		"alarm.json":                    {},
		"parking.json":                  {},
	})
}

// Without this answer the camera sends a message again and again.
func TestDahuaAccepted(t *testing.T) {
	contentType, body := dahua.Accepted()
	if contentType != "application/json" || string(body) != `{"Result":true}` {
		t.Errorf("%s %s", contentType, body)
	}
}

// The words of a camera that sees both directions are mapped by its configuration.
func TestDahuaDirections(t *testing.T) {
	c := gate
	c.Role, c.Directions = site.Both, map[string]parking.Kind{"obverse": parking.Exit, "reverse": parking.Entry}
	for name, want := range map[string]parking.Kind{"tollgate.json": parking.Exit, "tollgate_data_url.json": parking.Entry} {
		_, m, err := Parse(sample(t, "testdata/dahua/"+name), c)
		if err != nil {
			t.Fatal(err)
		}
		if events, _, err := Events(m, c, gateReceived); err != nil || len(events) != 1 || events[0].Kind != want {
			t.Errorf("%s: %+v, %v", name, events, err)
		}
	}
}

func TestDahuaRefused(t *testing.T) {
	testRefused(t, dahua, map[string]refused{
		"another message":    {"", `{"Plate":"SECRET1"}`, "neither Picture, as TollgateInfo has, nor Active and DeviceID"},
		"an empty message":   {"", `{}`, "neither Picture"},
		"a list":             {"", `[]`, "wrong type"},
		"no time of a clock": {"", `{"Picture":{"Plate":{"PlateNumber":"SECRET1"},"SnapInfo":{"AccurateTime":"later"}}}`, `"later" is no time`},
		"malformed":          {"", `{"Picture":{"Plate":{"PlateNumber":"SECRET1"`, "malformed"},
		"XML":                {"", `<Picture/>`, "malformed"},
		"nothing":            {"", ``, "malformed"},
		"a plate in a list":  {"", `{"Picture":["SECRET1"]}`, "Picture"},
	})
}

func FuzzDahua(f *testing.F) { fuzzReads(f, dahua) }
