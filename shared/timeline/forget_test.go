package timeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
)

// Every key with data of a vehicle expires.
func TestEverythingOfAVehicleExpires(t *testing.T) {
	s, client := newStore(t)
	s.Record(t.Context(), []parking.Event{exit("x", 9), entry("e", 0), entry("f", 20)})
	for i := range 17 { // one more than are kept in one place
		e := exit(fmt.Sprint("many", i), i)
		e.Plate = "KA03"
		s.Record(t.Context(), []parking.Event{e})
	}
	for _, key := range keys(t, client) {
		ttl, err := client.PTTL(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		ofNoVehicle := key == "park:registry" || strings.HasSuffix(key, ":n")
		most := 2 * retention
		if strings.Contains(key, ":o:") {
			most += retention
		}
		if !ofNoVehicle && (ttl < time.Until(start.Add(retention)) || ttl > most) {
			t.Errorf("%s expires in %s", key, ttl)
		}
	}
	// The list of ids to delete must not expire before the ids.
	ids, older := client.PTTL(t.Context(), defaultKeys.events()).Val(), client.PTTL(t.Context(), "park:{default}:o:KA03").Val()
	if older < ids+retention/2 {
		t.Errorf("the ids expire in %s, older events of a plate in %s", ids, older)
	}
	// The keys for all vehicles of a site are trimmed by the next event.
	s.now = func() time.Time { return start.Add(retention + 19*time.Second) }
	late := entry("late", 3600)
	late.Plate = "KA02"
	s.Record(t.Context(), []parking.Event{late})
	inside, err := s.Inside(t.Context(), "default", 0, 10)
	if err != nil || len(inside) != 2 {
		t.Fatalf("inside before the first expires: %v, error %v", inside, err)
	}
	s.now = func() time.Time { return start.Add(retention + 21*time.Second) }
	if inside, err = s.Inside(t.Context(), "default", 0, 10); err != nil || len(inside) != 1 || inside[0].Plate != "KA02" {
		t.Fatalf("inside after the first expired: %v, error %v", inside, err)
	}
	again := entry("again", 3601)
	again.Plate = "KA02"
	s.Record(t.Context(), []parking.Event{again})
	if n := client.ZCard(t.Context(), "park:{default}:in").Val(); n != 1 {
		t.Errorf("%d vehicles in the set of those inside, want 1", n)
	}
	// A plate that returns loses its expired members.
	third := entry("third", 6*3600)
	third.Plate = "KA02"
	s.now = func() time.Time { return start.Add(retention + 3600*time.Second + 500*time.Millisecond) }
	s.Record(t.Context(), []parking.Event{third})
	if got := timeline(t, client, "KA02"); !slices.Equal(got, []string{"again", "third"}) {
		t.Errorf("timeline %q", got)
	}
}

// Expired members of a busy plate have no effect and leave no data that an erasure
// would miss.
func TestABusyPlateIsTrimmed(t *testing.T) {
	s, client := newStore(t)
	// The exit precedes its entry, so there is a revision to delete.
	s.Record(t.Context(), []parking.Event{exit("old-x", 1), entry("old-e", 0), entry("long", 2)})
	s.now = func() time.Time { return start.Add(retention + time.Hour) }
	late := exit("late", int((retention + 30*time.Minute).Seconds()))
	for i := range 2 { // the second time it is a duplicate
		got := s.Record(t.Context(), []parking.Event{late})[0]
		if diff := cmp.Diff([]parking.Stay{stayOf(nil, late, 1)}, got.Stays); diff != "" {
			t.Errorf("delivery %d, -want +got:\n%s", i, diff)
		}
	}
	var names []string
	for _, key := range keys(t, client) {
		switch {
		case strings.HasSuffix(key, ":e") || strings.HasSuffix(key, ":t"):
			for _, field := range client.HKeys(t.Context(), key).Val() {
				names = append(names, key[len(key)-1:]+" "+field)
			}
		case key == defaultKeys.lone():
			for _, m := range client.ZRange(t.Context(), key, 0, -1).Val() {
				names = append(names, "l "+m[headLen:])
			}
		case !strings.HasSuffix(key, ":in") && !strings.HasSuffix(key, ":n") && !strings.Contains(key, ":d:") && key != "park:registry":
			names = append(names, key)
		}
	}
	slices.Sort(names)
	if want := []string{"e late", "l late\nKA01", "t KA01"}; !slices.Equal(names, want) {
		t.Errorf("keys and ids %q, want %q", names, want)
	}
}

// A plate that is read all the time, for example a misread dirty one, has more events
// than one call deletes.
func TestAVeryBusyPlateIsTrimmed(t *testing.T) {
	s, client := newStore(t)
	plates := []string{"KA01", "KA02"} // more than a thousand ids to forget in one call
	record := func(name string, n, second int) {
		events := make([]parking.Event, 0, n*len(plates))
		for i := range n {
			for _, plate := range plates {
				x := exit(fmt.Sprint(name, i, plate), second+i)
				x.Plate = plate
				events = append(events, x)
			}
		}
		s.Record(t.Context(), events)
	}
	record("old", 2500, 0)
	s.now = func() time.Time { return start.Add(retention + 6*time.Hour) }
	const calls = 5 // a thousand events in each
	for i := range calls {
		record(fmt.Sprint("new", i), 1, int((retention+5*time.Hour).Seconds())+i)
	}
	for _, plate := range plates {
		want := []string{"new00" + plate, "new10" + plate, "new20" + plate, "new30" + plate, "new40" + plate}
		if got := timeline(t, client, plate); !slices.Equal(got, want) {
			t.Errorf("timeline %q, want %q", got, want)
		}
	}
	if n := client.HLen(t.Context(), defaultKeys.events()).Val(); n != calls*2 {
		t.Errorf("%d ids are kept, want %d", n, calls*2)
	}
}

// A site has many expired events after a long closure. The first car does not wait for
// the removal of all.
func TestMuchIsForgottenInManyCalls(t *testing.T) {
	s, client := newStore(t)
	const plates, each = 50, 100
	for i := range plates {
		events := make([]parking.Event, each)
		for j := range events {
			events[j] = exit(fmt.Sprint(i, "-", j), j)
			events[j].Plate = fmt.Sprint("KB", i)
		}
		s.Record(t.Context(), events)
	}
	at := start.Add(2 * retention)
	s.now = func() time.Time { return at }
	const calls = 2 * plates * each / 1000
	var kept int64
	for i := range calls {
		events := make([]parking.Event, 1+i%2*plates) // one plate, then all of them
		for j := range events {
			events[j] = entry(fmt.Sprint("new", i, "-", j), 0)
			events[j].Plate, events[j].Time = fmt.Sprint("KB", j), at
		}
		before := client.HLen(t.Context(), defaultKeys.events()).Val()
		s.Record(t.Context(), events)
		kept += int64(len(events))
		// Members that are stored in one text are removed with the last of the others.
		if n := before + int64(len(events)) - client.HLen(t.Context(), defaultKeys.events()).Val(); n > 1000+plates*16 {
			t.Errorf("call %d forgot %d events", i, n)
		}
	}
	if n := client.HLen(t.Context(), defaultKeys.events()).Val(); n != kept {
		t.Errorf("%d ids are kept, want %d", n, kept)
	}
}

// The search for expired members survives a processor whose clock was far ahead.
func TestTheSearchSurvivesAWrongClock(t *testing.T) {
	s, client := newStore(t)
	at := func(now time.Time, id, plate string) {
		e := entry(id, 0)
		e.Plate, e.Time = plate, now
		s.now = func() time.Time { return now }
		s.Record(t.Context(), []parking.Event{e})
	}
	at(start, "first", "KA02")
	at(start.Add(5*retention), "ahead", "KA02")
	at(start, "old", "KA03")
	for i := range 20 {
		at(start.Add(retention+time.Minute+time.Duration(i)*retention/80), fmt.Sprint("new", i), "KA02")
	}
	if client.HExists(t.Context(), defaultKeys.events(), "old").Val() {
		t.Error("what expired is still known")
	}
}

// The search for expired members continues at its last place, past the plates without
// any.
func TestWhatExpiredIsFoundAmongMuchThatDidNot(t *testing.T) {
	s, client := newStore(t)
	const plates = 4000
	events := make([]parking.Event, plates)
	for i := range events {
		events[i] = entry(fmt.Sprint(i), 0)
		if i%4 > 0 {
			events[i].Time = start.Add(retention - time.Hour)
		}
		events[i].Plate = fmt.Sprint("KB", i)
	}
	s.now = func() time.Time { return start.Add(retention - time.Minute) }
	s.Record(t.Context(), events)
	for i := range 12 {
		s.now = func() time.Time { return start.Add(retention + time.Minute + time.Duration(i)*retention/80) }
		s.Record(t.Context(), []parking.Event{entry(fmt.Sprint("new", i), int((retention - time.Hour).Seconds()))})
	}
	if n := client.HLen(t.Context(), "park:{default}:t").Val(); n != plates*3/4+1 {
		t.Errorf("%d timelines are kept, want %d", n, plates*3/4+1)
	}
}

// Expired members have no effect even if they are more than one call deletes.
func TestExpiredEntriesOfAVeryBusyPlateMeanNothing(t *testing.T) {
	s, _ := newStore(t)
	old := make([]parking.Event, 3500)
	for i := range old {
		old[i] = entry(fmt.Sprint("old", i), i)
	}
	s.Record(t.Context(), old)
	s.now = func() time.Time { return start.Add(retention + 6*time.Hour) }
	hour5 := int((retention + 5*time.Hour).Seconds())
	exits := make([]parking.Event, 20) // more than are kept together
	for i := range exits {
		exits[i] = exit(fmt.Sprint("new", i), hour5+i)
	}
	first := stayOf(nil, exits[0], 1)
	if diff := cmp.Diff([]parking.Stay{first}, s.Record(t.Context(), exits)[0].Stays); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	late := exit("late", hour5-1)
	if diff := cmp.Diff([]parking.Stay{stayOf(nil, late, 1), first}, s.Record(t.Context(), []parking.Event{late})[0].Stays); diff != "" {
		t.Errorf("late, -want +got:\n%s", diff)
	}
}

// An id is known as long as its event is stored. After that another plate may use it,
// and the erasure of the old plate does not affect it.
func TestIDsAreForgotten(t *testing.T) {
	s, client := newStore(t)
	first, erased := entry("first", 0), entry("erased", 1)
	erased.Plate = "KA03"
	s.Record(t.Context(), []parking.Event{first, erased})
	later := 2 * retention
	s.now = func() time.Time { return start.Add(later) }
	again := exit(first.ID, int(later.Seconds()))
	again.Plate = "KA02"
	for i, want := range []parking.Recorded{{Stays: []parking.Stay{stayOf(nil, again, 1)}}, {Stays: []parking.Stay{stayOf(nil, again, 1)}, Duplicate: true}} {
		if diff := cmp.Diff(want, s.Record(t.Context(), []parking.Event{again})[0]); diff != "" {
			t.Errorf("delivery %d, -want +got:\n%s", i, diff)
		}
	}
	again.ID = erased.ID
	s.Record(t.Context(), []parking.Event{again})
	if _, err := s.ErasePlate(t.Context(), "default", erased.Plate); err != nil {
		t.Error(err)
	}
	if !client.HExists(t.Context(), defaultKeys.events(), again.ID).Val() {
		t.Error("erasing a plate removed the id of another plate's event")
	}
}

// At a site with few events expired data is deleted soon, too. An id is stored with the
// raw plate, and an erasure would no longer find it.
func TestAQuietSiteForgetsIDs(t *testing.T) {
	s, client := newStore(t)
	var old []parking.Event
	for i := range 200 {
		x, e := exit(fmt.Sprint("old-x", i), 1000+i), entry(fmt.Sprint("old-e", i), i)
		x.Plate, e.Plate = fmt.Sprint("KA", i), fmt.Sprint("KA", i)
		old = append(old, x, e) // the exit first, so that there is a revision to forget
	}
	for i := range 100 { // of one plate, so many that they are kept in two places
		x := exit(fmt.Sprint("old-many", i), i)
		x.Plate = "KA-MANY"
		old = append(old, x)
	}
	s.Record(t.Context(), old)
	s.now = func() time.Time { return start.Add(retention - time.Minute) }
	s.Record(t.Context(), []parking.Event{entry("new", int((retention - time.Hour).Seconds()))})
	// An event now and then, for longer than an eighth of the retention.
	want := map[string]int{"e new": 1, "t KA01": 1}
	for i := range 12 {
		at := start.Add(retention + 25*time.Minute + time.Duration(i)*retention/80)
		s.now = func() time.Time { return at }
		e := entry(fmt.Sprint("new", i), int((retention - time.Hour).Seconds()))
		e.Plate = fmt.Sprint("KB", i)
		if r := s.Record(t.Context(), []parking.Event{e})[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
		want["e "+e.ID]++
		want["t "+e.Plate]++
	}
	known := make(map[string]int)
	for _, key := range keys(t, client) {
		name := strings.TrimPrefix(key, "park:{default}:")
		switch name {
		case "e", "t", "r":
			for _, field := range client.HKeys(t.Context(), key).Val() {
				known[name+" "+field]++
			}
		default:
			if strings.HasPrefix(name, "o:") {
				known[name]++
			}
		}
	}
	if diff := cmp.Diff(want, known); diff != "" {
		t.Errorf("kept, -want +got:\n%s", diff)
	}
}

// The older part of a timeline stays for as long as the site has events, even if its
// plate does not return.
func TestTheOlderPartOfATimelineIsKept(t *testing.T) {
	for name, plate := range map[string]string{"late events of its own": "KA-MANY", "events of another plate": "KB01"} {
		t.Run(name, func(t *testing.T) {
			s, client := newStore(t)
			many := make([]parking.Event, 20)
			for i := range many {
				many[i] = exit(fmt.Sprint("many", i), 1000+i)
				many[i].Plate = "KA-MANY"
			}
			s.Record(t.Context(), many)
			expires := func() time.Time {
				return time.UnixMilli(client.PExpireTime(t.Context(), "park:{default}:o:KA-MANY").Val().Milliseconds())
			}
			before := expires()
			const calls, step = 16, retention / 32
			for i := range calls {
				s.now = func() time.Time { return start.Add(time.Duration(i+1) * step) }
				late := exit(fmt.Sprint("late", i), i)
				late.Plate = plate
				s.Record(t.Context(), []parking.Event{late})
			}
			// A call within the last eighth of the retention has searched it.
			if got, want := expires().Sub(before), calls*step-retention/8-step; got < want {
				t.Errorf("expires %s later than before, want at least %s", got, want)
			}
		})
	}
}

// After an increase of the retention the older part of a timeline can expire before the
// rest. A recreated set expires, too.
func TestAnOlderPartThatIsMadeAgainExpires(t *testing.T) {
	s, client := newStore(t)
	events := make([]parking.Event, 20)
	for i := range events {
		events[i] = exit(fmt.Sprint("many", i), 1000+i)
	}
	s.Record(t.Context(), events)
	// After this no search is due. A search would keep the older part for longer.
	s.Record(t.Context(), []parking.Event{exit("searches", 2000)})
	const tail = "park:{default}:o:KA01"
	if n := client.Del(t.Context(), tail).Val(); n != 1 {
		t.Fatal("there is no older part")
	}
	for i := range 2 {
		s.Record(t.Context(), []parking.Event{exit(fmt.Sprint("late", i), i)})
		if got := client.PTTL(t.Context(), tail).Val(); got <= 0 {
			t.Errorf("after %d late events it expires in %d", i+1, got)
		}
	}
}

// A plate that had many events and does not return is deleted as soon as others,
// although one call deletes only some of its events.
func TestAVeryBusyPlateThatDoesNotComeAgain(t *testing.T) {
	s, client := newStore(t)
	old := make([]parking.Event, 3500)
	for i := range old {
		old[i] = exit(fmt.Sprint("old", i), i)
		old[i].Plate = "KA-MANY"
	}
	s.Record(t.Context(), old)
	for i := range 12 {
		s.now = func() time.Time { return start.Add(retention + time.Hour + time.Duration(i)*retention/80) }
		s.Record(t.Context(), []parking.Event{entry(fmt.Sprint("new", i), int(retention.Seconds())-60)})
	}
	if got := timeline(t, client, "KA-MANY"); len(got) != 0 {
		t.Errorf("%d events are left", len(got))
	}
	if n := client.HLen(t.Context(), defaultKeys.events()).Val(); n != 12 {
		t.Errorf("%d ids are left, want 12", n)
	}
}

// The entry of a completed stay expires, and then its exit is void, or comes after another
// entry: it was never unmatched.
func TestAnExitWhoseEntryExpiredIsNotUnmatched(t *testing.T) {
	hour := int(time.Hour.Seconds())
	for name, then := range map[string]struct {
		event  parking.Event
		totals Totals
	}{
		"void":            {of(exit("x", 2*hour), 2, voided), totals(1, 0, 0, 0, 0)},
		"another entry":   {entry("late", 2*hour-60), totals(2, 1, 1, 0, 0)},
		"another version": {of(exit("x", 2*hour), 2, seenAt("c")), totals(1, 1, 0, 1, 0)},
	} {
		s, _ := newStore(t)
		s.now = func() time.Time { return start.Add(2 * time.Hour) }
		s.Record(t.Context(), []parking.Event{entry("e", 0), exit("x", 2*hour)})
		s.now = func() time.Time { return start.Add(retention + time.Hour) }
		s.Record(t.Context(), []parking.Event{then.event})
		site, err := s.Site(t.Context(), "default")
		if err != nil || site.Totals != then.totals {
			t.Errorf("%s: %+v, error %v, want %+v", name, site.Totals, err, then.totals)
		}
	}
}
