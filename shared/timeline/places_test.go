package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
)

// The places of a plate are those of its events, in the older part as well, and of
// versions before.
func TestPlaces(t *testing.T) {
	s, client := newStore(t)
	var events []parking.Event
	var want []Place
	for i := range 40 {
		e := entry(fmt.Sprint("e/", i), 2*i)
		if i%2 == 1 {
			e = exit(fmt.Sprint("x\u00e9 ", i), 2*i)
		}
		events, want = append(events, e), append(want, Place{e.ID, e.Time})
	}
	other := entry("other", 5)
	other.Plate = "KA02"
	// One event comes from another plate, and two were here.
	came, left, gone := entry("came", 101), entry("left", 102), exit("gone", 103)
	came.Plate = "KA03"
	events = append(events, other, came, left, gone, of(came, 2, plated("KA01")), of(left, 2, plated("KA02")), of(gone, 2, voided))
	want = append(want, Place{"came", came.Time}, Place{"came", came.Time}, Place{"left", left.Time}, Place{"gone", gone.Time})
	s.Record(t.Context(), events)
	for plate, want := range map[string][]Place{
		"KA01": want, "KA02": {{"other", other.Time}, {"left", left.Time}, {"left", left.Time}}, "KA03": {{"came", came.Time}}, "KA0": {}, "none": {},
	} {
		got, err := s.Places(t.Context(), "default", plate)
		slices.SortFunc(got, func(a, b Place) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID)) })
		if diff := gocmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("plate %s, error %v (-want +got):\n%s", plate, err, diff)
		}
	}
	if n := client.ZCard(t.Context(), defaultKeys.older("KA01")).Val(); n == 0 {
		t.Error("there is no older part")
	}
	erased, err := s.ErasePlate(t.Context(), "default", "KA01")
	if got, err2 := s.Places(t.Context(), "default", "KA01"); len(got) != 0 || err != nil || err2 != nil || erased.Events != 41 {
		t.Errorf("of %v erased, %v is left: %v, %v", erased, got, err, err2)
	}
	do(t, client, "SET", defaultKeys.older("KA01"), "x")
	if got, err := s.Places(t.Context(), "default", "KA01"); err == nil {
		t.Errorf("of a key of the wrong type: %v", got)
	}
}
