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
	add := func(events []parking.Event) error {
		of, err := s.stays(ctx, events)
		stays = append(stays, of...)
		return err
	}
	for some := range slices.Chunk(slices.Collect(maps.Values(found)), eventsPerScript) {
		err := add(some)
		if errors.Is(err, parking.ErrConflict) { // one was changed or erased meanwhile, which posts its stays
			for i := range some {
				if err = add(some[i : i+1]); err != nil && !errors.Is(err, parking.ErrConflict) {
					break
				}
				err = nil
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return parking.Latest(stays), nil
}

// stays returns the current states of the stays that events of a site affect, in the versions
// that count: they are recorded once more, which changes nothing. The error is a
// [parking.ErrConflict] if one has another version by now, or is erased.
func (s *Store) stays(ctx context.Context, events []parking.Event) ([]parking.Stay, error) {
	was := make([]int64, len(events))
	for i := range events {
		was[i] = events[i].Version
	}
	return s.RecordAll(ctx, events, was, nil)
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
