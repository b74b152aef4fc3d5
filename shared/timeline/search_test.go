package timeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
)

// zranges returns how often Redis read a part of a sorted set.
func zranges(t *testing.T, client goredis.UniversalClient) (calls int) {
	t.Helper()
	text := client.InfoMap(t.Context(), "commandstats").Item("Commandstats", "cmdstat_zrange")
	if _, err := fmt.Sscanf(text, "calls=%d", &calls); err != nil && text != "" {
		t.Fatal(text, err)
	}
	return calls
}

// Lone exits are listed by pages, the newest first, each once, also if very many are of one
// instant. The one with which a page begins need not be there any more.
func TestLoneExits(t *testing.T) {
	s, client := newStore(t)
	const n, most = 3000, 140
	var members []goredis.Z
	var want []string
	for i := range n {
		at := start
		if i > 2500 {
			at = at.Add(time.Duration(i) * 300 * time.Nanosecond) // some within one millisecond
		}
		exit := exitMember(fmt.Sprintf("x%04d", i), at) + "\nKA01"
		want = append(want, exit)
		members = append(members, goredis.Z{Score: float64(at.UnixMilli()), Member: exit},
			goredis.Z{Score: -float64(at.UnixMilli()), Member: entryMember(fmt.Sprint("e", i), at) + "\nKA01"})
	}
	client.ZAdd(t.Context(), defaultKeys.lone(), members...)
	slices.Reverse(want)
	before := Place{Time: start.Add(time.Minute)}
	var got []string
	for pages := 0; len(got) < n; pages++ {
		asked := zranges(t, client)
		page, err := s.LoneExits(t.Context(), "default", before, most)
		if err != nil || len(page) == 0 || len(page) > most || pages > n/most {
			t.Fatalf("page %d has %d exits, %v", pages, len(page), err)
		}
		if asked = zranges(t, client) - asked; asked > 16 {
			t.Fatalf("page %d took %d reads of the set", pages, asked)
		}
		for _, x := range page {
			got = append(got, exitMember(x.ID, x.Time)+"\n"+x.Plate)
			before = Place{ID: x.ID, Time: x.Time}
		}
		client.ZRem(t.Context(), defaultKeys.lone(), got[len(got)-1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d exits, page by page, are not the newest first", len(got))
	}
	for name, tt := range map[string]struct {
		at     time.Time
		before Place
	}{"the first": {start, Place{Time: start}}, "what expired": {start.Add(retention + time.Second), Place{Time: start.Add(time.Minute)}}} {
		s.now = func() time.Time { return tt.at }
		if page, err := s.LoneExits(t.Context(), "default", tt.before, most); err != nil || len(page) > 0 {
			t.Errorf("%s: %v, %v", name, page, err)
		}
	}
}

// A page of the reads without a plate costs no more if very many are of one instant.
func TestNoPlatesOfOneInstant(t *testing.T) {
	s, client := newStore(t)
	const n = 2000
	var events []parking.Event
	for i := range n {
		events = append(events, of(entry(fmt.Sprintf("e%04d", i), 0), 1, noPlates))
	}
	s.Record(t.Context(), events)
	var got []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		asked := zranges(t, client)
		page, next, err := s.NoPlates(t.Context(), "default", 99, cursor)
		if err != nil {
			t.Fatal(err)
		}
		if asked = zranges(t, client) - asked; asked > 16 {
			t.Fatalf("page %d took %d reads of the set", pages, asked)
		}
		for _, e := range page {
			got = append(got, e.ID)
		}
		cursor = next
	}
	if slices.Reverse(got); len(got) != n || !slices.IsSorted(got) || strings.Join(got[:1], "") != "e0000" {
		t.Errorf("%d events", len(got))
	}
}
