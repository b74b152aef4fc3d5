package camera

import (
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// The id of the vehicle of the samples: that of its first frame.
const openalprFirst = "YYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYY-1234-1795418130123"

func TestOpenALPR(t *testing.T) {
	group := seen{
		Plate: "BAB1234", Time: "2026-11-23T07:15:30.123Z", Direction: "296.55792236", Vehicle: openalprFirst, Order: 3,
		Confidence: "0.932547", Candidates: "BAB1234 0.932547, BAB12B4 0.612", Country: "eu-de", Make: "bmw", Color: "silver-gray",
		Pictures: "body scene plate",
	}
	with := func(change func(*seen)) []seen {
		s := group
		change(&s)
		return []seen{s}
	}
	testFormat(t, "openalpr", []formatTest{
		{file: "openalpr/results.json", want: []seen{
			{
				Plate: "BAB1234", Time: group.Time, Vehicle: openalprFirst, Order: 1, Confidence: "0.929419",
				Candidates: "BAB1234 0.929419, 8AB1234 0.80813", Country: "eu-de", Pictures: "plate",
			},
			{
				Plate: "HHXY80", Time: group.Time, Vehicle: openalprFirst + ":1", Order: 1, Confidence: "0.855",
				Candidates: "HHXY80 0.855", Country: "eu-de", Pictures: "plate",
			},
		}},
		{file: "openalpr/results_empty.json"},
		{file: "openalpr/group.json", want: with(func(*seen) {})},
		{file: "openalpr/group_preview.json", want: with(func(s *seen) { s.Plate, s.Confidence, s.Order = "BAB123", "0.715", 2 })},
		{file: "openalpr/group_old.json", want: []seen{{
			Plate: "BAB1234", Time: group.Time, Vehicle: openalprFirst, Order: 3, Confidence: "0.891", Country: "eu-de",
		}}},
		{file: "openalpr/alert.json", want: with(func(*seen) {})},
		{file: "openalpr/vehicle.json", want: []seen{{
			Time: group.Time, Direction: group.Direction, Vehicle: "YYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYY-1234-1795418130172", Order: 2,
			Country: "eu", Make: group.Make, Color: group.Color, Pictures: "body scene",
		}}},
		{file: "openalpr/heartbeat.json", heartbeat: true},
		{
			name: "a frame of the first version, times and confidences as texts", body: `{"version":1,"epoch_time":"1795418130123","results":[{"plate":"A1","confidence":"92.5","matches_template":0,"candidates":null,"coordinates":[]}]}`,
			want: []seen{{Plate: "A1", Time: group.Time, Confidence: "0.925"}},
		},
		{
			name: "one result that cannot be read", body: `{"data_type":"alpr_results","epoch_time":1795418130123,"uuid":"u","results":[{"plate":[]},{"plate":"A2","candidates":[[],{"plate":"A3"}]},null]}`,
			want: []seen{{Plate: "A2", Time: group.Time, Vehicle: "u:1", Order: 1, Candidates: "A3"}}, unread: "a list instead of a text",
		},
		{
			name: "one message that cannot be read", body: `[{"data_type":"alpr_group","epoch_start":"later"},{"data_type":"alpr_group","epoch_start":1795418130123,"best_plate_number":"A2"}]`,
			want: []seen{{Plate: "A2", Time: group.Time}}, unread: `element 1 of 2: "later" is no`,
		},
		{
			name: "a list, texts instead of objects", body: `[{"data_type":"alpr_group","epoch_start":"1795418130123","best_plate_number":"A1","best_confidence":92,"vehicle":{"color":"red"},"uuids":[]},{"data_type":"heartbeat"}]`,
			want: []seen{{Plate: "A1", Time: group.Time, Confidence: "0.92"}}, heartbeat: true,
		},
	})
}

// What the agent tells of a vehicle in several messages is one event with versions.
func TestOpenALPRVersions(t *testing.T) {
	ids, versions := map[string]bool{}, map[int64]bool{}
	for _, name := range []string{"results.json", "group_preview.json", "group.json"} {
		_, m, err := Parse(sample(t, "testdata/openalpr/"+name), gate)
		if err != nil {
			t.Fatal(err)
		}
		events, _, err := Events(m, gate, received)
		if err != nil {
			t.Fatal(err)
		}
		ids[events[0].ID], versions[events[0].Version] = true, true
	}
	if len(ids) != 1 || len(versions) != 3 || !ids["gate-1:"+openalprFirst] {
		t.Errorf("ids %v, versions %v", ids, versions)
	}
}

// A frame tells no direction. At a camera that sees both it comes to nothing; the group
// has one, which is mapped to the nearest one of the configuration.
func TestOpenALPRDirections(t *testing.T) {
	c := gate
	c.Role, c.Directions = site.Both, map[string]parking.Kind{"270": parking.Exit, "90": parking.Entry}
	_, frame, err := Parse(sample(t, "testdata/openalpr/results.json"), c)
	if err != nil {
		t.Fatal(err)
	}
	if events, undirected, err := Events(frame, c, received); len(events) != 0 || undirected != 2 || err != nil {
		t.Errorf("a frame: %+v, %d, %v", events, undirected, err)
	}
	_, group, err := Parse(sample(t, "testdata/openalpr/group.json"), c)
	if err != nil {
		t.Fatal(err)
	}
	if events, _, err := Events(group, c, received); err != nil || len(events) != 1 || events[0].Kind != parking.Exit {
		t.Errorf("a group: %+v, %v", events, err)
	}
}

func TestOpenALPRRefused(t *testing.T) {
	testRefused(t, openalpr, map[string]refused{
		"another message":     {"", `{"plate":"SECRET1"}`, `data_type is "", want one of alpr_results, alpr_group`},
		"another type":        {"", `{"data_type":"other"}`, `data_type is "other"`},
		"an alert alone":      {"", `{"data_type":"alpr_alert","plate_number":"SECRET1"}`, "the alpr_alert has no group"},
		"no time of a clock":  {"", `{"data_type":"alpr_group","epoch_start":"later","best_plate_number":"SECRET1"}`, `"later" is no`},
		"a frame without one": {"", `{"data_type":"alpr_results","epoch_time":"later","results":[{"plate":"SECRET1"}]}`, `"later" is no`},
		"results as a word":   {"", `{"data_type":"alpr_results","results":[["SECRET1",1]]}`, "a list"},
		"malformed":           {"", `{"data_type":"alpr_results","results":[{"plate":"SECRET1"`, "malformed"},
		"XML":                 {"", `<data_type/>`, "want JSON"},
	})
}

func FuzzOpenALPR(f *testing.F) { fuzzFormat(f, "openalpr") }
