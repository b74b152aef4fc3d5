package stay

import (
	"context"
	"fmt"
	"slices"

	goredis "github.com/redis/go-redis/v9"
)

// Page is a part of a list, newest exit first.
type Page struct {
	Stays []StoredStay `json:"stays"`
	// Next is the cursor of the next page, empty on the last page.
	Next string `json:"next"`
}

// List returns a page of stays. A list that is followed from cursor to cursor has every
// stay that existed the whole time exactly once, even if others are stored meanwhile.
func (s *Store) List(ctx context.Context, q Query) (Page, error) {
	page := Page{Stays: []StoredStay{}}
	w, err := s.walk(ctx, q, q.atOnce(q.Limit)+1)
	if err != nil {
		return page, err
	}
	for {
		positions, err := w.nextN(ctx, q.atOnce(q.Limit-len(page.Stays)))
		if err != nil || len(positions) == 0 {
			return page, err
		}
		stays, err := s.read(ctx, positions)
		if err != nil {
			return page, err
		}
		for _, k := range stays {
			if !q.wants(k) {
				continue
			}
			if page.Stays = append(page.Stays, k); len(page.Stays) < q.Limit {
				continue
			}
			more := k.pos() != positions[len(positions)-1]
			if !more {
				if _, more, err = w.next(ctx); err != nil {
					return page, err
				}
			}
			if more {
				page.Next = k.pos().cursor()
			}
			return page, nil
		}
	}
}

// Export calls yield with the stays of a list in order, a batch at a time. The memory
// that it needs does not depend on the length of the list. It ignores the query's
// limit.
func (s *Store) Export(ctx context.Context, q Query, yield func([]StoredStay) error) error {
	w, err := s.walk(ctx, q, readAtOnce)
	if err != nil {
		return err
	}
	for {
		positions, err := w.nextN(ctx, readAtOnce)
		if err != nil || len(positions) == 0 {
			return err
		}
		stays, err := s.read(ctx, positions)
		if err != nil {
			return err
		}
		if err := yield(slices.DeleteFunc(stays, func(k StoredStay) bool { return !q.wants(k) })); err != nil {
			return err
		}
	}
}

// CursorAfter returns the cursor after the first n positions of a list, or "" if the
// list has no more.
func (s *Store) CursorAfter(ctx context.Context, q Query, n int) (string, error) {
	longer, err := s.longer(ctx, q, n)
	if err != nil || !longer {
		return "", err
	}
	w, err := s.walk(ctx, q, readAtOnce)
	if err != nil {
		return "", err
	}
	var last cursorPos
	for i := 0; ; i++ {
		p, found, err := w.next(ctx)
		switch {
		case err != nil || !found:
			return "", err
		case i == n:
			return last.cursor(), nil
		}
		last = p
	}
}

// longer reports whether a list has more than n positions. Counting is cheap.
func (s *Store) longer(ctx context.Context, q Query, n int) (bool, error) {
	after, err := parseCursor(q.Cursor)
	if err != nil {
		return false, err
	}
	indexes, err := q.indexes()
	if err != nil {
		return false, err
	}
	before, oldest := s.bounds(q, after, nil)
	total := int64(0)
	for some := range slices.Chunk(indexes, indexesPerTrip) {
		p := s.redis.Current().Pipeline()
		var cmds []*goredis.IntCmd
		for _, x := range some {
			for _, key := range x.keys {
				cmds = append(cmds, p.ZLexCount(ctx, key, "["+x.head+oldest, "("+x.head+before))
			}
		}
		if _, err := p.Exec(ctx); err != nil {
			return false, fmt.Errorf("count stays in Redis: %w", err)
		}
		for _, cmd := range cmds {
			total += cmd.Val()
		}
	}
	return total > int64(n), nil
}
