package camera

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"parkstream/docs/api/apitest"
	"parkstream/shared/parking"
)

// The events of all samples are valid by the schema of events when they are written.
func TestSamplesAreValidEvents(t *testing.T) {
	c, events := gate, 0
	c.Directions = map[string]parking.Kind{"away": parking.Exit}
	for _, file := range slices.Concat(slices.Collect(maps.Values(samples(t)))...) {
		r := sample(t, file)
		r.Received = time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
		_, message, err := Parse(r, c)
		if err != nil {
			continue // TestSamples has those that are refused
		}
		observed, _, err := Observe(message, c, r.Received)
		if err != nil && len(observed) == 0 {
			continue
		}
		for _, o := range observed {
			text, err := json.Marshal(o.Event)
			if err == nil {
				err = apitest.Validate(t, "openapi.yaml#/components/schemas/Event", text) // without other members
			}
			if err != nil {
				t.Errorf("%s: %s: %v", file, text, err)
			}
			events++
		}
	}
	if events < 50 {
		t.Errorf("the samples have %d events only", events)
	}
}
