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
	// MissedExits are the entries directly followed by another entry that does not repeat
	// them. The exit camera missed the vehicle.
	MissedExits []Event
	// RepeatedEntries are the entries that the next entry repeats.
	RepeatedEntries []Event
	// Inside is the entry at the end of the timeline, or nil if the vehicle is not
	// inside.
	Inside *Event
}

// Current returns the events that count: of each id at a site the highest version,
// unless that is void. It is a pure function of the set of events; the events of one id
// and version have the same content. The result is in the order of the timeline.
func Current(events []Event) []Event {
	type key struct{ site, id string }
	highest := make(map[key]*Event, len(events))
	for i := range events {
		e := &events[i]
		k := key{e.Site, e.ID}
		if known := highest[k]; known == nil || e.Version > known.Version {
			highest[k] = e
		}
	}
	current := make([]Event, 0, len(highest))
	for _, e := range highest {
		if !e.Void {
			current = append(current, *e)
		}
	}
	slices.SortFunc(current, func(a, b Event) int { return cmp.Or(compare(a, b), strings.Compare(a.Site, b.Site)) })
	return current
}

// Pair implements the pairing rule: a stay is an entry directly followed by an exit of
// the same plate at the same site. Events are ordered by observed time, entry before
// exit, event id. A read that repeats the one before it is no missed and no unmatched
// exit: of a run of entries the last one begins the stay, of a run of exits the first one
// ends it. Pair is a pure function of the set of events: it ignores their order in the
// argument and repetitions.
//
// All events must be of one plate and one site, each as in [Current]. The store keeps the
// same result up to date event by event; Pair is the oracle that it is tested against.
func Pair(events []Event, repeats Repeats) Timeline {
	ordered := slices.Clone(events)
	slices.SortFunc(ordered, compare)
	ordered = slices.CompactFunc(ordered, func(a, b Event) bool { return compare(a, b) == 0 })

	var t Timeline
	for i := range ordered {
		e := &ordered[i]
		var before, after *Event
		if i > 0 {
			before = &ordered[i-1]
		}
		if i+1 < len(ordered) {
			after = &ordered[i+1]
		}
		if e.Kind == Exit {
			t.Stays = append(t.Stays, stayOf(before, e, repeats))
			continue
		}
		switch {
		case after == nil:
			t.Inside = e
		case after.Kind == Exit:
		case repeats.Repeat(e, after):
			t.RepeatedEntries = append(t.RepeatedEntries, *e)
		default:
			t.MissedExits = append(t.MissedExits, *e)
		}
	}
	return t
}

// stayOf returns the stay of an exit, given the event directly before it or nil.
func stayOf(before, exit *Event, repeats Repeats) Stay {
	stay := Stay{ID: exit.ID, Site: exit.Site, Plate: exit.Plate, ExitTime: exit.Time, Revision: 1}
	switch {
	case before == nil:
	case before.Kind == Entry:
		stay.EntryID, stay.EntryTime = before.ID, before.Time
	default:
		stay.Repeat = repeats.Repeat(before, exit)
	}
	return stay
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
	// Stays are the current states of the stays that the event affects: first its own, if
	// it is an exit or was one in a version before; then that of the exit directly after
	// it, and those of the exits directly after the places that earlier versions had. The
	// store's caller posts them. Posting them again is harmless.
	Stays []Stay
	// Duplicate reports whether the event was known already.
	Duplicate bool
	// Superseded reports whether a higher version of the event is known. The event
	// changed nothing then.
	Superseded bool
	// Err is nil if the event is durable. An ErrInvalid (also an ErrConflict) is final.
	// After any other error the event may be tried again.
	Err error
}
