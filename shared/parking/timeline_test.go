package parking

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func at(kind Kind, id string, minutes int) Event {
	return Event{ID: id, Kind: kind, Site: "default", Plate: "KA01", RawPlate: "KA01", Time: noon.Add(time.Duration(minutes) * time.Minute)}
}

func stay(entry, exit *Event) Stay {
	s := Stay{ID: exit.ID, Site: exit.Site, Plate: exit.Plate, ExitTime: exit.Time, Revision: 1}
	if entry != nil {
		s.EntryID, s.EntryTime = entry.ID, entry.Time
	}
	return s
}

func TestPair(t *testing.T) {
	e0, e1, e5 := at(Entry, "e0", 0), at(Entry, "e1", 1), at(Entry, "e5", 5)
	x0, x3, x6 := at(Exit, "x0", 0), at(Exit, "x3", 3), at(Exit, "x6", 6)
	for name, tt := range map[string]struct {
		events []Event
		want   Timeline
	}{
		"nothing":              {nil, Timeline{}},
		"inside":               {[]Event{e1}, Timeline{Inside: &e1}},
		"a stay":               {[]Event{e1, x3}, Timeline{Stays: []Stay{stay(&e1, &x3)}}},
		"the same instant":     {[]Event{x0, e0}, Timeline{Stays: []Stay{stay(&e0, &x0)}}},
		"unmatched exit":       {[]Event{x3}, Timeline{Stays: []Stay{stay(nil, &x3)}}},
		"two exits":            {[]Event{e1, x3, x6}, Timeline{Stays: []Stay{stay(&e1, &x3), stay(nil, &x6)}}},
		"missed exit":          {[]Event{e0, e1, x3}, Timeline{Stays: []Stay{stay(&e1, &x3)}, MissedExits: []Event{e0}}},
		"two visits":           {[]Event{e1, x3, e5, x6}, Timeline{Stays: []Stay{stay(&e1, &x3), stay(&e5, &x6)}}},
		"one event five times": {[]Event{e1, e1, e1, x3, x3, e5}, Timeline{Stays: []Stay{stay(&e1, &x3)}, Inside: &e5}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Pair(tt.events, nil)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// The result depends only on the set of events, and it contains every event once.
func TestPairIsAFunctionOfTheSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 12).Draw(t, "n")
		var events []Event
		entries := 0
		for i := range n {
			kind := rapid.SampledFrom([]Kind{Entry, Exit}).Draw(t, "kind")
			if kind == Entry {
				entries++
			}
			events = append(events, at(kind, fmt.Sprint(i), rapid.IntRange(0, 5).Draw(t, "minute")))
		}
		want := Pair(events, nil)
		shuffled := append(append([]Event{}, events...), events[:rapid.IntRange(0, n).Draw(t, "again")]...)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if diff := cmp.Diff(want, Pair(shuffled, nil)); diff != "" {
			t.Fatalf("another order gives another result:\n%s", diff)
		}
		paired := 0
		for _, s := range want.Stays {
			if d, ok := s.Duration(); ok {
				paired++
				if d < 0 {
					t.Fatalf("stay %v ends before it begins", s)
				}
			}
		}
		inside := 0
		if want.Inside != nil {
			inside = 1
		}
		if len(want.Stays) != n-entries || paired+len(want.MissedExits)+inside != entries {
			t.Fatalf("%d entries and %d exits became %+v", entries, n-entries, want)
		}
	})
}
