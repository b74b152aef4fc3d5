package timeline

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/redis"
)

//go:embed unfinished.lua
var unfinishedSource string

var unfinishedScript = newScript(unfinishedSource)

// Mark marks an event that is corrected until the stays that it affects are posted:
// whatever ends the process in between, the next one finds it. An event has one mark, that
// of the last correction: it was made of what the ones before it left.
type Mark struct {
	ID     string
	micros int64
}

// MarkUnfinished marks events of a site that are about to be corrected.
func (s *Store) MarkUnfinished(ctx context.Context, site string, ids []string) ([]Mark, error) {
	now, key := s.now(), keysOf(site).unfinished()
	marks, members := make([]Mark, len(ids)), make([]goredis.Z, len(ids))
	for i, id := range ids {
		marks[i] = Mark{id, now.UnixMicro()}
		members[i] = goredis.Z{Score: float64(marks[i].micros), Member: id}
	}
	p := s.redis.Current().Pipeline()
	p.ZAdd(ctx, key, members...)
	p.ExpireAt(ctx, key, now.Add(s.retention))
	if _, err := p.Exec(ctx); err != nil {
		return nil, fmt.Errorf("mark %d events of site %s in Redis: %w", len(ids), site, err)
	}
	return marks, nil
}

// Unfinished returns the marks of a site that were made before an instant, the oldest first,
// at most limit of them.
func (s *Store) Unfinished(ctx context.Context, site string, before time.Time, limit int64) ([]Mark, error) {
	members, err := s.redis.Current().ZRangeByScoreWithScores(ctx, keysOf(site).unfinished(), &goredis.ZRangeBy{
		Min: "-inf", Max: "(" + strconv.FormatInt(before.UnixMicro(), 10), Count: limit,
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("list the marked events of site %s from Redis: %w", site, err)
	}
	marks := make([]Mark, len(members))
	for i, m := range members {
		marks[i] = Mark{m.Member.(string), int64(m.Score)}
	}
	return marks, nil
}

// MarkFinished removes marks. An event that was marked again since stays marked: that
// correction may not be posted yet.
func (s *Store) MarkFinished(ctx context.Context, site string, marks []Mark) error {
	if len(marks) == 0 {
		return nil
	}
	args := make([]any, 0, 2*len(marks))
	for _, m := range marks {
		args = append(args, m.ID, m.micros)
	}
	call := redis.Call{Script: unfinishedScript, Keys: []string{string(keysOf(site))}, Args: args}
	s.redis.Run(ctx, &call)
	if _, err := call.Text(); err != nil {
		return fmt.Errorf("remove the marks of %d events of site %s from Redis: %w", len(marks), site, err)
	}
	return nil
}
