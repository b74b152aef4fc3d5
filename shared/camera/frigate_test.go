package camera

import (
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

func TestFrigate(t *testing.T) {
	const id, started = "1782885600.475377-mxklsc", "2026-07-01T06:00:00.475377Z"
	testFormat(t, "frigate", []formatTest{
		{name: "update of a plate, as found", file: "shared/frigate_tracked_object_update_lpr.json", want: []seen{{
			Plate: "123ABC", Time: "2020-12-04T23:19:18.748393Z", Vehicle: "1607123955.475377-mxklsc", Confidence: "0.95", Order: 1607123958748,
		}}},
		{name: "event: new, without a plate", file: "frigate/event_new.json", want: []seen{{Time: started, Direction: "gate_in", Vehicle: id}}},
		{name: "event: update, plate with its score", file: "frigate/event_update.json", want: []seen{{
			Plate: "BPS1234", Time: started, Direction: "gate_in", Vehicle: id, Confidence: "0.933451", Order: 1782885603082,
		}}},
		{name: "event: end, plate and score apart, known vehicle", file: "frigate/event_end.json", want: []seen{{
			Plate: "BPS1234", Time: started, Direction: "gate_in", Vehicle: id, Confidence: "0.95", Order: 1782885606500,
		}}},
		{name: "event: a person", file: "frigate/event_person.json"},
		{name: "review", file: "frigate/review.json"},
		{name: "API: one event", file: "frigate/api_event.json", want: []seen{{
			Plate: "BPS1234", Time: started, Direction: "gate_in", Vehicle: id, Confidence: "0.951", Order: 1782885606500, Pictures: "jpeg",
		}}},
		{name: "API: events, plate in the label", file: "frigate/api_events.json", want: []seen{
			{Plate: "BPS1234", Time: started, Direction: "gate_in", Vehicle: id, Confidence: "0.951", Order: 1782885606500, Pictures: "jpeg"},
			{Plate: "ABC123", Time: "2026-07-01T06:01:40.1Z", Vehicle: "1782885700.1-abcdef", Confidence: "0.77", Order: 1782885700100},
		}},
		{
			name: "label with its score; numbers as texts", body: `{"id":"9.1-a","camera":"c","label":"car","start_time":"1782885600.5","frame_time":"1782885601","sub_label":["B PS 1",0.81],"zones":[],"data":null}`,
			want: []seen{{Plate: "B PS 1", Time: "2026-07-01T06:00:00.5Z", Vehicle: "9.1-a", Confidence: "0.81", Order: 1782885601000}},
		},
		{
			name: "label of a carrier", body: `{"id":"9.1-a","camera":"c","label":"truck","start_time":1782885600,"sub_label":"amazon"}`,
			want: []seen{{Time: "2026-07-01T06:00:00Z", Vehicle: "9.1-a"}},
		},
		{
			name: "event without what was before, and without a start", body: `{"type":"end","after":{"id":"9.1-a","label":"car","start_time":null,"frame_time":1782885600.5,"recognized_license_plate":"A1"}}`,
			want: []seen{{Plate: "A1", Time: "2026-07-01T06:00:00.5Z", Vehicle: "9.1-a", Order: 1782885600500}},
		},
		{name: "update without a time", body: `{"type":"lpr","id":"9.1-a","plate":"A1"}`, want: []seen{{Plate: "A1", Vehicle: "9.1-a"}}},
		{name: "false positive", body: `{"id":"9.1-a","camera":"c","label":"car","start_time":1782885600,"false_positive":true}`},
		{
			name: "update without a plate", body: `{"type":"lpr","id":"9.1-a","name":null,"plate":"","score":0,"camera":"c","timestamp":1782885600.5}`,
			want: []seen{{Time: "2026-07-01T06:00:00.5Z", Vehicle: "9.1-a", Confidence: "0"}},
		},
		{name: "description", body: `{"type":"description","id":"9.1-a","description":"a car"}`},
		{name: "API: one that cannot be read", body: `[{"id":"1","camera":"c","label":"car","start_time":"now"},{"id":"2","camera":"c","label":"car","start_time":1782885600,"recognized_license_plate":"A1"}]`, want: []seen{
			{Plate: "A1", Time: "2026-07-01T06:00:00Z", Vehicle: "2", Order: 1782885600000},
		}, unread: "element 1 of 2: \"now\" is no number"},
		{name: "a time that is none", body: `{"type":"lpr","id":"9.1-a","plate":"A1","camera":"c","timestamp":"now"}`, refused: "is no number of seconds"},
		{name: "an update about nothing", body: `{"type":"new","before":{},"after":{"id":"1","camera":"c","start_time":[]}}`},
	})
}

// The direction is the last zone that is one: a vehicle leaves by the street.
func TestFrigateZones(t *testing.T) {
	body := `{"id":"9.1-a","camera":"c","label":"car","start_time":1782885600,"entered_zones":["street","Gate_Out","yard"]}`
	for name, tt := range map[string]struct {
		directions map[string]parking.Kind
		want       string
	}{
		"not mapped":    {nil, "yard"},
		"mapped":        {map[string]parking.Kind{"gate_in": parking.Entry, "gate_out": parking.Exit}, "gate_out"},
		"others mapped": {map[string]parking.Kind{"gate_in": parking.Entry}, ""},
	} {
		m, err := frigate.Parse(posted("", body), site.Camera{Directions: tt.directions})
		if err != nil || len(m.Reads) != 1 || m.Reads[0].Direction != tt.want {
			t.Errorf("%s: %+v, %v, want %q", name, m.Reads, err, tt.want)
		}
	}
}

func FuzzFrigate(f *testing.F) { fuzzFormat(f, "frigate") }
