package timeline

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
)

// near returns the change that gives an exit an entry.
func near(e, x parking.Event, method parking.Method) Change {
	stay := stayOf(&e, x, 0)
	stay.Match = &parking.Explanation{Method: method, EntryPlate: e.RawPlate, ExitPlate: x.RawPlate, Weight: 700, Margin: 500, Model: "default"}
	return Change{Stay: stay, EntryPlate: e.Plate, ExitPlate: x.Plate}
}

func decide(t *testing.T, s *Store, changes ...Change) []Decided {
	t.Helper()
	decided, err := s.Decide(t.Context(), "default", changes)
	if err != nil {
		t.Fatal(err)
	}
	return decided
}

// An exit is given the entry of a misread plate. Whatever is told of its stay from then on
// is that.
func TestDecide(t *testing.T) {
	s, _ := newStore(t)
	e, x := of(entry("e", 0), 1, plated("KA0I")), of(exit("x", 60), 1, nil)
	s.Record(t.Context(), []parking.Event{e, x})
	lone, more, err := s.Lone(t.Context(), "default", start, start.Add(time.Hour))
	if diff := cmp.Diff([]parking.Lone{{Event: x}, {Event: e}}, lone); diff != "" || more || err != nil {
		t.Errorf("lone, more %v, error %v, -want +got:\n%s", more, err, diff)
	}
	c := near(e, x, parking.OCR)
	want := c.Stay
	want.Revision = 2
	for i := range 2 {
		got := decide(t, s, c)[0]
		if diff := cmp.Diff(want, got.Stay); diff != "" || got.Refused != "" || got.Posted {
			t.Errorf("decided %d, %+v, -want +got:\n%s", i, got, diff)
		}
	}
	if diff := cmp.Diff([]parking.Stay{want}, s.Record(t.Context(), []parking.Event{x})[0].Stays); diff != "" {
		t.Errorf("told, -want +got:\n%s", diff)
	}
	if err := s.Posted(t.Context(), "default", []parking.Stay{want}); err != nil {
		t.Error(err)
	}
	stays, err := s.Reject(t.Context(), "default", Rejection{Rejection: parking.Rejection{EntryID: "e", ExitID: "x"}, ID: "d1", By: "ann", At: start})
	if diff := cmp.Diff([]parking.Stay{stayOf(nil, x, 3)}, stays); diff != "" || err != nil {
		t.Errorf("rejected, error %v, -want +got:\n%s", err, diff)
	}
	if got := decide(t, s, c)[0]; got.Refused == "" {
		t.Errorf("%+v", got)
	}
}
