package timeline

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
)

func TestToday(t *testing.T) {
	s, _ := newStore(t)
	midnight := start.Truncate(24 * time.Hour)
	s.now = func() time.Time { return midnight.Add(time.Hour) }
	seconds := func(d time.Duration) int { return int(midnight.Add(d).Sub(start).Seconds()) }
	s.Record(t.Context(), []parking.Event{
		entry("yesterday-e", seconds(-2*time.Second)), exit("yesterday-x", seconds(-time.Second)),
		entry("e1", seconds(0)), exit("x1", seconds(time.Second)), entry("e2", seconds(time.Minute)),
	})
	site, err := s.Site(t.Context(), "default")
	if err != nil || site.EntriesToday != 2 || site.ExitsToday != 1 {
		t.Errorf("today %d entries, %d exits, error %v; want 2 and 1", site.EntriesToday, site.ExitsToday, err)
	}
	// Events of another call are added to the day and to the minute.
	s.Record(t.Context(), []parking.Event{entry("e3", seconds(time.Minute+time.Second)), exit("x3", seconds(time.Minute+2*time.Second))})
	site, err = s.Site(t.Context(), "default")
	if err != nil || site.EntriesToday != 3 || site.ExitsToday != 2 {
		t.Errorf("today %d entries, %d exits, error %v; want 3 and 2", site.EntriesToday, site.ExitsToday, err)
	}
	got, err := s.Minutes(t.Context(), []string{"default"}, midnight, midnight.Add(2*time.Minute), time.Minute)
	want := []Minute{{Start: midnight, Entries: 1, Exits: 1}, {Start: midnight.Add(time.Minute), Entries: 2, Exits: 1}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, minutes, -want +got:\n%s", err, diff)
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
	// The count includes this exit: the vehicle left before the count, and the event is
	// late.
	s.Record(t.Context(), []parking.Event{exit("late", -5)})
	occupancy(0)
	s.Record(t.Context(), []parking.Event{entry("missed", -4)})
	occupancy(0)
	// The vehicle with the missed exit returns and leaves, and one more leaves.
	s.Record(t.Context(), []parking.Event{entry("back", 1), entry("back", 1)})
	occupancy(1)
	s.Record(t.Context(), []parking.Event{exit("x", 2)})
	occupancy(0)
	s.Record(t.Context(), []parking.Event{exit("y", 3)})
	occupancy(-1) // shown, not hidden
	// Expired events stay counted.
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
	got, err := s.Minutes(t.Context(), []string{"default"}, start.Add(30*time.Second), start.Add(3*time.Minute), time.Minute)
	want := []Minute{{start, 2, 0}, {start.Add(time.Minute), 0, 1}, {start.Add(2 * time.Minute), 0, 0}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, -want +got:\n%s", err, diff)
	}
}
