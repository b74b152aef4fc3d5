package timeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/redis"
)

// Place is where a version of an event is, or was, in a timeline.
type Place struct {
	ID   string
	Time time.Time
}

// Places returns the places of what [Store.ErasePlate] would erase of a normalised plate
// at a site: those of its events, also where versions of them were before, and those
// that other events had in its timeline.
func (s *Store) Places(ctx context.Context, site, plate string) ([]Place, error) {
	places, err := s.places(ctx, keysOf(site), plate)
	if err != nil {
		return nil, fmt.Errorf("list the events of a plate at site %s from Redis: %w", site, err)
	}
	return places, nil
}

func (s *Store) places(ctx context.Context, keys siteKeys, plate string) ([]Place, error) {
	p := s.redis.Current().Pipeline()
	older, newest := p.ZRange(ctx, keys.older(plate), 0, -1), p.HGet(ctx, keys.timelines(), plate)
	formers := p.ZRangeByLex(ctx, keys.former(), &goredis.ZRangeBy{Min: "[" + plate + "\n", Max: "(" + plate + "\v"})
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, goredis.Nil) {
		return nil, err
	}
	members := older.Val()
	for line := range strings.SplitSeq(newest.Val(), "\n") {
		if member := strings.TrimPrefix(line, "+"); member != "" { // see layout.lua
			members = append(members, member)
		}
	}
	places := make([]Place, 0, len(members))
	ids, own := make([]string, 0, len(members)), make(map[string]bool, len(members))
	for _, member := range members {
		id, at, err := parseMember(member)
		if err != nil {
			return nil, err
		}
		places, ids = append(places, Place{id, at}), append(ids, id)
		own[id] = true
	}
	for _, former := range formers.Val() {
		if _, id, _ := strings.Cut(former, "\n"); !own[id] {
			ids = append(ids, id)
		}
	}
	for some := range slices.Chunk(ids, membersPerTrip) {
		kept, err := s.redis.Current().HMGet(ctx, keys.events(), some...).Result()
		if err != nil {
			return nil, err
		}
		for i, id := range some {
			text, _ := kept[i].(string)
			former, err := formerPlaces(id, text)
			if err != nil {
				return nil, err
			}
			for _, place := range former {
				if own[id] || place.plate == plate {
					places = append(places, place.Place)
				}
			}
		}
	}
	return places, nil
}

type formerPlace struct {
	Place
	plate string
}

// formerPlaces returns the former places in what is kept of an event.
func formerPlaces(id, kept string) ([]formerPlace, error) {
	lines := strings.Split(kept, "\n")
	if len(lines) <= placesLine || lines[placesLine] == "" {
		return nil, nil
	}
	var places []formerPlace
	for text := range strings.SplitSeq(lines[placesLine], "\t") {
		at, rest, err := redis.Base32.Cut(text)
		if err != nil || rest == "" {
			return nil, fmt.Errorf("former place of event %q: %w", id, err)
		}
		places = append(places, formerPlace{Place{id, at}, rest[1:]})
	}
	return places, nil
}

// Between returns the events of a normalised plate at a site that were observed from one
// instant until another, both included, in the order of the timeline.
func (s *Store) Between(ctx context.Context, site, plate string, from, to time.Time) ([]Place, error) {
	keys := keysOf(site)
	p := s.redis.Current().Pipeline()
	older := p.ZRangeByScore(ctx, keys.older(plate), &goredis.ZRangeBy{
		Min: strconv.FormatInt(from.UnixMilli(), 10), Max: strconv.FormatInt(to.UnixMilli(), 10), Count: membersPerTrip,
	})
	newest := p.HGet(ctx, keys.timelines(), plate)
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, goredis.Nil) {
		return nil, fmt.Errorf("read a timeline of site %s from Redis: %w", site, err)
	}
	places := []Place{}
	for _, member := range append(older.Val(), strings.Split(strings.TrimPrefix(newest.Val(), "+"), "\n")...) {
		if member == "" {
			continue
		}
		id, at, err := parseMember(member)
		if err != nil {
			return nil, fmt.Errorf("read a timeline of site %s from Redis: %w", site, err)
		}
		if !at.Before(from) && !at.After(to) {
			places = append(places, Place{id, at})
		}
	}
	return places, nil
}
