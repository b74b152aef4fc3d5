package parking

import (
	"cmp"
	"slices"
	"strings"
)

// Timeline is the meaning of all events of one plate at one site.
type Timeline struct {
	// Stays has one stay per exit, in the order of the timeline. Each Revision is 1: a
	// revision depends on the order of arrival, which the pairing rule ignores.
	Stays []Stay
	// MissedExits are the entries directly followed by another entry. The exit camera
	// missed the vehicle.
	MissedExits []Event
	// Inside is the entry at the end of the timeline, or nil if the vehicle is not
	// inside.
	Inside *Event
}

// Pair implements the pairing rule: a stay is an entry directly followed by an exit of
// the same plate at the same site. Events are ordered by observed time, entry before
// exit, event id. Pair is a pure function of the set of events: it ignores their order
// in the argument and repetitions.
//
// All events must be of one plate and one site. The store keeps the same result
// up to date event by event; Pair is the oracle that it is tested against.
func Pair(events []Event) Timeline {
	ordered := slices.Clone(events)
	slices.SortFunc(ordered, compare)
	ordered = slices.CompactFunc(ordered, func(a, b Event) bool { return compare(a, b) == 0 })

	var t Timeline
	var open *Event
	for i := range ordered {
		e := &ordered[i]
		if e.Kind == Entry {
			if open != nil {
				t.MissedExits = append(t.MissedExits, *open)
			}
			open = e
			continue
		}
		stay := Stay{ID: e.ID, Site: e.Site, Plate: e.Plate, ExitTime: e.Time, Revision: 1}
		if open != nil {
			stay.EntryID, stay.EntryTime = open.ID, open.Time
		}
		t.Stays = append(t.Stays, stay)
		open = nil
	}
	t.Inside = open
	return t
}

func compare(a, b Event) int {
	return cmp.Or(
		a.Time.Compare(b.Time),
		cmp.Compare(a.Kind, b.Kind),
		strings.Compare(a.ID, b.ID),
	)
}

// Recorded is the result of recording one event.
type Recorded struct {
	// Stays are the current states of the stays that the event affects: its own if it
	// is an exit, and that of the exit directly after it. The store's caller posts
	// them. Posting them again is harmless.
	Stays []Stay
	// Duplicate reports whether the event was known already.
	Duplicate bool
	// Err is nil if the event is durable. An ErrInvalid (also an ErrConflict) is final.
	// After any other error the event may be tried again.
	Err error
}
