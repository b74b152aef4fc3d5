package stay

import (
	"context"
	_ "embed"
	"fmt"

	"parkstream/shared/redis"
)

//go:embed erase.lua
var eraseSource string

var eraseScript = newScript(eraseSource)

// ErasePlate removes every stay of a normalised plate at a site and returns the number
// of removed stays.
func (s *Store) ErasePlate(ctx context.Context, site, plate string) (int64, error) {
	call := redis.Call{Script: eraseScript, Keys: []string{string(keysOf(site))}, Args: []any{plate}}
	s.redis.Run(ctx, &call)
	n, err := call.Int64()
	if err != nil {
		return 0, fmt.Errorf("erase the stays of a plate at site %s from Redis: %w", site, err)
	}
	return n, nil
}

// Erased rewrites the files of Redis after erasures by any store; see
// [redis.Client.Erased].
func (s *Store) Erased(ctx context.Context) error { return s.redis.Erased(ctx) }
