package generator

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/failure"
	"parkstream/shared/redis"
)

// Inside is the set of generated plates with a published entry and without a published
// exit, one set for each site. Every method takes one round trip.
//
// It is sorted by the time of entry. A run with a seed therefore takes the same plates
// out each time, and plates whose entries have expired in the pipeline can be removed.
type Inside struct {
	redis     *redis.Client
	retention time.Duration
}

// vehicle is a member of the set.
type vehicle struct {
	plate   string
	entered time.Time
}

// NewInside returns the set on a client. The caller closes the client. Plates expire
// after retention.
func NewInside(client *redis.Client, retention time.Duration) *Inside {
	return &Inside{redis: client, retention: retention}
}

// insideKey returns the key of a site's set. In Redis Cluster it is on the shard of the
// site.
func insideKey(site string) string { return "gen:plates:{" + site + "}" }

// add adds vehicles. It only updates the time of a vehicle that is inside already.
func (s *Inside) add(ctx context.Context, site string, vehicles []vehicle) error {
	if len(vehicles) == 0 {
		return nil
	}
	members := make([]goredis.Z, len(vehicles))
	newest := vehicles[0].entered
	for i, v := range vehicles {
		members[i] = goredis.Z{Score: score(v.entered), Member: v.plate}
		if v.entered.After(newest) {
			newest = v.entered
		}
	}
	key := insideKey(site)
	_, err := s.redis.Current().Pipelined(ctx, func(p goredis.Pipeliner) error {
		p.ZAdd(ctx, key, members...)
		forgotten := strconv.FormatFloat(score(newest.Add(-s.retention)), 'f', -1, 64)
		p.ZRemRangeByScore(ctx, key, "-inf", forgotten)
		p.Expire(ctx, key, s.retention)
		return nil
	})
	if err != nil {
		return failure.In("Redis", fmt.Errorf("add %d plates to the set %s in Redis: %w", len(vehicles), key, err))
	}
	return nil
}

// take removes the vehicles that entered first, at most n, and returns them. No two
// callers get the same vehicle.
func (s *Inside) take(ctx context.Context, site string, n int) ([]vehicle, error) {
	if n == 0 {
		return nil, nil
	}
	key := insideKey(site)
	members, err := s.redis.Current().ZPopMin(ctx, key, int64(n)).Result()
	if err != nil {
		return nil, failure.In("Redis", fmt.Errorf("take %d plates from the set %s in Redis: %w", n, key, err))
	}
	vehicles := make([]vehicle, len(members))
	for i, m := range members {
		plate, _ := m.Member.(string) // go-redis returns every member as a string
		vehicles[i] = vehicle{plate: plate, entered: entered(m.Score)}
	}
	return vehicles, nil
}

// score returns a time in microseconds. A float64 is exact for them for the next 200
// years.
func score(t time.Time) float64 { return float64(t.UnixMicro()) }

func entered(score float64) time.Time { return time.UnixMicro(int64(math.Round(score))) }
