package camera

import (
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

func TestGenetec(t *testing.T) {
	const id = "32cf870a-46aa-4cfd-914b-00062d98e93a"
	testFormat(t, "genetec", []formatTest{
		{file: "genetec/extension.json", want: []seen{{
			Plate: "BAB1234", Time: "2026-11-23T07:15:30.797Z", Direction: "moving away", Vehicle: id, Confidence: "0.87",
			Country: "DE", Make: "Opel", Color: "White", Pictures: "scene plate",
		}}},
		{file: "genetec/extension.xml", want: []seen{{
			Plate: "BAB1234", Time: "2026-11-23T07:15:30.8627622Z", Direction: "getting closer", Vehicle: id, Confidence: "1", Pictures: "scene",
		}}},
		{file: "genetec/extension_unread.json", want: []seen{{Time: "2026-11-23T07:15:30.797Z", Vehicle: id}}},
		{file: "genetec/attributes.json", want: []seen{{
			Plate: "BAB1234", Time: "2026-11-23T07:15:30Z", Direction: "moving away", Confidence: "0.87",
			Country: "DE", Make: "Opel", Color: "White", Pictures: "scene",
		}}},
		{file: "genetec/template.xml", want: []seen{{
			Plate: "BAB1234", Time: "2026-11-23T07:15:30.123Z", Direction: "left", Vehicle: id, Confidence: "0.87",
			Country: "DE", Pictures: "scene plate",
		}}},
		{file: "genetec/template_local.xml", want: []seen{{Plate: "HHXY80", Time: "2026-07-10T07:12:00Z"}}},
		{
			name: "a list, numbers, no time", body: `[{"PlateRead":"A1","Timestamp":"2026-11-23T08:15:30","Attributes":[]},{"PlateRead":12,"Timestamp":null}]`,
			want: []seen{{Plate: "A1", Time: "2026-11-23T07:15:30Z"}, {Plate: "12"}},
		},
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
		if events, _, err := Events(m, c, received); err != nil || len(events) != 1 || events[0].Kind != parking.Exit {
			t.Errorf("%s: %+v, %v", name, events, err)
		}
	}
}

func TestGenetecRefused(t *testing.T) {
	testRefused(t, genetec, map[string]refused{
		"a plate that is none": {"", `{"PlateRead":["SECRET1",1]}`, "a list"},
		"another message":      {"", `{"number":"SECRET1"}`, "neither PlateRead nor Plate"},
		"another document":     {"", `<Plate><Number>SECRET1</Number></Plate>`, "neither PlateRead nor Plate"},
		"no time of a clock":   {"", `{"PlateRead":"SECRET1","Timestamp":"later"}`, `"later" is no time`},
		"no date":              {"", `<AutoVu><Plate>SECRET1</Plate><UTCDate>11/2026</UTCDate></AutoVu>`, "is no time"},
		"malformed":            {"", `{"PlateRead":"SECRET1"`, "malformed"},
		"malformed XML":        {"", `<AutoVu><Plate>SECRET1`, "malformed"},
		"an entity":            {"", `<AutoVu><Plate>&SECRET;</Plate></AutoVu>`, "entity"},
	})
}

func FuzzGenetec(f *testing.F) { fuzzFormat(f, "genetec") }
