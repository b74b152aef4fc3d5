package parking_test

import (
	"errors"
	"testing"
	"time"
	_ "time/tzdata"

	"parkstream/shared/parking"
)

// Local days of every kind: of 23, 24 and 25 hours, in zones of half and quarter hours,
// and days that do not begin at midnight or do not exist.
func TestDays(t *testing.T) {
	for _, tt := range []struct {
		zone, day string
		start     string // UTC
		hours     float64
	}{
		{"UTC", "2026-11-27", "2026-11-27T00:00:00Z", 24},
		{"Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z", 23},
		{"Europe/Berlin", "2026-10-25", "2026-10-24T22:00:00Z", 25},
		{"Europe/Berlin", "2026-11-27", "2026-11-26T23:00:00Z", 24},
		{"Asia/Kolkata", "2026-11-27", "2026-11-26T18:30:00Z", 24},
		{"Asia/Kathmandu", "2026-11-27", "2026-11-26T18:15:00Z", 24},
		{"America/St_Johns", "2026-03-08", "2026-03-08T03:30:00Z", 23},
		{"Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00:00Z", 24.5},
		{"Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30:00Z", 23.5},
		{"America/Santiago", "2026-09-06", "2026-09-06T04:00:00Z", 23}, // begins at 01:00
		{"America/Santiago", "2026-04-04", "2026-04-04T03:00:00Z", 25}, // 24:00 is 23:00 again
		{"Asia/Beirut", "2026-03-29", "2026-03-28T22:00:00Z", 23},      // begins at 01:00
		{"America/Havana", "2026-11-01", "2026-11-01T04:00:00Z", 25},
		{"Pacific/Kiritimati", "2026-11-27", "2026-11-26T10:00:00Z", 24},
		{"Etc/GMT+12", "2026-11-27", "2026-11-27T12:00:00Z", 24},
		{"Pacific/Apia", "2011-12-29", "2011-12-29T10:00:00Z", 24},
		{"Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z", 0}, // there was none
		{"Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z", 24},
		{"Africa/Monrovia", "1970-01-01", "1970-01-01T00:44:30Z", 24},
		{"Europe/Berlin", "1969-12-31", "1969-12-30T23:00:00Z", 24},
	} {
		zone, err1 := time.LoadLocation(tt.zone)
		date, err2 := time.Parse(time.DateOnly, tt.day)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		start, next := parking.StartOfDay(date, zone), parking.StartOfDay(date.AddDate(0, 0, 1), zone)
		if got := start.UTC().Format(time.RFC3339); got != tt.start || next.Sub(start).Hours() != tt.hours {
			t.Errorf("%s in %s begins at %s and has %v hours, want %s and %v", tt.day, tt.zone, got, next.Sub(start).Hours(), tt.start, tt.hours)
		}
		if tt.hours == 0 {
			continue
		}
		for _, at := range []time.Time{start, next.Add(-1)} {
			if got := parking.Date(at, zone); !got.Equal(date) {
				t.Errorf("%s in %s has the date %s", at.UTC(), tt.zone, got)
			}
		}
		if got := parking.Date(start.Add(-1), zone); !got.Before(date) {
			t.Errorf("the instant before %s in %s has the date %s", tt.day, tt.zone, got)
		}
	}
}
