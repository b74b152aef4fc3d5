// Package summary is both ends of the summary endpoint: the store of stays in
// Redis, the HTTP API in front of it, and the client that the processors post
// with.
package summary

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
)

// staysPerScript bounds how long one script keeps Redis from others.
const staysPerScript = 100

//go:embed put.lua
var putSource string

var putScript = redis.NewScript(putSource)

// sitesKey is the set of sites that have stays.
const sitesKey = "stay:sites"

// Store keeps stays in Redis 7.0 or newer, in a key space of its own. It is safe
// for concurrent use, by any number of processes.
type Store struct {
	redis     redis.UniversalClient
	retention time.Duration
	now       func() time.Time
}

// NewStore returns a store on a client, which the caller closes. A stay is
// forgotten when its exit is older than retention.
func NewStore(client redis.UniversalClient, retention time.Duration) *Store {
	return &Store{redis: client, retention: retention, now: time.Now}
}

// Ping says whether Redis can be reached.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.redis.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("ping Redis: %w", err)
	}
	return nil
}

// stored is the public form of a stay in the store.
type stored struct {
	parking.Stay
	UpdatedAt time.Time
}

// MarshalJSON adds updated_at to the stay's own form.
func (s stored) MarshalJSON() ([]byte, error) {
	text, err := s.Stay.MarshalJSON()
	if err != nil {
		return nil, err
	}
	text = append(text[:len(text)-1], `,"updated_at":"`...)
	text = s.UpdatedAt.UTC().AppendFormat(text, time.RFC3339Nano)
	return append(text, `"}`...), nil
}

// Put stores stays and returns how many were new or newer than what was known:
// of each stay the highest revision is kept, so that putting one again changes
// nothing. On an error some may be stored; putting all of them again is right.
func (s *Store) Put(ctx context.Context, stays []parking.Stay) (int, error) {
	now := s.now()
	bySite := make(map[string][]any)
	for i := range stays {
		args, err := putArgs(&stays[i], now)
		if err != nil {
			return 0, fmt.Errorf("write stay %q: %w", stays[i].ID, err)
		}
		bySite[stays[i].Site] = append(bySite[stays[i].Site], args[:]...)
	}
	run := func(script func(redis.Pipeliner, []string, ...any) *redis.Cmd) ([]*redis.Cmd, error) {
		p := s.redis.Pipeline()
		var cmds []*redis.Cmd
		for site, args := range bySite {
			p.SAdd(ctx, sitesKey, site)
			for chunk := range slices.Chunk(args, staysPerScript*argsPerStay) {
				head := []any{s.retention.Milliseconds(), hexTime(now.Add(-s.retention))}
				cmds = append(cmds, script(p, []string{sitePrefix(site)}, append(head, chunk...)...))
			}
		}
		_, err := p.Exec(ctx)
		return cmds, err
	}
	cmds, err := run(func(p redis.Pipeliner, keys []string, args ...any) *redis.Cmd {
		return putScript.EvalSha(ctx, p, keys, args...)
	})
	if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		cmds, err = run(func(p redis.Pipeliner, keys []string, args ...any) *redis.Cmd {
			return putScript.Eval(ctx, p, keys, args...)
		})
	}
	if err != nil {
		return 0, fmt.Errorf("store %d stays in Redis: %w", len(stays), err)
	}
	n := 0
	for _, cmd := range cmds {
		k, err := cmd.Int()
		if err != nil {
			return n, fmt.Errorf("store %d stays in Redis: %w", len(stays), err)
		}
		n += k
	}
	return n, nil
}

const argsPerStay = 6

func putArgs(stay *parking.Stay, now time.Time) ([argsPerStay]any, error) {
	body, err := stored{*stay, now}.MarshalJSON()
	if err != nil {
		return [argsPerStay]any{}, err
	}
	status, duration := "u", ""
	if d, ok := stay.Duration(); ok {
		seconds := int64(d / time.Second)
		status, duration = "c", fmt.Sprint(seconds, " ", bucketOf(seconds))
	}
	return [argsPerStay]any{position(stay.ExitTime, stay.ID), stay.Plate, stay.Revision, status, duration, body}, nil
}

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
}

// ErrCursor says that a cursor was not made by [Store.List].
var ErrCursor = errors.New("cursor was not made by this endpoint")

// Page is a part of a list, newest exit first.
type Page struct {
	// Stays are JSON objects.
	Stays []json.RawMessage `json:"stays"`
	// Next is the cursor of the next page, empty after the last.
	Next string `json:"next"`
}

// indexes are the index keys that a query has to merge.
func (s *Store) indexes(ctx context.Context, q Query) (prefixes, keys []string, err error) {
	sites := []string{q.Site}
	if q.Site == "" {
		if sites, err = s.redis.SMembers(ctx, sitesKey).Result(); err != nil {
			return nil, nil, fmt.Errorf("list the sites from Redis: %w", err)
		}
	}
	for _, site := range sites {
		prefix := sitePrefix(site)
		names := []string{"x:c", "x:u"}
		switch {
		case q.Plate != "":
			names = []string{"p:" + q.Plate}
		case q.Status == parking.Completed:
			names = names[:1]
		case q.Status == parking.UnmatchedExit:
			names = names[1:]
		}
		for _, name := range names {
			prefixes, keys = append(prefixes, prefix), append(keys, prefix+name)
		}
	}
	return prefixes, keys, nil
}

// List returns a page of stays. A list that is followed from cursor to cursor
// has every stay that was there all the time exactly once, whatever is stored
// meanwhile.
func (s *Store) List(ctx context.Context, q Query) (Page, error) {
	page := Page{Stays: []json.RawMessage{}}
	prefixes, keys, err := s.indexes(ctx, q)
	if err != nil || len(keys) == 0 {
		return page, err
	}
	oldest := hexTime(s.now().Add(-s.retention))
	if !q.From.IsZero() {
		oldest = max(oldest, hexTime(q.From))
	}
	from := "+"
	if !q.To.IsZero() {
		from = "(" + hexTime(q.To)
	}
	after, err := parseCursor(q.Cursor)
	if err != nil {
		return page, err
	}
	if after != nil && (from == "+" || after.position < from[1:]) {
		// Inclusive: the same id at another site has the same position.
		from = "[" + after.position
	}
	for len(page.Stays) < q.Limit {
		found, err := s.merge(ctx, prefixes, keys, from, "["+oldest, q.Limit-len(page.Stays)+1, after)
		if err != nil {
			return page, err
		}
		more := len(found) > q.Limit-len(page.Stays)
		if more {
			found = found[:q.Limit-len(page.Stays)]
		}
		bodies, err := s.bodies(ctx, found)
		if err != nil {
			return page, err
		}
		for _, body := range bodies {
			// Expired between index and body, or of another status than that asked
			// for together with the plate.
			if body != nil && (q.Status == "" || statusOf(body) == q.Status) {
				page.Stays = append(page.Stays, body[bytes.IndexByte(body, '\n')+1:])
			}
		}
		if !more {
			return page, nil
		}
		last := found[len(found)-1]
		after, from = &last, "["+last.position
	}
	page.Next = after.cursor()
	return page, nil
}

// place is where a stay stands in a list: by position, then by site.
type place struct{ position, prefix string }

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
	if !ok || len(position) <= hexTimeLen || !strings.HasPrefix(prefix, "stay:{") {
		return nil, ErrCursor
	}
	return &place{position, prefix}, nil
}

// merge returns the first n places of all indexes together that come after one.
func (s *Store) merge(ctx context.Context, prefixes, keys []string, from, to string, n int, after *place) ([]place, error) {
	p := s.redis.Pipeline()
	cmds := make([]*redis.StringSliceCmd, len(keys))
	for i, key := range keys {
		// One more, for the place that the list continues after.
		cmds[i] = p.ZRevRangeByLex(ctx, key, &redis.ZRangeBy{Max: from, Min: to, Count: int64(n) + 1})
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, fmt.Errorf("list stays from Redis: %w", err)
	}
	var places []place
	for i, cmd := range cmds {
		for _, position := range cmd.Val() {
			if pl := (place{position, prefixes[i]}); after == nil || after.before(pl) {
				places = append(places, pl)
			}
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		switch {
		case a.before(b):
			return -1
		case b.before(a):
			return 1
		default:
			return 0
		}
	})
	return places[:min(n, len(places))], nil
}

func (s *Store) bodies(ctx context.Context, places []place) ([][]byte, error) {
	p := s.redis.Pipeline()
	cmds := make([]*redis.StringCmd, len(places))
	for i, pl := range places {
		cmds[i] = p.Get(ctx, pl.prefix+"s:"+pl.position[hexTimeLen:])
	}
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read stays from Redis: %w", err)
	}
	bodies := make([][]byte, len(places))
	for i, cmd := range cmds {
		if cmd.Err() == nil {
			bodies[i] = []byte(cmd.Val())
		}
	}
	return bodies, nil
}

func statusOf(value []byte) parking.Status {
	_, rest, _ := bytes.Cut(value, []byte(" "))
	if bytes.HasPrefix(rest, []byte("c")) {
		return parking.Completed
	}
	return parking.UnmatchedExit
}

// ErrNotFound says that there is no stay with that id.
var ErrNotFound = errors.New("no such stay")

// Get returns one stay as JSON; without a site the first one found at any site.
func (s *Store) Get(ctx context.Context, site, id string) (json.RawMessage, error) {
	sites := []string{site}
	if site == "" {
		var err error
		if sites, err = s.redis.SMembers(ctx, sitesKey).Result(); err != nil {
			return nil, fmt.Errorf("list the sites from Redis: %w", err)
		}
		slices.Sort(sites)
	}
	places := make([]place, len(sites))
	for i, site := range sites {
		places[i] = place{position: strings.Repeat("0", hexTimeLen) + id, prefix: sitePrefix(site)}
	}
	bodies, err := s.bodies(ctx, places)
	if err != nil {
		return nil, err
	}
	for _, body := range bodies {
		if body != nil {
			return body[bytes.IndexByte(body, '\n')+1:], nil
		}
	}
	return nil, ErrNotFound
}

// eraseScript removes the stays of a plate at a site.
//
// KEYS[1]  prefix of the site's keys
// ARGV[1]  normalised plate
//
// Returns how many stays were removed. The counts by day, which tell nothing of
// a vehicle, stay.
var eraseScript = redis.NewScript(`
local prefix, index = KEYS[1], KEYS[1] .. 'p:' .. ARGV[1]
local removed = 0
for _, position in ipairs(redis.call('ZRANGE', index, 0, -1)) do
  removed = removed + redis.call('UNLINK', prefix .. 's:' .. string.sub(position, 17))
  redis.call('ZREM', prefix .. 'x:c', position)
  redis.call('ZREM', prefix .. 'x:u', position)
end
redis.call('UNLINK', index)
return removed`)

// ErasePlate removes every stay of a normalised plate at a site and returns how
// many there were.
func (s *Store) ErasePlate(ctx context.Context, site, plate string) (int64, error) {
	n, err := eraseScript.Run(ctx, s.redis, []string{sitePrefix(site)}, plate).Int64()
	if err != nil {
		return 0, fmt.Errorf("erase the stays of a plate at site %s from Redis: %w", site, err)
	}
	return n, nil
}

// Sites lists the sites that have stays.
func (s *Store) Sites(ctx context.Context) ([]string, error) {
	sites, err := s.redis.SMembers(ctx, sitesKey).Result()
	if err != nil {
		return nil, fmt.Errorf("list the sites from Redis: %w", err)
	}
	slices.Sort(sites)
	return sites, nil
}

func sitePrefix(site string) string { return "stay:{" + site + "}:" }

const hexTimeLen = 16

// hexTime writes an instant after 1970 so that byte order is time order.
func hexTime(t time.Time) string {
	return fmt.Sprintf("%0*x", hexTimeLen, max(0, t.UnixNano()))
}

func position(exit time.Time, id string) string { return hexTime(exit) + id }

func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
