package timeline

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"parkstream/shared/redis"
)

//go:embed inside.lua
var insideSource string

var insideScript = newScript(insideSource)

// Inside is a vehicle inside a site.
type Inside struct {
	Plate string    `json:"vehicle_plate"`
	Since time.Time `json:"since"`
}

// Inside returns vehicles inside a site, longest stay first, without those that have left
// by a decision. It skips the first offset vehicles and returns at most limit of the others.
func (s *Store) Inside(ctx context.Context, site string, offset, limit int64) ([]Inside, error) {
	call := s.insideCall(site, "+inf", offset, limit)
	s.redis.Run(ctx, call)
	inside, err := parseInside(call)
	if err != nil {
		return nil, fmt.Errorf("list the vehicles inside site %s from Redis: %w", site, err)
	}
	return inside, nil
}

// insideCall returns the call that lists the vehicles inside a site that entered up to a
// score.
func (s *Store) insideCall(site, until string, offset, limit int64) *redis.Call {
	return &redis.Call{
		Script: insideScript, Keys: []string{string(keysOf(site))}, NoWait: true,
		Args: []any{s.oldestInside(s.now()), until, offset, max(0, limit)},
	}
}

func parseInside(call *redis.Call) ([]Inside, error) {
	text, err := call.Text()
	if err != nil || text == "" {
		return []Inside{}, err
	}
	lines := strings.Split(text, "\n")
	inside := make([]Inside, len(lines)/2)
	for i := range inside {
		inside[i] = Inside{Plate: lines[2*i], Since: time.UnixMilli(parseCount(lines[2*i+1])).UTC()}
	}
	return inside, nil
}

// InsideSite is a vehicle inside one of several sites.
type InsideSite struct {
	Site   string `json:"site"`
	Inside `json:",inline"`
}

// membersPerTrip bounds the vehicles in one round trip.
const membersPerTrip = 10_000

// InsideSites returns the vehicles inside any of the sites, longest stay first, at most
// limit of them.
func (s *Store) InsideSites(ctx context.Context, sites []string, limit int) ([]InsideSite, error) {
	found := []InsideSite{}
	before := "+inf"
	for some := range slices.Chunk(sites, min(sitesPerTrip, max(1, membersPerTrip/max(1, limit)))) {
		calls := make([]*redis.Call, len(some))
		for i, site := range some {
			calls[i] = s.insideCall(site, before, 0, int64(limit))
		}
		s.redis.Run(ctx, calls...)
		for i, call := range calls {
			inside, err := parseInside(call)
			if err != nil {
				return nil, fmt.Errorf("list the vehicles inside %s from Redis: %w", describe(some), err)
			}
			for _, v := range inside {
				found = append(found, InsideSite{some[i], v})
			}
		}
		slices.SortStableFunc(found, func(a, b InsideSite) int { return a.Since.Compare(b.Since) })
		if len(found) >= limit && limit > 0 {
			found = found[:limit]
			// A vehicle that entered later than all of these is not in the result.
			before = strconv.FormatInt(found[limit-1].Since.UnixMilli(), 10)
		}
	}
	return found, nil
}

func (s *Store) oldestInside(now time.Time) string {
	return strconv.FormatInt(now.Add(-s.retention).UnixMilli(), 10)
}
