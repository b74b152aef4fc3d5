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
	// positionsHeld bounds the positions in a walk's memory over all indexes, besides
	// one batch of each: walk.most.
	positionsHeld = 8192
	// indexesPerTrip bounds the commands of one round trip.
	indexesPerTrip = 250
	// readAtOnce is the number of stays read at a time in a search for one status.
	readAtOnce = 250
)

// index is one or more sorted sets of positions at a site. All its positions have the
// same head.
type index struct {
	prefix string
	keys   []string
	head   string
}

// listed are the statuses of the stays in a list of no particular status.
var listed = []parking.Status{parking.Completed, parking.UnmatchedExit, parking.Repeated}

// indexes returns the indexes to merge for a query.
func (q *Query) indexes() ([]index, error) {
	if err := CheckSites(len(q.Sites)); err != nil {
		return nil, err
	}
	if q.matched() && q.Status != "" && q.Status != parking.Completed {
		return nil, nil // the others have no entry
	}
	indexes := make([]index, 0, len(q.Sites))
	mark, marked := q.mark()
	for _, site := range q.Sites {
		key := keysOf(site)
		x := index{prefix: string(key)}
		switch {
		case q.Plate != "":
			x.keys, x.head = []string{key.plates()}, q.Plate+"\n"
		case marked:
			x.keys = []string{key.marked(mark)}
		case q.Status != "":
			x.keys = []string{key.status(q.Status)}
		case q.matched():
			x.keys = []string{key.status(parking.Completed)}
		default:
			for _, status := range listed {
				x.keys = append(x.keys, key.status(status))
			}
		}
		indexes = append(indexes, x)
	}
	return indexes, nil
}

// newestSource is a script that returns the last members of sorted sets, at most ARGV[3]
// of each: those before ARGV[1] and not before ARGV[2]. It reads the sets of a site at
// one moment, so a stay that changes its status is in one of them. A transaction is
// unsuitable: a Redis Cluster accepts none over all sites.
//
// The script is sent as text, as a read that declares all its keys, and has no comments
// for that reason. A cluster then redirects it while a slot is moved, which
// [redis.Client.Run] does not do.
//
//go:embed newest.lua
var newestSource string

// walk merges the positions of a query's indexes, newest first. It holds a few
// positions of each index and reads more of an index when they are used up.
type walk struct {
	redis       *redis.Client
	oldest      string
	after, last *cursorPos // exclusive and inclusive bounds; nil: none
	batch       int        // least number of positions read from one index at a time
	want        int        // most positions read from one index at a time
	held, most  int        // positions of all indexes now, and their bound
	runs        runs
	empty       *run // its positions are used up, the index may have more
}

// run holds the next positions of one index.
type run struct {
	index
	before    string // the next positions to read sort before this one
	positions []string
}

// walk starts a walk. The caller expects to take about want positions.
func (s *Store) walk(ctx context.Context, q Query, want int) (*walk, error) {
	after, err1 := parseCursor(q.Cursor)
	last, err2 := parseCursor(q.Last)
	if err1 != nil || err2 != nil {
		return nil, ErrCursor
	}
	indexes, err := q.indexes()
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
	// Each set of an index returns a batch.
	for some := range slices.Chunk(started, min(indexesPerTrip, max(1, positionsHeld/(len(listed)*w.batch)))) {
		if err := w.fill(ctx, some, w.batch); err != nil {
			return nil, err
		}
	}
	heap.Init(&w.runs)
	return w, nil
}

// bounds returns the bounds of a query's positions: they sort before the first and not
// before the second.
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

// fill reads the next n positions of runs in one round trip. If all positions read for
// a run are outside of the walk's bounds, it reads more in another round trip. It
// removes a run without more positions.
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
			// Only the first n of all sets together: each set may have more after
			// those.
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

// next returns the next position. found is false after the last one.
func (w *walk) next(ctx context.Context) (next cursorPos, found bool, err error) {
	if r := w.empty; r != nil {
		w.empty = nil
		r.positions = r.positions[:0]
		n := len(w.runs)
		// An index with most of the list is read in larger batches.
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

// runs is a heap. The run with the newest position comes first.
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

// nextN returns the next n positions, or fewer at the end.
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
