package stay

import (
	"container/heap"
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

const (
	// positionsHeld is how many positions a walk holds, of all indexes together, besides a
	// batch of each: walk.most.
	positionsHeld = 8192
	// indexesPerTrip bounds the commands of one round trip.
	indexesPerTrip = 250
	// readAtOnce is how many stays are read to find some of one status.
	readAtOnce = 250
)

// index is one or more sorted sets of positions at a site, each position after
// the same head.
type index struct {
	prefix string
	keys   []string
	head   string
}

// indexes are those that a query has to merge.
func (s *Store) indexes(ctx context.Context, q Query) ([]index, error) {
	sites := []string{q.Site}
	if q.Site == "" {
		var err error
		if sites, err = s.Sites(ctx); err != nil {
			return nil, err
		}
		if err := CheckSites(len(sites)); err != nil {
			return nil, err
		}
	}
	indexes := make([]index, 0, len(sites))
	for _, site := range sites {
		key := keysOf(site)
		x := index{prefix: string(key)}
		switch {
		case q.Plate != "":
			x.keys, x.head = []string{key.plates()}, q.Plate+"\n"
		case q.Status == parking.Completed:
			x.keys = []string{key.completed()}
		case q.Status == parking.UnmatchedExit:
			x.keys = []string{key.unmatched()}
		default:
			x.keys = []string{key.completed(), key.unmatched()}
		}
		indexes = append(indexes, x)
	}
	return indexes, nil
}

// newestSource is a script that returns the members of sorted sets that are before
// ARGV[1] and not before ARGV[2], at most ARGV[3] of each, the last ones. It reads the
// sets of a site at one moment, so that a stay that changes its status is in one of them;
// a Redis Cluster takes no transaction for all sites.
//
// It is run by its text, which has no comments therefore, as a read that has all its
// keys: a cluster then sends it after a slot that is being moved, which
// [redis.Client.Run] does not do.
//
//go:embed newest.lua
var newestSource string

// walk goes through the positions of a query's indexes together, newest first. It
// holds a few positions of each index and reads more of one when they are used up.
type walk struct {
	redis       *redis.Client
	oldest      string
	after, last *cursorPos // exclusive and inclusive bounds; nil: none
	batch       int        // positions of one index that are read at least at a time
	want        int        // positions of one index that are read at most at a time
	held, most  int        // positions of all indexes, and how many there are to be
	runs        runs
	empty       *run // its positions are used up, there may be more
}

// run is what a walk holds of one index.
type run struct {
	index
	before    string // its next positions are before this position
	positions []string
}

// walk begins a walk from which some want positions will be taken.
func (s *Store) walk(ctx context.Context, q Query, want int) (*walk, error) {
	after, err1 := parseCursor(q.Cursor)
	last, err2 := parseCursor(q.Last)
	if err1 != nil || err2 != nil {
		return nil, ErrCursor
	}
	indexes, err := s.indexes(ctx, q)
	if err != nil {
		return nil, err
	}
	w := &walk{redis: s.redis, after: after, last: last, want: want}
	w.batch = max(4, min(want, positionsHeld/max(1, len(indexes))))
	w.most = positionsHeld + w.batch*len(indexes)
	var from string
	from, w.oldest = s.bounds(q, after, last)
	started := make([]*run, len(indexes))
	for i, x := range indexes {
		started[i] = &run{index: x, before: from}
	}
	// The sets of an index have a batch each.
	for some := range slices.Chunk(started, min(indexesPerTrip, max(1, positionsHeld/(2*w.batch)))) {
		if err := w.fill(ctx, some, w.batch); err != nil {
			return nil, err
		}
	}
	heap.Init(&w.runs)
	return w, nil
}

// bounds returns the bounds of a query's positions: before the first, and not before
// the second.
func (s *Store) bounds(q Query, after, last *cursorPos) (before, oldest string) {
	oldest = instant(s.Now().Add(-s.retention))
	if !q.From.IsZero() {
		oldest = max(oldest, instant(q.From))
	}
	if last != nil {
		oldest = max(oldest, last.position)
	}
	before = afterAll
	if !q.To.IsZero() {
		before = instant(q.To)
	}
	if after != nil {
		before = min(before, after.position+afterPosition)
	}
	return before, oldest
}

// fill reads the next n positions of runs in one round trip, and of those of which all
// are outside of the walk's bounds in another. A run without more is left out.
func (w *walk) fill(ctx context.Context, some []*run, n int) error {
	for len(some) > 0 {
		p := w.redis.Current().Pipeline()
		cmds := make([]*goredis.Cmd, len(some))
		for i, r := range some {
			cmds[i] = p.Eval(ctx, newestSource, r.keys, "("+r.head+r.before, "["+r.head+w.oldest, n)
		}
		if _, err := p.Exec(ctx); err != nil {
			return fmt.Errorf("list stays from Redis: %w", err)
		}
		var again []*run
		for i, r := range some {
			members, err := cmds[i].StringSlice()
			if err != nil {
				return fmt.Errorf("list stays from Redis: %w", err)
			}
			if len(members) == 0 {
				continue
			}
			// The first of all sets together: of one set there may be more behind those.
			slices.SortFunc(members, func(a, b string) int { return strings.Compare(b, a) })
			members = members[:min(len(members), n)]
			for _, member := range members {
				r.before = member[len(r.head):]
				if w.within(cursorPos{r.before, r.prefix}) {
					r.positions = append(r.positions, r.before)
				}
			}
			if len(r.positions) == 0 {
				again = append(again, r)
				continue
			}
			w.held += len(r.positions)
			w.runs = append(w.runs, r)
		}
		some = again
	}
	return nil
}

func (w *walk) within(p cursorPos) bool {
	return (w.after == nil || w.after.before(p)) && (w.last == nil || !w.last.before(p))
}

// next returns the next cursorPos; found is false after the last.
func (w *walk) next(ctx context.Context) (next cursorPos, found bool, err error) {
	if r := w.empty; r != nil {
		w.empty = nil
		r.positions = r.positions[:0]
		n := len(w.runs)
		// One that has most of the list is not read a few positions at a time.
		if err := w.fill(ctx, []*run{r}, max(w.batch, min(w.want, w.most-w.held))); err != nil {
			return cursorPos{}, false, err
		}
		if len(w.runs) > n {
			heap.Fix(&w.runs, n)
		}
	}
	if len(w.runs) == 0 {
		return cursorPos{}, false, nil
	}
	first := w.runs[0]
	next = first.first()
	w.held--
	if first.positions = first.positions[1:]; len(first.positions) > 0 {
		heap.Fix(&w.runs, 0)
	} else {
		w.empty = heap.Pop(&w.runs).(*run)
	}
	return next, true, nil
}

func (r *run) first() cursorPos { return cursorPos{r.positions[0], r.prefix} }

// runs is a heap: the run with the newest position is first.
type runs []*run

func (h runs) Len() int           { return len(h) }
func (h runs) Less(i, j int) bool { return h[i].first().before(h[j].first()) }
func (h runs) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *runs) Push(r any)        { *h = append(*h, r.(*run)) }

func (h *runs) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return r
}

// nextN returns the next n positions, fewer at the end.
func (w *walk) nextN(ctx context.Context, n int) ([]cursorPos, error) {
	positions := make([]cursorPos, 0, n)
	for len(positions) < n {
		p, found, err := w.next(ctx)
		if err != nil || !found {
			return positions, err
		}
		positions = append(positions, p)
	}
	return positions, nil
}
