package timeline

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
)

// Timelines are longer than one key holds. Events arrive in any order while old events
// expire, plates are erased and ids are used again. Each response, the state of the
// site and the contents of Redis agree with the pairing rule for the retained events.
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
			}
			s.now = func() time.Time { return o.now }
			for i := range 1 + o.random.IntN(3) {
				o.plates = append(o.plates, fmt.Sprint("P", i))
			}
			for range 5 {
				o.deliver(t, o.draw())
				o.settle(t)
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
	events map[string]parking.Event // retained events, by id
	lines  map[string][]string      // by plate, the members of their timelines
	stays  map[string]parking.Stay  // the store's last response, by id
	totals Totals
}

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
			ID: fmt.Sprint(o.random.IntN(1000), "-", o.drawn), Site: o.site,
			Plate: pick(o, o.plates), Kind: pick(o, []parking.Kind{parking.Entry, parking.Exit}), Time: at,
		}
		if len(o.unused) > 0 && o.random.IntN(5) == 0 {
			e.ID, o.unused = o.unused[0], o.unused[1:]
		}
		e.RawPlate = e.Plate
		deliveries = append(deliveries, e)
	}
	for _, plate := range append(o.plates, elsewhere) {
		for _, e := range o.timeline(o.lines[plate]) {
			if o.random.IntN(5) == 0 {
				deliveries = append(deliveries, e)
			}
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
			e.Plate = elsewhere
			deliveries = append(deliveries, e)
		}
	}
	o.random.Shuffle(len(deliveries), func(i, j int) { deliveries[i], deliveries[j] = deliveries[j], deliveries[i] })
	return deliveries
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
	for plate, line := range o.lines {
		for len(line) > 0 && line[0] < oldest {
			id := line[0][instantLen+1:]
			delete(o.events, id)
			delete(o.stays, id)
			if line[0][:4] < oldest[:4] {
				o.unused = append(o.unused, id)
			}
			line = line[1:]
		}
		o.lines[plate] = line
	}
	slices.Sort(o.unused)
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
	known, duplicate := o.events[e.ID]
	if duplicate && !parking.SameContent(known, e) {
		if !errors.Is(got.Err, parking.ErrConflict) {
			t.Fatalf("%+v became %+v, want a conflict with %+v", e, got, known)
		}
		return
	}
	line := o.lines[e.Plate]
	own, _ := slices.BinarySearch(line, member(&e))
	if !duplicate {
		line = slices.Insert(line, own, member(&e))
		o.events[e.ID], o.lines[e.Plate] = e, line
	}
	want := parking.Recorded{Duplicate: duplicate}
	near := o.timeline(line[max(0, own-1):min(len(line), own+2)])
	for _, stay := range parking.Pair(near, nil).Stays {
		if !stay.ExitTime.Before(e.Time) && stay.ID != near[0].ID || stay.ID == e.ID {
			want.Stays = append(want.Stays, stay)
		}
	}
	// The revision depends on the earlier users of the id. It never decreases, and it
	// increases unless the entry has just expired.
	for i, stay := range got.Stays {
		last := o.stays[stay.ID]
		retained := !last.EntryTime.Before(o.now.Add(-o.s.retention))
		changed := last.ID != "" && last.EntryID != stay.EntryID && (retained || last.EntryID == "")
		if stay.Revision < 1 || stay.Revision < last.Revision || changed && stay.Revision == last.Revision {
			t.Fatalf("%+v became %+v", last, stay)
		}
		o.stays[stay.ID] = stay
		got.Stays[i].Revision = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%+v, -want +got:\n%s", e, diff)
	}
}

// count adds the effect of the timelines to the totals, or subtracts it.
func (o *timelineOracle) count(sign int64) {
	for _, line := range o.lines {
		timeline := parking.Pair(o.timeline(line), nil)
		for _, stay := range timeline.Stays {
			o.totals.Exits += sign
			if stay.Status() == parking.Completed {
				o.totals.CompletedStays += sign
			} else {
				o.totals.UnmatchedExits += sign
			}
		}
		o.totals.Entries += sign * int64(len(line)-len(timeline.Stays))
		o.totals.MissedExits += sign * int64(len(timeline.MissedExits))
	}
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
		delete(o.events, m[instantLen+1:])
		delete(o.stays, m[instantLen+1:])
	}
	delete(o.lines, plate)
	o.compare(t)
}

// settle records an event of each plate, which removes its expired members.
func (o *timelineOracle) settle(t *testing.T) {
	t.Helper()
	var last []parking.Event
	for _, plate := range append(o.plates, elsewhere) {
		o.drawn++
		last = append(last, parking.Event{
			ID: fmt.Sprint("last-", o.drawn), Site: o.site, Plate: plate, RawPlate: plate, Kind: parking.Exit, Time: o.now,
		})
	}
	o.deliver(t, last)
	for key, want := range map[string]int{"e": len(o.events), "r": 0} {
		fields := o.client.HKeys(t.Context(), string(keysOf(o.site))+key).Val()
		found := len(fields)
		fields = slices.DeleteFunc(fields, func(id string) bool { _, known := o.events[id]; return known })
		if len(fields) > 0 || found < want {
			t.Fatalf("%d ids in %s, %q of no event", found, key, fields)
		}
	}
}

// compare reads the state of the site and the timelines. Redis may keep expired events
// until the next event of their plate.
func (o *timelineOracle) compare(t *testing.T) {
	t.Helper()
	prefix, oldest := string(keysOf(o.site)), instant(o.now.Add(-o.s.retention))
	inside := make(map[string]time.Time)
	for _, plate := range append(o.plates, elsewhere) {
		line := o.lines[plate]
		if last := parking.Pair(o.timeline(line), nil).Inside; last != nil {
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
	site, err := o.s.Site(t.Context(), o.site)
	if err != nil || site.Totals != o.totals {
		t.Fatalf("error %v, totals, -want +got:\n%s", err, cmp.Diff(o.totals, site.Totals))
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
