package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"parkstream/shared/instance"
	"parkstream/shared/parking"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const retention = 24 * time.Hour

// newStore returns a store on a Redis of its own, and its client.
func newStore(t testing.TB) (*Store, redis.UniversalClient) {
	t.Helper()
	client, err := Open(instance.RedisForTest(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return New(client, retention), client
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
	client, err := Open(node.URL())
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
	for _, key := range keys(t, client) {
		ttl, err := client.PTTL(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		ofNoVehicle := key == "park:sites" || strings.HasSuffix(key, ":n")
		if !ofNoVehicle && (ttl <= 0 || ttl > 2*retention) {
			t.Errorf("%s expires in %s", key, ttl)
		}
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
	// A busy plate loses what expired, some hours later: see expiry in record.lua.
	third := entry("third", 6*3600)
	third.Plate = "KA02"
	s.now = func() time.Time { return start.Add(retention + 3600*time.Second + 500*time.Millisecond) }
	s.Record(t.Context(), []parking.Event{third})
	if n := client.ZCard(t.Context(), "park:{default}:t:KA02").Val(); n != 2 {
		t.Errorf("%d events in the timeline, want 2", n)
	}
}

func keys(t *testing.T, client redis.UniversalClient) []string {
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
	s.Record(t.Context(), []parking.Event{exit("x", 9), entry("e", 0), entry("f", 20)})
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
		if !strings.HasSuffix(key, ":in") && !strings.HasSuffix(key, ":n") && !strings.Contains(key, ":d:") && key != "park:sites" {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	if want := []string{"park:{default}:e:late", "park:{default}:t:KA01"}; !slices.Equal(names, want) {
		t.Errorf("keys %q, want %q", names, want)
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
	s.Record(t.Context(), []parking.Event{exit("late", -5), entry("missed", -4)})
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
	got, err := s.Minutes(t.Context(), "default", start.Add(30*time.Second), start.Add(3*time.Minute))
	want := []Minute{{start, 2, 0}, {start.Add(time.Minute), 0, 1}, {start.Add(2 * time.Minute), 0, 0}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, -want +got:\n%s", err, diff)
	}
}

func TestOpen(t *testing.T) {
	for url, want := range map[string]string{
		"redis://localhost:6379/2":    "*redis.Client",
		"rediss://u:p@localhost:6379": "*redis.Client",
		"redis+sentinel://localhost:26379/0?master_name=m&addr=localhost:26380": "*redis.Client",
		"redis+cluster://localhost:7000?addr=localhost:7001":                    "*redis.ClusterClient",
	} {
		client, err := Open(url)
		if err != nil {
			t.Errorf("Open(%q): %v", url, err)
			continue
		}
		if got := fmt.Sprintf("%T", client); got != want {
			t.Errorf("Open(%q) is a %s, want %s", url, got, want)
		}
		_ = client.Close()
	}
	for _, url := range []string{
		"", "localhost:6379", "http://u:geheim@h", "redis+sentinel://u:geheim@h", "redis+ring://u:geheim@h",
		"redis://u:geheim%zz@h", "redis://u:geheim@h/x", "redis://u:geheim@h?nonsense=1",
	} {
		client, err := Open(url)
		if err == nil {
			t.Errorf("Open(%q) gave a client", url)
			_ = client.Close()
			continue
		}
		if strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// BenchmarkRecord is the pipelined throughput of the script for events that fall
// anywhere into timelines of so many events. What comes in is taken out again,
// uncounted, so that the history keeps its length.
func BenchmarkRecord(b *testing.B) {
	const size = 500
	kinds := []parking.Kind{parking.Entry, parking.Exit}
	for _, history := range []int{1, 10, 1_000, 100_000} {
		b.Run(fmt.Sprint("history=", history), func(b *testing.B) {
			s, client := newStore(b)
			plates := min(size, 200_000/history)
			seen := func(i, n int) parking.Event {
				e := event(kinds[n%2], fmt.Sprint(i, "-", n), -n)
				e.Plate = fmt.Sprint("KA", i%plates)
				e.Time = start.Add(-time.Duration(n) * time.Hour / time.Duration(history))
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
				past := make([]parking.Event, plates)
				for i := range past {
					past[i] = seen(i, n)
				}
				record(past)
			}
			for b.Loop() {
				b.StopTimer()
				events := make([]parking.Event, size)
				for i := range events {
					events[i] = seen(i, (i*7919)%history)
					events[i].ID = fmt.Sprint("new", i)
				}
				b.StartTimer()
				record(events)
				b.StopTimer()
				p := client.Pipeline()
				for i := range events {
					p.ZRem(b.Context(), "park:{default}:t:"+events[i].Plate, member(&events[i]))
					p.Del(b.Context(), "park:{default}:e:"+events[i].ID)
				}
				if _, err := p.Exec(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
