package stay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
)

// Stats sum up the stays whose exits fall on some UTC days.
type Stats struct {
	// From and To (exclusive) are the bounds of the days.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Counts
	// Durations count the completed stays by how long they were, shortest first;
	// the bounds are always the same. A duration within 2 % of a bound may be
	// counted on its other side.
	Durations []Durations `json:"durations"`
	// Days has one element for each day that has stays, oldest first.
	Days []Day `json:"days"`
}

// Durations count stays that were longer than the bound before and up to this
// one.
type Durations struct {
	UpToSeconds *int64 `json:"up_to_seconds"` // null: no bound
	Stays       int64  `json:"stays"`
}

// Day sums up the stays of one UTC day.
type Day struct {
	Day string `json:"day"` // 2026-11-23
	Counts
}

// Counts sum up stays. Durations are null where no stay is completed; the
// quantiles are within some 2 %.
type Counts struct {
	Completed      int64    `json:"completed"`
	UnmatchedExits int64    `json:"unmatched_exits"`
	MatchRate      *float64 `json:"match_rate"`
	AverageSeconds *float64 `json:"average_duration_seconds"`
	P50Seconds     *float64 `json:"p50_duration_seconds"`
	P95Seconds     *float64 `json:"p95_duration_seconds"`
}

const day = 24 * time.Hour

// MaxStatsDays bounds how many days one call of Stats reads.
const MaxStatsDays = 3660

// Stats sums up the stays of a site, or of all where it is empty, whose exits
// fall on the UTC days from that of from to that of to. A zero from stands for
// the oldest day kept, or for a later one if so many days of so many sites are not
// summed up together; a zero to stands for today.
func (s *Store) Stats(ctx context.Context, site string, from, to time.Time) (Stats, error) {
	if to.IsZero() {
		to = s.Now()
	}
	to = to.UTC().Add(-1).Truncate(day).Add(day)
	sites := []string{site}
	if site == "" {
		var err error
		if sites, err = s.Sites(ctx); err != nil {
			return Stats{}, err
		}
	}
	if from.IsZero() {
		from = s.Now().Add(-s.retention)
		if bound := to.Add(-day * time.Duration(mostDays(len(sites)))); bound.After(from) {
			from = bound
		}
	}
	from = from.UTC().Truncate(day)
	if n := int(to.Sub(from) / day); n > MaxStatsDays {
		return Stats{}, parking.Invalid("%d days are asked for, at most %d are allowed", n, MaxStatsDays)
	}
	if err := CheckSiteDays(len(sites), int(to.Sub(from)/day)); err != nil {
		return Stats{}, err
	}
	stats := Stats{From: from, To: to, Days: []Day{}}
	all := newTotals()
	for d := from; d.Before(to); {
		// Several days of few sites, or some sites of one day, in a round trip.
		n := min(max(1, daysPerTrip/max(1, len(sites))), int(to.Sub(d)/day))
		days, err := s.dayTotals(ctx, sites, d, n)
		if err != nil {
			return Stats{}, err
		}
		for _, one := range days {
			if one.completed+one.unmatched > 0 {
				stats.Days = append(stats.Days, Day{Day: d.Format(time.DateOnly), Counts: one.counts()})
			}
			all.merge(one)
			d = d.Add(day)
		}
	}
	stats.Counts, stats.Durations = all.counts(), all.durations()
	return stats, nil
}

// daysPerTrip bounds the days of sites that are read in one round trip.
const daysPerTrip = 100

// dayTotals adds up n days of sites, each day by itself.
func (s *Store) dayTotals(ctx context.Context, sites []string, from time.Time, n int) ([]*totals, error) {
	days := make([]*totals, n)
	for i := range days {
		days[i] = newTotals()
	}
	for some := range slices.Chunk(sites, max(1, daysPerTrip/n)) {
		p := s.redis.Current().Pipeline()
		cmds := make([]*redis.MapStringStringCmd, 0, n*len(some))
		for i := range n {
			for _, site := range some {
				cmds = append(cmds, p.HGetAll(ctx, keysOf(site).day(from.AddDate(0, 0, i))))
			}
		}
		if _, err := p.Exec(ctx); err != nil {
			return nil, fmt.Errorf("read the stays of %d days from Redis: %w", n, err)
		}
		for i, cmd := range cmds {
			days[i/len(some)].add(cmd.Val())
		}
	}
	return days, nil
}
