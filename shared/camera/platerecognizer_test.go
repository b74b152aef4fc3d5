package camera

import (
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

func TestPlateRecognizer(t *testing.T) {
	german := seen{
		Plate: "bab1234", Time: "2026-11-23T07:15:30.606935Z", Direction: "210", Confidence: "0.902",
		Candidates: "bab1234 0.902, 8ab1234 0.758", Country: "de", Make: "Volkswagen", Color: "red",
	}
	with := func(change func(*seen)) seen {
		s := german
		change(&s)
		return s
	}
	white := seen{Time: german.Time, Direction: "92.4", Make: "BMW", Color: "white"}
	testFormat(t, "platerecognizer", []formatTest{
		{file: "platerecognizer/form.http", want: []seen{with(func(s *seen) { s.Pictures = "scene" })}},
		{file: "platerecognizer/urlencoded.http", want: []seen{german}},
		{file: "platerecognizer/two_plates.json", want: []seen{german, {Plate: "hhxy80", Time: german.Time, Confidence: "0.8"}}},
		{file: "platerecognizer/no_direction.json", want: []seen{{
			Plate: "9jub11", Time: german.Time, Direction: "rear", Confidence: "0.839", Candidates: "9jub11, sju88y",
		}}},
		{file: "platerecognizer/local_time_only.json", want: []seen{{Plate: "mab77", Time: "2026-07-10T07:12:00.5Z", Confidence: "1"}}},
		{file: "platerecognizer/snapshot.json", want: []seen{{
			Plate: "p29vgf", Time: "2026-11-23T07:15:30.481824Z", Confidence: "1", Candidates: "p29vgf 1", Country: "ca-qc",
		}}},
		{file: "platerecognizer/vehicle_mode.json", want: []seen{
			{
				Plate: "hhxy80", Time: white.Time, Direction: "92.4", Confidence: "0.955", Candidates: "hhxy80 0.955, hhxy8o 0.71",
				Country: "de", Make: "BMW", Color: "white",
			},
			{Time: white.Time, Direction: "-90", Make: "BMW", Color: "white"},
		}},
		{file: "platerecognizer/vehicle_without_props.json", want: []seen{white}},
		{file: "platerecognizer/empty.json"},
		{file: "platerecognizer/heartbeat.json", heartbeat: true},
		{file: "platerecognizer/dwell.json"},
		{file: "shared/platerecognizer_stream_webhook_tester.json", want: []seen{{
			Plate: "pl8rec", Time: "2026-01-15T10:30:00Z", Direction: "210", Confidence: "0.902",
			Candidates: "pl8rec 0.902, plbrec 0.758", Country: "us-ca", Make: "Porsche", Color: "red",
		}}},
		{
			name: "one result that cannot be read", body: `{"hook":{},"data":{"results":[{"plate":["SECRET1",1]},{"plate":"a2"},7],"timestamp":"2026-11-23T07:15:30Z"}}`,
			want: []seen{{Plate: "a2", Time: "2026-11-23T07:15:30Z"}}, unread: "a list instead of a text",
		},
		{
			name: "one result, texts instead of objects", body: `{"hook":[],"data":{"results":{"plate":"a1","score":"90.2","region":"de","vehicle":[],"model_make":"Skoda"},"timestamp":"2026-11-23T07:15:30Z"}}`,
			want: []seen{{Plate: "a1", Time: "2026-11-23T07:15:30Z", Confidence: "0.902", Country: "de", Make: "Skoda"}},
		},
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
		if events, _, err := Events(m, c, received); err != nil || len(events) != 1 || events[0].Kind != parking.Exit {
			t.Errorf("%s: %+v, %v", name, events, err)
		}
	}
}

func TestPlateRecognizerRefused(t *testing.T) {
	testRefused(t, platerecognizer, map[string]refused{
		"a plate that is none": {"", `{"data":{"results":[{"plate":["SECRET1",1]}]}}`, "a list"},
		"another message":      {"", `{"plate":"SECRET1"}`, "neither data nor results"},
		"an empty message":     {"", `{}`, "neither data nor results"},
		"no time of a clock":   {"", `{"data":{"timestamp":"later","results":[{"plate":"SECRET1"}]}}`, `"later" is no time`},
		"results as a word":    {"", `{"data":{"results":"SECRET1"}}`, "wrong type"},
		"malformed":            {"", `{"data":{"results":[{"plate":"SECRET1"`, "malformed"},
		"XML":                  {"", `<data/>`, "want JSON"},
		"a form without it":    {formEncoding, "plate=SECRET1", "want JSON"},
	})
}

func FuzzPlateRecognizer(f *testing.F) { fuzzFormat(f, "platerecognizer") }
