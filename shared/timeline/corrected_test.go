package timeline

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
)

// record records events, and fails the test for one that is refused.
func record(t *testing.T, s *Store, events ...parking.Event) (stays []parking.Stay) {
	t.Helper()
	for _, r := range s.Record(t.Context(), events) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		stays = append(stays, r.Stays...)
	}
	return stays
}

// A correction is kept with who decided and with the plate before, counts whatever the
// camera sends later, and is taken back like any version.
func TestCorrectedEvent(t *testing.T) {
	s, _ := newStore(t)
	e, x := of(entry("e", 0), 1, plated("KA09")), exit("x", 100)
	e.Gate, e.Camera, e.Details.Make = "g", "c", "Tata"
	record(t, s, e, x)
	correct := func(of parking.Event, plate, id string) parking.Event {
		t.Helper()
		c, err := of.Correct(plate, parking.Correction{ID: id, By: "anna", At: time.Unix(1795763908, 0).UTC()})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	kept := func(want parking.Event) {
		t.Helper()
		got, err := s.Event(t.Context(), want.Site, want.ID)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	first := correct(e, "KA01", "d1")
	if got := record(t, s, first); len(got) != 1 || got[0].EntryID != "e" {
		t.Errorf("stays %+v", got)
	}
	kept(first)
	record(t, s, of(e, 1_795_763_908_123_456, plated("KA08"))) // the camera goes on
	kept(first)
	second := correct(first, "KA09", "d2")
	record(t, s, second)
	kept(second)
	if second.Correction.Was != "KA01" {
		t.Errorf("before the second it was %q", second.Correction.Was)
	}
	// The plate before is erased with all else of it.
	if _, err := s.ErasePlate(t.Context(), e.Site, "KA01"); err != nil {
		t.Fatal(err)
	}
	second.Correction.Was = ""
	kept(second)

	none := of(entry("n", 200), 1, noPlates)
	record(t, s, none)
	given := correct(none, "KA07", "d3")
	record(t, s, given)
	kept(given)
}
