// Package stay keeps stays in Redis: it stores, lists, counts and erases them.
package stay

import (
	"context"
	_ "embed"
	"time"

	"parkstream/shared/redis"
)

// Store keeps stays in Redis 7.0 or newer, in a key space of its own. It is safe
// for concurrent use, by any number of processes.
type Store struct {
	redis     *redis.Client
	retention time.Duration
	// Now is the clock, [time.Now] unless a test sets another one before the first call.
	Now func() time.Time
	// sites are those that have stays. It has no bound: stays are posted by those
	// who know the token, of events whose sites were admitted.
	sites redis.Registry
}

// New returns a store on a client, which the caller closes. A stay is
// forgotten when its exit is older than retention.
func New(client *redis.Client, retention time.Duration) *Store {
	return &Store{redis: client, retention: retention, Now: time.Now, sites: redis.NewRegistry(client, redis.Stays.Registry())}
}

// Sites lists the sites that have stays.
func (s *Store) Sites(ctx context.Context) ([]string, error) { return s.sites.Names(ctx) }
