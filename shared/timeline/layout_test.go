package timeline

import (
	_ "embed"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/redis/redistest"
)

// layout.go and layout.lua have the same keys and cut members at the same places.
func TestScriptsKnowTheLayout(t *testing.T) {
	s, _ := newStore(t)
	script := newScript(`
		local m = ARGV[1]
		return table.concat({
			key.events, key.timelines, key.revisions, key.inside, key.former, key.totals, key.corrections,
			key.lone, key.decisions, key.decided, key.given, key.gone, key.rejections, key.corrected, key.unfinished,
			key.older .. 'KA01', key.day .. '20780', idOf(m), slotOf(m), tostring(kindOf(m) == exit), tostring(instant(m)),
			noPlate, void,
		}, ' ')`)
	e := exit("the-id", 0)
	e.Time = time.Unix(0, 1<<60).UTC() // exact as a number of Lua
	call := redis.Call{Script: script, Keys: []string{string(defaultKeys)}, Args: []any{member(&e)}}
	s.redis.Run(t.Context(), &call)
	k := defaultKeys
	want := strings.Join([]string{
		k.events(), k.timelines(), k.revisions(), k.inside(), k.former(), k.totals(), k.corrections(),
		k.lone(), k.decisions(), k.decided(), k.given(), k.gone(), k.rejections(), k.corrected(), k.unfinished(),
		k.older("KA01"), k.day(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)), e.ID, member(&e)[:4], "true", "1.1529215046068e+18",
		noPlate, void,
	}, " ")
	if got, err := call.Text(); got != want || err != nil {
		t.Errorf("script %q, error %v; Go %q", got, err, want)
	}
}

// This is the example at the top of record.lua.
func TestTheExampleOfTheScript(t *testing.T) {
	s, client := newStore(t)
	day := time.Date(2100, 11, 23, 0, 0, 0, 0, time.UTC)
	s.now = func() time.Time { return day.Add(10 * time.Hour) }
	x1, e1 := exit("x1", 0), entry("e1", 0)
	x1.Time, e1.Time = day.Add(9*time.Hour+45*time.Minute), day.Add(8*time.Hour+15*time.Minute)
	stay := stayOf(&e1, x1, 2)
	for i, want := range []parking.Recorded{{Stays: []parking.Stay{stayOf(nil, x1, 1)}}, {Stays: []parking.Stay{stay}}, {Stays: []parking.Stay{stay}, Duplicate: true}} {
		if diff := cmp.Diff(want, s.Record(t.Context(), []parking.Event{[]parking.Event{x1, e1, e1}[i]})[0]); diff != "" {
			t.Errorf("event %d, -want +got:\n%s", i, diff)
		}
	}
	text, _, _ := strings.Cut(recordSource, "local ")
	for _, m := range []string{member(&x1), member(&e1)} {
		if !strings.Contains(text, m) {
			t.Errorf("the example has no member %s", m)
		}
	}
	for key, want := range map[string]map[string]string{
		defaultKeys.events():    {"e1": member(&e1)[:slotLen] + "KA01", "x1": member(&x1)[:slotLen] + "KA01"},
		defaultKeys.timelines(): {"KA01": member(&e1) + "\n" + member(&x1)},
		defaultKeys.revisions(): {"x1": "1"},
		defaultKeys.day(day):    {"entries": "1", "exits": "1", "e495": "1", "x585": "1"},
	} {
		if diff := cmp.Diff(want, client.HGetAll(t.Context(), key).Val()); diff != "" {
			t.Errorf("%s, -want +got:\n%s", key, diff)
		}
	}
	if site, err := s.Site(t.Context(), "default"); err != nil || site.Totals != (Totals{Entries: 1, Exits: 1, CompletedStays: 1}) {
		t.Errorf("totals %+v, error %v", site.Totals, err)
	}
}

// before has the commands that store eventsBefore as version 0.1.0 did.
//
//go:embed testdata/v0.1.0.txt
var before string

var noonBefore = time.Date(2100, 11, 23, 12, 0, 0, 0, time.UTC)

// eventsBefore are a long timeline, a late entry with every optional field, a vehicle
// inside and an exit without an entry.
func eventsBefore() []parking.Event {
	at := func(kind parking.Kind, plate, id string, minute int) parking.Event {
		return parking.Event{
			ID: id, Kind: kind, Site: "north", Plate: plate, RawPlate: plate,
			Time: noonBefore.Add(time.Duration(minute)*time.Minute - time.Nanosecond),
		}
	}
	var events []parking.Event
	for i := range 21 {
		events = append(events, at([]parking.Kind{parking.Entry, parking.Exit}[i%2], "KA01", fmt.Sprint("many", i), i-100))
	}
	late := at(parking.Entry, "KA02", "late", -50)
	late.RawPlate, late.Gate = "ka-02", "west"
	return append(events, at(parking.Exit, "KA02", "x", -40), late, at(parking.Entry, "KA03", "inside", -30), at(parking.Exit, "KA04", "alone", -20))
}

// This version stores data like the one before, and more of each event, and continues
// with its data: during an upgrade in place both versions write.
func TestDataOfTheVersionBefore(t *testing.T) {
	s, client := newStore(t)
	s.now = func() time.Time { return noonBefore }
	events := eventsBefore()
	for _, e := range events {
		if r := s.Record(t.Context(), []parking.Event{e})[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if _, err := s.CorrectOccupancy(t.Context(), "north", 7, "counted"); err != nil {
		t.Fatal(err)
	}
	now, key := redistest.Contents(t, client), keysOf("north").events()
	client.FlushAll(t.Context())
	redistest.Load(t, client, before)
	want := redistest.Contents(t, client)
	kept := want[key].(map[string]string)
	want[keysOf("north").lone()] = []goredis.Z{{Score: float64(events[24].Time.UnixMilli()), Member: member(&events[24]) + "\nKA04"}}
	want[keysOf("north").totals()].(map[string]string)["lone_since"] = "0"
	for _, e := range events {
		slot, more := kept[e.ID][:slotLen], kept[e.ID][slotLen:]
		if more != "" {
			more = "\n" + more // a line for the version
		}
		head := slot + e.Plate
		if e.Plate == "KA01" { // its timeline is long
			head += "\t" + member(&e)[slotLen:headLen]
		}
		kept[e.ID] = head + more
	}
	if diff := cmp.Diff(want, now); diff != "" {
		t.Fatalf("stored, -before +now:\n%s", diff)
	}

	for i, r := range s.Record(t.Context(), events) {
		if r.Err != nil || !r.Duplicate {
			t.Errorf("%s again: %+v", events[i].ID, r)
		}
	}
	site, err := s.Site(t.Context(), "north")
	wantSite := Site{
		Site: "north", Occupancy: 7, VehiclesInside: 2, Correction: 5, EntriesToday: 13, ExitsToday: 12, Zone: "UTC",
		Totals: Totals{Entries: 13, Exits: 12, CompletedStays: 11, UnmatchedExits: 1},
	}
	if diff := cmp.Diff(wantSite, site); diff != "" || err != nil {
		t.Errorf("error %v, site, -want +got:\n%s", err, diff)
	}
	// A late entry among the older events takes the exit of the entry before it. The
	// late entry of KA02 is moved: its stay was changed once already.
	older := events[2]
	older.ID, older.Time = "older", older.Time.Add(time.Second)
	moved := events[22]
	moved.ID, moved.Time = "moved", moved.Time.Add(time.Second)
	got := s.Record(t.Context(), []parking.Event{older, moved})
	if diff := cmp.Diff([]parking.Recorded{
		{Stays: []parking.Stay{stayOf(&older, events[3], 2)}}, {Stays: []parking.Stay{stayOf(&moved, events[21], 3)}},
	}, got); diff != "" {
		t.Errorf("late, -want +got:\n%s", diff)
	}
	// What was kept has no plate. The version may change the time, and not the plate.
	amended, void, elsewhere := events[0], events[24], events[24]
	amended.Version, amended.Time = 2, amended.Time.Add(time.Second)
	void.Version, void.Void = 2, true
	elsewhere.Version, elsewhere.Plate = 2, "KA05"
	got = s.Record(t.Context(), []parking.Event{amended, void, elsewhere, events[24]})
	if diff := cmp.Diff([]parking.Recorded{
		{Stays: []parking.Stay{stayOf(&amended, events[1], 2)}}, {Err: errOld}, {Err: errOld}, {Stays: []parking.Stay{stayOf(nil, events[24], 1)}, Duplicate: true},
	}, got, cmpopts.EquateErrors()); diff != "" {
		t.Errorf("amended, -want +got:\n%s", diff)
	}
	if got, err := s.ErasePlate(t.Context(), "north", "KA01"); err != nil || got != (Erased{Events: 22, Keys: 22 + 2 + 1 + 3}) {
		t.Errorf("erased %+v, error %v", got, err)
	}
}

// Version 0.1.0 kept the plate as it was read where the version is now. A plate that begins
// with digits is no version.
func TestAPlateOfTheVersionBeforeIsNoVersion(t *testing.T) {
	s, client := newStore(t)
	x := exit("x", 0)
	x.Plate, x.RawPlate, x.Version = "12KA", "12-KA", 1
	s.Record(t.Context(), []parking.Event{x})
	if err := client.HSet(t.Context(), defaultKeys.events(), "x", member(&x)[:slotLen]+"\n12-KA\nnorth").Err(); err != nil {
		t.Fatal(err)
	}
	later := x
	later.Version, later.Time = 2, x.Time.Add(time.Second)
	for _, step := range []struct {
		event parking.Event
		want  parking.Recorded
	}{
		{x, parking.Recorded{Stays: []parking.Stay{stayOf(nil, x, 1)}, Duplicate: true}},
		{later, parking.Recorded{Stays: []parking.Stay{stayOf(nil, later, 2)}}},
		{x, parking.Recorded{Stays: []parking.Stay{stayOf(nil, later, 2)}, Superseded: true}},
	} {
		if diff := cmp.Diff(step.want, s.Record(t.Context(), []parking.Event{step.event})[0]); diff != "" {
			t.Errorf("version %d, -want +got:\n%s", step.event.Version, diff)
		}
	}
}
