// Package stay stores, lists, counts and erases stays in Redis.
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
	// Zone returns the time zone of a site, by which its days are counted; nil: UTC.
	Zone func(ctx context.Context, site string) (*time.Location, error)
	// sites are the sites with stays. The registry has no bound: a stay is posted with
	// the token, and the site of its events was admitted before.
	sites redis.Registry
}

// New returns a store on a client. The caller closes the client. A stay expires when
// its exit is older than retention.
func New(client *redis.Client, retention time.Duration) *Store {
	return &Store{redis: client, retention: retention, Now: time.Now, sites: redis.NewRegistry(client, redis.Stays.Registry())}
}

func (s *Store) zone(ctx context.Context, site string) (*time.Location, error) {
	if s.Zone == nil {
		return time.UTC, nil
	}
	return s.Zone(ctx, site)
}

// Sites returns the names of the sites with stays.
func (s *Store) Sites(ctx context.Context) ([]string, error) { return s.sites.Names(ctx) }
