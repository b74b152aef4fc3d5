// Package timeline keeps the timelines of vehicles in Redis: it takes in events,
// finds the stays they change and keeps each site's state, atomically.
package timeline

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"parkstream/shared/failure"
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
	// MaxSites bounds the sites that have events, since the names of sites come
	// with events. It is DefaultMaxSites unless it is set before the first use.
	MaxSites int
	sites    redis.Registry

	mu       sync.Mutex
	admitted map[string]time.Time // sites, each with when it was last admitted
}

const (
	// DefaultMaxSites is the bound of sites of a new [Store].
	DefaultMaxSites = 1000
	// MostMaxSites is the highest bound: what is asked of all sites reads each.
	MostMaxSites = 10_000
)

// New returns a store on a client, which the caller closes. Events are
// forgotten when they are older than retention, at least a minute.
func New(client *redis.Client, retention time.Duration) *Store {
	return &Store{
		redis: client, retention: retention, now: time.Now, MaxSites: DefaultMaxSites,
		sites: redis.NewRegistry(client, "park:registry"), admitted: make(map[string]time.Time),
	}
}

// Record takes events into their timelines in one round trip (one a shard; and one
// more when a site was not seen in the last minute) and says of each, in the order
// of events, what it means. An event is durable as far as Redis is configured to
// make it so (appendfsync always). Recording an event again changes nothing and
// returns the present state, so a caller that does not know whether it succeeded
// calls again. The events of a site beyond MaxSites are [parking.ErrInvalid].
func (s *Store) Record(ctx context.Context, events []parking.Event) []parking.Recorded {
	recorded := make([]parking.Recorded, len(events))
	sites, refused := s.admit(ctx, events)
	chunks := s.chunks(events, refused)
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

// admittedFor is how long a site that was admitted is not asked for again.
const admittedFor = time.Minute

// admit returns the sites of events that may have events, and why others may not.
func (s *Store) admit(ctx context.Context, events []parking.Event) (sites []string, refused map[string]error) {
	now := s.now()
	var unknown []string
	seen := make(map[string]bool, 1)
	s.mu.Lock()
	for i := range events {
		site := events[i].Site
		if seen[site] {
			continue
		}
		seen[site] = true
		if at, ok := s.admitted[site]; ok && now.Sub(at).Abs() < admittedFor {
			sites = append(sites, site)
		} else {
			unknown = append(unknown, site)
		}
	}
	s.mu.Unlock()
	if len(unknown) == 0 {
		return sites, nil
	}
	beyond, err := s.sites.Admit(ctx, unknown, s.forgottenAt(), s.MaxSites)
	if err == nil && len(beyond) == 0 {
		s.remember(unknown, now)
		return append(sites, unknown...), nil
	}
	refused = make(map[string]error)
	for _, site := range beyond {
		refused[site] = s.tooMany(site)
	}
	var admitted []string
	for _, site := range unknown {
		switch {
		case err != nil:
			refused[site] = fmt.Errorf("record events of site %s: %w", site, err)
		case refused[site] == nil:
			admitted = append(admitted, site)
		}
	}
	s.remember(admitted, now)
	return append(sites, admitted...), refused
}

func (s *Store) tooMany(site string) error {
	return fmt.Errorf("site %s: %w; there are %d, as MAX_SITES allows: raise it if this site is one of yours, and replay the dead letters",
		site, parking.ErrTooManySites, s.MaxSites)
}

func (s *Store) remember(sites []string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, site := range sites {
		if len(s.admitted) >= s.MaxSites {
			clear(s.admitted)
		}
		s.admitted[site] = now
	}
}

// forgottenAt is when the last key of a site expires that has its last event now;
// see tailSilence in record.lua.
func (s *Store) forgottenAt() time.Time { return s.now().Add(2*s.retention + 24*time.Hour) }

// chunk is one call of the script.
type chunk struct {
	redis.Call
	site  string
	index []int // of the events
}

// chunks leaves out the events of sites that are refused.
func (s *Store) chunks(events []parking.Event, refused map[string]error) []*chunk {
	oldest := s.now().Add(-s.retention)
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
				size = min(size, 8) // one of many sites
			}
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

// Sites lists the sites that something is kept of.
func (s *Store) Sites(ctx context.Context) ([]string, error) { return s.sites.Names(ctx) }

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
		return r, failure.Odd("Redis", fmt.Errorf("unexpected answer %q of the record script", line))
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
			return r, failure.Odd("Redis", fmt.Errorf("unexpected answer %q of the record script: %w", line, err))
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
