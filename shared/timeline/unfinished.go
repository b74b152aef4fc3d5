package timeline

import (
	"context"
	"fmt"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Decided events are marked until the stays that they affect are posted: whatever ends the
// process in between, the next one finds the marks.

// MarkUnfinished marks events of a site that are about to be corrected.
func (s *Store) MarkUnfinished(ctx context.Context, site string, ids []string) error {
	now, key := s.now(), keysOf(site).unfinished()
	marks := make([]goredis.Z, len(ids))
	for i, id := range ids {
		marks[i] = goredis.Z{Score: float64(now.UnixMilli()), Member: id}
	}
	p := s.redis.Current().Pipeline()
	p.ZAdd(ctx, key, marks...)
	p.ExpireAt(ctx, key, now.Add(s.retention))
	if _, err := p.Exec(ctx); err != nil {
		return fmt.Errorf("mark %d events of site %s in Redis: %w", len(ids), site, err)
	}
	return nil
}

// Unfinished returns events of a site that were marked before an instant, the oldest first,
// at most limit of them.
func (s *Store) Unfinished(ctx context.Context, site string, before time.Time, limit int64) ([]string, error) {
	ids, err := s.redis.Current().ZRangeByScore(ctx, keysOf(site).unfinished(), &goredis.ZRangeBy{
		Min: "-inf", Max: "(" + strconv.FormatInt(before.UnixMilli(), 10), Count: limit,
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("list the marked events of site %s from Redis: %w", site, err)
	}
	return ids, nil
}

// MarkFinished removes the marks of events.
func (s *Store) MarkFinished(ctx context.Context, site string, ids []string) error {
	members := make([]any, len(ids))
	for i, id := range ids {
		members[i] = id
	}
	if len(ids) == 0 {
		return nil
	}
	if err := s.redis.Current().ZRem(ctx, keysOf(site).unfinished(), members...).Err(); err != nil {
		return fmt.Errorf("remove the marks of %d events of site %s from Redis: %w", len(ids), site, err)
	}
	return nil
}
