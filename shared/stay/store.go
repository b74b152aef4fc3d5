// Package stay keeps stays in Redis: it stores, lists, counts and erases them.
package stay

import (
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

// staysPerScript bounds how long one script keeps Redis from others.
const staysPerScript = 250

//go:embed put.lua
var putSource string

var putScript = newScript(putSource)

// Store keeps stays in Redis 7.0 or newer, in a key space of its own. It is safe
// for concurrent use, by any number of processes.
type Store struct {
	redis     *redis.Client
	retention time.Duration
	// Now is the clock, [time.Now] unless a test sets another one before the first call.
	Now func() time.Time
	// sites are those that have stays. It has no bound: stays are posted by those
	// who know the token, of events whose sites were admitted.
	sites redis.Registry
}

// New returns a store on a client, which the caller closes. A stay is
// forgotten when its exit is older than retention.
func New(client *redis.Client, retention time.Duration) *Store {
	return &Store{redis: client, retention: retention, Now: time.Now, sites: redis.NewRegistry(client, redis.Stays.Registry())}
}

// Put stores stays and returns how many were new or newer than what was known:
// of each stay the highest revision is kept, and counts once, so that putting one
// again changes nothing. Those that are older than the retention are ignored:
// nothing would keep them from being counted again. On an error some may be stored;
// putting all of them again is right.
func (s *Store) Put(ctx context.Context, stays []parking.Stay) (int, error) {
	now := s.Now()
	oldest := now.Add(-s.retention)
	bySite := make(map[string][]any)
	kept := slices.DeleteFunc(slices.Clone(stays), func(s parking.Stay) bool { return s.ExitTime.Before(oldest) })
	for _, stay := range parking.Latest(kept) {
		bySite[stay.Site] = appendPut(bySite[stay.Site], Kept{stay, now})
	}
	until := now.Add(s.retention + indexSlack)
	head := []any{instant(oldest), until.UnixMilli()}
	var puts []*redis.Call
	for site, args := range bySite {
		for chunk := range slices.Chunk(args, staysPerScript*argsPerStay) {
			puts = append(puts, &redis.Call{Script: putScript, Keys: []string{string(keysOf(site))}, Args: slices.Concat(head, chunk)})
		}
	}
	keep := s.sites.Keep(slices.Sorted(maps.Keys(bySite)), until)
	calls := slices.Concat(puts, keep)
	s.redis.Run(ctx, calls...)
	if err := redis.FirstError(calls); err != nil {
		return 0, fmt.Errorf("store %d stays in Redis: %w", len(stays), err)
	}
	var n int64
	for _, call := range puts {
		stored, err := call.Int64()
		if err != nil {
			return 0, fmt.Errorf("store %d stays in Redis: %w", len(stays), err)
		}
		n += stored
	}
	return int(n), nil
}

// indexSlack is how much longer the keys of a silent site are kept than the stay
// in them with the latest exit, which may lie ahead of this machine's clock.
const indexSlack = 48 * time.Hour

const argsPerStay = 6

// appendPut appends the arguments of one stay.
func appendPut(args []any, k Kept) []any {
	status, seconds := "u", int64(0)
	d, completed := k.Duration()
	if completed {
		status, seconds = "c", int64(d/time.Second)
	}
	tally := strconv.AppendInt(nil, redis.Day(k.ExitTime), 10)
	tally = append(append(tally, ' '), status...)
	if completed {
		tally = strconv.AppendInt(append(tally, ' '), int64(bucketOf(seconds)), 10)
	}
	value := strconv.AppendInt(make([]byte, 0, valueSize), k.Revision, 10)
	value = strconv.AppendInt(append(value, ' '), seconds, 10)
	value = append(append(append(value, ' '), tally...), '\n')
	return append(args, position(k.ExitTime, k.ID), k.Plate, status, seconds, tally, k.appendDetails(value))
}

// valueSize is enough for the value of nearly every stay.
const valueSize = 128

// Query selects stays. The zero value selects all.
type Query struct {
	Plate  string // normalised
	Site   string
	Status parking.Status
	// From (inclusive) and To (exclusive) bound the time of the exit.
	From, To time.Time
	// Limit is the size of a page, at least 1.
	Limit int
	// Cursor continues after an earlier page.
	Cursor string
	// Last is the cursor after the last stay that is wanted.
	Last string
}

const (
	// MaxSites bounds the sites of one query.
	MaxSites = 10_000
	// maxSiteDays bounds the days of sites that one query sums up: those of 2,000
	// sites for three months.
	maxSiteDays = 200_000
)

// checkSites refuses a query over too many sites.
func CheckSites(n int) error {
	if n > MaxSites {
		return parking.Invalid("there are %d sites, at most %d are looked at together: ask for one site", n, MaxSites)
	}
	return nil
}

// mostDays returns how many days of so many sites one query sums up.
func mostDays(sites int) int { return min(MaxStatsDays, maxSiteDays/max(1, sites)) }

// checkSiteDays refuses a query over too many days of too many sites.
func CheckSiteDays(sites, days int) error {
	if most := mostDays(sites); days > most {
		return parking.Invalid("%d days of %d sites are asked for, at most %d days of so many sites are summed up together: ask for one site, or for less time",
			days, sites, most)
	}
	return CheckSites(sites)
}

// ErrCursor says that a cursor was not made by [Store.List].
var ErrCursor = errors.New("cursor was not made by this endpoint")

// Page is a part of a list, newest exit first.
type Page struct {
	Stays []Kept `json:"stays"`
	// Next is the cursor of the next page, empty after the last.
	Next string `json:"next"`
}

// place is where a stay stands in a list: by position, then by site.
type place struct{ position, prefix string }

func (p place) id() string { return p.position[instantLen:] }

func (p place) site() string {
	site, _ := redis.Stays.CutSite(p.prefix)
	return site
}

func (p place) before(q place) bool {
	if p.position != q.position {
		return p.position > q.position // newest first
	}
	return p.prefix < q.prefix
}

func (p place) cursor() string {
	return base64.RawURLEncoding.EncodeToString([]byte(p.position + "\n" + p.prefix))
}

func parseCursor(cursor string) (*place, error) {
	if cursor == "" {
		return nil, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, ErrCursor
	}
	position, prefix, ok := strings.Cut(string(text), "\n")
	if !ok || len(position) <= instantLen || parking.CheckID(position[instantLen:]) != nil {
		return nil, ErrCursor
	}
	if _, err := hex.DecodeString(position[:instantLen]); err != nil {
		return nil, ErrCursor
	}
	if site, found := redis.Stays.CutSite(prefix); !found || parking.CheckSite(site) != nil {
		return nil, ErrCursor
	}
	return &place{position, prefix}, nil
}

const (
	// afterAll is behind all positions, which begin with hexadecimal digits.
	afterAll = "g"
	// afterPosition makes a bound include the position before it: the same id at
	// another site has the same one.
	afterPosition = "\x00"
)

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

//go:embed erase.lua
var eraseSource string

var eraseScript = newScript(eraseSource)

// ErasePlate removes every stay of a normalised plate at a site and returns how
// many there were.
func (s *Store) ErasePlate(ctx context.Context, site, plate string) (int64, error) {
	call := redis.Call{Script: eraseScript, Keys: []string{string(keysOf(site))}, Args: []any{plate}}
	s.redis.Run(ctx, &call)
	n, err := call.Int64()
	if err != nil {
		return 0, fmt.Errorf("erase the stays of a plate at site %s from Redis: %w", site, err)
	}
	return n, nil
}

// Sites lists the sites that have stays.
func (s *Store) Sites(ctx context.Context) ([]string, error) { return s.sites.Names(ctx) }

func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
