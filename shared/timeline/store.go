// Package timeline stores the timelines of vehicles in Redis. One script (record.lua)
// records events, finds the stays that they affect and updates the state of each site.
// layout.lua describes the stored data.
package timeline

import (
	"context"
	"fmt"
	"sync"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

// Store keeps timelines and site states in Redis 7.0 or newer. It is safe for
// concurrent use by any number of processes.
type Store struct {
	redis     *redis.Client
	retention time.Duration
	now       func() time.Time
	// MaxSites bounds the sites with events, because events bring the names of sites.
	// New sets it to DefaultMaxSites. Set it before the first use.
	MaxSites int
	// Repeats returns the settings of a site of what a repeated read is. After an error
	// the events of the site may be tried again. Without Repeats [parking.DefaultRepeat]
	// is valid. Set it before the first use.
	Repeats func(ctx context.Context, site string) (parking.Repeats, error)
	// Settings returns what is configured of a site; nil: nothing is, of any. Set it before
	// the first use.
	Settings func(ctx context.Context, site string) (Settings, error)
	sites    redis.Registry

	mu       sync.Mutex
	admitted map[string]time.Time // sites, with the time of their last admission
}

// Settings are what is configured of a site that its state is shown by.
type Settings struct {
	// Zone is the time zone of the site's days; nil is UTC.
	Zone *time.Location
	// Capacity is the number of places, or 0 if it is unknown.
	Capacity int
	// LongestStay is how long vehicles stay at most, or 0 if it is unknown.
	LongestStay time.Duration
}

const (
	// DefaultMaxSites is the MaxSites of a new [Store].
	DefaultMaxSites = 1000
	// MostMaxSites is the maximum of MaxSites, because a query over all sites reads
	// each of them.
	MostMaxSites = 10_000
)

// New returns a store on a client. The caller closes the client. Events expire when
// they are older than retention, which is at least a minute.
func New(client *redis.Client, retention time.Duration) *Store {
	return &Store{
		redis: client, retention: retention, now: time.Now, MaxSites: DefaultMaxSites,
		sites: redis.NewRegistry(client, redis.Timelines.Registry()), admitted: make(map[string]time.Time),
	}
}

// Retention returns for how long events are kept.
func (s *Store) Retention() time.Duration { return s.retention }

// admittedFor is the time for which the admission of a site is remembered.
const admittedFor = time.Minute

// admit returns the admitted sites of events, and the error of each refused site.
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

// forgottenAt returns the time at which the last key of a site expires if no event
// comes after now; see lastExpiry in record.lua.
func (s *Store) forgottenAt() time.Time { return s.now().Add(2*s.retention + 24*time.Hour) }

// Sites returns the names of the sites with events or a count by hand, sorted.
func (s *Store) Sites(ctx context.Context) ([]string, error) { return s.sites.Names(ctx) }
