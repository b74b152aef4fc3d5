package stay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"parkstream/shared/instance"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

func TestMain(m *testing.M) {
	// go-redis tries in the background to reach a Redis that does not answer, and
	// notices within a second that its client was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

const retention = 90 * 24 * time.Hour

// today is noon, so that hours before and after it are of the same UTC day.
var today = time.Now().UTC().Truncate(day).Add(-12 * time.Hour)

func newClient(t testing.TB) *redis.Client {
	t.Helper()
	client, err := redis.Open(redis.URL(instance.RedisForTest(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func newStore(t testing.TB) *Store {
	t.Helper()
	return New(newClient(t), retention)
}

// completed makes a stay of so many seconds; unmatched one without an entry.
func completed(id, site, plate string, exit time.Time, seconds int) parking.Stay {
	s := unmatched(id, site, plate, exit)
	s.EntryID, s.EntryTime = "entry of "+id, exit.Add(-time.Duration(seconds)*time.Second)
	return s
}

func unmatched(id, site, plate string, exit time.Time) parking.Stay {
	return parking.Stay{ID: id, ExitID: id, Site: site, Plate: plate, ExitTime: exit, Revision: 1}
}

func put(t rapid.TB, s *Store, stays ...parking.Stay) int {
	t.Helper()
	n, err := s.Put(context.Background(), stays)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// list follows the cursors with pages of a size and returns "site/id" of all.
func list(t rapid.TB, s *Store, q Query) []string {
	t.Helper()
	ids := []string{}
	const most = 10_000 // of stays in any test; beyond it the cursors go round
	for len(ids) < most {
		page, err := s.List(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Stays) > q.Limit || page.Next != "" && len(page.Stays) == 0 {
			t.Fatalf("a page of %d stays, limit %d, next %q", len(page.Stays), q.Limit, page.Next)
		}
		for _, k := range page.Stays {
			ids = append(ids, k.Site+"/"+k.ID)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return ids
		}
	}
	t.Fatalf("the list of %+v does not end", q)
	return nil
}

// Whatever is put, in whatever order and how often: lists, single stays and sums
// are those of the highest revision of each, also where a correction by hand has
// another plate or time.
func TestPutAgreesWithTheModel(t *testing.T) {
	s := newStore(t)
	var cases atomic.Int64
	rapid.Check(t, func(t *rapid.T) {
		site := fmt.Sprint("site", cases.Add(1))
		best := make(map[string]parking.Stay)
		var all []parking.Stay
		for i := range rapid.IntRange(1, 12).Draw(t, "stays") {
			id := fmt.Sprint("x", i)
			for revision := range rapid.IntRange(1, 4).Draw(t, "revisions") {
				exit := today.Add(time.Duration(rapid.IntRange(-40, 5).Draw(t, "exit")) * time.Hour)
				stay := unmatched(id, site, fmt.Sprint("P", rapid.IntRange(0, 2).Draw(t, "plate")), exit)
				if rapid.Bool().Draw(t, "completed") {
					stay = completed(id, site, stay.Plate, exit, rapid.IntRange(0, 100_000).Draw(t, "seconds"))
				}
				stay.Revision = int64(revision + 1)
				all = append(all, stay)
				best[id] = stay
			}
		}
		deliveries := rapid.Permutation(append(all, all...)).Draw(t, "deliveries")
		for chunk := range slices.Chunk(deliveries, rapid.IntRange(1, 20).Draw(t, "batch")) {
			if _, err := s.Put(context.Background(), chunk); err != nil {
				t.Fatal(err)
			}
		}

		want := slices.SortedFunc(maps.Values(best), newestFirst)
		page, err := s.List(context.Background(), Query{Site: site, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		got := make([]parking.Stay, len(page.Stays))
		for i, k := range page.Stays {
			got[i] = k.Stay
			if one, err := s.Get(context.Background(), site, k.ID); err != nil || one != k {
				t.Errorf("Get(%q) = %+v, %v; the list has %+v", k.ID, one, err, k)
			}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("list (-want +got):\n%s", diff)
		}
		var completed, unmatched, seconds int64
		for _, stay := range best {
			if d, ok := stay.Duration(); ok {
				completed++
				seconds += int64(d / time.Second)
			} else {
				unmatched++
			}
		}
		stats, err := s.Stats(context.Background(), site, today.Add(-72*time.Hour), today.Add(48*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if stats.Completed != completed || stats.UnmatchedExits != unmatched ||
			completed > 0 && *stats.AverageSeconds != float64(seconds)/float64(completed) {
			t.Errorf("stats %+v, want %d completed of %d s and %d unmatched", stats.Counts, completed, seconds, unmatched)
		}
		for _, status := range []parking.Status{parking.Completed, parking.UnmatchedExit} {
			page, err := s.List(context.Background(), Query{Site: site, Status: status, Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			n := map[parking.Status]int64{parking.Completed: completed, parking.UnmatchedExit: unmatched}[status]
			if int64(len(page.Stays)) != n {
				t.Errorf("%d stays are listed as %s, want %d", len(page.Stays), status, n)
			}
		}
		for _, plate := range []string{"P0", "P1", "P2"} {
			var of []string
			for _, stay := range want {
				if stay.Plate == plate {
					of = append(of, site+"/"+stay.ID)
				}
			}
			if got := list(t, s, Query{Site: site, Plate: plate, Limit: 5}); !slices.Equal(got, of) {
				t.Errorf("of %s are listed %q, want %q", plate, got, of)
			}
		}
	})
}

func newestFirst(a, b parking.Stay) int {
	return cmp.Or(b.ExitTime.Compare(a.ExitTime), strings.Compare(b.ID, a.ID), strings.Compare(a.Site, b.Site))
}

// Lists by any filter in pages of any size, and sums of any days, are those of
// the model, where sites have ids, plates and exit times in common.
func TestSeveralSitesAgreeWithTheModel(t *testing.T) {
	s := newStore(t)
	rapid.Check(t, func(t *rapid.T) {
		if err := s.redis.Current().FlushDB(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		best := make(map[string]parking.Stay)
		var all []parking.Stay
		for i := range rapid.IntRange(0, 30).Draw(t, "stays") {
			n := rapid.IntRange(0, 5).Draw(t, "id")
			site := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "site")
			stay := unmatched(fmt.Sprint("x", n), site, fmt.Sprint("P", n%4), daysAgo(n/2))
			if rapid.Bool().Draw(t, "completed") {
				stay = completed(stay.ID, site, stay.Plate, stay.ExitTime, rapid.IntRange(0, 400).Draw(t, "seconds"))
			}
			stay.Revision = int64(i + 1)
			all = append(all, stay)
			best[site+"/"+stay.ID] = stay
		}
		put(t, s, rapid.Permutation(all).Draw(t, "deliveries")...)

		bound := rapid.SampledFrom([]time.Time{{}, daysAgo(3), daysAgo(2), daysAgo(2).Add(1), daysAgo(1).Truncate(day), daysAgo(0), daysAgo(-1)})
		for range 5 {
			q := Query{
				Site:   rapid.SampledFrom([]string{"", "", "a", "b", "nowhere"}).Draw(t, "site"),
				Plate:  rapid.SampledFrom([]string{"", "", "P0", "P1", "P9"}).Draw(t, "plate"),
				Status: rapid.SampledFrom([]parking.Status{"", parking.Completed, parking.UnmatchedExit}).Draw(t, "status"),
				From:   bound.Draw(t, "from"), To: bound.Draw(t, "to"), Limit: rapid.IntRange(1, 20).Draw(t, "limit"),
			}
			want := []string{}
			var summed []parking.Stay
			for _, stay := range slices.SortedFunc(maps.Values(best), newestFirst) {
				if q.Site != "" && stay.Site != q.Site {
					continue
				}
				if (q.Plate == "" || stay.Plate == q.Plate) && (q.Status == "" || stay.Status() == q.Status) &&
					!stay.ExitTime.Before(q.From) && (q.To.IsZero() || stay.ExitTime.Before(q.To)) {
					want = append(want, stay.Site+"/"+stay.ID)
				}
				if d := stay.ExitTime.Truncate(day); !d.Before(q.From.Truncate(day)) && (q.To.IsZero() || d.Before(q.To)) {
					summed = append(summed, stay)
				}
			}
			if diff := gocmp.Diff(want, list(t, s, q)); diff != "" {
				t.Errorf("list of %+v (-want +got):\n%s", q, diff)
			}
			got, err := s.Stats(context.Background(), q.Site, q.From, q.To)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(sums(summed), Stats{Counts: got.Counts, Days: got.Days}, gocmp.Comparer(sameCounts)); diff != "" {
				t.Errorf("sums of %+v (-want +got):\n%s", q, diff)
			}
		}
	})
}

func daysAgo(n int) time.Time { return today.AddDate(0, 0, -n) }

// sums are the exact ones of stays.
func sums(stays []parking.Stay) Stats {
	stats := Stats{Counts: count(stays), Days: []Day{}}
	byDay := make(map[string][]parking.Stay)
	for _, stay := range stays {
		d := stay.ExitTime.Format(time.DateOnly)
		byDay[d] = append(byDay[d], stay)
	}
	for _, d := range slices.Sorted(maps.Keys(byDay)) {
		stats.Days = append(stats.Days, Day{d, count(byDay[d])})
	}
	return stats
}

func count(stays []parking.Stay) Counts {
	var seconds []float64
	var sum float64
	for _, stay := range stays {
		if d, ok := stay.Duration(); ok {
			seconds = append(seconds, d.Seconds())
			sum += d.Seconds()
		}
	}
	c := Counts{Completed: int64(len(seconds)), UnmatchedExits: int64(len(stays) - len(seconds))}
	if len(stays) > 0 {
		c.MatchRate = new(float64(len(seconds)) / float64(len(stays)))
	}
	if n := len(seconds); n > 0 {
		slices.Sort(seconds)
		c.AverageSeconds = new(sum / float64(n))
		c.P50Seconds, c.P95Seconds = &seconds[(n*50+99)/100-1], &seconds[(n*95+99)/100-1]
	}
	return c
}

// sameCounts takes the quantiles as the same within the 2 % that are promised.
func sameCounts(a, b Counts) bool {
	const exact, promised = 1e-9, 0.02 + 1e-9
	near := func(a, b *float64, within float64) bool {
		return a == nil && b == nil || a != nil && b != nil && math.Abs(*a-*b) <= within*max(*a, *b)
	}
	return a.Completed == b.Completed && a.UnmatchedExits == b.UnmatchedExits && near(a.MatchRate, b.MatchRate, exact) &&
		near(a.AverageSeconds, b.AverageSeconds, exact) && near(a.P50Seconds, b.P50Seconds, promised) && near(a.P95Seconds, b.P95Seconds, promised)
}

func TestPutCounts(t *testing.T) {
	s := newStore(t)
	stay := completed("x1", "a", "P1", today, 60)
	second := stay
	second.Revision = 2
	for i, step := range []struct {
		stays []parking.Stay
		want  int
	}{
		{[]parking.Stay{stay, unmatched("x2", "b", "P2", today)}, 2},
		{[]parking.Stay{stay, stay}, 0},
		{[]parking.Stay{second, stay, second}, 1},
		{[]parking.Stay{stay}, 0},
		{nil, 0},
	} {
		if got := put(t, s, step.stays...); got != step.want {
			t.Errorf("step %d: %d stored, want %d", i, got, step.want)
		}
	}
	// A Redis that lost its scripts, as after a restart.
	if err := s.redis.Current().ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if n := put(t, s, unmatched("x3", "a", "P1", today)); n != 1 {
		t.Errorf("%d stored after the scripts were lost", n)
	}
	var many []parking.Stay
	for i := range 2*staysPerScript + 1 {
		many = append(many, unmatched(fmt.Sprint("m", i), "many", "P", today))
	}
	if n := put(t, s, many...); n != len(many) {
		t.Errorf("%d of %d stored", n, len(many))
	}
}

func TestListFilters(t *testing.T) {
	s := newStore(t)
	at := func(hours int) time.Time { return today.Add(time.Duration(hours) * time.Hour) }
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	put(t, s,
		completed("x1", "a", "P1", at(1), 60), unmatched("x2", "a", "P2", at(2)), completed("x3", "a", "P1", at(3), 60),
		completed("x1", "b", "P1", at(1), 60), unmatched("x4", "b", "P1", at(4)), completed("old", "b", "P1", at(0).Add(-retention), 60),
	)
	for _, tt := range []struct {
		q    Query
		want string
	}{
		{Query{}, "b/x4 a/x3 a/x2 a/x1 b/x1"},
		{Query{Site: "a"}, "a/x3 a/x2 a/x1"},
		{Query{Site: "nowhere"}, ""},
		{Query{Plate: "P1"}, "b/x4 a/x3 a/x1 b/x1"},
		{Query{Plate: "P1", Site: "b"}, "b/x4 b/x1"},
		{Query{Plate: "P1", Status: parking.UnmatchedExit}, "b/x4"},
		{Query{Plate: "P9"}, ""},
		{Query{Status: parking.Completed}, "a/x3 a/x1 b/x1"},
		{Query{Status: parking.UnmatchedExit, Site: "a"}, "a/x2"},
		{Query{From: at(2)}, "b/x4 a/x3 a/x2"},
		{Query{To: at(2)}, "a/x1 b/x1"},
		{Query{From: at(2), To: at(4)}, "a/x3 a/x2"},
		{Query{From: at(2), To: at(2)}, ""},
		{Query{From: at(1), To: at(4), Plate: "P1", Site: "a", Status: parking.Completed}, "a/x3 a/x1"},
		// Instants that no int64 of nanoseconds can tell.
		{Query{Site: "a", To: year(9999)}, "a/x3 a/x2 a/x1"},
		{Query{Site: "a", From: year(1600), To: year(2500)}, "a/x3 a/x2 a/x1"},
		{Query{From: year(2263)}, ""},
		{Query{To: year(1600)}, ""},
	} {
		for limit := range 7 {
			tt.q.Limit = limit + 1
			if got := strings.Join(list(t, s, tt.q), " "); got != tt.want {
				t.Errorf("%+v: %q, want %q", tt.q, got, tt.want)
			}
		}
	}
}

// A list that is followed while others are stored, and while its own change their
// status, has each of the first ones exactly once, even where all have one time.
func TestListWhileStaysArrive(t *testing.T) {
	s := newStore(t)
	want := make(map[string]bool)
	var first []parking.Stay
	for i := range 40 {
		site := fmt.Sprint("s", i%3)
		first = append(first, unmatched(fmt.Sprint("x", i), site, "P", today))
		want[fmt.Sprint(site, "/x", i)] = true
	}
	put(t, s, first...)
	q := Query{Limit: 3}
	seen := make(map[string]int)
	for i := 0; ; i++ {
		put(t, s, unmatched(fmt.Sprint("late", i), fmt.Sprint("s", i%5), "P", today.Add(time.Duration(i%3-1)*time.Second)))
		for n, stay := range first {
			first[n] = unmatched(stay.ID, stay.Site, stay.Plate, today)
			if (i+n)%2 == 0 {
				first[n] = completed(stay.ID, stay.Site, stay.Plate, today, n)
			}
			first[n].Revision = stay.Revision + 1
		}
		if n := put(t, s, first...); n != len(first) {
			t.Fatalf("%d of %d changes were stored", n, len(first))
		}
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Stays {
			seen[k.Site+"/"+k.ID]++
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was listed %d times", id, n)
		}
		delete(want, id)
	}
	if len(want) > 0 {
		t.Errorf("never listed: %v", want)
	}
}

// A cursor says where to go on, and no filter gets lost by it.
func TestCursorWithAnotherFilter(t *testing.T) {
	s := newStore(t)
	put(t, s, unmatched("x1", "a", "P", daysAgo(3)), unmatched("x2", "a", "P", daysAgo(2)), unmatched("x3", "a", "P", daysAgo(1)), unmatched("x4", "a", "P", today))
	page, err := s.List(t.Context(), Query{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	for to, want := range map[time.Time]string{{}: "a/x3 a/x2 a/x1", daysAgo(1): "a/x2 a/x1"} {
		if got := strings.Join(list(t, s, Query{To: to, Limit: 2, Cursor: page.Next}), " "); got != want {
			t.Errorf("after x4, before %s: %q, want %q", to, got, want)
		}
	}
}

func TestBadCursors(t *testing.T) {
	s := newStore(t)
	put(t, s, unmatched("x", "a", "P", today))
	for _, cursor := range []string{"!", "YWJj", "MDEyMzQ1Njc4OWFiY2RlZngKc2l0ZQ", strings.Repeat("A", 100)} {
		if _, err := s.List(t.Context(), Query{Limit: 1, Cursor: cursor}); !errors.Is(err, ErrCursor) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}

func TestRetention(t *testing.T) {
	s := newStore(t)
	put(t, s, completed("x1", "a", "P1", today, 60))
	for _, key := range s.redis.Current().Keys(t.Context(), "stay:{a}:*").Val() {
		ttl := s.redis.Current().PTTL(t.Context(), key).Val()
		if ttl <= 0 || ttl > retention+indexSlack {
			t.Errorf("%s expires in %s", key, ttl)
		}
	}
	s.Now = func() time.Time { return today.Add(retention + time.Minute) }
	if got := list(t, s, Query{Limit: 10}); len(got) != 0 {
		t.Errorf("listed after the retention: %v", got)
	}
	for _, id := range []string{"x1", "x0"} {
		if k, err := s.Get(t.Context(), "a", id); !errors.Is(err, ErrNotFound) {
			t.Errorf("after the retention: %+v, %v", k, err)
		}
	}
	put(t, s, completed("x2", "a", "P2", s.Now(), 60))
	checkKept(t, s, "x2 of P2")
}

// checkKept compares what Redis holds of the stays of site a, in whatever key.
func checkKept(t *testing.T, s *Store, want ...string) {
	t.Helper()
	var stays, plates []string
	for id, value := range s.redis.Current().HGetAll(t.Context(), "stay:{a}:s").Val() {
		k, err := parseKept("a", id, value)
		if err != nil {
			t.Error(err)
		}
		stays = append(stays, id+" of "+k.Plate)
	}
	for _, member := range s.redis.Current().ZRange(t.Context(), "stay:{a}:p", 0, -1).Val() {
		plate, position, _ := strings.Cut(member, "\n")
		plates = append(plates, position[instantLen:]+" of "+plate)
	}
	slices.Sort(stays)
	slices.Sort(plates)
	if !slices.Equal(stays, want) || !slices.Equal(plates, want) {
		t.Errorf("kept are %q, by plate %q, want %q", stays, plates, want)
	}
	positions := s.redis.Current().ZCard(t.Context(), "stay:{a}:x:c").Val() + s.redis.Current().ZCard(t.Context(), "stay:{a}:x:u").Val()
	if positions != int64(len(want)) {
		t.Errorf("%d positions are kept, want %d", positions, len(want))
	}
}

// A stay is listed as long as its exit is not older than the retention.
func TestRetentionToTheNanosecond(t *testing.T) {
	s := newStore(t)
	put(t, s, completed("x1", "a", "P1", today, 60), unmatched("x2", "b", "P1", today.Add(1)))
	for after, want := range map[time.Duration]string{0: "b/x2 a/x1", 1: "b/x2", 2: ""} {
		s.Now = func() time.Time { return today.Add(retention + after) }
		for _, q := range []Query{{}, {Plate: "P1"}, {From: daysAgo(1)}} {
			q.Limit = 1
			if got := strings.Join(list(t, s, q), " "); got != want {
				t.Errorf("%s after the retention, %+v: %q, want %q", after, q, got, want)
			}
		}
	}
}

// Redis forgets an expired stay at once, so that nothing would keep it from being
// counted again each time it is put.
func TestPutIgnoresWhatIsExpired(t *testing.T) {
	s := newStore(t)
	stay := completed("old", "a", "P1", s.Now().Add(-retention-time.Second), 60)
	for range 2 {
		if n := put(t, s, stay, unmatched("new", "a", "P1", today)); n > 1 {
			t.Errorf("%d stored, want at most the new one", n)
		}
	}
	stats, err := s.Stats(t.Context(), "a", stay.ExitTime, time.Time{})
	if err != nil || stats.Completed != 0 || stats.UnmatchedExits != 1 {
		t.Errorf("%+v, %v; want the new one alone", stats.Counts, err)
	}
}

// An id may come again once its stay is expired. In a site that was silent the
// old stay is still there; it is neither taken for the new one nor left behind.
func TestAnIDIsUsedAgain(t *testing.T) {
	s := newStore(t)
	old, same := completed("x1", "a", "P1", today, 60), completed("x2", "a", "P2", today, 60)
	old.Revision = 3
	put(t, s, old, same)
	s.Now = func() time.Time { return today.Add(retention + time.Hour) }
	// Another plate and status, and neither.
	again, too := unmatched("x1", "a", "P3", s.Now()), completed("x2", "a", "P2", s.Now(), 120)
	for _, want := range []int{2, 0} {
		if n := put(t, s, again, too); n != want {
			t.Errorf("%d stored, want %d", n, want)
		}
	}
	checkKept(t, s, "x1 of P3", "x2 of P2")
	for status, want := range map[parking.Status]string{"": "a/x2 a/x1", parking.Completed: "a/x2", parking.UnmatchedExit: "a/x1"} {
		if got := strings.Join(list(t, s, Query{Status: status, Limit: 10}), " "); got != want {
			t.Errorf("listed with status %q: %q, want %q", status, got, want)
		}
	}
	for day, want := range map[time.Time]Counts{today: {Completed: 2}, s.Now(): {Completed: 1, UnmatchedExits: 1}} {
		stats, err := s.Stats(t.Context(), "a", day, day.Add(time.Nanosecond))
		if err != nil || stats.Completed != want.Completed || stats.UnmatchedExits != want.UnmatchedExits {
			t.Errorf("sums of %s: %+v, %v; want %+v", day, stats.Counts, err, want)
		}
	}
}

// Lua compares text as the locale of Redis does.
func TestAnIDIsUsedAgainInAnyLocale(t *testing.T) {
	instance.DanishForTest(t)
	s := newStore(t)
	if before, err := s.redis.Current().Eval(t.Context(), "return tostring('aa' < 'ab')", nil).Text(); err != nil || before != "false" {
		t.Fatalf("'aa' < 'ab' is %s, error %v: Redis is not Danish", before, err)
	}
	at := func(end int64) time.Time { return time.Unix(0, today.UnixNano()&^0xffffff|end).UTC() }
	for id, ends := range map[string][2]int64{"x": {0xaa0000, 0xab0000}, "y": {0, 1}, "z": {1, 0x100000001}} {
		old := completed(id, "a", "P1", at(ends[0]), 60)
		old.Revision = 3
		s.Now = func() time.Time { return today }
		put(t, s, old)
		s.Now = func() time.Time { return at(ends[1]).Add(retention) }
		again := completed(id, "a", "P2", s.Now(), 60)
		if n := put(t, s, old, again); n != 1 {
			t.Errorf("%s: %d stored, want the new one: the old one is expired", id, n)
		}
		checkKept(t, s, id+" of P2")
		s.redis.Current().FlushAll(t.Context())
	}
}

// Each stay that is stored takes what is older than the retention away.
func TestABusySiteIsTrimmed(t *testing.T) {
	s := newStore(t)
	for i := range 4 {
		now := today.Add(time.Duration(i) * (retention/2 + time.Hour))
		s.Now = func() time.Time { return now }
		if stay := unmatched(fmt.Sprint("x", i), "a", fmt.Sprint("P", i%2), now); i == 1 {
			put(t, s, completed(stay.ID, stay.Site, stay.Plate, now, 60))
		} else {
			put(t, s, stay)
		}
	}
	checkKept(t, s, "x2 of P0", "x3 of P1")
}

// A cluster refuses a call whose keys are on several shards.
func TestCluster(t *testing.T) {
	client, err := redis.Open(redis.URL(instance.RedisClusterForTest(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := New(client, retention)
	for _, site := range []string{"a", "b", "c"} {
		put(t, s, completed("x1", site, "P1", today, 60), unmatched("x2", site, "P2", today.Add(1)))
	}
	for _, tt := range []struct {
		q    Query
		want string
	}{
		{Query{}, "a/x2 b/x2 c/x2 a/x1 b/x1 c/x1"},
		{Query{Plate: "P1"}, "a/x1 b/x1 c/x1"},
		{Query{Status: parking.UnmatchedExit}, "a/x2 b/x2 c/x2"},
		{Query{Site: "b"}, "b/x2 b/x1"},
	} {
		tt.q.Limit = 2
		if got := strings.Join(list(t, s, tt.q), " "); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.q, got, tt.want)
		}
	}
	stats, err := s.Stats(t.Context(), "", time.Time{}, time.Time{})
	if err != nil || stats.Completed != 3 || stats.UnmatchedExits != 3 {
		t.Errorf("sums %+v, error %v", stats.Counts, err)
	}
	if k, err := s.Get(t.Context(), "b", "x2"); err != nil || k.Plate != "P2" {
		t.Errorf("x2 is %+v, error %v", k, err)
	}
	_, err = s.Get(t.Context(), "", "x2")
	ambiguous, _ := errors.AsType[AmbiguousError](err)
	if want := []string{"a", "b", "c"}; !slices.Equal(ambiguous.Sites, want) {
		t.Errorf("without a site x2 is at %v, want %v", ambiguous.Sites, want)
	}
	if n, err := s.ErasePlate(t.Context(), "c", "P1"); err != nil || n != 1 {
		t.Errorf("erased %d, error %v", n, err)
	}
}

// One call forgets more stays than one brings, or what expired would pile up.
func TestMuchIsTrimmedAtOnce(t *testing.T) {
	s := newStore(t)
	var old []parking.Stay
	for i := range staysPerScript + 1 {
		old = append(old, unmatched(fmt.Sprint("old", i), "a", "P1", today))
	}
	put(t, s, old...)
	s.Now = func() time.Time { return today.Add(retention + time.Hour) }
	put(t, s, unmatched("new", "a", "P2", s.Now()))
	checkKept(t, s, "new of P2")
}

func TestStoreSites(t *testing.T) {
	node := instance.RedisForTest(t)
	client, err := redis.Open(redis.URL(node.URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := New(client, retention)
	for _, want := range [][]string{{}, {"a", "b"}} {
		if sites, err := s.Sites(t.Context()); err != nil || !slices.Equal(sites, want) {
			t.Errorf("sites %v, %v; want %v", sites, err, want)
		}
		put(t, s, unmatched("x", "b", "P", today), unmatched("x", "a", "P", today), unmatched("y", "b", "P", today))
	}
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), []parking.Stay{unmatched("z", "a", "P", today)}); err == nil {
		t.Error("Redis is gone, and stores")
	}
}

// The promise holds for each duration, not for large ones alone.
func TestQuantileOfEveryDuration(t *testing.T) {
	for seconds := range int64(100_000) {
		one := newTally()
		one.add(map[string]string{"c": "1", fmt.Sprint("b", bucketOf(seconds)): "1"})
		if got := one.quantile(0.5); math.Abs(got-float64(seconds)) > 0.02*float64(seconds)+1e-9 {
			t.Errorf("the median of one stay of %d s is %g", seconds, got)
		}
	}
}

func TestStats(t *testing.T) {
	s := newStore(t)
	var stays []parking.Stay
	for i := range 1000 {
		stays = append(stays, completed(fmt.Sprint("x", i), "a", "P", today.Add(time.Duration(i)*time.Second), 10*(i+1)))
	}
	put(t, s, stays...)
	put(t, s, unmatched("u", "a", "P", today.Add(-24*time.Hour)), completed("b", "b", "P", today, 7))
	stats, err := s.Stats(t.Context(), "a", today.Add(-48*time.Hour), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	near := func(name string, got *float64, want, within float64) {
		t.Helper()
		if got == nil || *got < want*(1-within) || *got > want*(1+within) {
			t.Errorf("%s is %v, want %g within %g", name, got, want, within)
		}
	}
	near("average", stats.AverageSeconds, 5005, 1e-9)
	near("p50", stats.P50Seconds, 5000, 0.02)
	near("p95", stats.P95Seconds, 9500, 0.02)
	near("match rate", stats.MatchRate, 1000.0/1001, 1e-9)
	if stats.Completed != 1000 || stats.UnmatchedExits != 1 || len(stats.Days) != 2 {
		t.Errorf("%+v", stats)
	}
	if d := stats.Days[0]; d.Day != today.Add(-24*time.Hour).Format(time.DateOnly) || d.UnmatchedExits != 1 || d.Completed != 0 || d.AverageSeconds != nil {
		t.Errorf("the first day is %+v", d)
	}
	if all, err := s.Stats(t.Context(), "", time.Time{}, time.Time{}); err != nil || all.Completed != 1001 {
		t.Errorf("all sites: %+v, %v", all.Counts, err)
	}
	if none, err := s.Stats(t.Context(), "nowhere", time.Time{}, time.Time{}); err != nil || none.MatchRate != nil || none.P50Seconds != nil {
		t.Errorf("no stays: %+v, %v", none.Counts, err)
	}
	if _, err := s.Stats(t.Context(), "", today.Add(-(MaxStatsDays+1)*day), time.Time{}); !errors.Is(err, parking.ErrInvalid) {
		t.Errorf("too many days: %v", err)
	}
}

func TestErasePlate(t *testing.T) {
	s := newStore(t)
	put(t, s, completed("x1", "a", "P1", today, 60), unmatched("x2", "a", "P1", today), completed("x3", "a", "P2", today, 60), completed("x4", "b", "P1", today, 60))
	if n, err := s.ErasePlate(t.Context(), "a", "P1"); err != nil || n != 2 {
		t.Fatalf("erased %d, %v", n, err)
	}
	for q, want := range map[Query]string{
		{Limit: 10}:                                "b/x4 a/x3",
		{Limit: 10, Plate: "P1"}:                   "b/x4",
		{Limit: 10, Plate: "P2"}:                   "a/x3",
		{Limit: 10, Status: parking.UnmatchedExit}: "",
	} {
		if got := strings.Join(list(t, s, q), " "); got != want {
			t.Errorf("left of %+v: %q, want %q", q, got, want)
		}
	}
	if stats, err := s.Stats(t.Context(), "a", time.Time{}, time.Time{}); err != nil || stats.Completed != 2 || stats.UnmatchedExits != 1 {
		t.Errorf("the sums tell nothing of a vehicle and are to stay: %+v, %v", stats.Counts, err)
	}
	checkKept(t, s, "x3 of P2")
	if n, err := s.ErasePlate(t.Context(), "a", "P1"); err != nil || n != 0 {
		t.Errorf("erased again: %d, %v", n, err)
	}
}

// ambiguous returns the sites that an error names.
func ambiguous(err error) []string {
	several, _ := errors.AsType[AmbiguousError](err)
	return several.Sites
}

func TestGet(t *testing.T) {
	s := newStore(t)
	before := time.Now().Truncate(time.Millisecond)
	stay := completed("x1", "b", "P1", today.Add(123*time.Millisecond), 60)
	put(t, s, stay, unmatched("x1", "a", "P2", today))
	k, err := s.Get(t.Context(), "b", "x1")
	if err != nil || k.Stay != stay || k.UpdatedAt.Before(before) || k.UpdatedAt.After(time.Now()) {
		t.Errorf("%+v, %v", k, err)
	}
	if k, err := s.Get(t.Context(), "", "x1"); !errors.As(err, new(AmbiguousError)) {
		t.Errorf("at two sites: %+v, %v", k, err)
	}
	put(t, s, unmatched("x3", "b", "P3", today))
	if k, err := s.Get(t.Context(), "", "x3"); err != nil || k.Site != "b" {
		t.Errorf("at any site: %+v, %v", k, err)
	}
	if k, err := s.Get(t.Context(), "", "x1"); !slices.Equal(ambiguous(err), []string{"a", "b"}) {
		t.Errorf("at two sites: %+v, %v", k, err)
	}
	if _, err := s.Get(t.Context(), "b", "x2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	if _, err := parseKept("a", "x", "1 0 1 u\nP\nshort"); err == nil {
		t.Error("a damaged value was read")
	}
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := newStore(b)
			stays := make([]parking.Stay, size)
			var n int
			for b.Loop() {
				for i := range stays {
					n++
					stays[i] = completed(fmt.Sprint("x", n), "a", fmt.Sprint("P", n), today.Add(time.Duration(n)*time.Millisecond), 3600)
				}
				put(b, s, stays...)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "stays/s")
		})
	}
}
