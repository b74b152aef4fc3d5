package stay

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
)

// bucketGrowth is the ratio of one bucket of durations to the one before: a
// quantile is off by at most half of it, some 2 %.
const bucketGrowth = 1.04

// bucketOf returns the bucket of a duration in seconds: 0 for none, else that of
// its logarithm.
func bucketOf(seconds int64) int {
	if seconds <= 0 {
		return 0
	}
	return 1 + int(math.Log(float64(seconds))/math.Log(bucketGrowth))
}

// bucketMiddle is the duration, in seconds, that stands for a bucket.
func bucketMiddle(bucket int) float64 {
	if bucket == 0 {
		return 0
	}
	return math.Pow(bucketGrowth, float64(bucket)-0.5)
}

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

// durationBounds are those of a car park's bill, in seconds.
var durationBounds = []int64{60, 300, 900, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 12 * 3600, 24 * 3600, 2 * 86400, 7 * 86400}

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
	all := newTally()
	for d := from; d.Before(to); {
		// Several days of few sites, or some sites of one day, in a round trip.
		n := min(max(1, daysPerTrip/max(1, len(sites))), int(to.Sub(d)/day))
		tallies, err := s.tallies(ctx, sites, d, n)
		if err != nil {
			return Stats{}, err
		}
		for _, one := range tallies {
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

// tallies adds up n days of sites, each day by itself.
func (s *Store) tallies(ctx context.Context, sites []string, from time.Time, n int) ([]*tally, error) {
	tallies := make([]*tally, n)
	for i := range tallies {
		tallies[i] = newTally()
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
			tallies[i/len(some)].add(cmd.Val())
		}
	}
	return tallies, nil
}

// tally adds up the hashes of days.
type tally struct {
	completed, unmatched, seconds int64
	buckets                       map[int]int64
}

func newTally() *tally { return &tally{buckets: make(map[int]int64)} }

func (t *tally) add(fields map[string]string) {
	for field, text := range fields {
		switch n := number(text); {
		case field == "c":
			t.completed += n
		case field == "u":
			t.unmatched += n
		case field == "seconds":
			t.seconds += n
		case strings.HasPrefix(field, "b"):
			t.buckets[int(number(field[1:]))] += n
		}
	}
}

func (t *tally) merge(u *tally) {
	t.completed += u.completed
	t.unmatched += u.unmatched
	t.seconds += u.seconds
	for b, n := range u.buckets {
		t.buckets[b] += n
	}
}

func (t *tally) counts() Counts {
	c := Counts{Completed: t.completed, UnmatchedExits: t.unmatched}
	if all := t.completed + t.unmatched; all > 0 {
		c.MatchRate = new(float64(t.completed) / float64(all))
	}
	if t.completed > 0 {
		c.AverageSeconds = new(float64(t.seconds) / float64(t.completed))
		c.P50Seconds = new(t.quantile(0.50))
		c.P95Seconds = new(t.quantile(0.95))
	}
	return c
}

func (t *tally) durations() []Durations {
	list := make([]Durations, len(durationBounds)+1)
	for i := range durationBounds {
		list[i].UpToSeconds = &durationBounds[i]
	}
	for b, n := range t.buckets {
		i, _ := slices.BinarySearchFunc(durationBounds, bucketMiddle(b), func(bound int64, seconds float64) int {
			return cmp.Compare(float64(bound), seconds)
		})
		list[i].Stays += n
	}
	return list
}

// quantile returns the middle of the bucket in which it lies, to hundredths: whole
// seconds would add to the error of short durations.
func (t *tally) quantile(q float64) float64 {
	last := 0
	for b := range t.buckets {
		last = max(last, b)
	}
	rank := int64(math.Ceil(q * float64(t.completed)))
	for b := range last + 1 {
		if rank -= t.buckets[b]; rank <= 0 {
			return math.Round(100*bucketMiddle(b)) / 100
		}
	}
	return math.Round(100*bucketMiddle(last)) / 100
}
