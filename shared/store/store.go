// Package store keeps the timelines of vehicles in Redis: it takes in events,
// finds the stays they change and keeps each site's state, atomically.
package store

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

// eventsPerScript bounds how long one script keeps Redis from others: 250 events
// of vehicles that were not known take some 2 ms.
const eventsPerScript = 250

//go:embed record.lua
var recordSource string

var recordScript = redis.NewScript(recordSource)

// Store keeps timelines and site states in Redis 7.0 or newer. It is safe for
// concurrent use, by any number of processes.
type Store struct {
	redis     *redis.Client
	retention time.Duration
	now       func() time.Time
	// known are the sites that this process has put into the set of sites.
	known sync.Map
}

// sitesKey is the set of sites that had events. It is on a shard of its own, so
// that the script of events cannot maintain it.
const sitesKey = "park:sites"

// addSiteScript adds a site to the set.
//
// KEYS[1]  the set of sites
// ARGV[1]  the site
var addSiteScript = redis.NewScript(`return redis.call('SADD', KEYS[1], ARGV[1])`)

// New returns a store on a client, which the caller closes. Events are
// forgotten when they are older than retention, at least a minute.
func New(client *redis.Client, retention time.Duration) *Store {
	return &Store{redis: client, retention: retention, now: time.Now}
}

// Record takes events into their timelines in one round trip (one a shard) and
// says of each, in the order of events, what it means. An event is durable as
// far as Redis is configured to make it so (appendfsync always). Recording an
// event again changes nothing and returns the present state, so a caller that
// does not know whether it succeeded calls again.
func (s *Store) Record(ctx context.Context, events []parking.Event) []parking.Recorded {
	recorded := make([]parking.Recorded, len(events))
	chunks := s.chunks(events)
	calls := make([]*redis.Call, 0, len(chunks)+1)
	added := make(map[string]*redis.Call)
	for _, c := range chunks {
		calls = append(calls, &c.Call)
		if _, known := s.known.Load(c.site); !known && added[c.site] == nil {
			added[c.site] = &redis.Call{Script: addSiteScript, Keys: []string{sitesKey}, Args: []any{c.site}}
			calls = append(calls, added[c.site])
		}
	}
	s.redis.Run(ctx, calls...)
	for site, call := range added {
		if _, err := call.Int64(); err == nil {
			s.known.Store(site, nil)
		}
	}
	for _, c := range chunks {
		if err := c.parse(events, recorded); err != nil {
			for _, i := range c.index {
				recorded[i] = parking.Recorded{Err: fmt.Errorf("record %d events of site %s in Redis: %w", len(c.index), c.site, err)}
			}
		}
	}
	return recorded
}

// chunk is one call of the script.
type chunk struct {
	redis.Call
	site  string
	index []int // of the events
}

func (s *Store) chunks(events []parking.Event) []*chunk {
	oldest := s.now().Add(-s.retention)
	open := make(map[string]*chunk, 1)
	var chunks []*chunk
	for i := range events {
		e := &events[i]
		c := open[e.Site]
		if c == nil || len(c.index) == eventsPerScript {
			size := min(eventsPerScript, len(events)-i)
			c = &chunk{site: e.Site, index: make([]int, 0, size)}
			c.Script, c.Keys = recordScript, []string{sitePrefix(e.Site)}
			c.Args = append(make([]any, 0, 3+4*size), s.retention.Milliseconds(), instant(oldest), oldest.UnixMilli())
			open[e.Site] = c
			chunks = append(chunks, c)
		}
		c.index = append(c.index, i)
		c.Args = append(c.Args, member(e), e.Time.UnixMilli(), e.Plate, extra(e))
	}
	return chunks
}

// Sites lists the sites that ever had an event.
func (s *Store) Sites(ctx context.Context) ([]string, error) {
	sites, err := s.redis.Current().SMembers(ctx, sitesKey).Result()
	if err != nil {
		return nil, fmt.Errorf("list the sites from Redis: %w", err)
	}
	slices.Sort(sites)
	return sites, nil
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

func parseLine(line string, e *parking.Event) (parking.Recorded, error) {
	verdict, rest, more := strings.Cut(line, "\t")
	var r parking.Recorded
	switch verdict {
	case "N":
	case "D":
		r.Duplicate = true
	case "C":
		return parking.Recorded{Err: parking.ErrConflict}, nil
	default:
		return r, fmt.Errorf("unexpected answer %q of the record script", line)
	}
	for more {
		var exit, entry, revision string
		exit, rest, _ = strings.Cut(rest, "\t")
		entry, rest, _ = strings.Cut(rest, "\t")
		revision, rest, more = strings.Cut(rest, "\t")
		stay := parking.Stay{Site: e.Site, Plate: e.Plate}
		var err1, err2, err3 error
		stay.ExitID, stay.ExitTime, err1 = parseMember(exit)
		stay.ID = stay.ExitID
		if entry != "" {
			stay.EntryID, stay.EntryTime, err2 = parseMember(entry)
		}
		stay.Revision, err3 = strconv.ParseInt(revision, 10, 64)
		if err := errors.Join(err1, err2, err3); err != nil {
			return r, fmt.Errorf("unexpected answer %q of the record script: %w", line, err)
		}
		r.Stays = append(r.Stays, stay)
	}
	return r, nil
}

// sitePrefix begins every key of a site; its hash tag keeps them on one shard.
func sitePrefix(site string) string { return "park:{" + site + "}:" }

// member is an event's place in its timeline: byte order is timeline order.
func member(e *parking.Event) string {
	return instant(e.Time) + string(rune(e.Kind)) + e.ID
}

const instantLen = 13

// instant writes a time after 1970 so that byte order is time order: with digits of
// base 32, which Lua reads.
func instant(t time.Time) string {
	var digits [instantLen]byte
	text := strconv.AppendInt(digits[:0], max(0, t.UnixNano()), 32)
	return "0000000000000"[len(text):] + string(text)
}

func parseMember(m string) (id string, t time.Time, err error) {
	if len(m) <= instantLen+1 {
		return "", time.Time{}, fmt.Errorf("member %q is too short", m)
	}
	nanos, err := strconv.ParseInt(m[:instantLen], 32, 64)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("time of member %q: %w", m, err)
	}
	return m[instantLen+1:], time.Unix(0, nanos).UTC(), nil
}

// extra is what the timeline does not need to know of an event: the raw plate,
// where it differs from the key, and the gate, each in a line of its own.
func extra(e *parking.Event) string {
	raw := e.RawPlate
	if raw == e.Plate {
		raw = ""
	}
	if raw == "" && e.Gate == "" {
		return ""
	}
	return "\n" + raw + "\n" + e.Gate
}
