package stay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// ErrNotFound says that there is no stay with that id.
var ErrNotFound = errors.New("no such stay")

// AmbiguousError says that several sites have a stay with the id that was asked
// for.
type AmbiguousError struct{ Sites []string }

func (e AmbiguousError) Error() string {
	return fmt.Sprintf("%d sites have a stay with this id: choose one with the parameter site", len(e.Sites))
}

// Get returns one stay. Without a site the id has to be that of one stay alone,
// otherwise the error is an [AmbiguousError].
func (s *Store) Get(ctx context.Context, site, id string) (Kept, error) {
	sites := []string{site}
	if site == "" {
		var err error
		if sites, err = s.Sites(ctx); err != nil {
			return Kept{}, err
		}
	}
	if err := CheckSites(len(sites)); err != nil {
		return Kept{}, err
	}
	var found []Kept
	for some := range slices.Chunk(sites, indexesPerTrip) {
		places := make([]place, len(some))
		for i, site := range some {
			places[i] = place{position: position(time.Unix(0, 0), id), prefix: string(keysOf(site))}
		}
		stays, err := s.read(ctx, places)
		if err != nil {
			return Kept{}, err
		}
		found = append(found, stays...)
	}
	switch len(found) {
	case 0:
		return Kept{}, ErrNotFound
	case 1:
		return found[0], nil
	}
	var ambiguous AmbiguousError
	for _, k := range found {
		ambiguous.Sites = append(ambiguous.Sites, k.Site)
	}
	return Kept{}, ambiguous
}

// read returns the stays at places that are not too old and were not erased
// meanwhile.
func (s *Store) read(ctx context.Context, places []place) ([]Kept, error) {
	type site struct {
		ids  []string
		cmd  *goredis.SliceCmd
		next int // of the values
	}
	oldest := s.Now().Add(-s.retention)
	sites := make(map[string]*site)
	for _, pl := range places {
		if sites[pl.prefix] == nil {
			sites[pl.prefix] = new(site)
		}
		sites[pl.prefix].ids = append(sites[pl.prefix].ids, pl.id())
	}
	p := s.redis.Current().Pipeline()
	for prefix, of := range sites {
		of.cmd = p.HMGet(ctx, siteKeys(prefix).stays(), of.ids...)
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read stays from Redis: %w", err)
	}
	stays := make([]Kept, 0, len(places))
	for _, pl := range places {
		of := sites[pl.prefix]
		value, found := of.cmd.Val()[of.next].(string)
		of.next++
		if !found {
			continue
		}
		k, err := parseKept(pl.site(), pl.id(), value)
		if err != nil {
			return nil, err
		}
		if !k.ExitTime.Before(oldest) {
			stays = append(stays, k)
		}
	}
	return stays, nil
}
