package matcher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/timeline"
)

// work is what is to be done about an exit.
type work struct {
	timeline.Change

	// postOnly reports that the stay was decided so, and is not posted yet.
	postOnly bool
	// entries are the ids of the entries that the exit has by the pairing rule, before the
	// change and after it.
	entries [3]string
}

// compare returns what is to be done about the exits that were observed from one instant
// until another, both included: those whose stays are otherwise than they were decided, and
// those that were decided and not posted. The decisions of other exits stay as they are.
func compare(span *Span, stays []parking.Stay, from, until time.Time) ([]work, error) {
	x := newIndex(span, stays)
	// Both stays of a split are decided at once: when the second is due.
	due := func(s *parking.Stay) bool {
		at := s.ExitTime
		if owner := x.owners[s.EntryID]; owner.After(at) {
			at = owner
		}
		return !at.Before(from) && !at.After(until)
	}
	wanted := make(map[string]*parking.Stay, len(stays))
	for i := range stays {
		if s := &stays[i]; (s.Match != nil || s.Disputed) && due(s) {
			wanted[s.ID] = s
		}
	}
	var todo []work
	for i := range span.Decisions {
		d := &span.Decisions[i]
		w := work{Change: d.Change, postOnly: true, entries: [3]string{d.Exact.ID, d.Stay.EntryID}}
		if s := wanted[d.Stay.ID]; s != nil {
			c := x.change(s, d.Stay.Revision)
			same, err := same(&c, &d.Change)
			if err != nil {
				return nil, err
			}
			if !same {
				w.Change, w.postOnly, w.entries[2] = c, false, s.EntryID
			}
		} else if !d.Withdraws() && due(&d.Stay) {
			w.Change, w.postOnly = timeline.Change{Stay: parking.Stay{ID: d.Stay.ID}, Was: d.Stay.Revision}, false
		}
		delete(wanted, d.Stay.ID)
		if !w.postOnly || !d.Posted {
			todo = append(todo, w)
		}
	}
	for _, s := range wanted {
		c := x.change(s, 0)
		todo = append(todo, work{Change: c, entries: [3]string{c.Exact.ID, s.EntryID}})
	}
	slices.SortFunc(todo, func(a, b work) int { return strings.Compare(a.Stay.ID, b.Stay.ID) })
	return todo, nil
}

// index finds what changes tell of reads.
type index struct {
	exact  map[string]*parking.ExactStay // by the id of the exit
	owners map[string]time.Time          // id of an entry -> its exit by the pairing rule
	plates map[string]string             // of the lone reads of stays, by id
}

func newIndex(span *Span, stays []parking.Stay) index {
	x := index{make(map[string]*parking.ExactStay, len(span.Exact)), make(map[string]time.Time, len(span.Exact)), make(map[string]string, 2*len(stays))}
	for i := range span.Exact {
		e := &span.Exact[i]
		x.exact[e.Exit.ID], x.owners[e.Entry.ID], x.plates[e.Entry.ID] = e, e.Exit.Time, e.Entry.Plate
	}
	for i := range stays {
		for _, id := range []string{stays[i].ID, stays[i].EntryID} {
			if _, known := x.plates[id]; !known {
				x.plates[id] = ""
			}
		}
	}
	for i := range span.Lone {
		if l := &span.Lone[i]; l.ID != "" {
			if _, asked := x.plates[l.ID]; asked {
				x.plates[l.ID] = l.Plate
			}
		}
	}
	return x
}

// change returns the change to a stay, of a decision with a revision.
func (x *index) change(s *parking.Stay, was int64) timeline.Change {
	c := timeline.Change{Stay: *s, EntryPlate: x.plates[s.EntryID], ExitPlate: x.plates[s.ID], Was: was}
	if e := x.exact[s.ID]; e != nil {
		c.Exact, c.ExitPlate = timeline.Place{ID: e.Entry.ID, Time: e.Entry.Time}, e.Exit.Plate
	}
	return c
}

// same reports whether a change is what was decided already.
func same(a, b *timeline.Change) (bool, error) {
	s, t := &a.Stay, &b.Stay
	if s.EntryID != t.EntryID || !s.EntryTime.Equal(t.EntryTime) || s.Plate != t.Plate || s.Disputed != t.Disputed || a.EntryPlate != b.EntryPlate ||
		a.ExitPlate != b.ExitPlate || a.Exact.ID != b.Exact.ID || !a.Exact.Time.Equal(b.Exact.Time) || (s.Match == nil) != (t.Match == nil) {
		return false, nil
	}
	one, err1 := json.Marshal(s.Match)
	two, err2 := json.Marshal(t.Match)
	if err1 != nil || err2 != nil {
		return false, fmt.Errorf("compare how exit %q was matched: %w", s.ID, errors.Join(err1, err2))
	}
	return bytes.Equal(one, two), nil
}

// batches returns the work in batches that are done at once: work on stays that share an
// entry is in one of them, because only one at a time may have it. A batch has at most
// [timeline.MaxChanges], and so have stays that share entries: there are not so many
// look-alikes.
func batches(todo []work) [][]work {
	parents := make([]int, len(todo)) // a forest; its trees share entries
	root := func(i int) int {
		for parents[i] != i {
			parents[i] = parents[parents[i]]
			i = parents[i]
		}
		return i
	}
	users := make(map[string]int)
	for i := range todo {
		parents[i] = i
		for _, entry := range todo[i].entries {
			if entry == "" {
				continue
			}
			if user, used := users[entry]; used {
				parents[root(i)] = root(user)
			} else {
				users[entry] = i
			}
		}
	}
	groups := make(map[int][]work)
	var roots []int
	for i := range todo {
		r := root(i)
		if groups[r] == nil {
			roots = append(roots, r)
		}
		groups[r] = append(groups[r], todo[i])
	}
	var all [][]work
	var batch []work
	for _, r := range roots {
		for part := range slices.Chunk(groups[r], timeline.MaxChanges) {
			if len(batch)+len(part) > timeline.MaxChanges {
				all, batch = append(all, batch), nil
			}
			batch = append(batch, part...)
		}
	}
	if len(batch) > 0 {
		all = append(all, batch)
	}
	return all
}
