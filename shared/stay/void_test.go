package stay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"parkstream/shared/parking"
)

// A stay whose exit became void is in no list but that of void ones and in no sum. An
// older revision does not bring it back, a newer one does. Erasing its plate erases it.
func TestVoidStays(t *testing.T) {
	s := newStore(t)
	stay, repeat := completed("x1", "a", "P1", today, 60), unmatched("x2", "a", "P1", today.Add(time.Second))
	repeat.Repeat = true
	void := unmatched("x1", "a", "P1", today)
	void.Void, void.Revision = true, 3
	again := stay
	again.Revision = 4
	for _, step := range []struct {
		name      string
		put       parking.Stay
		all, void string
		completed int64
	}{
		{"a repeat", repeat, "a/x2", "", 0},
		{"completed", stay, "a/x2 a/x1", "", 1},
		{"void", void, "a/x2", "a/x1", 0},
		{"completed, late", stay, "a/x2", "a/x1", 0},
		{"completed again", again, "a/x2 a/x1", "", 1},
	} {
		put(t, s, step.put)
		for status, want := range map[parking.Status]string{"": step.all, parking.Void: step.void, parking.Repeated: "a/x2", parking.UnmatchedExit: ""} {
			for _, plate := range []string{"", "P1"} {
				if got := strings.Join(list(t, s, Query{Status: status, Plate: plate, Limit: 1}), " "); got != want {
					t.Errorf("%s: of status %q and plate %q are listed %q, want %q", step.name, status, plate, got, want)
				}
			}
		}
		stats, err := s.Stats(t.Context(), []string{"a"}, today, today.Add(1))
		if err != nil || stats.Completed != step.completed || stats.UnmatchedExits != 0 || stats.RepeatedExits != 1 {
			t.Errorf("%s: sums %+v, %v", step.name, stats.Counts, err)
		}
	}
	void.Revision = 5
	put(t, s, void)
	if n, err := s.ErasePlate(t.Context(), "a", "P1"); err != nil || n != 2 {
		t.Errorf("%d erased, %v", n, err)
	}
	checkKept(t, s)
	if _, err := s.Get(t.Context(), []string{"a"}, "x1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after the erasure: %v", err)
	}
}

// A list of a plate reads its void stays many at a time, however short its pages are.
func TestManyVoidStaysOfAPlate(t *testing.T) {
	s := newStore(t)
	const n = 600
	stays := make([]parking.Stay, n)
	for i := range stays {
		stays[i] = unmatched(fmt.Sprint("x", i), "a", "P1", today.Add(time.Duration(i)*time.Second))
		stays[i].Void = i > 0
	}
	put(t, s, stays...)
	if err := s.redis.Current().ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if got := list(t, s, Query{Plate: "P1", Limit: 1}); !slices.Equal(got, []string{"a/x0"}) {
		t.Errorf("listed %q", got)
	}
	if reads := s.redis.Current().InfoMap(t.Context(), "commandstats").Item("Commandstats", "cmdstat_hmget"); !strings.HasPrefix(reads, "calls=3,") {
		t.Errorf("reads of stays: %s", reads)
	}
}
