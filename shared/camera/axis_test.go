package camera

import "testing"

func TestAxis(t *testing.T) {
	full := seen{
		Plate: "B-PS 1234", Time: "2026-07-01T06:00:00.25Z", Direction: "in", Kind: "entry", Vehicle: "2041", Counts: true,
		Order: 2<<42 + 1782885600250, Confidence: "0.913452", Country: "DEU", Make: "volkswagen", Color: "blue", Pictures: "jpeg",
	}
	testFormat(t, "axis", []formatTest{
		{name: "lost, as found", file: "shared/axis_fflprapp_event.json", want: []seen{{
			Plate: "RLE11684", Time: "2021-06-11T10:05:38.252Z", Direction: "in", Kind: "entry", Vehicle: "1144696", Counts: true,
			Order: 3<<42 + 1623405938252, Confidence: "0.719034", Country: "POL",
		}}},
		{name: "search in XML, as found", file: "shared/axis_fflprapp_search.xml", want: []seen{{
			Plate: "ABC1234", Time: "2024-04-28T15:00:00Z", Counts: true,
		}}},
		{name: "events in XML", file: "axis/events.xml", want: []seen{
			{Plate: "2AN2563", Time: "2026-07-01T06:00:00.804689Z", Direction: "in", Kind: "entry", Vehicle: "66948", Counts: true, Confidence: "0.717649", Country: "CZE"},
			{Plate: "34ABC123", Time: "2026-07-01T06:01:01Z", Direction: "out", Kind: "exit", Vehicle: "66949", Counts: true, Confidence: "0.9", Country: "TUR"},
		}},
		{name: "update in a form, with a picture", file: "axis/update.http", want: []seen{full}},
		{name: "new, local time, numbers as numbers", file: "axis/new.json", want: []seen{{
			Plate: "OB2558AK", Time: "2026-07-01T06:00:00Z", Vehicle: "102", Counts: true,
			Order: 1<<42 + 1782885600000, Confidence: "0.727815", Country: "BGR",
		}}},
		{name: "lost, time with a zone, pictures in JSON", file: "axis/images.json", want: []seen{{
			Plate: "B-PS 1234", Time: "2026-10-25T01:30:00.5Z", Direction: "out", Kind: "exit", Vehicle: "2041", Counts: true,
			Order: 3<<42 + 1792891800500, Confidence: "0.913452", Country: "DEU", Make: "volkswagen", Color: "blue", Pictures: "jpeg jpeg",
		}}},
		{name: "no plate", file: "axis/noplate.json", want: []seen{{
			Time: "2026-07-01T06:00:00Z", Direction: "in", Kind: "entry", Vehicle: "102", Counts: true,
			Order: 1782885600000, Confidence: "0.727815", Country: "BGR",
		}}},
		{name: "several one after the other, escaped twice, hour that comes twice", body: `{"carID":"1","carState":"new","plateText":"\\u0041\\u00c4 1","datetime":"20261025 023000500"}
{"plateASCII":"B2","carstate":"UPDATED","carid":2,"capture_ts":1782885600250000000,"vehicle_info":"","ImageArray":null,"carMoveDirection":"null"}`, want: []seen{
			{Plate: "AÄ 1", Time: "2026-10-25T01:30:00.5Z", Vehicle: "1", Counts: true, Order: 1<<42 + 1792891800500, Ambiguous: true},
			{Plate: "B2", Time: "2026-07-01T06:00:00.25Z", Vehicle: "2", Counts: true, Order: 2<<42 + 1782885600250},
		}},
		{name: "list", body: `[{"plateUTF8":"A1","packetCounter":1},{"plateUTF8":"A2","packetCounter":2,"datetime":"20260701 080000000"}]`, want: []seen{
			{Plate: "A1", Counts: true}, {Plate: "A2", Time: "2026-07-01T06:00:00Z", Counts: true},
		}},
		{name: "without a car", body: `{"packetCounter":"5","sensorProviderID":"gate","datetime":"20260701 080000000"}`, heartbeat: true},
		{name: "nothing but an empty plate, in XML", body: `<events><event><LPR/></event></events>`, want: []seen{{Counts: true}}},
		{name: "one event in XML", body: `<?xml version="1.0" encoding="UTF-8"?><event><TS>1782885600250</TS><LPR>A1</LPR></event>`, want: []seen{{Plate: "A1", Time: "2026-07-01T06:00:00.25Z", Counts: true}}},
		{name: "empty list in XML", body: `<events> </events>`},
		{name: "times for people only", body: `<events><event><MOD_TS>2026-07-01 08:00:00 GMT</MOD_TS><LPR>A1</LPR></event><event><MOD_TS>2026-07-01 08:00:00 TRT</MOD_TS><LPR>A2</LPR></event></events>`, want: []seen{
			{Plate: "A1", Time: "2026-07-01T08:00:00Z", Counts: true}, {Plate: "A2", Time: "2026-07-01T06:00:00Z", Counts: true},
		}},
		{name: "one of a list that cannot be read", body: `[{"plateUTF8":"A1","carID":"1"},{"plateUTF8":"A2","carID":"2","datetime":"yesterday"},null,"SECRET",{"plateUTF8":"A3","carID":"3"}]`, want: []seen{
			{Plate: "A1", Vehicle: "1", Counts: true}, {Plate: "A3", Vehicle: "3", Counts: true},
		}, unread: `element 2 of 5: "yesterday" is no time`},
		{name: "one in XML that cannot be read", body: `<events><event><MOD_TS>now</MOD_TS><LPR>A1</LPR></event><event><LPR>A2</LPR></event></events>`, want: []seen{{Plate: "A2", Counts: true}}, unread: `"now" is no time`},
		{name: "a heartbeat and what cannot be read", body: `[{"packetCounter":"5","sensorProviderID":"gate"},{"plateUTF8":"A2","carID":"2","datetime":"yesterday"}]`, heartbeat: true, unread: "element 2 of 2"},
		{name: "nothing that can be read", body: `[{"plateUTF8":"A1","carID":"1","datetime":"yesterday"},5]`, refused: "element 2 of 2: the JSON has a value of the wrong type"},
		{name: "a time that is none", body: `{"plateUTF8":"A1","carID":"1","datetime":"yesterday"}`, refused: "is no time"},
		{name: "malformed", body: `{"plateUTF8":"A1","carID":"1"} {`, refused: "malformed"},
	})
}

// A lost message may have the time of the update before it, and a camera loses the plate
// before the car.
func TestAxisOrder(t *testing.T) {
	at := received
	order := func(state, plate string) int64 { return axisOrder(state, Read{Plate: plate, Time: at}) }
	inOrder := []int64{order("lost", ""), order("new", "A1"), order("update", "A1"), order("lost", "A1")}
	for i := range inOrder[1:] {
		if inOrder[i] >= inOrder[i+1] {
			t.Errorf("order %v", inOrder)
		}
	}
	if late := axisOrder("update", Read{Plate: "A1", Time: at.Add(1e6)}); late <= inOrder[2] || late >= inOrder[3] {
		t.Errorf("an update 1 ms later has %d, want between %d and %d", late, inOrder[2], inOrder[3])
	}
}

func FuzzAxis(f *testing.F) { fuzzFormat(f, "axis") }
