package timeline

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Site is the state of a car park. The script that records events also updates it, so
// it cannot drift from the timelines.
type Site struct {
	Site string `json:"site"`
	// Occupancy is the last count by hand, plus the entries and minus the exits
	// observed after it, repeats left out. Without a count it is VehiclesInside, plus the
	// entries and minus the exits without a plate. A negative value is a sign of missed
	// entries: more vehicles left than the count allows.
	Occupancy int64 `json:"occupancy"`
	// VehiclesInside is the number of plates whose last event is an entry, without those
	// whose entry a decision gives to an exit. It includes vehicles whose exit was missed.
	VehiclesInside int64 `json:"vehicles_inside"`
	// Correction is Occupancy minus VehiclesInside.
	Correction int64 `json:"correction"`
	// Totals count from the site's first event. They include expired events.
	Totals Totals `json:"totals"`
	// EntriesToday and ExitsToday are the numbers of observations of the current day, by
	// the clocks of the site.
	EntriesToday int64 `json:"entries_today"`
	ExitsToday   int64 `json:"exits_today"`
	// Zone is the name of the site's time zone.
	Zone string `json:"zone"`
	// Capacity is the number of places and Free how many are left, at least none; absent
	// if the capacity is unknown.
	Capacity *int64 `json:"capacity,omitempty"`
	Free     *int64 `json:"free,omitempty"`
	// Overdue is the number of vehicles inside for longer than the longest stay; absent
	// if that is unknown.
	Overdue *int64 `json:"overdue,omitempty"`
}

// Totals of a site: of the versions that count, unless those are void. If nothing has
// expired or was erased, Entries = CompletedStays + MissedExits + RepeatedEntries +
// NoPlateEntries + the vehicles inside, and Exits = CompletedStays + UnmatchedExits +
// RepeatedExits + NoPlateExits.
type Totals struct {
	Entries        int64 `json:"entries"`
	Exits          int64 `json:"exits"`
	CompletedStays int64 `json:"completed_stays"`
	UnmatchedExits int64 `json:"unmatched_exits"`
	MissedExits    int64 `json:"missed_exits"`
	// RepeatedEntries and RepeatedExits are reads that repeat another; see
	// [parking.Repeats]. They are neither missed nor unmatched.
	RepeatedEntries int64 `json:"repeated_entries"`
	RepeatedExits   int64 `json:"repeated_exits"`
	// NoPlateEntries and NoPlateExits are vehicles whose plate was not read. They are
	// never paired.
	NoPlateEntries int64 `json:"no_plate_entries"`
	NoPlateExits   int64 `json:"no_plate_exits"`
}

// Site returns the state of a site. It is all zero for a site without events.
func (s *Store) Site(ctx context.Context, site string) (Site, error) {
	states, err := s.States(ctx, []string{site})
	if err != nil {
		return Site{}, err
	}
	return states[0], nil
}

// sitesPerTrip bounds the sites in one round trip.
const sitesPerTrip = 250

// States returns the states of several sites, in their order. It takes one round trip
// per sitesPerTrip sites.
func (s *Store) States(ctx context.Context, sites []string) ([]Site, error) {
	states := make([]Site, 0, len(sites))
	for some := range slices.Chunk(sites, sitesPerTrip) {
		read, err := s.states(ctx, some)
		if err != nil {
			return nil, err
		}
		states = append(states, read...)
	}
	return states, nil
}

func (s *Store) states(ctx context.Context, sites []string) ([]Site, error) {
	type read struct {
		settings Settings
		inside   insideCount
		overdue  *insideCount
		totals   *goredis.MapStringStringCmd
		today    []part
	}
	now, p, reads := s.now(), s.redis.Current().Pipeline(), make([]read, len(sites))
	today := daysOf(now)
	for i, site := range sites {
		settings, err := s.settings(ctx, site)
		if err != nil {
			return nil, err
		}
		key := keysOf(site)
		reads[i] = read{
			settings: settings,
			inside:   countInside(ctx, p, key, s.oldestInside(now), "+inf"),
			totals:   p.HGetAll(ctx, key.totals()),
			today:    readDay(ctx, p, key, today(settings.Zone)),
		}
		if longest := settings.LongestStay; longest > 0 {
			reads[i].overdue = new(countInside(ctx, p, key, s.oldestInside(now), "("+strconv.FormatInt(now.Add(-longest).UnixMilli(), 10)))
		}
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read the state of %s from Redis: %w", describe(sites), err)
	}
	states := make([]Site, len(sites))
	for i, r := range reads {
		n := func(field string) int64 { return parseCount(r.totals.Val()[field]) }
		states[i] = Site{
			Site:           sites[i],
			Occupancy:      r.inside.val() + n("no_plate_entries") - n("no_plate_exits"),
			VehiclesInside: r.inside.val(),
			Totals: Totals{
				Entries: n("entries"), Exits: n("exits"), CompletedStays: n("completed"),
				UnmatchedExits: n("unmatched"), MissedExits: n("missed"),
				RepeatedEntries: n("repeated_entries"), RepeatedExits: n("repeated_exits"),
				NoPlateEntries: n("no_plate_entries"), NoPlateExits: n("no_plate_exits"),
			},
			Zone: r.settings.Zone.String(),
		}
		states[i].EntriesToday, states[i].ExitsToday = sum(r.today)
		if _, counted := r.totals.Val()["counted"]; counted {
			states[i].Occupancy = n("counted") + n("since")
		}
		states[i].Correction = states[i].Occupancy - states[i].VehiclesInside
		if capacity := int64(r.settings.Capacity); capacity > 0 {
			states[i].Capacity, states[i].Free = new(capacity), new(max(0, min(capacity, capacity-states[i].Occupancy)))
		}
		if r.overdue != nil {
			states[i].Overdue = new(r.overdue.val())
		}
	}
	return states, nil
}

// insideCount is the number of the vehicles inside, and of those among them that have left
// by a decision.
type insideCount struct{ all, gone *goredis.IntCmd }

// countInside counts the vehicles inside that entered within a range of scores.
func countInside(ctx context.Context, p goredis.Pipeliner, key siteKeys, from, to string) insideCount {
	return insideCount{p.ZCount(ctx, key.inside(), from, to), p.ZCount(ctx, key.gone(), from, to)}
}

func (c insideCount) val() int64 { return c.all.Val() - c.gone.Val() }

// settings returns what is configured of a site, with a zone.
func (s *Store) settings(ctx context.Context, site string) (settings Settings, err error) {
	if s.Settings != nil {
		settings, err = s.Settings(ctx, site)
	}
	if settings.Zone == nil {
		settings.Zone = time.UTC
	}
	return settings, err
}

func describe(sites []string) string {
	if len(sites) == 1 {
		return "site " + sites[0]
	}
	return strconv.Itoa(len(sites)) + " sites"
}

// parseCount returns a count written by a script, or zero if it is missing.
func parseCount(v any) int64 {
	text, _ := v.(string)
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
