package timeline

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

// Site is the state of a car park. It is kept by the script that takes events
// in, so that it cannot drift from the timelines.
type Site struct {
	Site string `json:"site"`
	// Occupancy is the last count by hand, plus the entries and less the exits
	// that were observed after it; VehiclesInside where nobody counted. It is
	// negative when more vehicles left than the count allows: a sign of missed
	// entries.
	Occupancy int64 `json:"occupancy"`
	// VehiclesInside counts the plates whose last event is an entry: with those
	// whose exits were missed.
	VehiclesInside int64 `json:"vehicles_inside"`
	// Correction is Occupancy less VehiclesInside.
	Correction int64 `json:"correction"`
	// Totals since the site's first event; expired events stay counted.
	Totals Totals `json:"totals"`
	// EntriesToday and ExitsToday count the observations of the current UTC day.
	EntriesToday int64 `json:"entries_today"`
	ExitsToday   int64 `json:"exits_today"`
}

// Totals of a site. Entries = CompletedStays + MissedExits + those inside, and
// Exits = CompletedStays + UnmatchedExits, as long as nothing expired or was
// erased.
type Totals struct {
	Entries        int64 `json:"entries"`
	Exits          int64 `json:"exits"`
	CompletedStays int64 `json:"completed_stays"`
	UnmatchedExits int64 `json:"unmatched_exits"`
	MissedExits    int64 `json:"missed_exits"`
}

// Inside is a vehicle inside.
type Inside struct {
	Plate string    `json:"vehicle_plate"`
	Since time.Time `json:"since"`
}

// Correction is a count by hand.
type Correction struct {
	At      time.Time `json:"at"`
	Counted int64     `json:"counted"`
	// Was is the occupancy shown until then.
	Was    int64  `json:"was"`
	Reason string `json:"reason"`
}

// Site returns the state of a site; a site without events is all zero.
func (s *Store) Site(ctx context.Context, site string) (Site, error) {
	states, err := s.States(ctx, []string{site})
	if err != nil {
		return Site{}, err
	}
	return states[0], nil
}

// sitesPerTrip bounds the sites that are read in one round trip.
const sitesPerTrip = 250

// States returns the states of several sites in their order, those of sitesPerTrip
// sites in one round trip.
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
		inside *goredis.IntCmd
		totals *goredis.MapStringStringCmd
		today  *goredis.SliceCmd
	}
	now, p, reads := s.now(), s.redis.Current().Pipeline(), make([]read, len(sites))
	for i, site := range sites {
		prefix := sitePrefix(site)
		reads[i] = read{
			inside: p.ZCount(ctx, prefix+"in", s.oldestInside(now), "+inf"),
			totals: p.HGetAll(ctx, prefix+"n"),
			today:  p.HMGet(ctx, dayKey(prefix, now), "entries", "exits"),
		}
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read the state of %s from Redis: %w", describe(sites), err)
	}
	states := make([]Site, len(sites))
	for i, r := range reads {
		n := func(field string) int64 { return number(r.totals.Val()[field]) }
		states[i] = Site{
			Site:           sites[i],
			Occupancy:      r.inside.Val(),
			VehiclesInside: r.inside.Val(),
			Totals: Totals{
				Entries: n("entries"), Exits: n("exits"), CompletedStays: n("completed"),
				UnmatchedExits: n("unmatched"), MissedExits: n("missed"),
			},
			EntriesToday: number(r.today.Val()[0]),
			ExitsToday:   number(r.today.Val()[1]),
		}
		if _, counted := r.totals.Val()["counted"]; counted {
			states[i].Occupancy = n("counted") + n("since")
		}
		states[i].Correction = states[i].Occupancy - states[i].VehiclesInside
	}
	return states, nil
}

func describe(sites []string) string {
	if len(sites) == 1 {
		return "site " + sites[0]
	}
	return strconv.Itoa(len(sites)) + " sites"
}

// Inside lists vehicles inside a site, the longest there first: at most limit of
// them after the first offset ones.
func (s *Store) Inside(ctx context.Context, site string, offset, limit int64) ([]Inside, error) {
	found, err := s.redis.Current().ZRangeArgsWithScores(ctx, goredis.ZRangeArgs{
		Key: sitePrefix(site) + "in", Start: s.oldestInside(s.now()), Stop: "+inf", ByScore: true, Offset: offset, Count: limit,
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("list the vehicles inside site %s from Redis: %w", site, err)
	}
	inside := make([]Inside, len(found))
	for i, z := range found {
		inside[i] = Inside{Plate: z.Member.(string), Since: time.UnixMilli(int64(z.Score)).UTC()}
	}
	return inside, nil
}

// InsideSite is a vehicle inside one of several sites.
type InsideSite struct {
	Site   string `json:"site"`
	Inside `json:",inline"`
}

// membersPerTrip bounds the vehicles that are read in one round trip.
const membersPerTrip = 10_000

// InsideSites lists the limit vehicles that are inside any of the sites for longest.
func (s *Store) InsideSites(ctx context.Context, sites []string, limit int) ([]InsideSite, error) {
	found := []InsideSite{}
	before := "+inf"
	for some := range slices.Chunk(sites, min(sitesPerTrip, max(1, membersPerTrip/max(1, limit)))) {
		p := s.redis.Current().Pipeline()
		cmds := make([]*goredis.ZSliceCmd, len(some))
		for i, site := range some {
			cmds[i] = p.ZRangeArgsWithScores(ctx, goredis.ZRangeArgs{
				Key: sitePrefix(site) + "in", Start: s.oldestInside(s.now()), Stop: before, ByScore: true, Count: int64(limit),
			})
		}
		if _, err := p.Exec(ctx); err != nil {
			return nil, fmt.Errorf("list the vehicles inside %s from Redis: %w", describe(some), err)
		}
		for i, cmd := range cmds {
			for _, z := range cmd.Val() {
				found = append(found, InsideSite{some[i], Inside{z.Member.(string), time.UnixMilli(int64(z.Score)).UTC()}})
			}
		}
		slices.SortStableFunc(found, func(a, b InsideSite) int { return a.Since.Compare(b.Since) })
		if len(found) >= limit && limit > 0 {
			found = found[:limit]
			// One that came later than all of these is not among them.
			before = strconv.FormatInt(found[limit-1].Since.UnixMilli(), 10)
		}
	}
	return found, nil
}

func (s *Store) oldestInside(now time.Time) string {
	return strconv.FormatInt(now.Add(-s.retention).UnixMilli(), 10)
}

// Minute counts the observations within one minute.
type Minute struct {
	Start   time.Time `json:"start"`
	Entries int64     `json:"entries"`
	Exits   int64     `json:"exits"`
}

// minutesDaysPerTrip bounds the days of sites that are read in one round trip; a
// busy one has 2,880 counts.
const minutesDaysPerTrip = 32

// Minutes adds up the observations at sites by steps of whole minutes, from the step
// that holds from to the one before to.
func (s *Store) Minutes(ctx context.Context, sites []string, from, to time.Time, step time.Duration) ([]Minute, error) {
	from = from.UTC().Truncate(step)
	steps := []Minute{}
	for start := from; start.Before(to); start = start.Add(step) {
		steps = append(steps, Minute{Start: start})
	}
	for day := from.Truncate(24 * time.Hour); day.Before(to); day = day.Add(24 * time.Hour) {
		for some := range slices.Chunk(sites, minutesDaysPerTrip) {
			p := s.redis.Current().Pipeline()
			cmds := make([]*goredis.MapStringStringCmd, len(some))
			for i, site := range some {
				cmds[i] = p.HGetAll(ctx, dayKey(sitePrefix(site), day))
			}
			if _, err := p.Exec(ctx); err != nil {
				return nil, fmt.Errorf("read the minutes of %s from Redis: %w", describe(some), err)
			}
			for _, cmd := range cmds {
				for field, n := range cmd.Val() {
					addMinute(steps, step, day, to, field, number(n))
				}
			}
		}
	}
	return steps, nil
}

// addMinute takes a count of a day in: "e" or "x" and the minute of the day. Other
// fields count the day.
func addMinute(steps []Minute, step time.Duration, day, to time.Time, field string, n int64) {
	minute, err := strconv.Atoi(field[1:])
	at := day.Add(time.Duration(minute) * time.Minute)
	if err != nil || len(steps) == 0 || at.Before(steps[0].Start) || !at.Before(to) {
		return
	}
	of := &steps[at.Sub(steps[0].Start)/step]
	switch field[0] {
	case 'e':
		of.Entries += n
	case 'x':
		of.Exits += n
	}
}

func dayKey(prefix string, t time.Time) string {
	day := t.UTC().Truncate(24 * time.Hour) // down, also before 1970
	return prefix + "d:" + strconv.FormatInt(day.Unix()/86400, 10)
}

// number reads a count that a script wrote; a missing one is zero.
func number(v any) int64 {
	text, _ := v.(string)
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

// correctScript sets the occupancy of a site to a counted number.
//
// KEYS[1]  prefix of the site's keys
// ARGV     counted number, time in milliseconds, reason, oldest entry in
//
//	milliseconds, how many corrections to keep, when the site's keys expire
//	in milliseconds since 1970
//
// Returns the occupancy shown until then.
var correctScript = redis.NewScript(`
local prefix = KEYS[1]
local counted, since = unpack(redis.call('HMGET', prefix .. 'n', 'counted', 'since'))
local was = redis.call('ZCOUNT', prefix .. 'in', ARGV[4], '+inf')
if counted then
  was = counted + (since or 0)
end
redis.call('HSET', prefix .. 'n', 'counted', ARGV[1], 'counted_at', ARGV[2], 'since', '0')
redis.call('LPUSH', prefix .. 'c', ARGV[2] .. '\n' .. ARGV[1] .. '\n' .. was .. '\n' .. ARGV[3])
redis.call('LTRIM', prefix .. 'c', 0, tonumber(ARGV[5]) - 1)
redis.call('PEXPIREAT', prefix .. 'n', ARGV[6])
redis.call('PEXPIREAT', prefix .. 'c', ARGV[6])
return was`)

const (
	correctionsKept = 1000
	maxReasonBytes  = 500
)

// CorrectOccupancy makes the occupancy the number that somebody counted, and
// records that with its reason. From there on it follows the entries and exits
// that are observed later; one that was observed before the count and arrives
// after it changes nothing.
func (s *Store) CorrectOccupancy(ctx context.Context, site string, counted int64, reason string) (Correction, error) {
	const most = 1_000_000
	switch {
	case counted < 0 || counted > most:
		return Correction{}, parking.Invalid("counted is %d, want 0 to %d", counted, most)
	case strings.TrimSpace(reason) == "":
		return Correction{}, parking.Invalid("reason is missing")
	case len(reason) > maxReasonBytes:
		return Correction{}, parking.Invalid("reason has %d bytes, at most %d are allowed", len(reason), maxReasonBytes)
	}
	now, until := s.now(), s.forgottenAt()
	switch refused, err := s.sites.Admit(ctx, []string{site}, until, s.MaxSites); {
	case err != nil:
		return Correction{}, fmt.Errorf("correct the occupancy of site %s: %w", site, err)
	case len(refused) > 0:
		return Correction{}, s.tooMany(site)
	}
	call := redis.Call{
		Script: correctScript, Keys: []string{sitePrefix(site)},
		Args: []any{counted, now.UnixMilli(), reason, s.oldestInside(now), correctionsKept, until.UnixMilli()},
	}
	keep := s.sites.Keep([]string{site}, until)
	s.redis.Run(ctx, append([]*redis.Call{&call}, keep...)...)
	was, err := call.Int64()
	if err = cmp.Or(err, redis.FirstError(keep)); err != nil {
		return Correction{}, fmt.Errorf("correct the occupancy of site %s in Redis: %w", site, err)
	}
	return Correction{At: now.UTC().Truncate(time.Millisecond), Counted: counted, Was: was, Reason: reason}, nil
}

// Corrections returns the last counts by hand, newest first.
func (s *Store) Corrections(ctx context.Context, site string, limit int64) ([]Correction, error) {
	lines, err := s.redis.Current().LRange(ctx, sitePrefix(site)+"c", 0, limit-1).Result()
	if err != nil {
		return nil, fmt.Errorf("read the corrections of site %s from Redis: %w", site, err)
	}
	corrections := make([]Correction, len(lines))
	for i, line := range lines {
		f := strings.SplitN(line, "\n", 4)
		if len(f) != 4 {
			return nil, fmt.Errorf("correction %q of site %s has not four fields", line, site)
		}
		corrections[i] = Correction{At: time.UnixMilli(number(f[0])).UTC(), Counted: number(f[1]), Was: number(f[2]), Reason: f[3]}
	}
	return corrections, nil
}

//go:embed erase.lua
var eraseSource string

var eraseScript = redis.NewScript(eraseSource)

// Erased counts what an erasure removed.
type Erased struct {
	Events int64 `json:"events"`
	Keys   int64 `json:"keys"`
}

// ErasePlate removes every trace of a normalised plate at a site: its timeline,
// its events and its place among the vehicles inside. The totals, which tell
// nothing of a vehicle, stay.
func (s *Store) ErasePlate(ctx context.Context, site, plate string) (Erased, error) {
	if plate == "" {
		return Erased{}, errors.New("erase a plate: it is empty")
	}
	call := redis.Call{Script: eraseScript, Keys: []string{sitePrefix(site)}, Args: []any{plate}}
	s.redis.Run(ctx, &call)
	text, err := call.Text()
	if err != nil {
		return Erased{}, fmt.Errorf("erase a plate at site %s from Redis: %w", site, err)
	}
	var e Erased
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return Erased{}, fmt.Errorf("erase a plate at site %s: unexpected answer %q: %w", site, text, err)
	}
	return e, nil
}
