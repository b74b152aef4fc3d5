package schedule_test

import (
	"testing"
	"time"

	"parkstream/shared/schedule"
)

// Whatever an annotation has, it is a schedule with a next time, or a mistake.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"* * * * *", "@hourly", "@every 20s", "TZ=UTC 0 6 * * *", "CRON_TZ=x", "*/7,1-5/2 ? L jan mon-fri", "TZ=x @every 1h"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := schedule.Parse(text)
		if err != nil {
			return
		}
		now := time.Now()
		if next := got.Next(now); !next.After(now) {
			t.Errorf("%q: the next time is %s at %s", text, next, now)
		}
	})
}

func TestParse(t *testing.T) {
	now := time.Date(2026, 11, 27, 10, 0, 30, 5, time.UTC)
	for text, want := range map[string]time.Time{
		"* * * * *":            time.Date(2026, 11, 27, 10, 1, 0, 0, time.UTC),
		"@hourly":              time.Date(2026, 11, 27, 11, 0, 0, 0, time.UTC),
		"@every 20s":           time.Date(2026, 11, 27, 10, 0, 40, 0, time.UTC),
		"TZ=UTC 0 6 * * *":     time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC),
		"CRON_TZ=UTC @monthly": time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC),
	} {
		got, err := schedule.Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if next := got.Next(now); !next.Equal(want) {
			t.Errorf("%q: the next time is %s, want %s", text, next, want)
		}
	}
	for _, text := range []string{
		"", " ", "now", "* * * *", "* * * * * *", "60 * * * *", "*/0 * * * *", "0 0 30 2 *", "@reboot", "@every", "@every soon",
		"TZ=x", "TZ=UTC", "CRON_TZ=UTC", "TZ=", "TZ=UTC ", "TZ=Mars/Base * * * * *",
	} {
		if got, err := schedule.Parse(text); err == nil || err.Error() == "" {
			t.Errorf("%q is %v, error %v", text, got, err)
		}
	}
}
