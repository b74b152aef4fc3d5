package stay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"parkstream/shared/parking"
)

// sitesOf returns the sites with stays.
func sitesOf(t rapid.TB, s *Store) []string {
	t.Helper()
	sites, err := s.Sites(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return sites
}

// list follows the cursors with pages of a size and returns "site/id" of all stays. A
// query without sites is one of all of them.
func list(t rapid.TB, s *Store, q Query) []string {
	t.Helper()
	if q.Sites == nil {
		q.Sites = sitesOf(t, s)
	}
	ids := []string{}
	const most = 10_000 // bound of the stays in any test; with more the cursors form a cycle
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
		{Query{Sites: []string{}}, ""},
		{Query{Sites: []string{"b", "a"}}, "b/x4 a/x3 a/x2 a/x1 b/x1"},
		{Query{Sites: []string{"nowhere", "b"}}, "b/x4 b/x1"},
		{Query{Sites: []string{"c", "a"}, Plate: "P1", Status: parking.Completed}, "a/x3 a/x1"},
		{Query{Sites: []string{"a"}}, "a/x3 a/x2 a/x1"},
		{Query{Sites: []string{"nowhere"}}, ""},
		{Query{Plate: "P1"}, "b/x4 a/x3 a/x1 b/x1"},
		{Query{Plate: "P1", Sites: []string{"b"}}, "b/x4 b/x1"},
		{Query{Plate: "P1", Status: parking.UnmatchedExit}, "b/x4"},
		{Query{Plate: "P9"}, ""},
		{Query{Status: parking.Completed}, "a/x3 a/x1 b/x1"},
		{Query{Status: parking.UnmatchedExit, Sites: []string{"a"}}, "a/x2"},
		{Query{From: at(2)}, "b/x4 a/x3 a/x2"},
		{Query{To: at(2)}, "a/x1 b/x1"},
		{Query{From: at(2), To: at(4)}, "a/x3 a/x2"},
		{Query{From: at(2), To: at(2)}, ""},
		{Query{From: at(1), To: at(4), Plate: "P1", Sites: []string{"a"}, Status: parking.Completed}, "a/x3 a/x1"},
		// Instants outside of the range of int64 nanoseconds.
		{Query{Sites: []string{"a"}, To: year(9999)}, "a/x3 a/x2 a/x1"},
		{Query{Sites: []string{"a"}, From: year(1600), To: year(2500)}, "a/x3 a/x2 a/x1"},
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

// A list is followed while others are stored and while its own stays change their
// status. It has each of its first stays exactly once, even if all have one time.
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
		q.Sites = sitesOf(t, s)
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

// A cursor marks a place for the next page. It does not lose a filter.
func TestCursorWithAnotherFilter(t *testing.T) {
	s := newStore(t)
	put(t, s, unmatched("x1", "a", "P", daysAgo(3)), unmatched("x2", "a", "P", daysAgo(2)), unmatched("x3", "a", "P", daysAgo(1)), unmatched("x4", "a", "P", today))
	page, err := s.List(t.Context(), Query{Sites: []string{"a"}, Limit: 1})
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
		if _, err := s.List(t.Context(), Query{Sites: []string{"a"}, Limit: 1, Cursor: cursor}); !errors.Is(err, ErrCursor) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}
