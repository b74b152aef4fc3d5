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

// Inside is the set of generated plates whose entry was published and whose
// exit was not, one for each site. Every method is one round trip.
//
// It is a sorted set by the time of entry rather than a plain one: a run with a seed
// takes the same plates out each time, and those whose entries the pipeline has
// forgotten can be dropped.
type Inside struct {
	redis     *redis.Client
	retention time.Duration
}

// vehicle is a member of the set.
type vehicle struct {
	plate   string
	entered time.Time
}

// NewInside returns the set on a client, which the caller closes. Plates leave
// it after retention.
func NewInside(client *redis.Client, retention time.Duration) *Inside {
	return &Inside{redis: client, retention: retention}
}

// insideKey is on the shard of its site in Redis Cluster.
func insideKey(site string) string { return "gen:plates:{" + site + "}" }

// add adds vehicles. If one is inside already, only its time changes.
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

// take removes at most n vehicles, those that entered first. No two callers get
// the same one.
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
		plate, _ := m.Member.(string) // go-redis reads every member as one
		vehicles[i] = vehicle{plate: plate, entered: entered(m.Score)}
	}
	return vehicles, nil
}

// score is in microseconds, which a float64 holds exactly for the next 200
// years.
func score(t time.Time) float64 { return float64(t.UnixMicro()) }

func entered(score float64) time.Time { return time.UnixMicro(int64(math.Round(score))) }
