package timeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"parkstream/shared/parking"
)

// of returns a version of an event, as changed.
func of(e parking.Event, version int64, change func(*parking.Event)) parking.Event {
	e.Version = version
	if change != nil {
		change(&e)
	}
	return e
}

func voided(e *parking.Event)   { e.Void, e.RawPlate, e.Plate, e.Time = true, "", "", time.Time{} }
func noPlates(e *parking.Event) { e.NoPlate, e.RawPlate, e.Plate = true, "", "" }
func plated(plate string) func(*parking.Event) {
	return func(e *parking.Event) { e.RawPlate, e.Plate = plate, plate }
}

func seenAt(camera string) func(*parking.Event) { return func(e *parking.Event) { e.Camera = camera } }

// Each step records one version and lists the affected stays.
func TestVersionsStepByStep(t *testing.T) {
	e, x, y := entry("e", 0), exit("x", 100), exit("y", 200)
	voidStay := func(x parking.Event, revision int64) parking.Stay {
		s := stayOf(nil, x, revision)
		s.Void = true
		return s
	}
	other := of(x, 4, plated("KA02"))
	later := of(other, 5, func(e *parking.Event) { e.Time = e.Time.Add(time.Second) })
	turned := of(later, 6, func(e *parking.Event) { e.Kind = parking.Entry })
	type stays = []parking.Stay
	s, _ := newStore(t)
	for i, step := range []struct {
		event  parking.Event
		want   parking.Recorded
		totals Totals
		inside int64
	}{
		{e, parking.Recorded{}, totals(1, 0, 0, 0, 0), 1},
		{x, parking.Recorded{Stays: stays{stayOf(&e, x, 1)}}, totals(1, 1, 1, 0, 0), 0},
		{y, parking.Recorded{Stays: stays{stayOf(nil, y, 1)}}, totals(1, 2, 1, 1, 0), 0},
		// Nothing that matters to a stay changes: no new revision.
		{of(x, 2, seenAt("other")), parking.Recorded{Stays: stays{stayOf(&e, x, 1), stayOf(nil, y, 1)}}, totals(1, 2, 1, 1, 0), 0},
		{of(x, 3, voided), parking.Recorded{Stays: stays{voidStay(x, 2), stayOf(&e, y, 2)}}, totals(1, 1, 1, 0, 0), 0},
		{of(x, 3, voided), parking.Recorded{Stays: stays{voidStay(x, 2), stayOf(&e, y, 2)}, Duplicate: true}, totals(1, 1, 1, 0, 0), 0},
		{x, parking.Recorded{Stays: stays{voidStay(x, 2), stayOf(&e, y, 2)}, Superseded: true}, totals(1, 1, 1, 0, 0), 0},
		{of(x, 3, nil), parking.Recorded{Err: parking.ErrConflict}, totals(1, 1, 1, 0, 0), 0},
		// Another plate: y's stay is answered for, because x was before it once.
		{other, parking.Recorded{Stays: stays{stayOf(nil, other, 3), stayOf(&e, y, 2)}}, totals(1, 2, 1, 1, 0), 0},
		{later, parking.Recorded{Stays: stays{stayOf(nil, later, 4), stayOf(&e, y, 2)}}, totals(1, 2, 1, 1, 0), 0},
		{turned, parking.Recorded{Stays: stays{voidStay(later, 5), stayOf(&e, y, 2)}}, totals(2, 1, 1, 0, 0), 1},
		{of(turned, 7, noPlates), parking.Recorded{Stays: stays{voidStay(later, 5), stayOf(&e, y, 2)}}, noPlateEntries(totals(2, 1, 1, 0, 0), 1), 0},
		{of(e, 2, voided), parking.Recorded{Stays: stays{stayOf(nil, y, 3)}}, noPlateEntries(totals(1, 1, 0, 1, 0), 1), 0},
		{of(y, 2, voided), parking.Recorded{Stays: stays{voidStay(y, 4)}}, noPlateEntries(totals(1, 0, 0, 0, 0), 1), 0},
		{of(x, 8, voided), parking.Recorded{Stays: stays{voidStay(later, 5)}}, totals(0, 0, 0, 0, 0), 0},
		{of(e, 3, nil), parking.Recorded{}, totals(1, 0, 0, 0, 0), 1},
	} {
		got := s.Record(t.Context(), []parking.Event{step.event})[0]
		if diff := cmp.Diff(step.want, got, cmpopts.EquateErrors()); diff != "" {
			t.Errorf("step %d, %s: -want +got:\n%s", i, step.event.ID, diff)
		}
		site, err := s.Site(t.Context(), "default")
		if err != nil || site.Totals != step.totals || site.VehiclesInside != step.inside {
			t.Errorf("step %d, %s: error %v, %d inside, totals %+v; want %d, %+v", i, step.event.ID, err, site.VehiclesInside, site.Totals, step.inside, step.totals)
		}
	}
}

func noPlateEntries(t Totals, n int64) Totals {
	t.NoPlateEntries = n
	return t
}

// A processor dies between the record of a version and the post of the stays that it
// changed. Another event comes between before the version is delivered again, and
// answers for them.
func TestAnAmendedEventAnswersForItsFormerNeighbours(t *testing.T) {
	s, _ := newStore(t)
	record := func(e parking.Event) []parking.Stay { return s.Record(t.Context(), []parking.Event{e})[0].Stays }
	e, x := entry("e", 0), exit("x", 100)
	record(e)
	record(x)
	moved := of(e, 2, plated("KA02"))
	record(moved) // and dies: x has no entry now
	want := []parking.Stay{stayOf(nil, x, 2)}
	for name, again := range map[string]parking.Event{"the version": moved, "the one before": e} {
		if diff := cmp.Diff(want, record(again)); diff != "" {
			t.Errorf("%s again, -want +got:\n%s", name, diff)
		}
	}
	between := entry("between", 50)
	if diff := cmp.Diff([]parking.Stay{stayOf(&between, x, 3)}, record(between)); diff != "" {
		t.Errorf("between, -want +got:\n%s", diff)
	}
}

// Of the places of an event that is moved again and again the newest are kept, and that
// of its exit.
func TestFormerPlacesAreBounded(t *testing.T) {
	s, client := newStore(t)
	x := exit("x", 0)
	s.Record(t.Context(), []parking.Event{x})
	var got parking.Recorded
	const moves = 40
	for i := range moves {
		e := of(x, int64(i+2), plated(fmt.Sprint("KB", i)))
		e.Kind = parking.Entry
		got = s.Record(t.Context(), []parking.Event{e})[0]
	}
	left := stayOf(nil, x, 2)
	left.Void = true
	if diff := cmp.Diff(parking.Recorded{Stays: []parking.Stay{left}}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var want []string
	for i := moves - 8; i < moves-1; i++ {
		want = append(want, fmt.Sprintf("KB%d\nx", i))
	}
	want = append([]string{"KA01\nx"}, want...)
	if diff := cmp.Diff(want, client.ZRange(t.Context(), defaultKeys.former(), 0, -1).Val()); diff != "" {
		t.Errorf("former places, -want +got:\n%s", diff)
	}
	if ttl := client.PTTL(t.Context(), defaultKeys.former()).Val(); ttl <= 0 || ttl > 2*retention {
		t.Errorf("former places expire in %s", ttl)
	}
}

// A former place that is dropped takes its plate from the index unless the event has another
// former place of it.
func TestADroppedPlaceLeavesAnotherOfItsPlate(t *testing.T) {
	s, client := newStore(t)
	var want []string
	for i := range 20 {
		plate := fmt.Sprint("KB", i%3)
		if s.Record(t.Context(), []parking.Event{of(entry("e", i), int64(i+1), plated(plate))})[0].Err != nil {
			t.Fatal(i)
		}
		if i < 3 {
			want = append(want, plate+"\ne")
		}
	}
	if got := client.ZRange(t.Context(), defaultKeys.former(), 0, -1).Val(); !slices.Equal(got, want) {
		t.Errorf("former places %q, want %q", got, want)
	}
}

// An event that expired within this very millisecond is among the older members still. It is
// counted, and a version of it does not take that back.
func TestAVersionOfAnEventThatHasJustExpired(t *testing.T) {
	s, _ := newStore(t)
	var events []parking.Event
	for i := range 20 {
		e := entry(fmt.Sprint("e", i), i)
		e.Time = e.Time.Add(100)
		events = append(events, e)
	}
	s.Record(t.Context(), events)
	s.now = func() time.Time { return start.Add(retention + 200) }
	again := of(events[0], 2, plated("KA02"))
	again.Time = s.now()
	got := s.Record(t.Context(), []parking.Event{again})[0]
	site, err := s.Site(t.Context(), "default")
	if want := totals(21, 0, 0, 0, 19); got.Err != nil || err != nil || site.Totals != want {
		t.Errorf("%+v, totals %+v, error %v; want %+v", got, site.Totals, err, want)
	}
}

// An erased plate is no former place any more. The event that has another one now, or is
// void, stays.
func TestErasePlateOfAnEarlierVersion(t *testing.T) {
	s, client := newStore(t)
	e, x := entry("e", 0), exit("x", 10)
	e.RawPlate, x.RawPlate = "ka-01", "ka-01"
	moved := of(of(e, 2, plated("KA02")), 3, plated("KA03"))
	s.Record(t.Context(), []parking.Event{e, x, of(e, 2, plated("KA02")), moved, of(x, 2, voided)})
	if got, err := s.ErasePlate(t.Context(), "default", "KA01"); err != nil || got != (Erased{Keys: 2}) {
		t.Errorf("erased %+v, error %v", got, err)
	}
	for _, key := range keys(t, client) {
		if text := client.Dump(t.Context(), key).Val(); strings.Contains(strings.ToUpper(text), "KA01") {
			t.Errorf("%s has the plate: %q", key, text)
		}
	}
	if got, err := s.Event(t.Context(), "default", "e"); err != nil || got.Plate != "KA03" {
		t.Errorf("%+v, error %v", got, err)
	}
	if got := s.Record(t.Context(), []parking.Event{x})[0]; !got.Superseded || len(got.Stays) > 0 {
		t.Errorf("the read is back: %+v", got)
	}
	// KA02 goes with the event.
	if _, err := s.ErasePlate(t.Context(), "default", "KA03"); err != nil {
		t.Error(err)
	}
	if n := client.Exists(t.Context(), defaultKeys.former()).Val(); n != 0 {
		t.Error("former places of an erased event are kept")
	}
}

// A void event is known for as long as what it makes void could come again.
func TestAVoidEventIsKnownForAsLongAsItsVersions(t *testing.T) {
	s, client := newStore(t)
	first, unknown := exit("first", 60), of(exit("unknown", 0), 2, voided)
	s.Record(t.Context(), []parking.Event{first, of(first, 2, voided), unknown})
	for _, step := range []struct {
		after          time.Duration // the retention of the first minute
		first, unknown bool
	}{{time.Minute - 1, true, true}, {30 * time.Minute, false, true}, {3 * time.Hour, false, false}} {
		s.now = func() time.Time { return start.Add(retention + step.after) }
		for i := range 3 { // the search for what expired
			e := entry(fmt.Sprint(step.after, i), 0)
			e.Time = s.now()
			s.Record(t.Context(), []parking.Event{e, of(exit(e.ID+"v", 0), 1, voided)})
		}
		for id, want := range map[string]bool{"first": step.first, "unknown": step.unknown} {
			if got := client.HExists(t.Context(), defaultKeys.events(), id).Val(); got != want {
				t.Errorf("after %s %s is known: %v", step.after, id, got)
			}
		}
	}
}

// Gate, camera and details are not what an event is: another delivery of a version with
// others of them is a duplicate, and the first ones are kept.
func TestTheFirstDetailsOfAVersionAreKept(t *testing.T) {
	for _, version := range []int64{1, 2} {
		s, _ := newStore(t)
		sure := 0.5
		first := of(exit("x", 5), version, func(e *parking.Event) {
			e.RawPlate, e.Gate, e.Camera, e.Details = "ka 01", "north", "c1", parking.Details{Vehicle: "17", Confidence: &sure}
		})
		second := of(first, version, func(e *parking.Event) {
			e.RawPlate, e.Gate, e.Camera, e.Details = "KA-01", "south", "c2", parking.Details{Vehicle: "18", Color: "red"}
		})
		for i, e := range []parking.Event{first, second} {
			if got := s.Record(t.Context(), []parking.Event{e}); got[0].Err != nil || got[0].Duplicate != (i == 1) {
				t.Errorf("version %d, delivery %d: %+v", version, i+1, got[0])
			}
		}
		got, err := s.Event(t.Context(), "default", "x")
		if diff := cmp.Diff(first, got); err != nil || diff != "" {
			t.Errorf("version %d: %v, -want +got:\n%s", version, err, diff)
		}
		third := of(second, version+1, nil)
		s.Record(t.Context(), []parking.Event{third})
		if got, err := s.Event(t.Context(), "default", "x"); err != nil || cmp.Diff(third, got) != "" {
			t.Errorf("the next version: %+v, %v", got, err)
		}
	}
}

func TestEvent(t *testing.T) {
	s, _ := newStore(t)
	sure := 0.5
	full := of(exit("full", 5), 7, func(e *parking.Event) {
		e.RawPlate, e.Gate, e.Camera = "ka\t01 \u00e4", "north", "c1"
		e.Details = parking.Details{
			Vehicle: "17", Confidence: &sure, Candidates: []parking.Candidate{{Plate: "KA0I", Confidence: &sure}},
			Country: "IN", Make: "Tata", Color: "red", Image: "default/2026-11-27/x", AmbiguousTime: true, ReceivedTime: true,
		}
	})
	full.RawPlate = "ka 01 \u00e4"
	bare, blind := of(entry("bare", 6), 1, nil), of(of(entry("blind", 7), 2, noPlates), 2, func(e *parking.Event) { e.Details.Vehicle = "18" })
	gone := of(exit("gone", 8), 3, voided)
	events := []parking.Event{full, bare, blind, gone}
	for range 30 { // an older part of the timeline
		events = append(events, entry(fmt.Sprint("more", len(events)), 100+len(events)))
	}
	s.Record(t.Context(), events)
	gone.RawPlate, gone.Time = "", time.Time{}
	for _, want := range []parking.Event{full, bare, blind, gone} {
		got, err := s.Event(t.Context(), "default", want.ID)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s, error %v, -want +got:\n%s", want.ID, err, diff)
		}
	}
	for _, id := range []string{"never", ""} {
		if _, err := s.Event(t.Context(), "default", id); !errors.Is(err, ErrNoEvent) {
			t.Errorf("%q: error %v", id, err)
		}
	}
	s.now = func() time.Time { return full.Time.Add(retention + 1) }
	if _, err := s.Event(t.Context(), "default", "full"); !errors.Is(err, ErrNoEvent) {
		t.Errorf("expired: error %v", err)
	}
}

func TestNoPlates(t *testing.T) {
	s, _ := newStore(t)
	var want, events []parking.Event
	for i := range 40 {
		// Some are within one millisecond, which is the order of the older ones in Redis.
		e := of(entry(fmt.Sprint("e", i), i/4), 1, noPlates)
		e.Time = e.Time.Add(time.Duration(i % 4))
		events, want = append(events, e), append(want, e)
	}
	slices.Reverse(want)
	s.Record(t.Context(), append(events, entry("plated", 3)))
	for _, limit := range []int{1, 3, 8, 39, 40, 100} {
		var got []parking.Event
		for cursor := ""; ; {
			page, next, err := s.NoPlates(t.Context(), "default", limit, cursor)
			if err != nil || len(page) > limit {
				t.Fatalf("%d events, error %v", len(page), err)
			}
			got = append(got, page...)
			if cursor = next; cursor == "" {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("by %d, -want +got:\n%s", limit, diff)
		}
	}
	for _, cursor := range []string{"x", "&", "AAAA", "MWhxa3VnbzU4ZWEwMTA"} {
		if _, _, err := s.NoPlates(t.Context(), "default", 1, cursor); !errors.Is(err, parking.ErrInvalid) {
			t.Errorf("cursor %q: error %v", cursor, err)
		}
	}
	site, err := s.Site(t.Context(), "default")
	if err != nil || site.Occupancy != 41 || site.VehiclesInside != 1 || site.Totals.NoPlateEntries != 40 || site.Totals.Entries != 41 {
		t.Errorf("%+v, error %v", site, err)
	}
	if c, err := s.CorrectOccupancy(t.Context(), "default", 5, "counted"); err != nil || c.Was != 41 {
		t.Errorf("%+v, error %v", c, err)
	}
}

// What a repeat is depends on the settings of the site, and without them nothing is
// recorded.
func TestRepeatsNeedTheSettings(t *testing.T) {
	s, _ := newStore(t)
	unavailable := errors.New("the registry is unavailable")
	s.Repeats = func(_ context.Context, site string) (parking.Repeats, error) {
		return parking.Repeats{{Within: 5 * time.Second}}, map[string]error{"unknown": unavailable}[site]
	}
	a, b := of(exit("a", 0), 1, seenAt("c")), of(exit("b", 5), 1, seenAt("c"))
	c := of(b, 1, func(e *parking.Event) { e.ID, e.Time = "c", e.Time.Add(5*time.Second+1) })
	lost := of(a, 1, func(e *parking.Event) { e.Site = "unknown" })
	repeated := stayOf(nil, b, 1)
	repeated.Repeat = true
	want := []parking.Recorded{{Stays: []parking.Stay{stayOf(nil, a, 1)}}, {Err: unavailable}, {Stays: []parking.Stay{repeated}}, {Stays: []parking.Stay{stayOf(nil, c, 1)}}}
	got := s.Record(t.Context(), []parking.Event{a, lost, b, c})
	if diff := cmp.Diff(want, got, cmpopts.EquateErrors()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if errors.Is(got[1].Err, parking.ErrInvalid) {
		t.Errorf("%v is final", got[1].Err)
	}
}

// The newest events of a long timeline are all void: others are the newest then.
func TestTheNewestEventsOfATimelineAreVoid(t *testing.T) {
	s, client := newStore(t)
	var events, voids []parking.Event
	for i := range 30 {
		events = append(events, exit(fmt.Sprint("x", i), i))
	}
	s.Record(t.Context(), events)
	for left := len(events); left > 0; left-- {
		last := events[left-1]
		s.Record(t.Context(), []parking.Event{of(last, 2, voided)})
		if got := timeline(t, client, "KA01"); len(got) != left-1 {
			t.Fatalf("timeline %q, want %d events", got, left-1)
		}
		voids = append(voids, last)
		if left > 1 {
			if got := s.Record(t.Context(), events[left-2:left-1])[0]; !got.Duplicate {
				t.Errorf("%s again: %+v", events[left-2].ID, got)
			}
		}
	}
	for i, r := range s.Record(t.Context(), voids) {
		if !r.Superseded {
			t.Errorf("%s: %+v", voids[i].ID, r)
		}
	}
}

// A version amends one that has just expired, and is not forgotten with it, although it
// is of the same slot of time.
func TestAVersionOfAnExpiredEvent(t *testing.T) {
	s, _ := newStore(t)
	const slot = 1 << 45
	begin := time.Unix(0, time.Now().Add(time.Hour).UnixNano()/slot*slot).UTC().Add(slot).Add(time.Hour)
	x := exit("x", 0)
	x.Time = begin
	s.now = func() time.Time { return begin.Add(time.Minute) }
	s.Record(t.Context(), []parking.Event{x})
	s.now = func() time.Time { return begin.Add(retention + time.Second) }
	amended := of(x, 2, plated("KA02"))
	amended.Time = begin.Add(time.Minute)
	want := parking.Recorded{Stays: []parking.Stay{stayOf(nil, amended, 2)}} // a revision that is new for sure
	for range 2 {
		if diff := cmp.Diff(want, s.Record(t.Context(), []parking.Event{amended})[0]); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		want.Duplicate = true
	}
}

// The setting that is valid for the later of two reads counts, from its instant on.
func TestTheSettingOfTheLaterReadCounts(t *testing.T) {
	s, _ := newStore(t)
	a, b := of(exit("a", 0), 1, seenAt("c")), of(exit("b", 5), 1, seenAt("c"))
	for i, from := range []time.Duration{0, 1} {
		s.Repeats = func(context.Context, string) (parking.Repeats, error) {
			return parking.Repeats{{From: b.Time.Add(from), Within: 2 * time.Second}}, nil
		}
		a.Site, b.Site = fmt.Sprint("site", i), fmt.Sprint("site", i)
		got := s.Record(t.Context(), []parking.Event{a, b})[1]
		if len(got.Stays) != 1 || got.Stays[0].Repeat != (from > 0) {
			t.Errorf("valid from %s after the read: %+v", from, got)
		}
	}
}

// In a long timeline no event is searched: an amendment finds its former place among any
// number of events of the plate, and costs no more than elsewhere.
func TestVersionsInALongTimeline(t *testing.T) {
	s, client := newStore(t)
	const n = 1500 // more than are searched
	events := make([]parking.Event, n)
	for i := range events {
		events[i] = entry(fmt.Sprint("e", i), i)
	}
	s.Record(t.Context(), events[:10]) // before the timeline is long
	s.Record(t.Context(), events[10:])
	for id, kept := range client.HGetAll(t.Context(), defaultKeys.events()).Val() {
		if want := member(&events[parseCount(id[1:])]); kept != want[:slotLen]+"KA01\t"+want[slotLen:headLen] {
			t.Fatalf("%s is kept as %q", id, kept)
		}
	}
	for _, at := range []int{3, 1200, n - 1} {
		got := s.Record(t.Context(), []parking.Event{of(events[at], 2, plated("KA02"))})[0]
		site, err := s.Site(t.Context(), "default")
		if got.Err != nil || err != nil || site.Totals.Entries != n {
			t.Errorf("event %d: %+v, %+v, error %v", at, got, site, err)
		}
		if e, err := s.Event(t.Context(), "default", events[at].ID); err != nil || e.Plate != "KA02" || !e.Time.Equal(events[at].Time) {
			t.Errorf("event %d: %+v, error %v", at, e, err)
		}
	}
	if ids := timeline(t, client, "KA01"); len(ids) != n-3 {
		t.Errorf("%d events are left, want %d", len(ids), n-3)
	}
}

// A call whose events have all the former places that there may be writes no more than
// changed, and a script cannot unpack more.
func TestACallWithManyFormerPlaces(t *testing.T) {
	s, _ := newStore(t)
	const moves = 9
	record := func(change func(i int) parking.Event) (last parking.Recorded) {
		events := make([]parking.Event, eventsPerScript)
		for i := range events {
			events[i] = change(i)
		}
		for i, r := range s.Record(t.Context(), events) {
			if last = r; r.Err != nil {
				t.Fatalf("event %d: %v", i, r.Err)
			}
		}
		return last
	}
	plate := func(i, move int) func(*parking.Event) { return plated(fmt.Sprint("P", i*moves+move)) }
	for move := range moves {
		record(func(i int) parking.Event { return of(exit(fmt.Sprint("x", i, "-", move), 30), 1, plate(i, move)) })
	}
	for move := range moves {
		record(func(i int) parking.Event { return of(entry(fmt.Sprint("e", i), 10), int64(move+1), plate(i, move)) })
	}
	got := record(func(i int) parking.Event { return of(entry(fmt.Sprint("e", i), 10), 1, plate(i, 0)) })
	if !got.Superseded || len(got.Stays) != moves {
		t.Errorf("%+v", got)
	}
}

// Versions that are recorded together are recorded all or none, in either order. The same
// again changes nothing, also if the answer of the first time was lost.
func TestRecordAll(t *testing.T) {
	e, x := of(entry("e", 0), 1, plated("KA02")), of(exit("x", 60), 1, nil)
	other := of(entry("other", 30), 1, plated("KA03"))
	next := func(of parking.Event, plate string) parking.Event {
		t.Helper()
		c, err := of.Correct(plate, parking.Correction{ID: "d1", By: "anna", At: start})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	both := []parking.Event{next(e, "KA01"), next(x, "KA01")}
	s, client := newStore(t)
	now := time.Now()
	s.now = func() time.Time { return now } // it is in the registry of sites
	for name, tt := range map[string]struct {
		meanwhile []parking.Event
		erased    string
		events    []parking.Event
		was       []int64
		refused   bool
	}{
		"both follow":                     {events: both, was: []int64{1, 1}},
		"the first does not":              {[]parking.Event{of(e, 2, plated("KA04"))}, "", both, []int64{1, 1}, true},
		"the second does not":             {[]parking.Event{of(x, 2, plated("KA04"))}, "", both, []int64{1, 1}, true},
		"none does":                       {[]parking.Event{of(e, 2, nil), of(x, 2, voided)}, "", both, []int64{1, 1}, true},
		"the first is void":               {[]parking.Event{of(e, 2, voided)}, "", both, []int64{1, 1}, true},
		"another person decided":          {[]parking.Event{next(x, "KA09")}, "", both, []int64{1, 1}, true},
		"the same version, another plate": {[]parking.Event{next(e, "KA09")}, "", both, []int64{1, 1}, true},
		"one is recorded already":         {[]parking.Event{both[1]}, "", both, []int64{1, 1}, false},
		"both are":                        {both, "", both, []int64{1, 1}, false},
		"the first was erased":            {nil, "KA02", both, []int64{1, 1}, true},
		"the second was erased":           {nil, "KA01", both, []int64{1, 1}, true},
		"they were read later":            {[]parking.Event{of(e, 2, nil), of(x, 3, nil)}, "", both, []int64{2, 3}, false},
		"one stays as it is":              {nil, "", []parking.Event{both[0], x}, []int64{1, 1}, false},
		"they are older":                  {nil, "", both, []int64{1, 2}, true},
		"three, of which one is new":      {nil, "", append(slices.Clone(both), of(other, 2, nil)), []int64{1, 1, 1}, true},
	} {
		for _, reversed := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", reversed ", reversed), func(t *testing.T) {
				do(t, client, "FLUSHALL")
				record(t, s, e, x)
				record(t, s, tt.meanwhile...)
				if tt.erased != "" {
					if _, err := s.ErasePlate(t.Context(), "default", tt.erased); err != nil {
						t.Fatal(err)
					}
				}
				events, was := slices.Clone(tt.events), slices.Clone(tt.was)
				if reversed {
					slices.Reverse(events)
					slices.Reverse(was)
				}
				before := dump(t, client)
				stays, err := s.RecordAll(t.Context(), events, was, nil)
				if tt.refused {
					if diff := cmp.Diff(before, dump(t, client)); diff != "" || !errors.Is(err, parking.ErrConflict) || stays != nil {
						t.Errorf("stays %+v, error %v, changed (-want +got):\n%s", stays, err, diff)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range events {
					got, err := s.Event(t.Context(), e.Site, e.ID)
					if diff := cmp.Diff(e, got); diff != "" || err != nil {
						t.Errorf("error %v (-want +got):\n%s", err, diff)
					}
				}
				before = dump(t, client)
				again, err := s.RecordAll(t.Context(), events, was, nil)
				if diff := cmp.Diff(stays, again); diff != "" || err != nil {
					t.Errorf("again, error %v (-want +got):\n%s", err, diff)
				}
				if diff := cmp.Diff(before, dump(t, client)); diff != "" {
					t.Errorf("again, changed (-want +got):\n%s", diff)
				}
			})
		}
	}
	do(t, client, "FLUSHALL")
	record(t, s, e, x)
	if err := client.HSet(t.Context(), defaultKeys.events(), "x", member(&x)[:slotLen]+"\n12-KA\nnorth").Err(); err != nil {
		t.Fatal(err)
	}
	before := dump(t, client)
	_, err := s.RecordAll(t.Context(), both, []int64{1, 1}, nil)
	if diff := cmp.Diff(before, dump(t, client)); diff != "" || !errors.Is(err, parking.ErrConflict) {
		t.Errorf("one is of version 0.1.0: error %v, changed (-want +got):\n%s", err, diff)
	}
	// A pair that is rejected stays as it is.
	for _, taken := range []bool{false, true} {
		do(t, client, "FLUSHALL")
		record(t, s, e, x)
		rejection := Rejection{Rejection: parking.Rejection{EntryID: "e", ExitID: "x"}, ID: "r", By: "ann", At: start}
		if err := reject(t, s, rejection); err != nil {
			t.Fatal(err)
		}
		if rejection.ID = "u"; taken {
			if err := unreject(t, s, rejection); err != nil {
				t.Fatal(err)
			}
		}
		before := dump(t, client)
		_, err := s.RecordAll(t.Context(), both, []int64{1, 1}, &rejection.Rejection)
		if diff := cmp.Diff(before, dump(t, client)); taken && err != nil || !taken && (diff != "" || !errors.Is(err, parking.ErrConflict)) {
			t.Errorf("taken back %t: error %v, changed (-want +got):\n%s", taken, err, diff)
		}
	}
	// One that was rejected so long ago that it counts no more may be recorded.
	do(t, client, "FLUSHALL")
	today := now
	now = now.Add(-retention)
	record(t, s, e, x)
	if err := reject(t, s, Rejection{Rejection: parking.Rejection{EntryID: "e", ExitID: "x"}, ID: "r", By: "ann", At: start}); err != nil {
		t.Fatal(err)
	}
	now = today.Add(time.Second)
	if _, err := s.RecordAll(t.Context(), both, []int64{1, 1}, &parking.Rejection{EntryID: "e", ExitID: "x"}); err != nil {
		t.Errorf("the rejection expired: %v", err)
	}
	for name, events := range map[string][]parking.Event{
		"two sites": {both[0], of(both[1], 2, func(e *parking.Event) { e.Site = "north" })},
		"too many":  make([]parking.Event, eventsPerScript+1),
	} {
		if _, err := s.RecordAll(t.Context(), events, make([]int64, len(events)), nil); err == nil || errors.Is(err, parking.ErrConflict) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
