package timeline

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"parkstream/shared/instance"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const retention = 24 * time.Hour

// newStore returns a store on a Redis of its own, and its client.
func newStore(t testing.TB) (*Store, goredis.UniversalClient) {
	t.Helper()
	client, err := redis.Open(redis.URL(instance.RedisForTest(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return New(client, retention), client.Current()
}

// start is the time of the first event of a test, an hour ago on the minute.
var start = time.Now().UTC().Add(-time.Hour).Truncate(time.Minute)

func event(kind parking.Kind, id string, second int) parking.Event {
	return parking.Event{
		ID: id, Kind: kind, Site: "default", RawPlate: "KA01", Plate: "KA01",
		Time: start.Add(time.Duration(second) * time.Second),
	}
}

func entry(id string, second int) parking.Event { return event(parking.Entry, id, second) }
func exit(id string, second int) parking.Event  { return event(parking.Exit, id, second) }

func stayOf(e *parking.Event, x parking.Event, revision int64) parking.Stay {
	s := parking.Stay{ID: x.ID, Site: x.Site, Plate: x.Plate, ExitID: x.ID, ExitTime: x.Time, Revision: revision}
	if e != nil {
		s.EntryID, s.EntryTime = e.ID, e.Time
	}
	return s
}

// Each step records one event; its stays are those the event has a say in, with
// a revision that grew when another event changed them.
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
		{x30, false, []parking.Stay{stayOf(nil, x30, 1)}, Totals{0, 1, 0, 1, 0}, 0},
		{e10, false, []parking.Stay{stayOf(&e10, x30, 2)}, Totals{1, 1, 1, 0, 0}, 0},
		{x40, false, []parking.Stay{stayOf(nil, x40, 1)}, Totals{1, 2, 1, 1, 0}, 0},
		{e20, false, []parking.Stay{stayOf(&e20, x30, 3)}, Totals{2, 2, 1, 1, 1}, 0},
		// The exit between two entries completes the missed one; nothing else moves.
		{x15, false, []parking.Stay{stayOf(&e10, x15, 1)}, Totals{2, 3, 2, 1, 0}, 0},
		{e10, true, []parking.Stay{stayOf(&e10, x15, 1)}, Totals{2, 3, 2, 1, 0}, 0},
		{x30, true, []parking.Stay{stayOf(&e20, x30, 3), stayOf(nil, x40, 1)}, Totals{2, 3, 2, 1, 0}, 0},
		{exit("x25", 25), false, []parking.Stay{stayOf(&e20, exit("x25", 25), 1), stayOf(nil, x30, 4)}, Totals{2, 4, 2, 2, 0}, 0},
		// An exit that changes nothing still answers for the exit after it, whose
		// last change may not have been posted.
		{exit("x27", 27), false, []parking.Stay{stayOf(nil, exit("x27", 27), 1), stayOf(nil, x30, 4)}, Totals{2, 5, 2, 3, 0}, 0},
		{entry("e50", 50), false, nil, Totals{3, 5, 2, 3, 0}, 1},
		{entry("e60", 60), false, nil, Totals{4, 5, 2, 3, 1}, 1},
		{exit("x60", 60), false, []parking.Stay{stayOf(new(entry("e60", 60)), exit("x60", 60), 1)}, Totals{4, 6, 3, 3, 1}, 0},
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

// A cluster refuses a call whose keys are on several shards.
func TestCluster(t *testing.T) {
	client, err := redis.Open(redis.URL(instance.RedisClusterForTest(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := New(client, retention)
	sites := []string{"a", "b", "c"}
	var events []parking.Event
	for _, site := range sites {
		// Out of order, so that a revision is kept, too.
		for _, e := range []parking.Event{exit("x", 9), entry("e", 0), entry("inside", 20)} {
			e.Site = site
			events = append(events, e)
		}
	}
	for i, r := range s.Record(t.Context(), events) {
		if r.Err != nil {
			t.Errorf("event %d: %v", i, r.Err)
		}
	}
	if got, err := s.Sites(t.Context()); err != nil || !slices.Equal(got, sites) {
		t.Errorf("sites %q, error %v", got, err)
	}
	states, err := s.States(t.Context(), sites)
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range states {
		if state.VehiclesInside != 1 || state.Totals.CompletedStays != 1 {
			t.Errorf("%+v", state)
		}
	}
	if c, err := s.CorrectOccupancy(t.Context(), "b", 5, "counted"); err != nil || c.Was != 1 {
		t.Errorf("correction %+v, error %v", c, err)
	}
	if got, err := s.ErasePlate(t.Context(), "c", "KA01"); err != nil || got.Events != 3 {
		t.Errorf("erased %+v, error %v", got, err)
	}
}

func TestRecordAfterScriptsAreFlushed(t *testing.T) {
	s, client := newStore(t)
	for i := range 2 {
		if err := client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if r := s.Record(t.Context(), []parking.Event{entry(fmt.Sprint(i), i)}); r[0].Err != nil {
			t.Error(r[0].Err)
		}
	}
}

func TestRecordWithoutRedis(t *testing.T) {
	node := instance.RedisForTest(t)
	client, err := redis.Open(redis.URL(node.URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := New(client, retention)
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	r := s.Record(t.Context(), []parking.Event{entry("a", 0)})
	if r[0].Err == nil || errors.Is(r[0].Err, parking.ErrInvalid) {
		t.Errorf("error %v, want one that may be tried again", r[0].Err)
	}
	if err := node.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := s.Record(t.Context(), []parking.Event{entry("a", 0)}); r[0].Err != nil {
		t.Errorf("after the restart: %v", r[0].Err)
	}
}

// Every key that holds something of a vehicle expires.
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
	// What names the ids to forget may not go before them.
	ids, older := client.PTTL(t.Context(), defaultKeys.events()).Val(), client.PTTL(t.Context(), "park:{default}:o:KA03").Val()
	if older < ids+retention/2 {
		t.Errorf("the ids expire in %s, older events of a plate in %s", ids, older)
	}
	// What stands for all vehicles of a site is trimmed by the next event.
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
	// A plate that comes again loses what expired of it.
	third := entry("third", 6*3600)
	third.Plate = "KA02"
	s.now = func() time.Time { return start.Add(retention + 3600*time.Second + 500*time.Millisecond) }
	s.Record(t.Context(), []parking.Event{third})
	if got := timeline(t, client, "KA02"); !slices.Equal(got, []string{"again", "third"}) {
		t.Errorf("timeline %q", got)
	}
}

// timeline is the ids of a plate's events in their order.
func timeline(t testing.TB, client goredis.UniversalClient, plate string) []string {
	t.Helper()
	members, err := client.ZRange(t.Context(), "park:{default}:o:"+plate, 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	text := client.HGet(t.Context(), "park:{default}:t", plate).Val()
	newest, more := strings.CutPrefix(text, "+")
	if more != (len(members) > 0) {
		t.Errorf("timeline %q with %d older events", text, len(members))
	}
	var ids []string
	for _, m := range append(members, strings.Fields(newest)...) {
		ids = append(ids, m[instantLen+1:])
	}
	return ids
}

// An entry that expired and is not trimmed yet is none for an exit that comes late.
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

func keys(t *testing.T, client goredis.UniversalClient) []string {
	t.Helper()
	all, err := client.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestErasePlateLeavesNoTrace(t *testing.T) {
	s, client := newStore(t)
	other := entry("o", 5)
	other.Plate = "KA02"
	s.Record(t.Context(), []parking.Event{other})
	before := keys(t, client)
	events := []parking.Event{exit("x", 9), entry("e", 0), entry("f", 20)}
	for i := range events {
		events[i].RawPlate = "ka-01"
	}
	s.Record(t.Context(), events)
	got, err := s.ErasePlate(t.Context(), "default", "KA01")
	if err != nil || got != (Erased{Events: 3, Keys: 6}) {
		t.Errorf("erased %+v, error %v; want 3 events and 6 keys", got, err)
	}
	after := keys(t, client)
	slices.Sort(before)
	slices.Sort(after)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("keys left, -before +after:\n%s", diff)
	}
	if inside, err := s.Inside(t.Context(), "default", 0, 10); err != nil || len(inside) != 1 || inside[0].Plate != "KA02" {
		t.Errorf("inside %v, error %v", inside, err)
	}
	if got, err := s.ErasePlate(t.Context(), "default", "KA01"); err != nil || got != (Erased{}) {
		t.Errorf("erased again %+v, error %v", got, err)
	}
}

// What expired of a busy plate leaves nothing that erasing it could not find, and
// means nothing any more.
func TestABusyPlateIsTrimmed(t *testing.T) {
	s, client := newStore(t)
	// The exit before its entry, so that there is a revision to forget.
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
		case !strings.HasSuffix(key, ":in") && !strings.HasSuffix(key, ":n") && !strings.Contains(key, ":d:") && key != "park:registry":
			names = append(names, key)
		}
	}
	slices.Sort(names)
	if want := []string{"e late", "t KA01"}; !slices.Equal(names, want) {
		t.Errorf("keys and ids %q, want %q", names, want)
	}
}

// defaultKeys are the keys of the site of most tests.
var defaultKeys = keysOf("default")

// instantLen is how many bytes of a member are its instant.
var instantLen = redis.Base32.Len()

// A plate that is read all the time, such as what a camera makes of a dirty one,
// has more events than one call forgets.
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

// A site that was closed for long has much to forget, and the first car that comes
// does not wait for all of it.
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
		// Those that are kept in one text go with the last of the others.
		if n := before + int64(len(events)) - client.HLen(t.Context(), defaultKeys.events()).Val(); n > 1000+plates*16 {
			t.Errorf("call %d forgot %d events", i, n)
		}
	}
	if n := client.HLen(t.Context(), defaultKeys.events()).Val(); n != kept {
		t.Errorf("%d ids are kept, want %d", n, kept)
	}
}

// A processor whose clock was far ahead does not end the search for what expired.
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

// The search for what expired goes on where it was, past the plates that stay.
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

// Nor does what expired mean anything while there is more than one call forgets.
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

// A timeline is kept in two places, and a stay has its entry in one and its exit
// in the other.
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
	for range 2 { // then only one older event is left
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

// An id is known as long as its event is kept: afterwards it may come again, with
// another plate, and erasing the old plate leaves it alone.
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

// Lua compares text as the locale of Redis does.
func TestTheLocaleChangesNoOrder(t *testing.T) {
	instance.DanishForTest(t)
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

// A revision never falls, or the summary would take no correction any more: also
// where an id was used before, by the same plate, for an exit that is trimmed now.
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
	// Both come late: the first call that trims is that of the entry after them.
	again := exit("x", hours(-1)-10)
	record(again)
	before := record(entry("f", hours(-1)-20)).Stays
	record(entry("new", hours(11)))
	if diff := cmp.Diff(before, record(again).Stays); diff != "" {
		t.Errorf("the stay changed when old events were trimmed, -want +got:\n%s", diff)
	}
}

// Where few events come, what expired is gone soon all the same: its id has the
// plate with it, as the camera wrote it, and nobody could erase that any more.
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

// The older part of a timeline stays for as long as the site has events, whether its
// plate comes again or not.
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
			// It was looked at within the last eighth of the retention, by whichever call
			// came then.
			if got, want := expires().Sub(before), calls*step-retention/8-step; got < want {
				t.Errorf("expires %s later than before, want at least %s", got, want)
			}
		})
	}
}

// Where the retention was raised, the older part of a timeline can expire before
// what else there is of it. One that is made anew expires, too.
func TestAnOlderPartThatIsMadeAnewExpires(t *testing.T) {
	s, client := newStore(t)
	events := make([]parking.Event, 20)
	for i := range events {
		events[i] = exit(fmt.Sprint("many", i), 1000+i)
	}
	s.Record(t.Context(), events)
	// After this the search, which would keep it for longer, is not due.
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

// A plate that had many events and does not come again is forgotten as soon, though
// one call forgets but a part of them.
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

// What a camera wrote is kept beside the key that was made of it.
func TestRawPlateAndGateAreKept(t *testing.T) {
	s, client := newStore(t)
	e := entry("id", 0)
	e.RawPlate, e.Gate = "ka 01", "north"
	s.Record(t.Context(), []parking.Event{e})
	if got := client.HGet(t.Context(), defaultKeys.events(), "id").Val(); !strings.HasSuffix(got, "\nka 01\nnorth") {
		t.Errorf("kept %q", got)
	}
}

func TestToday(t *testing.T) {
	s, _ := newStore(t)
	midnight := start.Truncate(24 * time.Hour)
	s.now = func() time.Time { return midnight.Add(time.Hour) }
	seconds := func(d time.Duration) int { return int(midnight.Add(d).Sub(start).Seconds()) }
	s.Record(t.Context(), []parking.Event{
		entry("yesterday-e", seconds(-2*time.Second)), exit("yesterday-x", seconds(-time.Second)),
		entry("e1", seconds(0)), exit("x1", seconds(time.Second)), entry("e2", seconds(time.Minute)),
	})
	site, err := s.Site(t.Context(), "default")
	if err != nil || site.EntriesToday != 2 || site.ExitsToday != 1 {
		t.Errorf("today %d entries, %d exits, error %v; want 2 and 1", site.EntriesToday, site.ExitsToday, err)
	}
	// What comes in another call is added, to the day and to the minute.
	s.Record(t.Context(), []parking.Event{entry("e3", seconds(time.Minute+time.Second)), exit("x3", seconds(time.Minute+2*time.Second))})
	site, err = s.Site(t.Context(), "default")
	if err != nil || site.EntriesToday != 3 || site.ExitsToday != 2 {
		t.Errorf("today %d entries, %d exits, error %v; want 3 and 2", site.EntriesToday, site.ExitsToday, err)
	}
	got, err := s.Minutes(t.Context(), []string{"default"}, midnight, midnight.Add(2*time.Minute), time.Minute)
	want := []Minute{{Start: midnight, Entries: 1, Exits: 1}, {Start: midnight.Add(time.Minute), Entries: 2, Exits: 1}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, minutes, -want +got:\n%s", err, diff)
	}
}

func TestOccupancy(t *testing.T) {
	s, _ := newStore(t)
	s.now = func() time.Time { return start }
	occupancy := func(want int64) {
		t.Helper()
		if site, err := s.Site(t.Context(), "default"); err != nil || site.Occupancy != want {
			t.Errorf("occupancy %d, error %v; want %d", site.Occupancy, err, want)
		}
	}
	occupancy(0)
	s.Record(t.Context(), []parking.Event{entry("e", -10)})
	occupancy(1)
	c, err := s.CorrectOccupancy(t.Context(), "default", 0, "counted\nby hand")
	if err != nil || c.Was != 1 || c.Counted != 0 {
		t.Fatalf("correction %+v, error %v", c, err)
	}
	occupancy(0)
	// Counted already: it left before the count, and the event comes late.
	s.Record(t.Context(), []parking.Event{exit("late", -5)})
	occupancy(0)
	s.Record(t.Context(), []parking.Event{entry("missed", -4)})
	occupancy(0)
	// The vehicle whose exit was missed comes back, leaves, and one more leaves.
	s.Record(t.Context(), []parking.Event{entry("back", 1), entry("back", 1)})
	occupancy(1)
	s.Record(t.Context(), []parking.Event{exit("x", 2)})
	occupancy(0)
	s.Record(t.Context(), []parking.Event{exit("y", 3)})
	occupancy(-1) // shown, not hidden
	// What expires was counted, too.
	s.now = func() time.Time { return start.Add(retention + time.Minute) }
	occupancy(-1)
	s.now = func() time.Time { return start.Add(time.Minute) }
	if _, err := s.CorrectOccupancy(t.Context(), "default", 7, "again"); err != nil {
		t.Fatal(err)
	}
	occupancy(7)
	list, err := s.Corrections(t.Context(), "default", 10)
	if err != nil || len(list) != 2 || list[0].Counted != 7 || list[0].Was != -1 || list[1] != c {
		t.Errorf("corrections %+v, error %v", list, err)
	}
	for _, bad := range []struct {
		n      int64
		reason string
	}{{-1, "r"}, {2_000_000, "r"}, {1, " "}, {1, strings.Repeat("r", 501)}} {
		if _, err := s.CorrectOccupancy(t.Context(), "default", bad.n, bad.reason); !errors.Is(err, parking.ErrInvalid) {
			t.Errorf("correction to %d for %.10q: error %v", bad.n, bad.reason, err)
		}
	}
}

func TestMinutes(t *testing.T) {
	s, _ := newStore(t)
	s.Record(t.Context(), []parking.Event{entry("e", 0), entry("f", 59), exit("x", 60), exit("x", 60)})
	got, err := s.Minutes(t.Context(), []string{"default"}, start.Add(30*time.Second), start.Add(3*time.Minute), time.Minute)
	want := []Minute{{start, 2, 0}, {start.Add(time.Minute), 0, 1}, {start.Add(2 * time.Minute), 0, 0}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, -want +got:\n%s", err, diff)
	}
}

// BenchmarkRecord is the pipelined throughput of the script for events that come
// late, into timelines of so many events. Redis holds the same number of events
// whatever the length of the timelines, so that memory is equally far away. What
// comes in is taken out again, uncounted, so that the history keeps its length.
// That an event falls directly before an entry changes no stay, whatever the
// history; one that falls between an entry and its exit moves that stay to a new
// revision.
func BenchmarkRecord(b *testing.B) {
	const (
		size = 500
		held = 200_000
	)
	for _, late := range []struct {
		name    string
		kinds   []parking.Kind
		after   parking.Kind // of which event of the history
		history []int
	}{
		{"late", []parking.Kind{parking.Entry, parking.Exit}, parking.Exit, []int{1, 10, 1_000, 100_000}},
		{"correction", []parking.Kind{parking.Entry}, parking.Entry, []int{2, 10, 1_000, 100_000}},
	} {
		for _, history := range late.history {
			b.Run(fmt.Sprint(late.name, "/history=", history), func(b *testing.B) {
				s, client := newStore(b)
				plates, random := held/history, rand.New(rand.NewPCG(1, 2))
				// The n-th event of the history is at n steps; the last is an exit, the
				// only one an entry.
				step := time.Hour / time.Duration(history)
				past := func(i, n int) parking.Event {
					e := exit(fmt.Sprint(i, "-", n), 0)
					if (history-n)%2 == 0 || history == 1 {
						e.Kind = parking.Entry
					}
					e.Plate = fmt.Sprint("KA", i)
					e.Time = start.Add(time.Duration(n) * step)
					return e
				}
				record := func(events []parking.Event) {
					for _, r := range s.Record(b.Context(), events) {
						if r.Err != nil {
							b.Fatal(r.Err)
						}
					}
				}
				for n := range history {
					for from := 0; from < plates; from += size {
						events := make([]parking.Event, 0, size)
						for i := from; i < min(from+size, plates); i++ {
							events = append(events, past(i, n))
						}
						record(events)
					}
				}
				if err := client.ConfigResetStat(b.Context()).Err(); err != nil {
					b.Fatal(err)
				}
				var round int
				for b.Loop() {
					b.StopTimer()
					events := make([]parking.Event, size)
					for i := range events {
						n := random.IntN(history)
						n -= n % 2 // an entry, the first of a pair
						e := past(random.IntN(plates), n)
						e.ID, e.Kind = fmt.Sprint(round, "new", i), late.kinds[i%len(late.kinds)]
						if late.after == parking.Entry {
							e.Time = e.Time.Add(step / 2)
						} else {
							e.Time = e.Time.Add(-step / 2)
						}
						events[i] = e
					}
					round++
					b.StartTimer()
					record(events)
					b.StopTimer()
					takeOut(b, client, events)
					b.StartTimer()
				}
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
				// Of the script alone, without the way there and the fsync.
				stats := client.InfoMap(b.Context(), "commandstats").Item("Commandstats", "cmdstat_evalsha")
				_, text, _ := strings.Cut(stats, "usec_per_call=")
				text, _, _ = strings.Cut(text, ",")
				perCall, err := strconv.ParseFloat(text, 64)
				if err != nil {
					b.Fatalf("statistics %q: %v", stats, err)
				}
				b.ReportMetric(perCall/eventsPerScript, "µs/event")
			})
		}
	}
}

// takeOut removes events that were just recorded, wherever their timelines have
// them.
func takeOut(b *testing.B, client goredis.UniversalClient, events []parking.Event) {
	const timelines = "park:{default}:t"
	for i := range events {
		e := &events[i]
		text := client.HGet(b.Context(), timelines, e.Plate).Val()
		newest, more := strings.CutPrefix(text, "+")
		lines := slices.DeleteFunc(strings.Split(newest, "\n"), func(m string) bool { return m == member(e) })
		text = strings.Join(lines, "\n")
		if more {
			text = "+" + text
		}
		p := client.Pipeline()
		p.HSet(b.Context(), timelines, e.Plate, text)
		p.ZRem(b.Context(), "park:{default}:o:"+e.Plate, member(e))
		p.HDel(b.Context(), defaultKeys.events(), e.ID)
		if _, err := p.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
