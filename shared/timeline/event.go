package timeline

import (
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"parkstream/shared/failure"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

//go:embed event.lua
var eventSource string

// newestSource reads pages of sorted sets of members, for other scripts.
//
//go:embed newest.lua
var newestSource string

var eventScript = newScript(newestSource, eventSource)

// ErrNoEvent is the error of an event that is not known: it was never recorded, it has
// expired or was erased, or version 0.1.0 recorded it, which did not keep all of it.
var ErrNoEvent = errors.New("no such event")

// Event returns the version of an event that counts, with its details. A void event has
// no time. The error is [ErrNoEvent] if the event is not known.
func (s *Store) Event(ctx context.Context, site, id string) (parking.Event, error) {
	if id == "" {
		return parking.Event{}, ErrNoEvent
	}
	events, err := s.events(ctx, site, id, 1, "")
	if err != nil {
		return parking.Event{}, fmt.Errorf("read an event of site %s from Redis: %w", site, err)
	}
	if len(events) == 0 {
		return parking.Event{}, ErrNoEvent
	}
	return events[0], nil
}

// MaxNoPlates is the maximum number of events of one call of NoPlates.
const MaxNoPlates = 1000

// NoPlates returns the events of a site without a plate, the newest first, at most limit
// of them, and the cursor of the next page, or "" after the last one. The cursor of the
// first page is "". The error of another cursor is a [parking.ErrInvalid].
func (s *Store) NoPlates(ctx context.Context, site string, limit int, cursor string) (events []parking.Event, next string, err error) {
	before, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil && cursor != "" {
		err = checkMember(string(before))
	}
	if err != nil {
		return nil, "", parking.Invalid("cursor was not made by this endpoint")
	}
	limit = min(max(1, limit), MaxNoPlates)
	events, err = s.events(ctx, site, "", limit+1, string(before))
	if err != nil {
		return nil, "", fmt.Errorf("list the events without a plate of site %s from Redis: %w", site, err)
	}
	if len(events) > limit {
		events = events[:limit]
		next = base64.RawURLEncoding.EncodeToString([]byte(member(&events[limit-1])))
	}
	return events, next, nil
}

// checkMember returns an error unless text is a member.
func checkMember(text string) error {
	id, _, err := parseMember(text)
	if err != nil {
		return err
	}
	return parking.CheckID(id)
}

func (s *Store) events(ctx context.Context, site, id string, limit int, before string) ([]parking.Event, error) {
	call := redis.Call{Script: eventScript, Keys: []string{string(keysOf(site))}, Args: []any{id, limit, before}, NoWait: true}
	s.redis.Run(ctx, &call)
	text, err := call.Text()
	if err != nil {
		return nil, err
	}
	return parseEvents(text, site, s.now().Add(-s.retention))
}

// parseEvents returns the events of an answer of the script that have not expired.
func parseEvents(text, site string, oldest time.Time) ([]parking.Event, error) {
	events := []parking.Event{}
	for one := range strings.SplitSeq(text, "\r") {
		if one == "" {
			continue
		}
		m, kept, _ := strings.Cut(one, "\t")
		e, err := parseKept(site, m, kept)
		if err != nil {
			return nil, failure.Odd("Redis", fmt.Errorf("unexpected answer of the event script: %w", err))
		}
		if e.Void || !e.Time.Before(oldest) {
			events = append(events, e)
		}
	}
	return events, nil
}
