package evaluate

import (
	"slices"
	"testing"
	"time"

	"parkstream/shared/parking"
)

// A model is learnt of what was there before, of each site apart.
func TestLearntModels(t *testing.T) {
	s, err := Scenario("base", 1, 100, 3)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Simulate(s)
	if err != nil {
		t.Fatal(err)
	}
	noon := s.Start.Add(36 * time.Hour)
	learn := func(events []parking.Event, before time.Time, margin parking.Weight) *parking.Model {
		t.Helper()
		models := Learnt(parking.DefaultModel(), before, margin)(events)
		if len(models) != 1 || !models[0].From.IsZero() || models[0].Check() != nil {
			t.Fatalf("%+v", models)
		}
		return models[0]
	}
	events := parking.Current(d.Events)
	before := slices.DeleteFunc(slices.Clone(events), func(e parking.Event) bool { return !e.Time.Before(noon) })
	want := learn(before, time.Time{}, 0)
	if got := learn(events, noon, 0); got.Version != want.Version {
		t.Errorf("of all events, before a time: %s, of the events before that time: %s", got.Version, want.Version)
	}
	if got := learn(events, time.Time{}, 0); got.Version == want.Version {
		t.Error("later events change nothing")
	}
	if got := learn(events, noon, 123); got.Margin != 123 || got.Margins != nil || want.Margin == 123 {
		t.Errorf("margins %d, %v", got.Margin, got.Margins)
	}
	for i := range d.Events {
		if i%2 == 0 {
			d.Events[i].Site = "other"
		}
	}
	var sizes []int
	d.Stays(func(events []parking.Event) parking.Models {
		sizes = append(sizes, len(events))
		return nil
	})
	if len(sizes) != 2 || sizes[0]+sizes[1] != len(d.Events) {
		t.Errorf("models of sites with %d events, of %d", sizes, len(d.Events))
	}
}
