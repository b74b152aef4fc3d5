package stay

import (
	_ "embed"
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/redis/redistest"
)

// layout.go and layout.lua have the same keys and cut positions at the same places.
func TestScriptsKnowTheLayout(t *testing.T) {
	s := newStore(t)
	script := newScript(`
		return table.concat({key.stays, key.plates, key.status .. 'c', key.status .. 'u', key.day .. '20780', idOf(ARGV[1]), unpack(statuses)}, ' ')`)
	k := keysOf("a")
	call := redis.Call{Script: script, Keys: []string{string(k)}, Args: []any{position(today, "the-id")}}
	s.redis.Run(t.Context(), &call)
	want := strings.Join([]string{
		k.stays(), k.plates(), k.status(parking.Completed), k.status(parking.UnmatchedExit), k.day(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)), "the-id",
		letters[parking.Completed], letters[parking.UnmatchedExit], letters[parking.Repeated], letters[parking.Void],
	}, " ")
	if got, err := call.Text(); got != want || err != nil {
		t.Errorf("script %q, error %v; Go %q", got, err, want)
	}
}

// The marks are the methods but the exact one, and disputed.
func TestScriptsKnowTheMethods(t *testing.T) {
	s := newStore(t)
	call := redis.Call{Script: newScript(`return table.concat(marks, ' ')`), Keys: []string{string(keysOf("a"))}}
	s.redis.Run(t.Context(), &call)
	var want []string
	for _, method := range parking.Methods() {
		if method != parking.Exact {
			want = append(want, string(method))
		}
	}
	if got, err := call.Text(); got != strings.Join(append(want, disputed), " ") || err != nil {
		t.Errorf("script %q, error %v; Go %q", got, err, want)
	}
}

// This is the example at the top of upsert.lua.
func TestTheExampleOfTheScript(t *testing.T) {
	s := newStore(t)
	client := s.redis.Current()
	day := time.Date(2100, 11, 23, 0, 0, 0, 0, time.UTC)
	s.Now = func() time.Time { return day.Add(10 * time.Hour) }
	first := unmatched("x1", "a", "KA01", day.Add(9*time.Hour+45*time.Minute))
	then := completed("x1", "a", "KA01", first.ExitTime, 5400)
	then.Revision = 2
	if n := put(t, s, first) + put(t, s, then); n != 2 {
		t.Errorf("%d stored, want 2", n)
	}
	k, x1 := keysOf("a"), position(first.ExitTime, "x1")
	if text, _, _ := strings.Cut(upsertSource, "local "); !strings.Contains(text, x1) {
		t.Errorf("the example has no position %s", x1)
	}
	if got := client.HGet(t.Context(), k.stays(), "x1").Val(); !strings.HasPrefix(got, "2 5400 47808 c 220\nKA01\n") {
		t.Errorf("value %q", got)
	}
	for key, want := range map[string]string{k.plates(): "KA01\n" + x1, k.status(parking.Completed): x1, k.status(parking.UnmatchedExit): ""} {
		if got := strings.Join(client.ZRange(t.Context(), key, 0, -1).Val(), " "); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	want := map[string]string{"c": "1", "u": "0", "seconds": "5400", "b220": "1"}
	if diff := gocmp.Diff(want, client.HGetAll(t.Context(), k.day(day)).Val()); diff != "" {
		t.Errorf("counts, -want +got:\n%s", diff)
	}
}

// before has the commands that store staysBefore as version 0.1.0 did.
//
//go:embed testdata/v0.1.0.txt
var before string

var noonBefore = time.Date(2100, 11, 23, 12, 0, 0, 0, time.UTC)

// staysBefore are six stays of two plates, a minute apart; x0 and x3 have no entry.
func staysBefore() []parking.Stay {
	stays := make([]parking.Stay, 6)
	for i := range stays {
		exit := noonBefore.Add(time.Duration(i-10)*time.Minute - time.Nanosecond)
		stays[i] = unmatched(fmt.Sprint("x", i), "north", fmt.Sprint("KA0", i%2), exit)
		if i%3 > 0 {
			stays[i].EntryID, stays[i].EntryTime = fmt.Sprint("e", i), exit.Add(-time.Duration(i)*time.Hour)
		}
	}
	stays[4].Revision = 3
	return stays
}

// The previous version's data is stored in the same form and stays usable: during an
// upgrade in place both versions write.
func TestDataOfTheVersionBefore(t *testing.T) {
	s := newStore(t)
	client := s.redis.Current()
	s.Now = func() time.Time { return noonBefore }
	stays := staysBefore()
	for _, stay := range stays {
		put(t, s, stay)
	}
	now := redistest.Contents(t, client)
	client.FlushAll(t.Context())
	redistest.Load(t, client, before)
	if diff := gocmp.Diff(redistest.Contents(t, client), now); diff != "" {
		t.Fatalf("stored, -before +now:\n%s", diff)
	}

	if n := put(t, s, stays...); n != 0 {
		t.Errorf("%d stored again, want 0", n)
	}
	for i, want := range stays {
		if k, err := s.Get(t.Context(), sitesOf(t, s), want.ID); err != nil || !gocmp.Equal(k.Stay, want) || !k.UpdatedAt.Equal(noonBefore) {
			t.Errorf("stay %d: %+v, error %v; want %+v", i, k, err, want)
		}
	}
	// A new stay falls between the previous ones, and one of those gets an entry.
	between := completed("new", "north", "KA01", stays[2].ExitTime.Add(time.Second), 60)
	stays[3].EntryID, stays[3].EntryTime, stays[3].Revision = "e3", stays[3].ExitTime.Add(-time.Minute), 2
	if n := put(t, s, between, stays[3]); n != 2 {
		t.Errorf("%d stored, want 2", n)
	}
	for _, tt := range []struct {
		q    Query
		want string
	}{
		{Query{}, "x5 x4 x3 new x2 x1 x0"},
		{Query{Plate: "KA01"}, "x5 x3 new x1"},
		{Query{Status: parking.Completed}, "x5 x4 x3 new x2 x1"},
		{Query{Status: parking.UnmatchedExit}, "x0"},
		{Query{From: stays[1].ExitTime, To: stays[4].ExitTime}, "x3 new x2 x1"},
	} {
		tt.q.Limit = 2 // cursors point to stays of both versions
		got := strings.ReplaceAll(strings.Join(list(t, s, tt.q), " "), "north/", "")
		if got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.q, got, tt.want)
		}
	}
	stats, err := s.Stats(t.Context(), []string{"north"}, noonBefore, noonBefore)
	if err != nil || stats.Completed != 6 || stats.UnmatchedExits != 1 {
		t.Errorf("sums %+v, error %v", stats.Counts, err)
	}
	if n, err := s.ErasePlate(t.Context(), "north", "KA01"); err != nil || n != 4 {
		t.Errorf("%d erased, error %v; want 4", n, err)
	}
}
