package camera

import (
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

func TestPlateRecognizer(t *testing.T) {
	german := seenRead{
		plate: "bab1234", at: "2026-11-23T07:15:30.606935Z", direction: "210", confidence: "0.902",
		candidates: "bab1234 0.902, 8ab1234 0.758", country: "de", make: "Volkswagen", color: "red",
	}
	with := func(change func(*seenRead)) seenRead {
		s := german
		change(&s)
		return s
	}
	white := seenRead{at: german.at, direction: "92.4", make: "BMW", color: "white"}
	testSamples(t, "platerecognizer", map[string]sampleTest{
		"form.http":       {reads: []seenRead{with(func(s *seenRead) { s.pictures = "scene" })}},
		"urlencoded.http": {reads: []seenRead{german}},
		"two_plates.json": {reads: []seenRead{german, {plate: "hhxy80", at: german.at, confidence: "0.8"}}},
		"no_direction.json": {reads: []seenRead{{
			plate: "9jub11", at: german.at, direction: "rear", confidence: "0.839", candidates: "9jub11, sju88y",
		}}},
		"local_time_only.json": {reads: []seenRead{{plate: "mab77", at: "2026-07-10T07:12:00.5Z", confidence: "1"}}},
		"snapshot.json": {reads: []seenRead{{
			plate: "p29vgf", at: "2026-11-23T07:15:30.481824Z", confidence: "1", candidates: "p29vgf 1", country: "ca-qc",
		}}},
		"vehicle_mode.json": {reads: []seenRead{
			{
				plate: "hhxy80", at: white.at, direction: "92.4", confidence: "0.955", candidates: "hhxy80 0.955, hhxy8o 0.71",
				country: "de", make: "BMW", color: "white",
			},
			{at: white.at, direction: "-90", make: "BMW", color: "white"},
		}},
		"vehicle_without_props.json": {reads: []seenRead{white}},
		"empty.json":                 {},
		"heartbeat.json":             {heartbeat: true},
		"dwell.json":                 {},
		"shared/platerecognizer_stream_webhook_tester.json": {reads: []seenRead{{
			plate: "pl8rec", at: "2026-01-15T10:30:00Z", direction: "210", confidence: "0.902",
			candidates: "pl8rec 0.902, plbrec 0.758", country: "us-ca", make: "Porsche", color: "red",
		}}},
	})
}

// The configuration of a camera that sees both directions has degrees or words.
func TestPlateRecognizerDirections(t *testing.T) {
	for name, directions := range map[string]map[string]parking.Kind{
		"degrees":   {"180": parking.Exit, "0": parking.Entry},
		"the words": {"rear": parking.Exit, "front": parking.Entry},
	} {
		c := gate
		c.Role, c.Directions = site.Both, directions
		_, m, err := Parse(sample(t, "testdata/platerecognizer/form.http"), c)
		if err != nil {
			t.Fatal(err)
		}
		if events, _, err := Events(m, c, gateReceived); err != nil || len(events) != 1 || events[0].Kind != parking.Exit {
			t.Errorf("%s: %+v, %v", name, events, err)
		}
	}
}

func TestPlateRecognizerRefused(t *testing.T) {
	testRefused(t, platerecognizer, map[string]refused{
		"another message":    {"", `{"plate":"SECRET1"}`, "neither data nor results"},
		"an empty message":   {"", `{}`, "neither data nor results"},
		"no time of a clock": {"", `{"data":{"timestamp":"later","results":[{"plate":"SECRET1"}]}}`, `"later" is no time`},
		"results as a word":  {"", `{"data":{"results":"SECRET1"}}`, "wrong type"},
		"malformed":          {"", `{"data":{"results":[{"plate":"SECRET1"`, "malformed"},
		"XML":                {"", `<data/>`, "malformed"},
		"a form without it":  {formEncoding, "plate=SECRET1", "malformed"},
	})
}

func FuzzPlateRecognizer(f *testing.F) { fuzzReads(f, platerecognizer) }
