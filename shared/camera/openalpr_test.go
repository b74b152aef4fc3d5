package camera

import (
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// The id of the vehicle of the samples: that of its first frame.
const openalprFirst = "YYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYY-1234-1795418130123"

func TestOpenALPR(t *testing.T) {
	group := seenRead{
		plate: "BAB1234", at: "2026-11-23T07:15:30.123Z", direction: "296.55792236", vehicle: openalprFirst, order: 3,
		confidence: "0.9325", candidates: "BAB1234 0.9325, BAB12B4 0.612", country: "eu-de", make: "bmw", color: "silver-gray",
		pictures: "body scene plate",
	}
	with := func(change func(*seenRead)) []seenRead {
		s := group
		change(&s)
		return []seenRead{s}
	}
	testSamples(t, "openalpr", map[string]sampleTest{
		"results.json": {reads: []seenRead{
			{
				plate: "BAB1234", at: group.at, vehicle: openalprFirst, order: 1, confidence: "0.9294",
				candidates: "BAB1234 0.9294, 8AB1234 0.8081", country: "eu-de", pictures: "plate",
			},
			{
				plate: "HHXY80", at: group.at, vehicle: openalprFirst + ":1", order: 1, confidence: "0.855",
				candidates: "HHXY80 0.855", country: "eu-de", pictures: "plate",
			},
		}},
		"results_empty.json": {},
		"group.json":         {reads: with(func(*seenRead) {})},
		"group_preview.json": {reads: with(func(s *seenRead) { s.plate, s.confidence, s.order = "BAB123", "0.715", 2 })},
		"group_old.json": {reads: []seenRead{{
			plate: "BAB1234", at: group.at, vehicle: openalprFirst, order: 3, confidence: "0.891", country: "eu-de",
		}}},
		"alert.json": {reads: with(func(*seenRead) {})},
		"vehicle.json": {reads: []seenRead{{
			at: group.at, direction: group.direction, vehicle: "YYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYY-1234-1795418130172", order: 2,
			country: "eu", make: group.make, color: group.color, pictures: "body scene",
		}}},
		"heartbeat.json": {heartbeat: true},
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
		events, _, err := Events(m, gate, gateReceived)
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
	if events, undirected, err := Events(frame, c, gateReceived); len(events) != 0 || undirected != 2 || err != nil {
		t.Errorf("a frame: %+v, %d, %v", events, undirected, err)
	}
	_, group, err := Parse(sample(t, "testdata/openalpr/group.json"), c)
	if err != nil {
		t.Fatal(err)
	}
	if events, _, err := Events(group, c, gateReceived); err != nil || len(events) != 1 || events[0].Kind != parking.Exit {
		t.Errorf("a group: %+v, %v", events, err)
	}
}

func TestOpenALPRRefused(t *testing.T) {
	testRefused(t, openalpr, map[string]refused{
		"another message":       {"", `{"plate":"SECRET1"}`, `data_type is "", want one of alpr_results, alpr_group`},
		"another type":          {"", `{"data_type":"other"}`, `data_type is "other"`},
		"an alert alone":        {"", `{"data_type":"alpr_alert","plate_number":"SECRET1"}`, "the alpr_alert has no group"},
		"no time of a clock":    {"", `{"data_type":"alpr_group","epoch_start":"later","best_plate_number":"SECRET1"}`, `"later" is no`},
		"a frame without one":   {"", `{"data_type":"alpr_results","epoch_time":"later","results":[{"plate":"SECRET1"}]}`, `"later" is no`},
		"results as a sentence": {"", `{"data_type":"alpr_results","vehicle":"SECRET1"}`, "wrong type"},
		"malformed":             {"", `{"data_type":"alpr_results","results":[{"plate":"SECRET1"`, "malformed"},
		"XML":                   {"", `<data_type/>`, "malformed"},
	})
}

func FuzzOpenALPR(f *testing.F) { fuzzReads(f, openalpr) }
