package timeline

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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

	right := correct(second, "KA-09", "d4")
	record(t, s, right)
	kept(right)
	none := of(entry("n", 200), 1, noPlates)
	record(t, s, none)
	given := correct(none, "KA07", "d3")
	record(t, s, given)
	kept(given)
}

// Marked events are listed from some time on, until they are finished or erased.
func TestUnfinished(t *testing.T) {
	s, client := newStore(t)
	record(t, s, entry("e", 0), of(entry("f", 1), 1, plated("KA02")))
	now := time.Now()
	check := func(before time.Time, want ...string) {
		t.Helper()
		got, err := s.Unfinished(t.Context(), "default", before, 10)
		var ids []string
		for _, m := range got {
			ids = append(ids, m.ID)
		}
		if err != nil || !cmp.Equal(want, ids, cmpopts.EquateEmpty()) {
			t.Errorf("%q, %v, want %q", ids, err, want)
		}
	}
	mark := func(ids ...string) []Mark {
		t.Helper()
		now = now.Add(time.Microsecond)
		s.now = func() time.Time { return now }
		marks, err := s.MarkUnfinished(t.Context(), "default", ids)
		if err != nil {
			t.Fatal(err)
		}
		return marks
	}
	finish := func(marks ...Mark) {
		t.Helper()
		if err := s.MarkFinished(t.Context(), "default", marks); err != nil {
			t.Fatal(err)
		}
	}
	mark("e")
	mark("f")
	g := mark("g")
	check(now.Add(-time.Minute))
	check(now.Add(time.Minute), "e", "f", "g")
	if got, err := s.Unfinished(t.Context(), "default", now.Add(time.Minute), 2); len(got) != 2 || err != nil {
		t.Errorf("two: %v, %v", got, err)
	}
	finish(append(g, Mark{ID: "never"})...)
	check(now.Add(time.Minute), "e", "f")
	// A mark of a later correction stays, also if the same call removes another one.
	first, other := mark("h", "i"), mark("h")
	finish(first...)
	check(now.Add(time.Minute), "e", "f", "h")
	finish(first...)
	finish()
	check(now.Add(time.Minute), "e", "f", "h")
	finish(other...)
	check(now.Add(time.Minute), "e", "f")
	if _, err := s.ErasePlate(t.Context(), "default", "KA01"); err != nil {
		t.Fatal(err)
	}
	check(now.Add(time.Minute), "f")
	if ttl := client.TTL(t.Context(), defaultKeys.unfinished()).Val(); ttl < time.Hour {
		t.Errorf("the marks expire in %s", ttl)
	}
}

// Between has the events of a plate in a span, of short and of long timelines.
func TestBetween(t *testing.T) {
	s, _ := newStore(t)
	var events []parking.Event
	for i := range 40 {
		events = append(events, entry(fmt.Sprint("e", i), i))
		record(t, s, events[i])
		for _, tt := range []struct{ from, to int }{{0, i}, {max(0, i-30), i - 5}, {i, i}, {i + 1, i + 9}} {
			want := []Place{}
			for j := tt.from; j <= min(tt.to, i); j++ {
				want = append(want, Place{events[j].ID, events[j].Time})
			}
			got, err := s.Between(t.Context(), "default", "KA01", events[0].Time.Add(time.Duration(tt.from)*time.Second), events[0].Time.Add(time.Duration(tt.to)*time.Second))
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Fatalf("%d events, %d to %d: %v (-want +got):\n%s", i+1, tt.from, tt.to, err, diff)
			}
		}
	}
	if got, err := s.Between(t.Context(), "default", "KA02", time.Time{}, time.Now()); len(got) != 0 || err != nil {
		t.Errorf("none: %v, %v", got, err)
	}
}
