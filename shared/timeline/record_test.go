package timeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
)

// Each step records one event and lists the affected stays. The revision of a stay
// increases when another event changes it.
func TestRecordStepByStep(t *testing.T) {
	s, _ := newStore(t)
	e10, e20, x15, x30, x40 := entry("e10", 10), entry("e20", 20), exit("x15", 15), exit("x30", 30), exit("x40", 40)
	for i, step := range []struct {
		event     parking.Event
		duplicate bool
		want      []parking.Stay
		totals    Totals
		inside    int64
	}{
		{x30, false, []parking.Stay{stayOf(nil, x30, 1)}, totals(0, 1, 0, 1, 0), 0},
		{e10, false, []parking.Stay{stayOf(&e10, x30, 2)}, totals(1, 1, 1, 0, 0), 0},
		{x40, false, []parking.Stay{stayOf(nil, x40, 1)}, totals(1, 2, 1, 1, 0), 0},
		{e20, false, []parking.Stay{stayOf(&e20, x30, 3)}, totals(2, 2, 1, 1, 1), 0},
		// The exit between two entries completes the missed one. No other stay changes.
		{x15, false, []parking.Stay{stayOf(&e10, x15, 1)}, totals(2, 3, 2, 1, 0), 0},
		{e10, true, []parking.Stay{stayOf(&e10, x15, 1)}, totals(2, 3, 2, 1, 0), 0},
		{x30, true, []parking.Stay{stayOf(&e20, x30, 3), stayOf(nil, x40, 1)}, totals(2, 3, 2, 1, 0), 0},
		{exit("x25", 25), false, []parking.Stay{stayOf(&e20, exit("x25", 25), 1), stayOf(nil, x30, 4)}, totals(2, 4, 2, 2, 0), 0},
		// An exit without an effect also returns the stay of the exit after it, whose
		// last change may not have been posted.
		{exit("x27", 27), false, []parking.Stay{stayOf(nil, exit("x27", 27), 1), stayOf(nil, x30, 4)}, totals(2, 5, 2, 3, 0), 0},
		{entry("e50", 50), false, nil, totals(3, 5, 2, 3, 0), 1},
		{entry("e60", 60), false, nil, totals(4, 5, 2, 3, 1), 1},
		{exit("x60", 60), false, []parking.Stay{stayOf(new(entry("e60", 60)), exit("x60", 60), 1)}, totals(4, 6, 3, 3, 1), 0},
	} {
		got := s.Record(t.Context(), []parking.Event{step.event})[0]
		if diff := cmp.Diff(parking.Recorded{Stays: step.want, Duplicate: step.duplicate}, got); diff != "" {
			t.Errorf("step %d, %s: -want +got:\n%s", i, step.event.ID, diff)
		}
		site, err := s.Site(t.Context(), "default")
		if err != nil || site.Totals != step.totals || site.VehiclesInside != step.inside {
			t.Errorf("step %d, %s: error %v, %d inside, totals %+v; want %d, %+v", i, step.event.ID, err, site.VehiclesInside, site.Totals, step.inside, step.totals)
		}
	}
}

func TestRecordConflict(t *testing.T) {
	s, _ := newStore(t)
	first := entry("a", 0)
	conflict := parking.Recorded{Err: parking.ErrConflict}
	otherPlate, otherTime, otherKind, otherSite, otherRaw := first, first, first, first, first
	otherPlate.Plate = "KA02"
	otherTime.Time = first.Time.Add(time.Nanosecond)
	otherKind.Kind = parking.Exit
	otherSite.Site = "elsewhere"
	otherRaw.RawPlate = "ka-01"
	got := s.Record(t.Context(), []parking.Event{first, otherPlate, otherTime, otherKind, otherSite, otherRaw})
	want := []parking.Recorded{{}, conflict, conflict, conflict, {}, {Duplicate: true}}
	for i := range want {
		if !errors.Is(got[i].Err, want[i].Err) || got[i].Duplicate != want[i].Duplicate {
			t.Errorf("event %d: %+v, want %+v", i, got[i], want[i])
		}
	}
	if !errors.Is(parking.ErrConflict, parking.ErrInvalid) {
		t.Error("a conflict is not invalid")
	}
	if site, err := s.Site(t.Context(), "default"); err != nil || site.Totals != (Totals{Entries: 1}) {
		t.Errorf("a conflict left its mark: %+v, error %v", site, err)
	}
}

func TestRecordManyEventsOfManySites(t *testing.T) {
	s, _ := newStore(t)
	var events []parking.Event
	for i := range 3 * eventsPerScript {
		for _, site := range []string{"a", "b"} {
			e, x := entry(fmt.Sprint("e", i), i), exit(fmt.Sprint("x", i), i)
			e.Site, x.Site = site, site
			e.Plate, x.Plate = fmt.Sprint("P", i), fmt.Sprint("P", i)
			events = append(events, e, x)
		}
	}
	for i, r := range s.Record(t.Context(), events) {
		if r.Err != nil || events[i].Kind == parking.Exit && (len(r.Stays) != 1 || r.Stays[0].EntryID != events[i-1].ID || r.Stays[0].Site != events[i].Site) {
			t.Fatalf("event %d of site %s became %+v", i, events[i].Site, r)
		}
	}
	if sites, err := s.Sites(t.Context()); err != nil || !slices.Equal(sites, []string{"a", "b"}) {
		t.Errorf("sites %v, error %v", sites, err)
	}
}

// An expired entry that is not trimmed yet does not match a late exit.
func TestALateExitHasNoExpiredEntry(t *testing.T) {
	s, _ := newStore(t)
	s.Record(t.Context(), []parking.Event{entry("old", 0)})
	seconds := int(retention.Seconds())
	s.now = func() time.Time { return start.Add(retention - time.Minute) }
	s.Record(t.Context(), []parking.Event{entry("last", seconds-120)})
	s.now = func() time.Time { return start.Add(retention + time.Minute) }
	late := exit("late", seconds-180)
	for i := range 2 { // the second time it is a duplicate
		got := s.Record(t.Context(), []parking.Event{late})[0]
		if diff := cmp.Diff([]parking.Stay{stayOf(nil, late, 1)}, got.Stays); diff != "" {
			t.Errorf("delivery %d, -want +got:\n%s", i, diff)
		}
	}
}

// A timeline has two keys. A stay has its entry in one and its exit in the other.
func TestAStayBetweenOldEventsAndNew(t *testing.T) {
	s, client := newStore(t)
	var events []parking.Event
	for i := range 17 { // one more than are kept in one place
		e := entry(fmt.Sprint(i), i)
		if i%2 == 1 {
			e = exit(fmt.Sprint(i), i)
		}
		events = append(events, e)
	}
	s.Record(t.Context(), events)
	const older = 9
	if n := client.ZCard(t.Context(), "park:{default}:o:KA01").Val(); n != older {
		t.Fatalf("%d events are kept by themselves, want %d", n, older)
	}
	want := parking.Recorded{Duplicate: true, Stays: []parking.Stay{stayOf(&events[older-1], events[older], 1)}}
	for range 2 { // only one older event is left then
		for _, e := range events[older-1 : older+1] {
			if diff := cmp.Diff(want, s.Record(t.Context(), []parking.Event{e})[0]); diff != "" {
				t.Errorf("event %s, -want +got:\n%s", e.ID, diff)
			}
		}
		s.now = func() time.Time { return events[older-1].Time.Add(retention - time.Millisecond) }
	}
	if got := timeline(t, client, "KA01"); len(got) != 9 {
		t.Errorf("timeline %q, want the last nine", got)
	}
	if got, err := s.ErasePlate(t.Context(), "default", "KA01"); err != nil || got != (Erased{Events: 9, Keys: 9 + 3}) {
		t.Errorf("erased %+v, error %v", got, err)
	}
}

// Lua compares text by the locale of Redis.
func TestTheLocaleChangesNoOrder(t *testing.T) {
	instancetest.Danish(t)
	s, client := newStore(t)
	if before, err := client.Eval(t.Context(), "return tostring('aa' < 'ab')", nil).Text(); err != nil || before != "false" {
		t.Fatalf("'aa' < 'ab' is %s, error %v: Redis is not Danish", before, err)
	}
	at := func(digits string) time.Time {
		text := instant(start)
		_, when, err := parseMember(text[:len(text)-len(digits)] + digits + "0x")
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	in, out := entry("in", 0), exit("out", 0)
	in.Time, out.Time = at("aa000"), at("ab000")
	s.Record(t.Context(), []parking.Event{out})
	got := s.Record(t.Context(), []parking.Event{in})[0]
	if diff := cmp.Diff(parking.Recorded{Stays: []parking.Stay{stayOf(&in, out, 2)}}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A revision never decreases, even if the same plate used the id before for an exit
// that is trimmed now. Otherwise the summary would ignore later corrections.
func TestTheRevisionOfAnIDThatIsUsedAgain(t *testing.T) {
	s, _ := newStore(t)
	hours := func(n int) int { return int((retention + time.Duration(n)*time.Hour).Seconds()) }
	record := func(e parking.Event) parking.Recorded {
		return s.Record(t.Context(), []parking.Event{e})[0]
	}
	record(exit("x", 1))
	record(entry("e", 0))
	s.now = func() time.Time { return start.Add(retention - time.Minute) }
	record(entry("last", hours(-1)))
	s.now = func() time.Time { return start.Add(retention + 12*time.Hour) }
	// Both are late. The first call that trims is that of the entry after them.
	again := exit("x", hours(-1)-10)
	record(again)
	before := record(entry("f", hours(-1)-20)).Stays
	record(entry("new", hours(11)))
	if diff := cmp.Diff(before, record(again).Stays); diff != "" {
		t.Errorf("the stay changed when old events were trimmed, -want +got:\n%s", diff)
	}
}

// The raw plate is stored beside the key.
func TestRawPlateAndGateAreKept(t *testing.T) {
	s, client := newStore(t)
	e := entry("id", 0)
	e.RawPlate, e.Gate = "ka 01", "north"
	s.Record(t.Context(), []parking.Event{e})
	if got := client.HGet(t.Context(), defaultKeys.events(), "id").Val(); !strings.HasSuffix(got, "\nka 01\nnorth") {
		t.Errorf("kept %q", got)
	}
}
