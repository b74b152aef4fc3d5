package timeline

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

//go:embed erase.lua
var eraseSource string

var eraseScript = newScript(decisionsSource, eraseSource)

// Erased has the numbers of what an erasure removed.
type Erased struct {
	Events int64 `json:"events"`
	Keys   int64 `json:"keys"`
}

// Affected returns the current states of the stays that the events of a plate affect, those
// that have it and those that had it in a version before. Post them before the plate is
// erased: if a process ended before it did, nothing tells of them any more after that.
func (s *Store) Affected(ctx context.Context, site, plate string) ([]parking.Stay, error) {
	places, err := s.Places(ctx, site, plate)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(places))
	for _, p := range places {
		ids = append(ids, p.ID)
	}
	slices.Sort(ids)
	found, err := s.Events(ctx, site, slices.Compact(ids))
	if err != nil {
		return nil, err
	}
	var stays []parking.Stay
	for _, r := range s.Record(ctx, slices.Collect(maps.Values(found))) { // once more, which changes nothing
		if r.Err != nil {
			return nil, r.Err
		}
		stays = append(stays, r.Stays...)
	}
	return parking.Latest(stays), nil
}

// ErasePlate removes every trace of a normalised plate at a site: its timeline, its
// events, its entry among the vehicles inside, what was decided of them, and its name at the
// events that had it in a version before. The totals stay, because they name no vehicle.
// After an error nothing or a part is erased. A repeated call erases the rest.
func (s *Store) ErasePlate(ctx context.Context, site, plate string) (Erased, error) {
	if plate == "" {
		return Erased{}, errors.New("erase a plate: it is empty")
	}
	call := redis.Call{Script: eraseScript, Keys: []string{string(keysOf(site))}, Args: []any{plate, instant(s.oldest()), s.expiry()}}
	s.redis.Run(ctx, &call)
	text, err := call.Text()
	if err != nil {
		return Erased{}, fmt.Errorf("erase a plate at site %s from Redis: %w", site, err)
	}
	var e Erased
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return Erased{}, fmt.Errorf("erase a plate at site %s: unexpected answer %q: %w", site, text, err)
	}
	return e, nil
}
