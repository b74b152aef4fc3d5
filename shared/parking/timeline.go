package parking

import (
	"cmp"
	"slices"
	"strings"
)

// Timeline is what all events of one plate at one site mean together.
type Timeline struct {
	// Stays has one stay per exit, in the order of the timeline. Revision is 1
	// in each: it depends on the order of arrival and is not the rule's business.
	Stays []Stay
	// MissedExits are the entries directly followed by another entry: the
	// vehicle left without being seen.
	MissedExits []Event
	// Inside is the entry at the end of the timeline, nil if the vehicle is not
	// inside.
	Inside *Event
}

// Pair is the pairing rule: a stay is an entry directly followed by an exit of
// the same plate at the same site, in the order of observed time, entry before
// exit, event id. It is a pure function of the set of events: neither their
// order in the argument nor how often one is repeated matters.
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

// Recorded is what became of one event in the store.
type Recorded struct {
	// Stays are the present states of the stays that the event affects: its
	// own, if it is an exit, and that of the exit directly after it. The caller
	// of the store posts them; posting them again is harmless.
	Stays []Stay
	// Duplicate reports that the event was known already.
	Duplicate bool
	// Err is nil when the event is durable. An ErrInvalid (ErrConflict) is final,
	// anything else may be tried again.
	Err error
}
