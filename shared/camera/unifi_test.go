package camera

import (
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

func TestUniFi(t *testing.T) {
	at := "2026-11-23T07:15:30.123Z"
	testFormat(t, "unifi", []formatTest{
		{file: "unifi/unknown.json", want: []seen{{Plate: "BAB1234", Time: at, Direction: "zone 1", Pictures: "scene"}}},
		{file: "unifi/known_and_of_interest.json", want: []seen{{Plate: "HHXY80", Time: at, Direction: "line 1"}}},
		{file: "unifi/two_plates.json", want: []seen{
			{Plate: "BAB1234", Time: at, Direction: "zone 1"},
			{Plate: "HHXY80", Time: "2026-11-23T07:15:30.923Z", Direction: "zone 1"},
		}},
		{file: "unifi/old_version.json", want: []seen{{Plate: "MAB77", Time: at}}},
		{file: "unifi/no_value.json", want: []seen{{Time: at, Direction: "zone 1"}}},
		{file: "unifi/motion.json"},
		{
			name: "a key of one word, a time as a text", body: `{"alarm":{"triggers":[{"key":"licensePlateUnknown","value":"A1","timestamp":"2026-11-23T08:15:30.123+01:00"}]}}`,
			want: []seen{{Plate: "A1", Time: at}},
		},
		{
			name: "one trigger that cannot be read", body: `{"alarm":{"triggers":[{"key":"license_plate_known","value":["A1",1]},{"value":["no plate"],"key":"motion"},{"key":"license_plate_known","value":"A2"},null]},"timestamp":"1795418130123"}`,
			want: []seen{{Plate: "A2", Time: at}}, unread: "a list instead of a text",
		},
		{
			name: "one trigger, numbers, a list instead of an object", body: `{"alarm":{"triggers":{"key":"license_plate_unknown","value":12345,"zones":[],"group":null}},"timestamp":"1795418130123"}`,
			want: []seen{{Plate: "12345", Time: at}},
		},
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
	if events, _, err := Events(m, c, received); err != nil || len(events) != 1 || events[0].Kind != parking.Exit {
		t.Errorf("%+v, %v", events, err)
	}
}

func TestUniFiRefused(t *testing.T) {
	testRefused(t, unifi, map[string]refused{
		"a plate that is none": {"", `{"alarm":{"triggers":[{"key":"license_plate_known","value":["SECRET1",1]}]}}`, "a list"},
		"another message":      {"", `{"plate":"SECRET1"}`, "the message has no alarm"},
		"no time of a clock":   {"", `{"alarm":{"triggers":[{"key":"license_plate_unknown","value":"SECRET1","timestamp":"later"}]}}`, `"later" is no`},
		"triggers as a word":   {"", `{"alarm":{"triggers":"SECRET1"}}`, "wrong type"},
		"malformed":            {"", `{"alarm":{"triggers":[{"value":"SECRET1"`, "malformed"},
		"XML":                  {"", `<alarm/>`, "want JSON"},
	})
}

func FuzzUniFi(f *testing.F) { fuzzFormat(f, "unifi") }
