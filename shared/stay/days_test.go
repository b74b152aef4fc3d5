package stay

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
)

// Stays are counted by the days of their site: of 23 and 25 hours, and in zones of half an
// hour. Sites of several zones are summed by the name of the day.
func TestDaysOfSites(t *testing.T) {
	s := newStore(t)
	zones := make(map[string]*time.Location)
	s.Zone = func(_ context.Context, site string) (*time.Location, error) { return zones[site], nil }
	sites := []string{"Europe/Berlin", "Asia/Kolkata", "UTC", "America/Santiago"}
	var stays []parking.Stay
	spring, autumn := time.Date(2027, 3, 28, 0, 0, 0, 0, time.UTC), time.Date(2027, 10, 31, 0, 0, 0, 0, time.UTC)
	s.Now = func() time.Time { return time.Date(2027, 11, 3, 12, 0, 0, 0, time.UTC) }
	s.retention = 400 * day
	for i, name := range sites {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		sites[i] = fmt.Sprint("site", i)
		zones[sites[i]] = zone
		for _, around := range []time.Time{spring, autumn} {
			for hour := -30; hour < 54; hour++ { // at half past, one an hour
				exit := around.Add(time.Duration(hour)*time.Hour + 30*time.Minute - 1)
				stays = append(stays, unmatched(fmt.Sprint(around.Month(), hour), sites[i], "P", exit))
			}
		}
	}
	put(t, s, stays...)
	perDay := func(asked []string, from, to time.Time) map[string]int64 {
		t.Helper()
		stats, err := s.Stats(t.Context(), asked, from, to)
		if err != nil {
			t.Fatal(err)
		}
		days := make(map[string]int64)
		for _, d := range stats.Days {
			days[d.Day] = d.UnmatchedExits
		}
		return days
	}
	for site, hours := range map[string]int64{"site0": 25, "site1": 24, "site2": 24, "site3": 24} {
		for date, want := range map[time.Time]int64{spring: 24 - (hours - 24), autumn: hours} {
			noon := date.Add(12 * time.Hour)
			got := perDay([]string{site}, noon, noon.Add(time.Nanosecond))
			if diff := cmp.Diff(map[string]int64{date.Format(time.DateOnly): want}, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", site, diff)
			}
		}
	}
	oracle := make(map[string]int64)
	for _, one := range stays {
		oracle[one.ExitTime.In(zones[one.Site]).Format(time.DateOnly)]++
	}
	if diff := cmp.Diff(oracle, perDay(sites, time.Time{}, time.Time{})); diff != "" {
		t.Errorf("all sites (-want +got):\n%s", diff)
	}
	// At one instant the sites have different days.
	at := time.Date(2027, 10, 31, 22, 30, 0, 0, time.UTC)
	want := make(map[string]int64)
	for _, one := range stays {
		zone := zones[one.Site]
		if date := one.ExitTime.In(zone).Format(time.DateOnly); date == at.In(zone).Format(time.DateOnly) {
			want[date]++
		}
	}
	if diff := cmp.Diff(want, perDay(sites, at, at.Add(1))); diff != "" || len(want) != 2 {
		t.Errorf("at one instant (-want +got):\n%s", diff)
	}
	one, err := s.Stats(t.Context(), []string{"site0"}, autumn, autumn.Add(time.Hour))
	if err != nil || one.Zone != "Europe/Berlin" || !one.From.Equal(autumn.Add(-2*time.Hour)) || one.To.Sub(one.From) != 25*time.Hour {
		t.Errorf("one day is %s to %s of %q, %v", one.From, one.To, one.Zone, err)
	}
	all, err := s.Stats(t.Context(), sites, autumn, autumn.Add(time.Hour))
	if err != nil || all.Zone != "" || !all.From.Equal(autumn.Add(-21*time.Hour)) || !all.To.Equal(autumn.Add(24*time.Hour)) {
		t.Errorf("the bounds of several are %s to %s of %q, %v", all.From, all.To, all.Zone, err)
	}
}

// Once a site's zone has changed, what was counted stays where it was, and a new revision
// of a stay moves.
func TestAZoneChanges(t *testing.T) {
	s := newStore(t)
	zone := time.UTC
	s.Zone = func(context.Context, string) (*time.Location, error) { return zone, nil }
	exit := today.Truncate(day).Add(23 * time.Hour)
	put(t, s, unmatched("x1", "a", "P", exit), unmatched("x2", "a", "P", exit))
	zone = time.FixedZone("east", 3600*2)
	again := unmatched("x2", "a", "P", exit)
	again.Revision = 2
	put(t, s, again)
	stats, err := s.Stats(t.Context(), []string{"a"}, time.Time{}, time.Time{})
	if err != nil || len(stats.Days) != 2 || stats.Days[0].UnmatchedExits != 1 || stats.Days[1].UnmatchedExits != 1 {
		t.Errorf("%+v, %v", stats.Days, err)
	}
}

// Without the zone of a site nothing is counted at a day that may be wrong.
func TestZonesThatAreUnavailable(t *testing.T) {
	s := newStore(t)
	unavailable := errors.New("unavailable")
	s.Zone = func(context.Context, string) (*time.Location, error) { return nil, unavailable }
	if n, err := s.Upsert(t.Context(), []parking.Stay{unmatched("x1", "a", "P", today)}); n != 0 || !errors.Is(err, unavailable) {
		t.Errorf("%d stored, %v", n, err)
	}
	if _, err := s.Stats(t.Context(), []string{"a"}, time.Time{}, time.Time{}); !errors.Is(err, unavailable) {
		t.Errorf("stats: %v", err)
	}
}
