package stay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

func TestMain(m *testing.M) {
	// go-redis dials an unresponsive Redis in the background, and notices within a
	// second that its client was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

const retention = 90 * 24 * time.Hour

// today is noon, so the hours around it belong to one UTC day.
var today = time.Now().UTC().Truncate(day).Add(-12 * time.Hour)

func newClient(t testing.TB) *redis.Client {
	t.Helper()
	client, err := redis.Open(redis.URL(instancetest.Redis(t).URL()))
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

// completed returns a stay of so many seconds, unmatched a stay without an entry.
func completed(id, site, plate string, exit time.Time, seconds int) parking.Stay {
	s := unmatched(id, site, plate, exit)
	s.EntryID, s.EntryTime = "entry of "+id, exit.Add(-time.Duration(seconds)*time.Second)
	return s
}

func unmatched(id, site, plate string, exit time.Time) parking.Stay {
	return parking.Stay{ID: id, Site: site, Plate: plate, ExitTime: exit, Revision: 1}
}

// drawn returns a stay of any status.
func drawn(t *rapid.T, id, site, plate string, exit time.Time, maxSeconds int) parking.Stay {
	stay := unmatched(id, site, plate, exit)
	switch rapid.SampledFrom([]parking.Status{parking.Completed, parking.UnmatchedExit, parking.Repeated, parking.Void}).Draw(t, "status") {
	case parking.Completed:
		stay = completed(id, site, plate, exit, rapid.IntRange(0, maxSeconds).Draw(t, "seconds"))
		stay.Match = rapid.SampledFrom(matches(plate)).Draw(t, "match")
		stay.Disputed = stay.Match != nil && rapid.Bool().Draw(t, "disputed")
	case parking.Repeated:
		stay.Repeat = true
	case parking.Void:
		stay.Void = true
	}
	return stay
}

// matches are explanations of stays of a plate: of each method, with one and two other plates.
func matches(plate string) []*parking.Explanation {
	list := []*parking.Explanation{nil, nil, nil, {Method: parking.Exact}, {Method: parking.Corrected, EntryPlate: "p-0", ExitPlate: "P 1", Model: "m\n"}}
	for _, method := range parking.Methods()[1:] {
		list = append(list, &parking.Explanation{Method: method, EntryPlate: "P-0", ExitPlate: plate, Margin: 350, Differences: []parking.Difference{{Position: 2, Exit: "Ä"}}})
	}
	return list
}

// near returns a stay that begins with a read of another plate.
func near(id, site, plate, entryPlate string, exit time.Time, method parking.Method) parking.Stay {
	s := completed(id, site, plate, exit, 60)
	s.Match = &parking.Explanation{Method: method, EntryPlate: entryPlate, ExitPlate: plate, Weight: 900, Margin: 800}
	return s
}

func put(t rapid.TB, s *Store, stays ...parking.Stay) int {
	t.Helper()
	n, err := s.Upsert(context.Background(), stays)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Stays are stored in any order and any number of times. Lists, single stays and
// statistics are those of each stay's highest revision, even if a correction by hand
// changes the plate or the time.
func TestUpsertAgreesWithTheModel(t *testing.T) {
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
				stay := drawn(t, id, site, fmt.Sprint("P", rapid.IntRange(0, 2).Draw(t, "plate")), exit, 100_000)
				stay.Revision = int64(revision + 1)
				all = append(all, stay)
				best[id] = stay
			}
		}
		deliveries := rapid.Permutation(append(all, all...)).Draw(t, "deliveries")
		for chunk := range slices.Chunk(deliveries, rapid.IntRange(1, 20).Draw(t, "batch")) {
			if _, err := s.Upsert(context.Background(), chunk); err != nil {
				t.Fatal(err)
			}
		}

		var shown []parking.Stay
		for _, stay := range best {
			if one, err := s.Get(context.Background(), []string{site}, stay.ID); err != nil || !gocmp.Equal(one.Stay, stay) {
				t.Errorf("Get(%q) = %+v, %v; want %+v", stay.ID, one, err, stay)
			}
			if !stay.Void {
				shown = append(shown, stay)
			}
		}
		want := slices.SortedFunc(slices.Values(shown), newestFirst)
		page, err := s.List(context.Background(), Query{Sites: []string{site}, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		var got []parking.Stay
		for _, k := range page.Stays {
			got = append(got, k.Stay)
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("list (-want +got):\n%s", diff)
		}
		var seconds int64
		of := make(map[parking.Status]int64)
		for _, stay := range best {
			of[stay.Status()]++
			if d, ok := stay.Duration(); ok {
				seconds += int64(d / time.Second)
			}
		}
		stats, err := s.Stats(context.Background(), []string{site}, today.Add(-72*time.Hour), today.Add(48*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if completed := of[parking.Completed]; stats.Completed != completed || stats.UnmatchedExits != of[parking.UnmatchedExit] || stats.RepeatedExits != of[parking.Repeated] ||
			completed > 0 && *stats.AverageSeconds != float64(seconds)/float64(completed) {
			t.Errorf("stats %+v, want %v and %d s", stats.Counts, of, seconds)
		}
		if want := count(shown); stats.Methods != want.Methods || stats.Disputed != want.Disputed {
			t.Errorf("methods %+v, %d disputed, want %+v, %d", stats.Methods, stats.Disputed, want.Methods, want.Disputed)
		}
		for status := range letters {
			page, err := s.List(context.Background(), Query{Sites: []string{site}, Status: status, Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(page.Stays)) != of[status] {
				t.Errorf("%d stays are listed as %s, want %d", len(page.Stays), status, of[status])
			}
		}
		checkSets(t, s, site, slices.Collect(maps.Values(best)))
		for _, plate := range []string{"P0", "P1", "P2"} {
			var of []string
			for _, stay := range want {
				if hasPlate(stay, plate) {
					of = append(of, site+"/"+stay.ID)
				}
			}
			if got := list(t, s, Query{Sites: []string{site}, Plate: plate, Limit: 5}); !slices.Equal(got, of) {
				t.Errorf("of %s are listed %q, want %q", plate, got, of)
			}
		}
	})
}

func hasPlate(stay parking.Stay, plate string) bool {
	return stay.Plate == plate || slices.Contains(stay.OtherPlates(), plate)
}

// checkSets checks that a site's sets by plate and by mark have the places and positions of
// the stays, and nothing else.
func checkSets(t rapid.TB, s *Store, site string, stays []parking.Stay) {
	t.Helper()
	k, want := keysOf(site), make(map[string][]string)
	for _, stay := range stays {
		at := position(stay.ExitTime, stay.ID)
		for _, plate := range append(stay.OtherPlates(), stay.Plate) {
			want[k.plates()] = append(want[k.plates()], plate+"\n"+at)
		}
		if stay.Method() != "" && stay.Method() != parking.Exact {
			want[k.marked(string(stay.Method()))] = append(want[k.marked(string(stay.Method()))], at)
		}
		if stay.Disputed {
			want[k.marked("disputed")] = append(want[k.marked("disputed")], at)
		}
	}
	for _, key := range []string{k.plates(), k.marked("ocr"), k.marked("edit"), k.marked("two_edits"), k.marked("split"), k.marked("corrected"), k.marked("disputed"), k.marked("exact")} {
		got := s.redis.Current().ZRange(context.Background(), key, 0, -1).Val()
		slices.Sort(want[key])
		if !slices.Equal(got, want[key]) {
			t.Errorf("%s has %q, want %q", key, got, want[key])
		}
	}
}

func newestFirst(a, b parking.Stay) int {
	return cmp.Or(b.ExitTime.Compare(a.ExitTime), strings.Compare(b.ID, a.ID), strings.Compare(a.Site, b.Site))
}

// Lists by any filter in pages of any size, and statistics of any days, agree with the
// model if sites share ids, plates and exit times.
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
			stay := drawn(t, fmt.Sprint("x", n), site, fmt.Sprint("P", n%4), daysAgo(n/2), 400)
			stay.Revision = int64(i + 1)
			all = append(all, stay)
			best[site+"/"+stay.ID] = stay
		}
		put(t, s, rapid.Permutation(all).Draw(t, "deliveries")...)

		bound := rapid.SampledFrom([]time.Time{{}, daysAgo(3), daysAgo(2), daysAgo(2).Add(1), daysAgo(1).Truncate(day), daysAgo(0), daysAgo(-1)})
		for range 5 {
			q := Query{
				Sites:  rapid.SampledFrom([][]string{sitesOf(t, s), {}, {"a"}, {"b"}, {"nowhere"}, {"c", "a"}, {"a", "nowhere", "b"}}).Draw(t, "sites"),
				Plate:  rapid.SampledFrom([]string{"", "", "P0", "P1", "P9"}).Draw(t, "plate"),
				Status: rapid.SampledFrom([]parking.Status{"", "", parking.Completed, parking.UnmatchedExit, parking.Repeated, parking.Void}).Draw(t, "status"),
				Method: rapid.SampledFrom(append(parking.Methods(), "", "", "", "", "", "")).Draw(t, "method"), Disputed: rapid.SampledFrom([]*bool{nil, nil, new(true), new(false)}).Draw(t, "disputed"),
				From: bound.Draw(t, "from"), To: bound.Draw(t, "to"), Limit: rapid.IntRange(1, 20).Draw(t, "limit"),
			}
			want := []string{}
			var summed []parking.Stay
			for _, stay := range slices.SortedFunc(maps.Values(best), newestFirst) {
				if !slices.Contains(q.Sites, stay.Site) {
					continue
				}
				if (q.Plate == "" || hasPlate(stay, q.Plate)) && (q.Method == "" || stay.Method() == q.Method) && (q.Disputed == nil || stay.Method() != "" && stay.Disputed == *q.Disputed) && (q.Status == "" && !stay.Void || stay.Status() == q.Status) &&
					!stay.ExitTime.Before(q.From) && (q.To.IsZero() || stay.ExitTime.Before(q.To)) {
					want = append(want, stay.Site+"/"+stay.ID)
				}
				if d := stay.ExitTime.Truncate(day); !stay.Void && !d.Before(q.From.Truncate(day)) && (q.To.IsZero() || d.Before(q.To)) {
					summed = append(summed, stay)
				}
			}
			if diff := gocmp.Diff(want, list(t, s, q)); diff != "" {
				t.Errorf("list of %+v (-want +got):\n%s", q, diff)
			}
			got, err := s.Stats(context.Background(), q.Sites, q.From, q.To)
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

// A cluster refuses a call with keys on several shards.
func TestCluster(t *testing.T) {
	client, err := redis.Open(redis.URL(instancetest.RedisClusterOfOne(t).URL()))
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
		{Query{Sites: []string{"b"}}, "b/x2 b/x1"},
	} {
		tt.q.Limit = 2
		if got := strings.Join(list(t, s, tt.q), " "); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.q, got, tt.want)
		}
	}
	stats, err := s.Stats(t.Context(), sitesOf(t, s), time.Time{}, time.Time{})
	if err != nil || stats.Completed != 3 || stats.UnmatchedExits != 3 {
		t.Errorf("sums %+v, error %v", stats.Counts, err)
	}
	if k, err := s.Get(t.Context(), []string{"b"}, "x2"); err != nil || k.Plate != "P2" {
		t.Errorf("x2 is %+v, error %v", k, err)
	}
	_, err = s.Get(t.Context(), sitesOf(t, s), "x2")
	ambiguous, _ := errors.AsType[AmbiguousError](err)
	if want := []string{"a", "b", "c"}; !slices.Equal(ambiguous.Sites(), want) {
		t.Errorf("without a site x2 is at %v, want %v", ambiguous.Sites(), want)
	}
	if n, err := s.ErasePlate(t.Context(), "c", "P1"); err != nil || n != 1 {
		t.Errorf("erased %d, error %v", n, err)
	}
}

func TestStoreSites(t *testing.T) {
	node := instancetest.Redis(t)
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
	if _, err := s.Upsert(t.Context(), []parking.Stay{unmatched("z", "a", "P", today)}); err == nil {
		t.Error("Redis is gone, and stores")
	}
}
