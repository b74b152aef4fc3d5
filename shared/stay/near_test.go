package stay

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/redis/redistest"
)

// A near stay is found by both plates and by how it was matched, through its revisions.
func TestNearStays(t *testing.T) {
	s := newStore(t)
	yes, no := new(true), new(false)
	exact := completed("x2", "a", "KA02", today.Add(-time.Hour), 60)
	disputed := exact
	disputed.Revision, disputed.Disputed, disputed.Match = 2, true, &parking.Explanation{Method: parking.Exact, Alternatives: []parking.Alternative{{EntryID: "e", ExitID: "x1", Weight: 120}}}
	split := near("x2", "a", "KA02", "KA 03", exact.ExitTime, parking.Split)
	split.Revision = 3
	again := exact
	again.Revision = 4
	nearFirst, other := near("x1", "a", "KA01", "ka-0i", today, parking.OCR), near("x1", "a", "KA01", "KA07", today, parking.TwoEdits)
	nearFirst.Revision, other.Revision = 2, 3
	for _, step := range []struct {
		put  parking.Stay
		want map[string]string // of the ids by name of the query
	}{
		{unmatched("x1", "a", "KA01", today), map[string]string{"KA01": "x1"}},
		{nearFirst, map[string]string{"KA01": "x1", "KA0I": "x1", "ocr": "x1", "undisputed": "x1"}},
		{exact, map[string]string{"KA01": "x1", "KA0I": "x1", "ocr": "x1", "undisputed": "x1 x2", "KA02": "x2", "exact": "x2"}},
		{other, map[string]string{"KA01": "x1", "KA07": "x1", "two_edits": "x1", "undisputed": "x1 x2", "KA02": "x2", "exact": "x2"}},
		{disputed, map[string]string{"KA01": "x1", "KA07": "x1", "two_edits": "x1", "undisputed": "x1", "KA02": "x2", "exact": "x2", "disputed": "x2"}},
		{split, map[string]string{"KA01": "x1", "KA07": "x1", "two_edits": "x1", "undisputed": "x1 x2", "KA02": "x2", "KA03": "x2", "split": "x2"}},
		{disputed, map[string]string{"KA01": "x1", "KA07": "x1", "two_edits": "x1", "undisputed": "x1 x2", "KA02": "x2", "KA03": "x2", "split": "x2"}},
		{again, map[string]string{"KA01": "x1", "KA07": "x1", "two_edits": "x1", "undisputed": "x1 x2", "KA02": "x2", "exact": "x2"}},
	} {
		put(t, s, step.put)
		for name, q := range map[string]Query{
			"KA01": {Plate: "KA01"}, "KA0I": {Plate: "KA0I"}, "KA07": {Plate: "KA07"}, "KA02": {Plate: "KA02"}, "KA03": {Plate: "KA03"},
			"exact": {Method: parking.Exact}, "ocr": {Method: parking.OCR}, "two_edits": {Method: parking.TwoEdits}, "split": {Method: parking.Split},
			"disputed": {Disputed: yes}, "undisputed": {Disputed: no},
		} {
			q.Limit = 1
			if got := strings.ReplaceAll(strings.Join(list(t, s, q), " "), "a/", ""); got != step.want[name] {
				t.Errorf("revision %d of %s, %s: listed %q, want %q", step.put.Revision, step.put.ID, name, got, step.want[name])
			}
		}
	}
	if got := list(t, s, Query{Disputed: yes, Status: parking.UnmatchedExit, Limit: 1}); len(got) > 0 {
		t.Errorf("disputed without an entry are %q", got)
	}
	s.Now = func() time.Time { return today.Add(retention + time.Minute) }
	put(t, s, completed("new", "a", "KA02", s.Now(), 60))
	checkSets(t, s, "a", []parking.Stay{completed("new", "a", "KA02", s.Now(), 60)})
}

// A list that skips stays of its index reads many at a time, however short its pages are; one
// of a mark skips none and reads what it shows.
func TestReadsOfAFilteredList(t *testing.T) {
	s := newStore(t)
	stays := make([]parking.Stay, 600)
	for i := range stays {
		stays[i] = near(fmt.Sprint("x", i), "a", "KA01", "KA02", today.Add(time.Duration(i)*time.Second), parking.Edit)
	}
	stays[0].Match, stays[1].Disputed = nil, true
	put(t, s, stays...)
	for want, q := range map[string]Query{
		"a/x0 in 3": {Method: parking.Exact}, "a/x1 in 1": {Disputed: new(true)}, "a/x1 in 1 more": {Disputed: new(true), Method: parking.Edit}, " in 0": {Method: parking.Split},
	} {
		if err := s.redis.Current().ConfigResetStat(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		q.Limit = 1
		got := strings.Join(list(t, s, q), " ")
		calls, _, _ := strings.Cut(strings.TrimPrefix(s.redis.Current().InfoMap(t.Context(), "commandstats").Item("Commandstats", "cmdstat_hmget"), "calls="), ",")
		if got += " in " + cmp.Or(calls, "0"); got != strings.TrimSuffix(want, " more") {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
}

// A stay whose pair a person rejected is disputed and has nothing else to tell.
func TestDisputedStaysWithoutAMatch(t *testing.T) {
	s := newStore(t)
	rejected := completed("x1", "a", "KA01", today, 60)
	rejected.Disputed = true
	put(t, s, rejected)
	if got := list(t, s, Query{Disputed: new(true), Limit: 1}); len(got) != 1 {
		t.Errorf("listed %q", got)
	}
	if k, err := s.Get(t.Context(), []string{"a"}, "x1"); err != nil || !k.Disputed || k.Method() != parking.Exact {
		t.Errorf("%+v, %v", k, err)
	}
}

// An erasure of either plate leaves nothing of a near stay, and a vehicle that it is not of.
func TestErasureOfNearStays(t *testing.T) {
	for _, plate := range []string{"KA01", "KA0I", "DL8"} {
		s := newStore(t)
		corrected := near("x2", "a", "DL8", "KA0I", today, parking.Corrected)
		corrected.Match.ExitPlate, corrected.Disputed = "KA01", true
		rest := near("x3", "a", "KA02", "KA03", today, parking.Edit)
		put(t, s, near("x1", "a", "KA01", "KA-0I", today, parking.OCR), corrected, rest, near("x1", "b", "KA01", "KA-0I", today, parking.OCR))
		want := int64(2)
		if plate == "DL8" {
			want = 1
		}
		if n, err := s.ErasePlate(t.Context(), "a", plate); n != want || err != nil {
			t.Errorf("%s: erased %d, %v, want %d", plate, n, err, want)
		}
		if plate == "DL8" {
			_, _ = s.ErasePlate(t.Context(), "a", "KA0I")
		}
		checkSets(t, s, "a", []parking.Stay{rest})
		for key, content := range redistest.Contents(t, s.redis.Current()) {
			for _, gone := range []string{"KA01", "KA0I", "KA-0I", "DL8"} {
				if text := strings.ToUpper(fmt.Sprint(content)); strings.HasPrefix(key, "stay:{a}") && strings.Contains(text, gone) {
					t.Errorf("%s: %s still has %s", plate, key, text)
				}
			}
		}
	}
}
