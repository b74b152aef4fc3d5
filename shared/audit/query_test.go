package audit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"parkstream/shared/instance/instancetest"
	"parkstream/shared/redis"
)

// ids returns the ids of entries.
func ids(entries []Entry) []string {
	list := make([]string, len(entries))
	for i := range entries {
		list[i] = entries[i].ID
	}
	return list
}

// Pages, filters and the export select the same as a search through all entries, in the
// same order, and an entry that is added meanwhile changes nothing.
func TestPagesAndFilters(t *testing.T) {
	a := newAudit(t, instancetest.Redis(t), settings)
	now := time.Now().Truncate(time.Second)
	var everything []Entry
	p := a.client.Pipeline()
	for i := range 700 { // one of each action in a millisecond
		action := Actions()[i%len(Actions())]
		at := now.Add(time.Duration(i/len(Actions()))*time.Millisecond - time.Hour)
		e := Entry{At: at.UTC(), Who: fmt.Sprint("user-", i%4), Action: action, Site: []string{"", "north", "south"}[i%5%3]}
		e.ID = fmt.Sprintf("%d-0.%s", at.UnixMilli(), action)
		p.Do(t.Context(), "XADD", redis.Audit+string(action), fmt.Sprintf("%d-0", at.UnixMilli()), "who", e.Who, "site", e.Site)
		everything = append(everything, e)
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(everything, func(a, b Entry) int {
		x, err1 := parseID(a.ID)
		y, err2 := parseID(b.ID)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if x.before(y) {
			return -1
		}
		return 1
	})
	instants := []time.Time{{}, now.Add(-time.Hour), now.Add(-time.Hour + 20*time.Millisecond), now.Add(-time.Hour + 60*time.Millisecond + 1), now.Add(-time.Hour + time.Second)}
	rapid.Check(t, func(t *rapid.T) {
		q := Query{
			From: rapid.SampledFrom(instants).Draw(t, "from"), To: rapid.SampledFrom(instants).Draw(t, "to"),
			Who:    rapid.SampledFrom([]string{"", "user-1", "unknown\n"}).Draw(t, "who"),
			Action: rapid.SampledFrom(append(Actions(), "", "", "")).Draw(t, "action"),
			Sites:  rapid.SampledFrom([][]string{nil, {}, {"north"}, {"north", "south"}, {""}}).Draw(t, "sites"),
			Limit:  rapid.SampledFrom([]int{30, 100, 250, 1000}).Draw(t, "limit"),
		}
		var want []Entry
		for _, e := range everything {
			if (q.From.IsZero() || !e.At.Before(q.From)) && (q.To.IsZero() || e.At.Before(q.To)) && (q.Who == "" || e.Who == q.Who) &&
				(q.Action == "" || e.Action == q.Action) && (q.Sites == nil || slices.Contains(q.Sites, e.Site)) {
				want = append(want, e)
			}
		}
		var got []Entry
		for page := 0; ; page++ {
			found, err := a.List(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, found.Entries...)
			if found.Next == "" {
				break
			}
			if len(found.Entries) != q.Limit || page > len(everything) {
				t.Fatalf("page %d has %d entries, and a next one", page, len(found.Entries))
			}
			q.Cursor = found.Next
		}
		if !slices.Equal(ids(got), ids(want)) {
			t.Fatalf("%d entries in pages, want %d", len(got), len(want))
		}
		q.Cursor = ""
		n := rapid.IntRange(1, 600).Draw(t, "rows")
		last, err := a.CursorAfter(t.Context(), q, n)
		if err != nil || (last == "") != (len(want) <= n) || last != "" && last != want[n-1].ID {
			t.Fatalf("the cursor after %d of %d is %q, error %v", n, len(want), last, err)
		}
		q.Last = last
		var exported []string
		if err := a.Export(t.Context(), q, func(some []Entry) error {
			exported = append(exported, ids(some)...)
			return nil
		}); err != nil || !slices.Equal(exported, ids(want[:min(n, len(want))])) {
			t.Fatalf("%d entries are exported, error %v", len(exported), err)
		}
	})
}

// A page reads a bounded number of entries. A rare selection is found by following its
// cursors.
func TestARareSelection(t *testing.T) {
	a := newAudit(t, instancetest.Redis(t), settings)
	p := a.client.Pipeline()
	for i := range maxScanned + 10 {
		who := "often"
		if i == 0 {
			who = "once"
		}
		p.Do(t.Context(), "XADD", redis.Audit+"search", fmt.Sprintf("%d-%d", time.Now().Add(-time.Hour).UnixMilli(), i), "who", who)
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	q := Query{Who: "once", Limit: 10}
	for _, want := range []int{0, 1} {
		page, err := a.List(t.Context(), q)
		if err != nil || len(page.Entries) != want || (page.Next == "") != (want == 1) {
			t.Fatalf("%d entries, next %q, error %v; want %d", len(page.Entries), page.Next, err, want)
		}
		q.Cursor = page.Next
	}
}

// An entry that is added while a list is followed does not appear in it twice, and moves
// no other.
func TestEntriesDuringAList(t *testing.T) {
	a := newAudit(t, instancetest.Redis(t), settings)
	for i := range 10 {
		a.must(t, Entry{Who: fmt.Sprint(i), Action: Actions()[i%2]})
	}
	want := ids(a.all(t, Query{}))
	var got []string
	for q := (Query{Limit: 1}); ; {
		page, err := a.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ids(page.Entries)...)
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
		a.must(t, Entry{Who: "later", Action: Logout}, Entry{Who: "later", Action: Login})
	}
	if !slices.Equal(got, want) {
		t.Errorf("the list has %q, want %q", got, want)
	}
}

func TestCursors(t *testing.T) {
	a := newAudit(t, instancetest.Redis(t), settings)
	for _, cursor := range []string{
		"x", "1", "1-1", "1-1.", "1-1.none", ".login", "-.login", "1-.login", "-1-1.login", "+1-1.login", "01-1.login", "1-1.login.login", "1-1.login\n", " 1-1.login",
		"1-1-1.login", "9223372036854775808-1.login", "1-18446744073709551616.login", "1_0-1.login", "1-1.minute", strings.Repeat("9", 5000),
	} {
		if _, err := a.List(t.Context(), Query{Cursor: cursor, Limit: 1}); !errors.Is(err, ErrCursor) {
			t.Errorf("cursor %.40q: error %v", cursor, err)
		}
	}
	for _, cursor := range []string{"0-0.login", "0-1.logout", fmt.Sprintf("%d-%d.erase", math.MaxInt64, uint64(math.MaxUint64))} {
		if _, err := a.List(t.Context(), Query{Cursor: cursor, Limit: 1, To: time.Now()}); err != nil {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
	for _, at := range []time.Time{time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), time.Unix(0, 0), time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if _, err := a.List(t.Context(), Query{From: at, To: at, Limit: 1}); err != nil {
			t.Errorf("from and to %s: %v", at, err)
		}
	}
}

// A Redis that does not answer is an error, in every read.
func TestReadsOfALostRedis(t *testing.T) {
	r := instancetest.Redis(t)
	a := newAudit(t, r, settings)
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // go-redis tries it again
	defer cancel()
	_, err1 := a.List(ctx, Query{Limit: 1})
	_, err2 := a.CursorAfter(ctx, Query{}, 1)
	err3 := a.Export(ctx, Query{}, func([]Entry) error { return nil })
	if err1 == nil || err2 == nil || err3 == nil {
		t.Errorf("errors %v, %v, %v", err1, err2, err3)
	}
}

// Entries of other sites do not show in whether there is a next page.
func TestNextPageOfSites(t *testing.T) {
	a := newAudit(t, instancetest.Redis(t), settings)
	for _, site := range []string{"south", "north", "south"} { // the oldest first
		if err := a.Add(t.Context(), Entry{Who: "ada", Action: Erase, Site: site, Outcome: Done}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := a.List(t.Context(), Query{Sites: []string{"north"}, Limit: 1})
	if err != nil || len(page.Entries) != 1 || page.Next != "" {
		t.Errorf("the only entry of north: %+v %v", page, err)
	}
	if page, err = a.List(t.Context(), Query{Limit: 2}); err != nil || len(page.Entries) != 2 || page.Next != page.Entries[1].ID {
		t.Errorf("two of all entries: %+v %v", page, err)
	}
}
