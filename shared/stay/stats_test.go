package stay

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"parkstream/shared/parking"
)

// The promise holds for each duration, not only for long ones.
func TestQuantileOfEveryDuration(t *testing.T) {
	for seconds := range int64(100_000) {
		one := newTotals()
		one.add(map[string]string{"c": "1", fmt.Sprint("b", bucketOf(seconds)): "1"})
		if got := one.quantile(0.5); math.Abs(got-float64(seconds)) > 0.02*float64(seconds)+1e-9 {
			t.Errorf("the median of one stay of %d s is %g", seconds, got)
		}
	}
}

func TestStats(t *testing.T) {
	s := newStore(t)
	var stays []parking.Stay
	for i := range 1000 {
		stays = append(stays, completed(fmt.Sprint("x", i), "a", "P", today.Add(time.Duration(i)*time.Second), 10*(i+1)))
	}
	put(t, s, stays...)
	put(t, s, unmatched("u", "a", "P", today.Add(-24*time.Hour)), completed("b", "b", "P", today, 7))
	stats, err := s.Stats(t.Context(), []string{"a"}, today.Add(-48*time.Hour), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	near := func(name string, got *float64, want, within float64) {
		t.Helper()
		if got == nil || *got < want*(1-within) || *got > want*(1+within) {
			t.Errorf("%s is %v, want %g within %g", name, got, want, within)
		}
	}
	near("average", stats.AverageSeconds, 5005, 1e-9)
	near("p50", stats.P50Seconds, 5000, 0.02)
	near("p95", stats.P95Seconds, 9500, 0.02)
	near("match rate", stats.MatchRate, 1000.0/1001, 1e-9)
	if stats.Completed != 1000 || stats.UnmatchedExits != 1 || len(stats.Days) != 2 {
		t.Errorf("%+v", stats)
	}
	if d := stats.Days[0]; d.Day != today.Add(-24*time.Hour).Format(time.DateOnly) || d.UnmatchedExits != 1 || d.Completed != 0 || d.AverageSeconds != nil {
		t.Errorf("the first day is %+v", d)
	}
	if all, err := s.Stats(t.Context(), sitesOf(t, s), time.Time{}, time.Time{}); err != nil || all.Completed != 1001 {
		t.Errorf("all sites: %+v, %v", all.Counts, err)
	}
	if none, err := s.Stats(t.Context(), []string{"nowhere"}, time.Time{}, time.Time{}); err != nil || none.MatchRate != nil || none.P50Seconds != nil {
		t.Errorf("no stays: %+v, %v", none.Counts, err)
	}
	if _, err := s.Stats(t.Context(), sitesOf(t, s), today.Add(-(MaxStatsDays+1)*day), time.Time{}); !errors.Is(err, parking.ErrInvalid) {
		t.Errorf("too many days: %v", err)
	}
}

// sums returns the exact statistics of stays.
func sums(stays []parking.Stay) Stats {
	stats := Stats{Counts: count(stays), Days: []Day{}}
	byDay := make(map[string][]parking.Stay)
	for _, stay := range stays {
		d := stay.ExitTime.Format(time.DateOnly)
		byDay[d] = append(byDay[d], stay)
	}
	for _, d := range slices.Sorted(maps.Keys(byDay)) {
		stats.Days = append(stats.Days, Day{d, count(byDay[d])})
	}
	return stats
}

func count(stays []parking.Stay) Counts {
	var seconds []float64
	var sum float64
	var c Counts
	for _, stay := range stays {
		switch d, _ := stay.Duration(); stay.Status() {
		case parking.Completed:
			seconds = append(seconds, d.Seconds())
			sum += d.Seconds()
			*map[parking.Method]*int64{
				parking.Exact: &c.Methods.Exact, parking.OCR: &c.Methods.OCR, parking.Edit: &c.Methods.Edit,
				parking.TwoEdits: &c.Methods.TwoEdits, parking.Split: &c.Methods.Split, parking.Corrected: &c.Methods.Corrected,
			}[stay.Method()]++
			if stay.Disputed {
				c.Disputed++
			}
		case parking.Repeated:
			c.RepeatedExits++
		default:
			c.UnmatchedExits++
		}
	}
	c.Completed = int64(len(seconds))
	if all := c.Completed + c.UnmatchedExits; all > 0 {
		c.MatchRate = new(float64(c.Completed) / float64(all))
	}
	if n := len(seconds); n > 0 {
		slices.Sort(seconds)
		c.AverageSeconds = new(sum / float64(n))
		c.P50Seconds, c.P95Seconds = &seconds[(n*50+99)/100-1], &seconds[(n*95+99)/100-1]
	}
	return c
}

// sameCounts compares counts, with quantiles within the promised 2 %.
func sameCounts(a, b Counts) bool {
	const exact, promised = 1e-9, 0.02 + 1e-9
	near := func(a, b *float64, within float64) bool {
		return a == nil && b == nil || a != nil && b != nil && math.Abs(*a-*b) <= within*max(*a, *b)
	}
	return a.Completed == b.Completed && a.Methods == b.Methods && a.Disputed == b.Disputed && a.UnmatchedExits == b.UnmatchedExits && a.RepeatedExits == b.RepeatedExits && near(a.MatchRate, b.MatchRate, exact) &&
		near(a.AverageSeconds, b.AverageSeconds, exact) && near(a.P50Seconds, b.P50Seconds, promised) && near(a.P95Seconds, b.P95Seconds, promised)
}
