package review

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"parkstream/shared/parking"
)

// held is what holds of a read: its plate, and whether that is decided.
type held struct {
	plate   string
	decided bool
}

// pairModel is what holds of an entry and an exit by all decisions so far.
type pairModel struct {
	reads [2]struct {
		ids  []string // of the decisions, the last one is the only one to take back
		held []held   // as read, and after each decision
	}
	rejected string // the id of the rejection
}

func (m *pairModel) now(i int) held { return m.reads[i].held[len(m.reads[i].held)-1] }

// bothHold reports whether the reads are decided to be of one plate, and rejected.
func (m *pairModel) bothHold() bool { return m.rejected != "" && m.same(m.now(0), m.now(1)) }

func (m *pairModel) same(e, x held) bool { return e.decided && x.decided && e.plate == x.plate }

// set makes a decision of some of the reads.
func (m *pairModel) set(id string, to [2]*held) {
	for i, h := range to {
		if r := &m.reads[i]; h != nil {
			r.ids, r.held = append(r.ids, id), append(r.held, *h)
		}
	}
}

// decide returns what is to become of a decision with an id of its own.
func (m *pairModel) decide(d Decision) (changed, refused bool) {
	var to [2]*held
	plate := &held{d.Plate, true}
	switch d.Kind {
	case Same:
		if m.rejected != "" {
			return false, true
		}
		if m.now(0) == *plate && m.now(1) == *plate {
			return false, false
		}
		to = [2]*held{plate, plate}
	case Different:
		if m.rejected != "" {
			return false, false
		}
		if m.same(m.now(0), m.now(1)) {
			return false, true
		}
		m.rejected = d.ID
		return true, false
	case Plate:
		i := strings.Index("ex", d.EventID)
		if m.now(i) == *plate {
			return false, false
		}
		to[i] = plate
	case Undo:
		return m.undo(d)
	}
	m.set(d.ID, to)
	return true, false
}

func (m *pairModel) undo(d Decision) (changed, refused bool) {
	var to [2]*held
	after := [2]held{m.now(0), m.now(1)}
	for i, id := range []string{"e", "x"} {
		r := &m.reads[i]
		if d.EventID != "" && d.EventID != id || !slices.Contains(r.ids, d.Of) {
			continue
		}
		if r.ids[len(r.ids)-1] != d.Of {
			return false, true
		}
		after[i] = r.held[len(r.held)-2]
		to[i] = &after[i]
	}
	switch {
	case to == [2]*held{}:
		if d.EventID != "" || m.rejected != d.Of {
			return false, true
		}
		m.rejected = ""
	case d.EventID == "" && m.rejected != "" && m.same(after[0], after[1]):
		return false, true
	}
	m.set(d.ID, to)
	return true, false
}

// draw draws a decision about the pair or one of its reads.
func (m *pairModel) draw(t *rapid.T, id string, before []string) Decision {
	plate, event := rapid.SampledFrom([]string{"KA01", "KA01", "KA02", "KA03"}), rapid.SampledFrom([]string{"e", "x"})
	switch rapid.SampledFrom([]Kind{Same, Different, Plate, Undo, Undo}).Draw(t, "kind") {
	case Same:
		return same(id, "e", "x", plate.Draw(t, "plate"))
	case Different:
		return different(id)
	case Plate:
		return Decision{ID: id, Kind: Plate, EventID: event.Draw(t, "event"), Plate: plate.Draw(t, "plate")}
	}
	of := append([]string{"never"}, before...)
	for _, r := range m.reads {
		if n := len(r.ids); n > 0 { // more often than others
			of = append(of, slices.Repeat(r.ids[n-1:], 1+len(before))...)
		}
	}
	if m.rejected != "" {
		of = append(of, slices.Repeat([]string{m.rejected}, 1+len(before))...)
	}
	if rapid.IntRange(0, 2).Draw(t, "of one read") == 0 {
		return undoOf(id, rapid.SampledFrom(of).Draw(t, "of"), event.Draw(t, "event"))
	}
	return undo(id, rapid.SampledFrom(of).Draw(t, "of"))
}

// Whatever is decided and taken back of a pair, each decision is made or refused as the model
// tells, and leaves what the model has. No decision about the pair makes it one of one vehicle
// and a rejected one.
func TestSequences(t *testing.T) {
	o := newOffice(t)
	rapid.Check(t, func(t *rapid.T) {
		if err := o.client.Current().FlushAll(o.t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		var m pairModel
		for i, e := range []parking.Event{
			o.read(parking.Entry, "e", rapid.SampledFrom([]string{"KA01", "KA01", "KA02", "-"}).Draw(t, "read"), 0),
			o.read(parking.Exit, "x", "KA01", 60),
		} {
			o.seen(e)
			m.reads[i].held = []held{{e.Plate, false}}
		}
		var ids []string
		for n := range rapid.IntRange(1, parking.MaxCorrections).Draw(t, "decisions") {
			d := m.draw(t, fmt.Sprint("d", n), ids)
			ids = append(ids, d.ID)
			bothHeld := m.bothHold()
			changed, refused := m.decide(d)
			got, err := o.decide(d)
			if isConflict(err) != refused || err != nil && !refused || got.Changed != changed {
				t.Fatalf("%+v: changed %t, error %v; want changed %t, refused %t", d, got.Changed, err, changed, refused)
			}
			events, rejected := o.holding()
			for i := range events {
				if e := &events[i]; (held{e.Plate, e.Decided()}) != m.now(i) {
					t.Fatalf("after %+v the event %s has %q, decided %t; want %+v", d, e.ID, e.Plate, e.Decided(), m.now(i))
				}
			}
			if rejected != m.rejected {
				t.Fatalf("after %+v the pair is rejected by %q, want %q", d, rejected, m.rejected)
			}
			if rejected != "" && decidedSame(events) && !bothHeld && d.EventID == "" {
				t.Fatalf("%+v makes the pair one of one vehicle, and a rejected one", d)
			}
			k, err := o.stays.Get(o.t.Context(), []string{site}, "x")
			if paired := k.EntryID == "e"; err != nil || paired != (events[0].Plate == events[1].Plate) {
				t.Fatalf("after %+v the stay is %+v, error %v", d, k, err)
			}
		}
	})
}
