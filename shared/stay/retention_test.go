package stay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
)

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
		if k, err := s.Get(t.Context(), []string{"a"}, id); !errors.Is(err, ErrNotFound) {
			t.Errorf("after the retention: %+v, %v", k, err)
		}
	}
	put(t, s, completed("x2", "a", "P2", s.Now(), 60))
	checkKept(t, s, "x2 of P2")
}

// checkKept compares the stays of site a in all keys of Redis.
func checkKept(t *testing.T, s *Store, want ...string) {
	t.Helper()
	var stays, plates []string
	for id, value := range s.redis.Current().HGetAll(t.Context(), "stay:{a}:s").Val() {
		k, err := parseValue("a", id, value)
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
	positions := int64(0)
	for _, letter := range letters {
		positions += s.redis.Current().ZCard(t.Context(), "stay:{a}:x:"+letter).Val()
	}
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

// Redis deletes an expired stay at once. Otherwise each Upsert would count it again.
func TestUpsertIgnoresWhatIsExpired(t *testing.T) {
	s := newStore(t)
	stay := completed("old", "a", "P1", s.Now().Add(-retention-time.Second), 60)
	for range 2 {
		if n := put(t, s, stay, unmatched("new", "a", "P1", today)); n > 1 {
			t.Errorf("%d stored, want at most the new one", n)
		}
	}
	stats, err := s.Stats(t.Context(), []string{"a"}, stay.ExitTime, time.Time{})
	if err != nil || stats.Completed != 0 || stats.UnmatchedExits != 1 {
		t.Errorf("%+v, %v; want the new one alone", stats.Counts, err)
	}
}

// An id may be used again after its stay has expired. At a silent site the old stay
// still exists. It is not mistaken for the new one, and it is removed.
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
		stats, err := s.Stats(t.Context(), []string{"a"}, day, day.Add(time.Nanosecond))
		if err != nil || stats.Completed != want.Completed || stats.UnmatchedExits != want.UnmatchedExits {
			t.Errorf("sums of %s: %+v, %v; want %+v", day, stats.Counts, err, want)
		}
	}
}

// Lua compares text by the locale of Redis.
func TestAnIDIsUsedAgainInAnyLocale(t *testing.T) {
	instancetest.Danish(t)
	s := newStore(t)
	if before, err := s.redis.Current().Eval(t.Context(), "return tostring('aa' < 'ab')", nil).Text(); err != nil || before != "false" {
		t.Fatalf("'aa' < 'ab' is %s, error %v: Redis is not Danish", before, err)
	}
	at := func(end int64) time.Time { return time.Unix(0, today.UnixNano()&^0x1ffffffff|end).UTC() }
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

// Each stored stay removes stays older than the retention.
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

// One call removes more expired stays than it adds. Otherwise expired ones would
// accumulate.
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
