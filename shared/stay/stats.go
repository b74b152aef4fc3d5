package stay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
)

// Stats summarises the stays with exits in a range of UTC days.
type Stats struct {
	// From and To (exclusive) are the bounds of the days.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Counts
	// Durations are a histogram of the durations of completed stays, shortest first.
	// The bounds are constant. A duration within 2 % of a bound may be counted on its
	// other side.
	Durations []Durations `json:"durations"`
	// Days has one element for each day with stays, oldest first.
	Days []Day `json:"days"`
}

// Durations is one bucket of the histogram: stays longer than the bound of the previous
// bucket, up to this one.
type Durations struct {
	UpToSeconds *int64 `json:"up_to_seconds"` // null: no bound
	Stays       int64  `json:"stays"`
}

// Day summarises the stays of one UTC day.
type Day struct {
	Day string `json:"day"` // 2026-11-23
	Counts
}

// Counts summarises stays. The match rate is the share of the completed ones among these
// and the unmatched exits. The durations are null if no stay is completed. The quantiles
// are exact to some 2 %.
type Counts struct {
	Completed      int64    `json:"completed"`
	UnmatchedExits int64    `json:"unmatched_exits"`
	RepeatedExits  int64    `json:"repeated_exits"`
	MatchRate      *float64 `json:"match_rate"`
	AverageSeconds *float64 `json:"average_duration_seconds"`
	P50Seconds     *float64 `json:"p50_duration_seconds"`
	P95Seconds     *float64 `json:"p95_duration_seconds"`
}

const day = 24 * time.Hour

// MaxStatsDays is the maximum number of days in one call of Stats.
const MaxStatsDays = 3660

// Stats summarises the stays of sites. It counts exits from the UTC day of from to the
// UTC day of to. A zero to is today. A zero from is the oldest day kept, or a later one
// if the range has more days than so many sites may be summarised for.
func (s *Store) Stats(ctx context.Context, sites []string, from, to time.Time) (Stats, error) {
	if to.IsZero() {
		to = s.Now()
	}
	to = to.UTC().Add(-1).Truncate(day).Add(day)
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
		// One round trip reads several days of few sites, or some sites of one day.
		n := min(max(1, daysPerTrip/max(1, len(sites))), int(to.Sub(d)/day))
		days, err := s.dayTotals(ctx, sites, d, n)
		if err != nil {
			return Stats{}, err
		}
		for _, one := range days {
			if one.completed+one.unmatched+one.repeated > 0 {
				stats.Days = append(stats.Days, Day{Day: d.Format(time.DateOnly), Counts: one.counts()})
			}
			all.merge(one)
			d = d.Add(day)
		}
	}
	stats.Counts, stats.Durations = all.counts(), all.durations()
	return stats, nil
}

// daysPerTrip bounds the days of sites in one round trip.
const daysPerTrip = 100

// dayTotals returns the totals of n days, each summed over the sites.
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
