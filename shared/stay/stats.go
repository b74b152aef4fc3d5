package stay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
)

// Stats summarises the stays with exits in a range of days, by the clocks of each site.
type Stats struct {
	// From and To (exclusive) are the bounds of the days; of sites in several zones the
	// earliest and the latest.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Zone is the time zone of the days, empty if the sites have several.
	Zone string `json:"zone"`
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

// Day summarises the stays of one day.
type Day struct {
	Day string `json:"day"` // 2026-11-23
	Counts
}

// Counts summarises stays. Disputed are among the completed ones, of any method. The match rate is the share of the completed ones among these
// and the unmatched exits. The durations are null if no stay is completed. The quantiles
// are exact to some 2 %.
type Counts struct {
	Completed      int64    `json:"completed"`
	UnmatchedExits int64    `json:"unmatched_exits"`
	RepeatedExits  int64    `json:"repeated_exits"`
	Methods        Methods  `json:"methods"`
	Disputed       int64    `json:"disputed"`
	MatchRate      *float64 `json:"match_rate"`
	AverageSeconds *float64 `json:"average_duration_seconds"`
	P50Seconds     *float64 `json:"p50_duration_seconds"`
	P95Seconds     *float64 `json:"p95_duration_seconds"`
}

// Methods are the completed stays by how entry and exit were put together.
type Methods struct {
	Exact     int64 `json:"exact"`
	OCR       int64 `json:"ocr"`
	Edit      int64 `json:"edit"`
	TwoEdits  int64 `json:"two_edits"`
	Split     int64 `json:"split"`
	Corrected int64 `json:"corrected"`
}

const day = 24 * time.Hour

// MaxStatsDays is the maximum number of days in one call of Stats.
const MaxStatsDays = 3660

// Stats summarises the stays of sites. It counts exits from the day of from to the day of
// to, each by the clocks of the site. A zero to is today. A zero from is the oldest day
// kept, or a later one if the range has more days than so many sites may be summarised
// for.
func (s *Store) Stats(ctx context.Context, sites []string, from, to time.Time) (Stats, error) {
	ranges, err := s.dates(ctx, sites, from, to)
	if err != nil {
		return Stats{}, err
	}
	stats, all := Stats{Days: []Day{}}, newTotals()
	var first, end time.Time // of all sites
	for i, r := range ranges {
		start, stop := parking.StartOfDay(r.first, r.zone), parking.StartOfDay(r.end, r.zone)
		if i == 0 {
			first, end, stats.From, stats.To, stats.Zone = r.first, r.end, start, stop, r.zone.String()
			continue
		}
		first, end = earlier(first, r.first), later(end, r.end)
		stats.From, stats.To, stats.Zone = earlier(stats.From, start), later(stats.To, stop), ""
	}
	n := int(end.Sub(first) / day)
	if n > MaxStatsDays {
		return Stats{}, parking.Invalid("%d days are asked for, at most %d are allowed", n, MaxStatsDays)
	}
	if err := CheckSiteDays(len(sites), n); err != nil {
		return Stats{}, err
	}
	for d := first; d.Before(end); {
		// One round trip reads several days of few sites, or some sites of one day.
		n := min(max(1, daysPerTrip/max(1, len(sites))), int(end.Sub(d)/day))
		days, err := s.dayTotals(ctx, ranges, d, n)
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

// dateRange is the dates of a query in one zone, and the sites there.
type dateRange struct {
	zone       *time.Location
	sites      []string
	first, end time.Time // end is exclusive
}

// dates returns the dates from the day of from to the day of to in each zone of the
// sites; in UTC if there are none.
func (s *Store) dates(ctx context.Context, sites []string, from, to time.Time) ([]dateRange, error) {
	if to.IsZero() {
		to = s.Now()
	}
	ranges := make([]dateRange, 0, 1)
	index := make(map[*time.Location]int)
	add := func(zone *time.Location) int {
		i, found := index[zone]
		if !found {
			i = len(ranges)
			index[zone] = i
			ranges = append(ranges, dateRange{zone: zone, end: parking.Date(to.Add(-1), zone).Add(day)})
		}
		return i
	}
	for _, site := range sites {
		zone, err := s.zone(ctx, site)
		if err != nil {
			return nil, err
		}
		i := add(zone)
		ranges[i].sites = append(ranges[i].sites, site)
	}
	if len(ranges) == 0 {
		add(time.UTC)
	}
	var end time.Time
	for _, r := range ranges {
		end = later(end, r.end)
	}
	for i := range ranges {
		r := &ranges[i]
		if !from.IsZero() {
			r.first = parking.Date(from, r.zone)
			continue
		}
		r.first = later(parking.Date(s.Now().Add(-s.retention), r.zone), end.Add(-day*time.Duration(mostDays(len(sites)))))
	}
	return ranges, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// daysPerTrip bounds the days of sites in one round trip.
const daysPerTrip = 100

// dayTotals returns the totals of n days, each summed over the sites that have it in their
// range.
func (s *Store) dayTotals(ctx context.Context, ranges []dateRange, from time.Time, n int) ([]*totals, error) {
	type siteDay struct {
		site string
		day  int
	}
	var asked []siteDay
	for i := range n {
		for _, r := range ranges {
			if d := from.AddDate(0, 0, i); d.Before(r.first) || !d.Before(r.end) {
				continue
			}
			for _, site := range r.sites {
				asked = append(asked, siteDay{site, i})
			}
		}
	}
	days := make([]*totals, n)
	for i := range days {
		days[i] = newTotals()
	}
	for some := range slices.Chunk(asked, daysPerTrip) {
		p := s.redis.Current().Pipeline()
		cmds := make([]*redis.MapStringStringCmd, len(some))
		for i, one := range some {
			cmds[i] = p.HGetAll(ctx, keysOf(one.site).day(from.AddDate(0, 0, one.day)))
		}
		if _, err := p.Exec(ctx); err != nil {
			return nil, fmt.Errorf("read the stays of %d days from Redis: %w", n, err)
		}
		for i, cmd := range cmds {
			days[some[i].day].add(cmd.Val())
		}
	}
	return days, nil
}
