package timeline

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Inside is a vehicle inside a site.
type Inside struct {
	Plate string    `json:"vehicle_plate"`
	Since time.Time `json:"since"`
}

// Inside returns vehicles inside a site, longest stay first. It skips the first offset
// vehicles and returns at most limit of the others.
func (s *Store) Inside(ctx context.Context, site string, offset, limit int64) ([]Inside, error) {
	found, err := s.redis.Current().ZRangeArgsWithScores(ctx, goredis.ZRangeArgs{
		Key: keysOf(site).inside(), Start: s.oldestInside(s.now()), Stop: "+inf", ByScore: true, Offset: offset, Count: limit,
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

// membersPerTrip bounds the vehicles in one round trip.
const membersPerTrip = 10_000

// InsideSites returns the vehicles inside any of the sites, longest stay first, at most
// limit of them.
func (s *Store) InsideSites(ctx context.Context, sites []string, limit int) ([]InsideSite, error) {
	found := []InsideSite{}
	before := "+inf"
	for some := range slices.Chunk(sites, min(sitesPerTrip, max(1, membersPerTrip/max(1, limit)))) {
		p := s.redis.Current().Pipeline()
		cmds := make([]*goredis.ZSliceCmd, len(some))
		for i, site := range some {
			cmds[i] = p.ZRangeArgsWithScores(ctx, goredis.ZRangeArgs{
				Key: keysOf(site).inside(), Start: s.oldestInside(s.now()), Stop: before, ByScore: true, Count: int64(limit),
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
			// A vehicle that entered later than all of these is not in the result.
			before = strconv.FormatInt(found[limit-1].Since.UnixMilli(), 10)
		}
	}
	return found, nil
}

func (s *Store) oldestInside(now time.Time) string {
	return strconv.FormatInt(now.Add(-s.retention).UnixMilli(), 10)
}
