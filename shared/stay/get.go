package stay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// ErrNotFound is the error for an id without a stay.
var ErrNotFound = errors.New("no such stay")

// AmbiguousError is the error for an id with which several of the sites have a stay.
type AmbiguousError struct{ Stays []StoredStay }

func (e AmbiguousError) Error() string {
	return fmt.Sprintf("%d sites have a stay with this id: choose one with the parameter site", len(e.Stays))
}

// Sites returns the sites of the stays.
func (e AmbiguousError) Sites() []string {
	sites := make([]string, len(e.Stays))
	for i, k := range e.Stays {
		sites[i] = k.Site
	}
	return sites
}

// Get returns the stay with an id at one of the sites. The error is [ErrNotFound] if
// none of them has the id, and an [AmbiguousError] if several have.
func (s *Store) Get(ctx context.Context, sites []string, id string) (StoredStay, error) {
	if err := CheckSites(len(sites)); err != nil {
		return StoredStay{}, err
	}
	var found []StoredStay
	for some := range slices.Chunk(sites, indexesPerTrip) {
		positions := make([]cursorPos, len(some))
		for i, site := range some {
			positions[i] = cursorPos{position: position(time.Unix(0, 0), id), prefix: string(keysOf(site))}
		}
		stays, err := s.read(ctx, positions)
		if err != nil {
			return StoredStay{}, err
		}
		found = append(found, stays...)
	}
	switch len(found) {
	case 0:
		return StoredStay{}, ErrNotFound
	case 1:
		return found[0], nil
	}
	return StoredStay{}, AmbiguousError{found}
}

// read returns the stays at positions. It omits stays older than the retention and
// stays erased meanwhile.
func (s *Store) read(ctx context.Context, positions []cursorPos) ([]StoredStay, error) {
	type site struct {
		ids  []string
		cmd  *goredis.SliceCmd
		next int // of the values
	}
	oldest := s.Now().Add(-s.retention)
	sites := make(map[string]*site)
	for _, at := range positions {
		if sites[at.prefix] == nil {
			sites[at.prefix] = new(site)
		}
		sites[at.prefix].ids = append(sites[at.prefix].ids, at.id())
	}
	p := s.redis.Current().Pipeline()
	for prefix, of := range sites {
		of.cmd = p.HMGet(ctx, siteKeys(prefix).stays(), of.ids...)
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read stays from Redis: %w", err)
	}
	stays := make([]StoredStay, 0, len(positions))
	for _, at := range positions {
		of := sites[at.prefix]
		value, found := of.cmd.Val()[of.next].(string)
		of.next++
		if !found {
			continue
		}
		k, err := parseValue(at.site(), at.id(), value)
		if err != nil {
			return nil, err
		}
		if !k.ExitTime.Before(oldest) {
			stays = append(stays, k)
		}
	}
	return stays, nil
}
