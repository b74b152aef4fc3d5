package timeline

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
	_ "time/tzdata"

	"parkstream/shared/parking"
)

// Today is the day of the site at any instant: in zones far from UTC and of half an hour,
// when a day has 23 or 25 hours, and when it does not begin at midnight. Sites of several
// zones are read together.
func TestTodayOfSites(t *testing.T) {
	const each = 240 // events of a site in five days
	s, _ := newStore(t)
	s.retention = 1000 * 24 * time.Hour
	first := time.Date(2027, 3, 26, 0, 7, 0, 0, time.UTC)
	s.now = func() time.Time { return first.Add(10 * 24 * time.Hour) }
	names := []string{"UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Kiritimati", "Etc/GMT+12", "America/New_York", "Asia/Beirut"}
	zones := make(map[string]*time.Location)
	var sites []string
	var events []parking.Event
	var dates []string // of the events
	for i, name := range names {
		site := fmt.Sprint("s", i)
		sites = append(sites, site)
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		zones[site] = zone
		for n := range each { // every half an hour, more entries than exits
			e := at(site, fmt.Sprint(site, n))
			e.Time = first.Add(time.Duration(n) * 30 * time.Minute)
			if n%3 == 2 {
				e.Kind = parking.Exit
			}
			events, dates = append(events, e), append(dates, e.Time.In(zone).Format(time.DateOnly))
		}
	}
	for _, r := range s.Record(t.Context(), events) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	s.Settings = func(_ context.Context, site string) (Settings, error) { return Settings{Zone: zones[site]}, nil }
	for n := range 48 {
		now := first.Add(time.Duration(n)*150*time.Minute + 11*time.Minute)
		s.now = func() time.Time { return now }
		states, err := s.States(t.Context(), sites)
		if err != nil {
			t.Fatal(err)
		}
		for i, state := range states {
			date, entries, exits := now.In(zones[sites[i]]).Format(time.DateOnly), int64(0), int64(0)
			for k := i * each; k < (i+1)*each; k++ {
				switch {
				case dates[k] != date:
				case events[k].Kind == parking.Entry:
					entries++
				default:
					exits++
				}
			}
			if state.EntriesToday != entries || state.ExitsToday != exits || state.Zone != names[i] {
				t.Errorf("%s in %s: %d entries and %d exits today, want %d and %d", now, state.Zone, state.EntriesToday, state.ExitsToday, entries, exits)
			}
		}
	}
}

// A site of a known capacity has free places, and one of a longest stay has vehicles that
// are overdue. Others have neither.
func TestCapacityAndLongestStay(t *testing.T) {
	s, _ := newStore(t)
	s.now = func() time.Time { return start.Add(2 * time.Hour) }
	var events []parking.Event
	for i := range 5 {
		e := entry(fmt.Sprint("e", i), i*1800)
		e.Plate = fmt.Sprint("P", i)
		events = append(events, e)
	}
	s.Record(t.Context(), events)
	settings := Settings{}
	s.Settings = func(context.Context, string) (Settings, error) { return settings, nil }
	for _, tt := range []struct {
		settings      Settings
		free, overdue string
	}{
		{Settings{}, "<nil>", "<nil>"},
		{Settings{Capacity: 7}, "2", "<nil>"},
		{Settings{Capacity: 5}, "0", "<nil>"},
		{Settings{Capacity: 3}, "0", "<nil>"}, // more are inside than there are places
		{Settings{LongestStay: time.Hour}, "<nil>", "2"},
		{Settings{LongestStay: time.Hour - time.Millisecond}, "<nil>", "3"},
		{Settings{Capacity: 6, LongestStay: 3 * time.Hour}, "1", "0"},
	} {
		settings = tt.settings
		site, err := s.Site(t.Context(), "default")
		if err != nil {
			t.Fatal(err)
		}
		text := func(n *int64) string {
			if n == nil {
				return "<nil>"
			}
			return fmt.Sprint(*n)
		}
		if free, overdue := text(site.Free), text(site.Overdue); free != tt.free || overdue != tt.overdue || (site.Capacity == nil) != (tt.settings.Capacity == 0) {
			t.Errorf("%+v: %s free and %s overdue, want %s and %s", tt.settings, free, overdue, tt.free, tt.overdue)
		}
	}
	if _, err := s.CorrectOccupancy(t.Context(), "default", 0, "counted"); err != nil {
		t.Fatal(err)
	}
	s.Record(t.Context(), []parking.Event{exit("x", 2*3600+1)})
	settings = Settings{Capacity: 4}
	if site, err := s.Site(t.Context(), "default"); err != nil || site.Occupancy != -1 || *site.Free != 4 {
		t.Errorf("with %d inside %d of 4 places are free, %v", site.Occupancy, *site.Free, err)
	}
	unavailable := errors.New("unavailable")
	s.Settings = func(context.Context, string) (Settings, error) { return Settings{}, unavailable }
	if _, err := s.Site(t.Context(), "default"); !errors.Is(err, unavailable) {
		t.Errorf("without the settings: %v", err)
	}
}
