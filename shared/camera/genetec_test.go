package camera

import (
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

func TestGenetec(t *testing.T) {
	const id = "32cf870a-46aa-4cfd-914b-00062d98e93a"
	testSamples(t, "genetec", map[string]sampleTest{
		"extension.json": {reads: []seenRead{{
			plate: "BAB1234", at: "2026-11-23T07:15:30.797Z", direction: "moving away", vehicle: id, confidence: "0.87",
			country: "DE", make: "Opel", color: "White", pictures: "scene plate",
		}}},
		"extension.xml": {reads: []seenRead{{
			plate: "BAB1234", at: "2026-11-23T07:15:30.8627622Z", direction: "getting closer", vehicle: id, confidence: "1", pictures: "scene",
		}}},
		"extension_unread.json": {reads: []seenRead{{at: "2026-11-23T07:15:30.797Z", vehicle: id}}},
		"attributes.json": {reads: []seenRead{{
			plate: "BAB1234", at: "2026-11-23T07:15:30Z", direction: "moving away", confidence: "0.87",
			country: "DE", make: "Opel", color: "White", pictures: "scene",
		}}},
		"template.xml": {reads: []seenRead{{
			plate: "BAB1234", at: "2026-11-23T07:15:30.123Z", direction: "left", vehicle: id, confidence: "0.87",
			country: "DE", pictures: "scene plate",
		}}},
		"template_local.xml": {reads: []seenRead{{plate: "HHXY80", at: "2026-07-10T07:12:00Z"}}},
	})
}

// The motion, or else the lane, is the direction of a camera that sees both.
func TestGenetecDirections(t *testing.T) {
	for name, word := range map[string]string{"extension.json": "moving away", "template.xml": "left"} {
		c := gate
		c.Role, c.Directions = site.Both, map[string]parking.Kind{word: parking.Exit}
		_, m, err := Parse(sample(t, "testdata/genetec/"+name), c)
		if err != nil {
			t.Fatal(err)
		}
		if events, _, err := Events(m, c, gateReceived); err != nil || len(events) != 1 || events[0].Kind != parking.Exit {
			t.Errorf("%s: %+v, %v", name, events, err)
		}
	}
}

func TestGenetecRefused(t *testing.T) {
	testRefused(t, genetec, map[string]refused{
		"another message":      {"", `{"number":"SECRET1"}`, "neither PlateRead nor Plate"},
		"another document":     {"", `<Plate><Number>SECRET1</Number></Plate>`, "neither PlateRead nor Plate"},
		"no time of a clock":   {"", `{"PlateRead":"SECRET1","Timestamp":"later"}`, `"later" is no time`},
		"no date":              {"", `<AutoVu><Plate>SECRET1</Plate><UTCDate>11/2026</UTCDate></AutoVu>`, "is no time"},
		"a list for analytics": {"", `{"PlateRead":"SECRET1","Attributes":["SECRET1"]}`, "wrong type"},
		"malformed":            {"", `{"PlateRead":"SECRET1"`, "malformed"},
		"malformed XML":        {"", `<AutoVu><Plate>SECRET1`, "malformed"},
		"an entity":            {"", `<AutoVu><Plate>&SECRET;</Plate></AutoVu>`, "entity"},
	})
}

func FuzzGenetec(f *testing.F) { fuzzReads(f, genetec) }
