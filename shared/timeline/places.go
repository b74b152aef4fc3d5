package timeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Place is an event in a plate's timeline.
type Place struct {
	ID   string
	Time time.Time
}

// Places returns the events of a normalised plate at a site: those that [Store.ErasePlate]
// would erase.
func (s *Store) Places(ctx context.Context, site, plate string) ([]Place, error) {
	keys := keysOf(site)
	p := s.redis.Current().Pipeline()
	older, newest := p.ZRange(ctx, keys.older(plate), 0, -1), p.HGet(ctx, keys.timelines(), plate)
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, goredis.Nil) {
		return nil, fmt.Errorf("list the events of a plate at site %s from Redis: %w", site, err)
	}
	members := older.Val()
	for line := range strings.SplitSeq(newest.Val(), "\n") {
		if member := strings.TrimPrefix(line, "+"); member != "" { // see layout.lua
			members = append(members, member)
		}
	}
	places := make([]Place, len(members))
	for i, member := range members {
		var err error
		if places[i].ID, places[i].Time, err = parseMember(member); err != nil {
			return nil, fmt.Errorf("list the events of a plate at site %s: %w", site, err)
		}
	}
	return places, nil
}
