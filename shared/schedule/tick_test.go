package schedule

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The calls of a tick belong to it if they come up to a quarter of the interval, or
// 15 s, early, or late by less than the rest. No call belongs to two ticks.
func TestTickOfACall(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) time.Time {
		t.Helper()
		parsed, err := time.ParseInLocation("2006-01-02 15:04:05.999", text, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	const minute = "* * * * *"
	for _, tt := range []struct{ schedule, call, end, next string }{
		{minute, "2026-11-27 10:00:00", "2026-11-27 10:00:45", "2026-11-27 10:01:00"},
		{minute, "2026-11-27 10:00:44.999", "2026-11-27 10:00:45", "2026-11-27 10:01:00"},
		{minute, "2026-11-27 10:00:45", "2026-11-27 10:01:45", "2026-11-27 10:02:00"},
		{minute, "2026-11-27 10:00:59.999", "2026-11-27 10:01:45", "2026-11-27 10:02:00"},
		{minute, "2026-11-27 10:01:00", "2026-11-27 10:01:45", "2026-11-27 10:02:00"},
		{"@hourly", "2026-11-27 10:59:44", "2026-11-27 10:59:45", "2026-11-27 11:00:00"},
		{"@hourly", "2026-11-27 10:59:46", "2026-11-27 11:59:45", "2026-11-27 12:00:00"},
		{"0 6 * * 1-5", "2026-11-27 05:59:50", "2026-11-30 05:59:45", "2026-11-30 06:00:00"},
		{"0 6 * * 1-5", "2026-11-28 23:00:00", "2026-11-30 05:59:45", "2026-11-30 06:00:00"},
		{"TZ=UTC 0 6 * * *", "2026-11-27 06:59:50", "2026-11-28 06:59:45", "2026-11-28 07:00:00"},
		{"@every 1s", "2026-11-27 10:00:00.749", "2026-11-27 10:00:00.75", "2026-11-27 10:00:01"},
		{"@every 1s", "2026-11-27 10:00:00.751", "2026-11-27 10:00:01.75", "2026-11-27 10:00:02"},
		{"@every 20s", "2026-11-27 10:00:14", "2026-11-27 10:00:15", "2026-11-27 10:00:20"},
		{"30 2 * * *", "2026-10-25 02:30:00", "2026-10-26 02:29:45", "2026-10-26 02:30:00"},   // 3:00 becomes 2:00
		{"*/30 * * * *", "2026-03-29 01:30:00", "2026-03-29 01:59:45", "2026-03-29 03:00:00"}, // 2:00 becomes 3:00
	} {
		parsed, err := Parse(tt.schedule)
		if err != nil {
			t.Fatal(err)
		}
		end, next := (&Ticks{schedule: parsed}).end(at(tt.call))
		if !end.Equal(at(tt.end)) || !next.Equal(at(tt.next)) {
			t.Errorf("%s at %s: until %s, followed by %s, want %s and %s", tt.schedule, tt.call, end, next, tt.end, tt.next)
		}
	}
}

// Whatever the schedule and the jitter of cron within the bounds, both calls of a tick
// belong to it and to no other.
func TestEachTickHasItsCalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York"}).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := Parse(rapid.SampledFrom([]string{
			"* * * * *", "*/7 * * * *", "5,6,50 */3 * * *", "0 6 * * 1-5", "30 2 * * *", "0 0 1 * *", "0 0 29 2 *", "@hourly", "@every 1s", "@every 90s",
		}).Draw(t, "schedule"))
		if err != nil {
			t.Fatal(err)
		}
		ticks := &Ticks{schedule: parsed}
		early := func(tick time.Time) time.Duration { return min(parsed.Next(tick).Sub(tick)/4, 15*time.Second) }
		tick := parsed.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, zone).Add(time.Duration(rapid.Int64Range(0, int64(2*365*24*time.Hour)).Draw(t, "start"))))
		for range 5 {
			following := parsed.Next(tick)
			late := following.Sub(tick) - early(following)
			for _, label := range []string{"a call", "another call"} {
				jitter := time.Duration(rapid.Int64Range(-int64(early(tick)), int64(late)-1).Draw(t, label))
				end, next := ticks.end(tick.Add(jitter))
				if !next.Equal(following) || !end.Equal(tick.Add(late)) {
					t.Fatalf("%s %s after the tick %s ends at %s, followed by %s; want %s and %s", label, jitter, tick, end, next, tick.Add(late), following)
				}
			}
			tick = following
		}
	})
}
