package timeline

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"parkstream/shared/failure"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

// eventsPerScript bounds the events of one script, because Redis runs nothing else
// meanwhile: 250 events of unknown vehicles take some 2 ms.
const eventsPerScript = 250

//go:embed record.lua
var recordSource string

var recordScript = newScript(recordSource)

// Record adds events to their timelines and returns, per event in order, the current
// state of every stay the event affects. It takes one round trip to each shard, and one
// more if a site was not used in the last minute. An event is as durable as the
// configuration of Redis makes it (appendfsync always). Recording an event again
// changes nothing and returns the current state, so a caller repeats the call after an
// error. Of the versions of an event the highest counts; see [parking.Current]. The error
// of an event of a site beyond MaxSites is a [parking.ErrInvalid].
func (s *Store) Record(ctx context.Context, events []parking.Event) []parking.Recorded {
	return s.record(ctx, events, together{})
}

// RecordAll adds versions of known events of one site, all or none, and returns the stays
// that they affect. The n-th event takes the place of version was[n] of it; the error is a
// [parking.ErrConflict] if one of them has another version by now, or if pair, unless it is
// nil, is rejected. Versions that are all recorded already change nothing, so a caller
// repeats the call after another error. At most 250 events are taken.
func (s *Store) RecordAll(ctx context.Context, events []parking.Event, was []int64, pair *parking.Rejection) ([]parking.Stay, error) {
	if len(events) > eventsPerScript || len(was) != len(events) {
		return nil, fmt.Errorf("record %d events at once that follow %d: want as many, at most %d", len(events), len(was), eventsPerScript)
	}
	texts := make([]string, len(was))
	for i := range was {
		if events[i].Site != events[0].Site {
			return nil, fmt.Errorf("record events of the sites %s and %s at once: want one site", events[0].Site, events[i].Site)
		}
		texts[i] = strconv.FormatInt(was[i], 10)
	}
	all := together{was: strings.Join(texts, " ")}
	if pair != nil {
		all.pair = rejectionField(*pair)
	}
	var stays []parking.Stay
	for _, r := range s.record(ctx, events, all) {
		if r.Err != nil {
			return nil, r.Err
		}
		stays = append(stays, r.Stays...)
	}
	return parking.Latest(stays), nil
}

// together are the arguments of the script about events that are recorded all or none, each
// empty if there is nothing to say.
type together struct{ was, pair string }

func (s *Store) record(ctx context.Context, events []parking.Event, all together) []parking.Recorded {
	recorded := make([]parking.Recorded, len(events))
	sites, refused := s.admit(ctx, events)
	repeats := make(map[string]string, len(sites))
	for _, site := range sites {
		text, err := s.repeats(ctx, site)
		if err != nil {
			if refused == nil {
				refused = make(map[string]error)
			}
			refused[site] = fmt.Errorf("record events of site %s: what a repeated read is there is not known: %w", site, err)
		}
		repeats[site] = text
	}
	chunks := s.chunks(events, repeats, refused, all)
	keep := s.sites.Keep(sites, s.forgottenAt())
	calls := make([]*redis.Call, 0, len(chunks)+len(keep))
	for _, c := range chunks {
		calls = append(calls, &c.Call)
	}
	s.redis.Run(ctx, append(calls, keep...)...)
	kept := redis.FirstError(keep)
	for _, c := range chunks {
		err := kept
		if err == nil {
			err = c.parse(events, recorded)
		}
		if err != nil {
			for _, i := range c.index {
				recorded[i] = parking.Recorded{Err: fmt.Errorf("record %d events of site %s in Redis: %w", len(c.index), c.site, err)}
			}
		}
	}
	if len(refused) > 0 {
		for i := range events {
			if err := refused[events[i].Site]; err != nil {
				recorded[i] = parking.Recorded{Err: err}
			}
		}
	}
	return recorded
}

// Numbers of the script's arguments: for the call and for each of its events.
const (
	headArgs  = 7
	eventArgs = 4

	correctedArg = 4
)

// chunk is one call of the script.
type chunk struct {
	redis.Call
	site  string
	index []int // of the events
}

// chunks returns the calls of the script for all events except those of refused sites.
func (s *Store) chunks(events []parking.Event, repeats map[string]string, refused map[string]error, all together) []*chunk {
	now := s.now()
	oldest := now.Add(-s.retention)
	open := make(map[string]*chunk, 1)
	var chunks []*chunk
	for i := range events {
		e := &events[i]
		if refused[e.Site] != nil {
			continue
		}
		c := open[e.Site]
		if c == nil || len(c.index) == eventsPerScript {
			size := min(eventsPerScript, len(events)-i)
			if c == nil && len(chunks) > 0 {
				size = min(size, 8) // many sites share the events
			}
			c = &chunk{site: e.Site, index: make([]int, 0, size)}
			c.Script, c.Keys = recordScript, []string{string(keysOf(e.Site))}
			c.Args = append(make([]any, 0, headArgs+eventArgs*size), s.retention.Milliseconds(), instant(oldest), oldest.UnixMilli(), repeats[e.Site], "", all.was, all.pair)
			open[e.Site] = c
			chunks = append(chunks, c)
		}
		c.index = append(c.index, i)
		at := e.Time
		if e.Void { // it may have no time; the script knows that of what it makes void
			at = now
		}
		if e.Corrected() {
			c.Args[correctedArg] = fmt.Sprint(c.Args[correctedArg], at.UnixMilli(), "\n", e.ID, "\n")
		}
		m := memberAt(e, at)
		c.Args = append(c.Args, m, at.UnixMilli(), plateOf(e), keptOf(e, m))
	}
	return chunks
}

// repeats returns the settings of a site as the script takes them.
func (s *Store) repeats(ctx context.Context, site string) (string, error) {
	var settings parking.Repeats
	if s.Repeats != nil {
		var err error
		if settings, err = s.Repeats(ctx, site); err != nil {
			return "", err
		}
	}
	var text []byte
	for _, r := range slices.Backward(settings) {
		text = fmt.Appendf(text, "%s %d ", instant(r.From), max(0, r.Within))
	}
	return string(fmt.Appendf(text, "%s %d", instant(time.Time{}), parking.DefaultRepeat)), nil
}

func (c *chunk) parse(events []parking.Event, recorded []parking.Recorded) error {
	text, err := c.Text()
	if err != nil {
		return err
	}
	for _, i := range c.index {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		if recorded[i], err = parseLine(line, &events[i]); err != nil {
			return err
		}
	}
	return nil
}

// errOld is the ErrInvalid of an amendment of an event of version 0.1.0.
var errOld = parking.Invalid("version 0.1.0 recorded this event without its plate, so it cannot be made void or given another plate")

func parseLine(line string, e *parking.Event) (parking.Recorded, error) {
	verdict, rest, more := strings.Cut(line, "\t")
	var r parking.Recorded
	switch verdict {
	case "N":
	case "D":
		r.Duplicate = true
	case "S":
		r.Superseded = true
	case "C":
		return parking.Recorded{Err: parking.ErrConflict}, nil
	case "O":
		return parking.Recorded{Err: errOld}, nil
	default:
		return r, failure.Odd("Redis", fmt.Errorf("unexpected answer %q of the record script", line))
	}
	for more {
		var exit, entry, revision, plate string
		exit, rest, _ = strings.Cut(rest, "\t")
		entry, rest, _ = strings.Cut(rest, "\t")
		revision, rest, more = strings.Cut(rest, "\t")
		if !more {
			return r, failure.Odd("Redis", fmt.Errorf("answer %q of the record script ends within a stay", line))
		}
		plate, rest, more = strings.Cut(rest, "\t")
		stay := parking.Stay{Site: e.Site, Plate: cmp.Or(plate, e.Plate)}
		var err1, err2, err3 error
		stay.ID, stay.ExitTime, err1 = parseMember(exit)
		switch entry {
		case "":
		case "r":
			stay.Repeat = true
		case "v":
			stay.Void = true
		default:
			if entry[0] == '{' {
				entry, err2 = cutDecided(&stay, entry)
			}
			if err2 == nil {
				stay.EntryID, stay.EntryTime, err2 = parseMember(entry)
			}
		}
		stay.Revision, err3 = strconv.ParseInt(revision, 10, 64)
		if err := errors.Join(err1, err2, err3); err != nil {
			return r, failure.Odd("Redis", fmt.Errorf("unexpected answer %q of the record script: %w", line, err))
		}
		r.Stays = append(r.Stays, stay)
	}
	return r, nil
}
