package camera

import (
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

func TestUniFi(t *testing.T) {
	at := "2026-11-23T07:15:30.123Z"
	testSamples(t, "unifi", map[string]sampleTest{
		"unknown.json":               {reads: []seenRead{{plate: "BAB1234", at: at, direction: "zone 1", pictures: "scene"}}},
		"known_and_of_interest.json": {reads: []seenRead{{plate: "HHXY80", at: at, direction: "line 1"}}},
		"two_plates.json": {reads: []seenRead{
			{plate: "BAB1234", at: at, direction: "zone 1"},
			{plate: "HHXY80", at: "2026-11-23T07:15:30.923Z", direction: "zone 1"},
		}},
		"old_version.json": {reads: []seenRead{{plate: "MAB77", at: at}}},
		"no_value.json":    {reads: []seenRead{{at: at, direction: "zone 1"}}},
		"motion.json":      {},
	})
}

// A line of the camera's picture is the direction of a camera that sees both.
func TestUniFiDirections(t *testing.T) {
	c := gate
	c.Role, c.Directions = site.Both, map[string]parking.Kind{"line 1": parking.Exit}
	_, m, err := Parse(sample(t, "testdata/unifi/known_and_of_interest.json"), c)
	if err != nil {
		t.Fatal(err)
	}
	if events, _, err := Events(m, c, gateReceived); err != nil || len(events) != 1 || events[0].Kind != parking.Exit {
		t.Errorf("%+v, %v", events, err)
	}
}

func TestUniFiRefused(t *testing.T) {
	testRefused(t, unifi, map[string]refused{
		"another message":    {"", `{"plate":"SECRET1"}`, "the message has no alarm"},
		"no time of a clock": {"", `{"alarm":{"triggers":[{"key":"license_plate_unknown","value":"SECRET1","timestamp":"later"}]}}`, `"later" is no`},
		"triggers as a word": {"", `{"alarm":{"triggers":"SECRET1"}}`, "wrong type"},
		"malformed":          {"", `{"alarm":{"triggers":[{"value":"SECRET1"`, "malformed"},
		"XML":                {"", `<alarm/>`, "malformed"},
	})
}

func FuzzUniFi(f *testing.F) { fuzzReads(f, unifi) }
