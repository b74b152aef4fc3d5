package timeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
)

// Timelines are longer than one key holds. Versions of events arrive in any order while
// old events expire, plates are erased and ids are used again. Each response, the state
// of the site and the contents of Redis agree with the pairing rule for the retained
// events.
func TestLongTimelinesAgreeWithTheOracle(t *testing.T) {
	s, client := newStore(t)
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			// Each case has a site of its own and a fixed time, because the start of
			// the slots of ids is part of the case. The time is in the future, because
			// Redis expires keys by its own clock.
			o := &timelineOracle{
				s: s, client: client, site: fmt.Sprint("site-", seed),
				random: rand.New(rand.NewPCG(seed, 0)),
				now:    time.Date(2100, 1, 1, 0, 0, 0, 500_000_000, time.UTC),
				events: make(map[string]parking.Event), lines: make(map[string][]string), stays: make(map[string]parking.Stay),
				places: make(map[string][]place), voids: make(map[string]time.Time), reused: make(map[string]bool), settled: make(map[string]bool),
				minutes: make(map[time.Time]Minute),
			}
			s.now = func() time.Time { return o.now }
			o.repeats = pick(o, []parking.Repeats{nil, {{Within: 0}}, {
				{From: o.now.Add(-9 * time.Hour), Within: 2 * time.Minute}, {From: o.now.Add(-time.Hour), Within: time.Minute - 2},
			}})
			s.Repeats = func(context.Context, string) (parking.Repeats, error) { return o.repeats, nil }
			for i := range 1 + o.random.IntN(3) {
				o.plates = append(o.plates, fmt.Sprint("P", i))
			}
			for range 5 {
				o.deliver(t, o.draw())
				o.settle(t)
				if o.random.IntN(3) == 0 {
					o.countByHand(t)
				}
				if o.random.IntN(3) == 0 {
					o.erase(t)
				}
				o.now = o.now.Add(time.Duration(o.random.IntN(10*3600)) * time.Second)
			}
		})
	}
}

// timelineOracle is the expected state of a site.
type timelineOracle struct {
	s      *Store
	client goredis.UniversalClient
	site   string
	plates []string
	random *rand.Rand
	now    time.Time
	drawn  int
	unused []string                 // ids of events that expired
	events map[string]parking.Event // retained events, by id: the versions that count
	voids  map[string]time.Time     // until when void ones are retained, less the retention
	places map[string][]place       // former places, by id
	lines  map[string][]string      // by plate, the members of their timelines
	stays  map[string]parking.Stay  // the store's last response, by id
	reused map[string]bool          // ids of more than one event
	// Exits that are the first of their plate, because what they were paired with or
	// repeated has expired: they are not lone, and count as completed.
	settled  map[string]bool
	compared int

	repeats parking.Repeats
	totals  Totals
	minutes map[time.Time]Minute
	counted *int64    // the last count by hand
	since   int64     // what changed after it
	at      time.Time // when it was
}

// place is where a version was.
type place struct{ plate, member string }

// elsewhere is a plate that has events where a conflict comes before what it
// conflicts with.
const elsewhere = "ELSEWHERE"

func pick[T any](o *timelineOracle, from []T) T { return from[o.random.IntN(len(from))] }

// draw returns shuffled events. Some are repeated, and some have the id of another one.
func (o *timelineOracle) draw() []parking.Event {
	o.expire()
	oldest := o.now.Add(-retention)
	span := time.Duration(1+o.random.IntN(int(retention.Hours()))) * time.Hour
	var deliveries []parking.Event
	for range 50 + o.random.IntN(350) {
		// Few instants make equal ones frequent. They are next to a millisecond, where
		// scores are rounded.
		at := o.now.Add(-time.Duration(o.random.Int64N(int64(span/time.Minute))) * time.Minute).Truncate(time.Second)
		at = at.Add(time.Duration(o.random.IntN(5) - 2))
		if at.Before(oldest) {
			at = at.Add(time.Minute)
		}
		o.drawn++
		e := parking.Event{
			ID: fmt.Sprint(o.random.IntN(1000), "-", o.drawn), Site: o.site, Version: int64(1 + o.random.IntN(2)*o.random.IntN(3)),
			Plate: pick(o, o.plates), Kind: pick(o, []parking.Kind{parking.Entry, parking.Exit}), Time: at,
			Camera: pick(o, []string{"", "c1", "c2"}), Gate: pick(o, []string{"", "g1", "g1"}),
		}
		if len(o.unused) > 0 && o.random.IntN(5) == 0 {
			e.ID, o.unused = o.unused[0], o.unused[1:]
			o.reused[e.ID] = true
		}
		e.RawPlate = e.Plate
		o.vary(&e, 10)
		deliveries = append(deliveries, e)
	}
	for range 1 + o.random.IntN(150) {
		e := pick(o, deliveries)
		if known := o.known(); len(known) > 0 && o.random.IntN(2) == 0 {
			e = o.events[pick(o, known)]
			if e.Void { // as it is sent
				e.Time = o.now.Add(-time.Minute)
			}
		}
		for range 1 + o.random.IntN(4)*o.random.IntN(4)*o.random.IntN(3) { // more than there are places for
			e.Version = max(1, e.Version+int64(o.random.IntN(4)-1))
			e.Camera = pick(o, []string{"", "c1", "c2"})
			e.Void, e.NoPlate = false, false
			e.Plate = pick(o, o.plates)
			if o.random.IntN(2) == 0 {
				e.Time = o.now.Add(-time.Duration(o.random.Int64N(int64(span))))
			}
			e.Kind = pick(o, []parking.Kind{e.Kind, parking.Entry, parking.Exit})
			e.RawPlate = e.Plate
			o.vary(&e, 4)
			deliveries = append(deliveries, e)
		}
	}
	for _, id := range o.known() {
		if o.random.IntN(5) == 0 {
			deliveries = append(deliveries, o.events[id])
		}
	}
	for _, e := range deliveries {
		switch o.random.IntN(10) {
		case 0, 1:
			deliveries = append(deliveries, e)
		case 2:
			e.Time = e.Time.Add(time.Nanosecond)
			deliveries = append(deliveries, e)
		case 3:
			e.Kind ^= parking.Entry ^ parking.Exit
			deliveries = append(deliveries, e)
		case 4:
			if e.Plate != "" {
				e.Plate, e.RawPlate = elsewhere, elsewhere
			}
			deliveries = append(deliveries, e)
		}
	}
	o.random.Shuffle(len(deliveries), func(i, j int) { deliveries[i], deliveries[j] = deliveries[j], deliveries[i] })
	return deliveries
}

// known returns the ids of the retained events, in order.
func (o *timelineOracle) known() []string { return slices.Sorted(maps.Keys(o.events)) }

// vary makes one in so many events void and another one without a plate.
func (o *timelineOracle) vary(e *parking.Event, n int) {
	switch o.random.IntN(n) {
	case 0:
		e.Void, e.Plate, e.RawPlate, e.Gate, e.Camera = true, "", "", "", ""
	case 1:
		e.NoPlate, e.Plate, e.RawPlate = true, "", ""
	}
}

func (o *timelineOracle) deliver(t *testing.T, deliveries []parking.Event) {
	t.Helper()
	for len(deliveries) > 0 {
		batch := deliveries[:min(len(deliveries), 1+o.random.IntN(pick(o, []int{3, 30, 300})))]
		deliveries = deliveries[len(batch):]
		// The totals include expired events, so they change by the changes of a batch.
		o.count(-1)
		for i, got := range o.s.Record(t.Context(), batch) {
			o.record(t, batch[i], got)
		}
		o.count(1)
		o.compare(t)
	}
}

// expire removes the events older than the retention. An id may be used again when its
// slot has ended.
func (o *timelineOracle) expire() {
	oldest := instant(o.now.Add(-o.s.retention))
	forget := func(id, at string) {
		o.forget(id)
		if at[:slotLen] < oldest[:slotLen] {
			o.unused = append(o.unused, id)
		}
	}
	for plate, line := range o.lines {
		for len(line) > 0 && line[0] < oldest {
			if len(line) > 1 && line[1] >= oldest && plate != noPlate {
				stays := parking.Pair(o.timeline(line[:2]), o.repeats).Stays
				if n := len(stays); n > 0 && stays[n-1].ID == line[1][headLen:] && stays[n-1].Status() != parking.UnmatchedExit {
					o.settled[stays[n-1].ID] = true
				}
			}
			forget(line[0][instantLen+1:], line[0])
			line = line[1:]
		}
		o.lines[plate] = line
	}
	for id, at := range o.voids {
		if instant(at) < oldest {
			forget(id, instant(at))
		}
	}
	slices.Sort(o.unused)
}

func (o *timelineOracle) forget(id string) {
	delete(o.events, id)
	delete(o.stays, id)
	delete(o.places, id)
	delete(o.voids, id)
	delete(o.settled, id)
}

// timeline returns the events of some members.
func (o *timelineOracle) timeline(members []string) []parking.Event {
	events := make([]parking.Event, len(members))
	for i, m := range members {
		events[i] = o.events[m[instantLen+1:]]
	}
	return events
}

// record records an event and compares the store's response.
func (o *timelineOracle) record(t *testing.T, e parking.Event, got parking.Recorded) {
	t.Helper()
	var want parking.Recorded
	switch known, ok := o.events[e.ID]; {
	case ok && e.Version < known.Version:
		want.Superseded = true
	case ok && e.Version == known.Version && parking.SameContent(known, e):
		want.Duplicate = true
	case ok && e.Version == known.Version:
		if !errors.Is(got.Err, parking.ErrConflict) {
			t.Fatalf("%+v became %+v, want a conflict with %+v", e, got, known)
		}
		return
	default:
		o.set(e)
	}
	want.Stays = o.affected(e.ID)
	// The revision depends on the earlier users of the id. It never decreases, and it
	// increases unless the entry has just expired.
	for i, stay := range got.Stays {
		last := o.stays[stay.ID]
		retained := !last.EntryTime.Before(o.now.Add(-o.s.retention))
		changed := retained || last.EntryID == ""
		same := last
		same.Revision = stay.Revision
		switch {
		case o.reused[stay.ID] && stay.Revision >= max(1, last.Revision):
		case last.ID == "":
		case stay == same && stay.Revision == last.Revision:
		case stay != same && stay.Revision == last.Revision+1:
		case stay != same && !changed && stay.Revision == last.Revision: // its entry expired
		default:
			t.Fatalf("%+v became %+v", last, stay)
		}
		o.stays[stay.ID] = stay
		got.Stays[i].Revision = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%+v, -want +got:\n%s", e, diff)
	}
}

// set makes a version count.
func (o *timelineOracle) set(e parking.Event) {
	const most = 8
	newest := ""
	if known, ok := o.events[e.ID]; ok {
		plate, old := plateOf(&known), member(&known)
		if known.Void {
			newest = memberAt(&e, o.voids[e.ID])
		} else {
			i, _ := slices.BinarySearch(o.lines[plate], old)
			o.lines[plate] = slices.Delete(o.lines[plate], i, i+1)
			newest = old
		}
		if p := (place{plate, old}); !known.Void && !known.NoPlate && (plate != plateOf(&e) || old != member(&e)) {
			places := slices.DeleteFunc(o.places[e.ID], func(other place) bool { return other == p })
			places = append(places, p)
			if len(places) > most {
				i := 0
				if p := lastExit(places); p != nil && *p == places[0] {
					i = 1
				}
				places = slices.Delete(places, i, i+1)
			}
			o.places[e.ID] = places
		}
	}
	delete(o.voids, e.ID)
	if e.Void {
		for _, p := range o.places[e.ID] {
			newest = max(newest, p.member)
		}
		o.voids[e.ID] = o.now
		if newest != "" {
			_, o.voids[e.ID], _ = parseMember(newest)
		}
	} else {
		line := o.lines[plateOf(&e)]
		i, _ := slices.BinarySearch(line, member(&e))
		o.lines[plateOf(&e)] = slices.Insert(line, i, member(&e))
	}
	o.events[e.ID] = e
	delete(o.settled, e.ID)
	maps.DeleteFunc(o.settled, func(id string, _ bool) bool {
		x := o.events[id]
		return o.lines[x.Plate][0] != member(&x)
	})
}

// lone returns the lone reads in the order of their ids.
func (o *timelineOracle) lone() []parking.Lone {
	var events []parking.Event
	for _, line := range o.lines {
		events = append(events, o.timeline(line)...)
	}
	lone := parking.ReadsOf(events, o.repeats).Lone
	return sortLone(slices.DeleteFunc(lone, func(l parking.Lone) bool { return o.settled[l.ID] }))
}

func sortLone(lone []parking.Lone) []parking.Lone {
	slices.SortFunc(lone, func(a, b parking.Lone) int { return strings.Compare(a.ID, b.ID) })
	return lone
}

// lastExit returns the newest place of an exit, or nil.
func lastExit(places []place) *place {
	for _, p := range slices.Backward(places) {
		if p.member[instantLen] == byte(parking.Exit) {
			return &p
		}
	}
	return nil
}

// affected returns the stays that an event answers for.
func (o *timelineOracle) affected(id string) []parking.Stay {
	var stays []parking.Stay
	add := func(stay parking.Stay) {
		if !slices.ContainsFunc(stays, func(s parking.Stay) bool { return s.ID == stay.ID }) {
			stays = append(stays, stay)
		}
	}
	// The exit at an index of a timeline, if there is one.
	at := func(plate string, i int) {
		if line := o.lines[plate]; i < len(line) && line[i][instantLen] == byte(parking.Exit) {
			paired := parking.Pair(o.timeline(line[max(0, i-1):i+1]), o.repeats).Stays
			add(paired[len(paired)-1])
		}
	}
	e := o.events[id]
	if plate := plateOf(&e); !e.Void && !e.NoPlate {
		i, _ := slices.BinarySearch(o.lines[plate], member(&e))
		at(plate, i)
		at(plate, i+1)
	}
	if p := lastExit(o.places[id]); p != nil && (e.Kind != parking.Exit || e.Void || e.NoPlate) {
		_, left, _ := parseMember(p.member)
		add(parking.Stay{ID: id, Site: o.site, Plate: p.plate, ExitTime: left, Revision: 1, Void: true})
	}
	for _, p := range o.places[id] {
		if p.member > instant(o.now.Add(-o.s.retention)) {
			i, found := slices.BinarySearch(o.lines[p.plate], p.member)
			if found {
				i++
			}
			at(p.plate, i)
		}
	}
	return stays
}

// count adds the effect of the timelines to the totals, or subtracts it.
func (o *timelineOracle) count(sign int64) {
	for plate, line := range o.lines {
		timeline := parking.Pair(o.timeline(line), o.repeats)
		repeats := make(map[string]bool)
		for _, stay := range timeline.Stays {
			if plate == noPlate {
				break
			}
			switch status := stay.Status(); {
			case status == parking.Completed, o.settled[stay.ID]:
				o.totals.CompletedStays += sign
			case status == parking.Repeated:
				o.totals.RepeatedExits += sign
				repeats[stay.ID] = true
			default:
				o.totals.UnmatchedExits += sign
			}
		}
		if plate != noPlate {
			o.totals.MissedExits += sign * int64(len(timeline.MissedExits))
			o.totals.RepeatedEntries += sign * int64(len(timeline.RepeatedEntries))
			for _, e := range timeline.RepeatedEntries {
				repeats[e.ID] = true
			}
		}
		for _, e := range o.timeline(line) {
			minute, in, out := o.minutes[e.Time.Truncate(time.Minute)], sign, int64(0)
			if e.Kind == parking.Exit {
				in, out = 0, sign
			}
			minute.Entries += in
			minute.Exits += out
			o.minutes[e.Time.Truncate(time.Minute)] = minute
			o.totals.Entries += in
			o.totals.Exits += out
			if plate == noPlate {
				o.totals.NoPlateEntries += in
				o.totals.NoPlateExits += out
			}
			if o.counted != nil && e.Time.UnixMilli() > o.at.UnixMilli() && !repeats[e.ID] {
				o.since += in - out
			}
		}
	}
}

// countByHand corrects the occupancy.
func (o *timelineOracle) countByHand(t *testing.T) {
	t.Helper()
	site, err := o.s.Site(t.Context(), o.site)
	c, err2 := o.s.CorrectOccupancy(t.Context(), o.site, int64(o.random.IntN(100)), "counted")
	if err != nil || err2 != nil || c.Was != site.Occupancy {
		t.Fatalf("%+v, errors %v and %v, it was %d", c, err, err2, site.Occupancy)
	}
	o.counted, o.since, o.at = &c.Counted, 0, o.now
	o.compare(t)
}

// erase erases one plate.
func (o *timelineOracle) erase(t *testing.T) {
	t.Helper()
	plate := pick(o, o.plates)
	got, err := o.s.ErasePlate(t.Context(), o.site, plate)
	if n := len(o.lines[plate]); err != nil || got.Events != int64(n) {
		t.Fatalf("erased %+v, error %v; want %d events", got, err, n)
	}
	for _, m := range o.lines[plate] {
		o.forget(m[instantLen+1:])
	}
	delete(o.lines, plate)
	for id, places := range o.places {
		o.places[id] = slices.DeleteFunc(places, func(p place) bool { return p.plate == plate })
	}
	maps.DeleteFunc(o.stays, func(_ string, s parking.Stay) bool { return s.Plate == plate })
	o.compare(t)
}

// settle records an event of each plate, which removes its expired members.
func (o *timelineOracle) settle(t *testing.T) {
	t.Helper()
	var last []parking.Event
	for _, plate := range append(o.plates, elsewhere) {
		o.drawn++
		last = append(last, parking.Event{
			ID: fmt.Sprint("last-", o.drawn), Site: o.site, Version: 1, Plate: plate, RawPlate: plate, Kind: parking.Exit, Time: o.now,
		})
	}
	o.drawn++
	last = append(last,
		parking.Event{ID: fmt.Sprint("last-void-", o.drawn), Site: o.site, Version: 1, Void: true, Kind: parking.Exit},
		parking.Event{ID: fmt.Sprint("last-no-plate-", o.drawn), Site: o.site, Version: 1, NoPlate: true, Kind: parking.Exit, Time: o.now})
	o.deliver(t, last)
	for key, want := range map[string]int{"e": len(o.events), "r": 0} {
		fields := o.client.HKeys(t.Context(), string(keysOf(o.site))+key).Val()
		found := len(fields)
		fields = slices.DeleteFunc(fields, func(id string) bool { _, known := o.events[id]; return known })
		if len(fields) > 0 || found < want {
			t.Fatalf("%d ids in %s, %q of no event", found, key, fields)
		}
	}
	var former []string
	for id, places := range o.places {
		for _, p := range places {
			former = append(former, p.plate+"\n"+id)
		}
	}
	slices.Sort(former)
	if diff := cmp.Diff(slices.Compact(former), o.client.ZRange(t.Context(), keysOf(o.site).former(), 0, -1).Val(), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("former places, -want +got:\n%s", diff)
	}
	for _, id := range o.known() {
		if o.random.IntN(20) > 0 {
			continue
		}
		want := o.events[id]
		if want.Void {
			want.Time = time.Time{}
		}
		got, err := o.s.Event(t.Context(), o.site, id)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("event %s, error %v, -want +got:\n%s", id, err, diff)
		}
	}
	events, err := o.s.Events(t.Context(), o.site, append(o.known(), "unknown"))
	plated := maps.Clone(o.events)
	maps.DeleteFunc(plated, func(_ string, e parking.Event) bool { return e.Void || e.NoPlate })
	if diff := cmp.Diff(plated, events); err != nil || diff != "" {
		t.Fatalf("events, error %v, -want +got:\n%s", err, diff)
	}
	var list, want []parking.Event
	for cursor, more := "", true; more; more = cursor != "" {
		events, next, err := o.s.NoPlates(t.Context(), o.site, 1+o.random.IntN(20), cursor)
		if err != nil {
			t.Fatal(err)
		}
		list, cursor = append(list, events...), next
	}
	want = o.timeline(o.lines[noPlate])
	slices.Reverse(want)
	if diff := cmp.Diff(want, list); diff != "" {
		t.Fatalf("events without a plate, -want +got:\n%s", diff)
	}
	for minute, want := range o.minutes {
		if o.random.IntN(20) == 0 {
			got, err := o.s.Minutes(t.Context(), []string{o.site}, minute, minute.Add(time.Minute), time.Minute)
			want.Start = minute
			if err != nil || got[0] != want {
				t.Fatalf("minute %+v, error %v, want %+v", got, err, want)
			}
		}
	}
}

// compare reads the state of the site and the timelines. Redis may keep expired events
// until the next event of their plate.
func (o *timelineOracle) compare(t *testing.T) {
	t.Helper()
	prefix, oldest := string(keysOf(o.site)), instant(o.now.Add(-o.s.retention))
	inside := make(map[string]time.Time)
	for _, plate := range append(o.plates, elsewhere, noPlate) {
		line := o.lines[plate]
		if last := parking.Pair(o.timeline(line), o.repeats).Inside; last != nil && plate != noPlate {
			inside[plate] = last.Time.Truncate(time.Millisecond)
		}
		text := o.client.HGet(t.Context(), prefix+"t", plate).Val()
		got := o.client.ZRange(t.Context(), prefix+"o:"+plate, 0, -1).Val()
		got = append(got, strings.Fields(strings.TrimPrefix(text, "+"))...)
		got = slices.DeleteFunc(got, func(m string) bool { return m < oldest })
		if !slices.Equal(got, line) {
			t.Fatalf("timeline of %s, -want +got:\n%s", plate, cmp.Diff(line, got))
		}
	}
	if o.compared++; o.compared%8 == 0 {
		lone, more, err := o.s.Lone(t.Context(), o.site, time.Time{}, o.now.Add(time.Hour))
		if diff := cmp.Diff(o.lone(), sortLone(lone), cmpopts.EquateEmpty()); err != nil || more || diff != "" {
			t.Fatalf("error %v, more %v, lone reads, -want +got:\n%s", err, more, diff)
		}
		var found, all []LoneRead
		for _, kind := range []parking.Kind{parking.Entry, parking.Exit} {
			some, err := o.s.FindLone(t.Context(), o.site, kind, time.Time{}, o.now.Add(time.Hour), func(string) bool { return true })
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, some...)
		}
		for _, plate := range append(o.plates, elsewhere) {
			for _, e := range o.timeline(o.lines[plate]) {
				all = append(all, LoneRead{Kind: e.Kind, ID: e.ID, Plate: plate, Time: e.Time})
			}
		}
		for name, reads := range map[string][]LoneRead{"that were found": found, "of all events": all} {
			lone, err := o.s.LoneAt(t.Context(), o.site, reads)
			if diff := cmp.Diff(o.lone(), sortLone(lone), cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Fatalf("error %v, lone reads %s, -want +got:\n%s", err, name, diff)
			}
		}
	}
	site, err := o.s.Site(t.Context(), o.site)
	if err != nil || site.Totals != o.totals {
		t.Fatalf("error %v, totals, -want +got:\n%s", err, cmp.Diff(o.totals, site.Totals))
	}
	occupancy := int64(len(inside)) + o.totals.NoPlateEntries - o.totals.NoPlateExits
	if o.counted != nil {
		occupancy = *o.counted + o.since
	}
	if site.Occupancy != occupancy {
		t.Fatalf("occupancy %d, want %d", site.Occupancy, occupancy)
	}
	list, err := o.s.Inside(t.Context(), o.site, 0, 10)
	got := make(map[string]time.Time)
	for _, v := range list {
		got[v.Plate] = v.Since
	}
	if diff := cmp.Diff(inside, got); err != nil || diff != "" {
		t.Fatalf("error %v, inside, -want +got:\n%s", err, diff)
	}
}
