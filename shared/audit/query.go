package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/redis"
)

// Query selects entries.
type Query struct {
	From, To time.Time // To is exclusive; zero: no bound
	Who      string    // empty: all
	Action   Action    // empty: all
	// Sites are those whose entries are selected; nil: all entries, also those of no
	// site.
	Sites []string
	// Limit bounds the entries of a page.
	Limit int
	// Cursor is the id of the entry after which the list continues; empty: it begins.
	Cursor string
	// Last is the id of the last entry of a list; empty: its end. Only [Log.Export]
	// heeds it.
	Last string
}

// ErrCursor is the error for a cursor that is no id of an entry.
var ErrCursor = errors.New("cursor was not made by this endpoint")

// Page is a part of the list, newest first.
type Page struct {
	Entries []Entry `json:"entries"`
	// Next is the cursor of the next page, empty on the last page.
	Next string `json:"next"`
}

const (
	// readAtOnce is the number of entries that are read from a stream at a time.
	readAtOnce = 250
	// maxScanned bounds the entries that are read for one page. A page of a rare
	// selection may have fewer entries than its limit, and a next one.
	maxScanned = 20_000
)

// List returns a page of entries. A list that is followed from cursor to cursor has
// every entry that existed the whole time exactly once.
func (l *Log) List(ctx context.Context, q Query) (Page, error) {
	page := Page{Entries: []Entry{}}
	w, err := l.walk(q)
	if err != nil {
		return page, err
	}
	last := ""
	for scanned := 0; ; scanned++ {
		e, found, err := w.next(ctx)
		switch {
		case err != nil || !found:
			return page, err
		case scanned == maxScanned:
			page.Next = last
			return page, nil
		case !w.wants(&e): // what is not selected does not show, in a next page either
			last = e.ID
			continue
		case len(page.Entries) == q.Limit:
			page.Next = page.Entries[q.Limit-1].ID
			return page, nil
		}
		last = e.ID
		page.Entries = append(page.Entries, e)
	}
}

// Export calls yield with the entries of a list in order, some at a time. The memory
// that it needs does not depend on the length of the list. It ignores the query's
// limit.
func (l *Log) Export(ctx context.Context, q Query, yield func([]Entry) error) error {
	w, err := l.walk(q)
	if err != nil {
		return err
	}
	var some []Entry
	for {
		e, found, err := w.next(ctx)
		if err != nil {
			return err
		}
		if found && w.wants(&e) {
			some = append(some, e)
		}
		over := !found || e.ID == q.Last
		if len(some) == readAtOnce || over && len(some) > 0 {
			if err := yield(some); err != nil {
				return err
			}
			some = some[:0]
		}
		if over {
			return nil
		}
	}
}

// CursorAfter returns the cursor after the first n entries of a list, or "" if the list
// has no more.
func (l *Log) CursorAfter(ctx context.Context, q Query, n int) (string, error) {
	total, err := l.size(ctx, q)
	if err != nil || total <= int64(n) {
		return "", err
	}
	w, err := l.walk(q)
	if err != nil {
		return "", err
	}
	last := ""
	for i := 0; ; {
		e, found, err := w.next(ctx)
		switch {
		case err != nil || !found:
			return "", err
		case !w.wants(&e):
			continue
		case i == n:
			return last, nil
		}
		i++
		last = e.ID
	}
}

// size returns how many entries the streams of a query have. Redis has these numbers.
func (l *Log) size(ctx context.Context, q Query) (total int64, err error) {
	p := l.redis.Current().Pipeline()
	var cmds []*goredis.IntCmd
	for _, a := range q.actions() {
		cmds = append(cmds, p.XLen(ctx, redis.Audit+string(a)))
	}
	if _, err := p.Exec(ctx); err != nil {
		return 0, fmt.Errorf("count the entries of the audit in Redis: %w", err)
	}
	for _, cmd := range cmds {
		total += cmd.Val()
	}
	return total, nil
}

func (q *Query) actions() []Action {
	if q.Action != "" {
		return []Action{q.Action}
	}
	return Actions()
}

// walk merges the streams of a query, newest first.
type walk struct {
	log     *Log
	who     string
	sites   []string
	oldest  string // inclusive
	streams []*stream
}

// stream holds the next entries of one action.
type stream struct {
	action  Action
	before  string // bound of the entries to read next, as XREVRANGE takes it
	entries []Entry
	over    bool // Redis has no more
}

// until sets an exclusive bound.
func (s *stream) until(p position) {
	s.before = "(" + p.inStream()
	s.over = p.milliseconds == 0 && p.sequence == 0 // Redis takes no such bound
}

func (l *Log) walk(q Query) (*walk, error) {
	oldest := l.now().Add(-l.settings.Retention)
	if q.From.After(oldest) {
		oldest = q.From
	}
	w := &walk{log: l, who: printable(q.Who, fields[0].most), sites: q.Sites, oldest: strconv.FormatInt(milliseconds(oldest), 10)}
	var after position
	if q.Cursor != "" {
		var err error
		if after, err = parseID(q.Cursor); err != nil {
			return nil, err
		}
	}
	for _, a := range q.actions() {
		s := &stream{action: a, before: "+"}
		switch to := uint64(milliseconds(q.To)); {
		case q.Cursor == "" || !q.To.IsZero() && after.milliseconds >= to:
			if !q.To.IsZero() {
				s.until(position{milliseconds: to})
			}
		case a > after.action: // follows at the same instant
			s.before = after.inStream()
		default:
			s.until(after)
		}
		w.streams = append(w.streams, s)
	}
	return w, nil
}

// wants reports whether the query selects an entry of its streams and times.
func (w *walk) wants(e *Entry) bool {
	return (w.who == "" || e.Who == w.who) && (w.sites == nil || slices.Contains(w.sites, e.Site))
}

// milliseconds rounds an instant up, from 1970 on: an entry is not before the instant
// if its own millisecond is not.
func milliseconds(t time.Time) int64 {
	if t.Unix() < 0 {
		return 0
	}
	return t.Add(time.Millisecond - 1).UnixMilli()
}

// next returns the next entry. found is false after the last one.
func (w *walk) next(ctx context.Context) (e Entry, found bool, err error) {
	if err := w.fill(ctx); err != nil {
		return e, false, err
	}
	var newest *stream
	var at position
	for _, s := range w.streams {
		if len(s.entries) == 0 {
			continue
		}
		p, err := parseID(s.entries[0].ID)
		if err != nil {
			return e, false, err
		}
		if newest == nil || p.before(at) {
			newest, at = s, p
		}
	}
	if newest == nil {
		return e, false, nil
	}
	e, newest.entries = newest.entries[0], newest.entries[1:]
	return e, true, nil
}

// fill reads the next entries of each stream that has none in memory, in one round
// trip.
func (w *walk) fill(ctx context.Context) error {
	var empty []*stream
	for _, s := range w.streams {
		if len(s.entries) == 0 && !s.over {
			empty = append(empty, s)
		}
	}
	if len(empty) == 0 {
		return nil
	}
	p := w.log.redis.Current().Pipeline()
	cmds := make([]*goredis.XMessageSliceCmd, len(empty))
	for i, s := range empty {
		cmds[i] = p.XRevRangeN(ctx, redis.Audit+string(s.action), s.before, w.oldest, readAtOnce)
	}
	if _, err := p.Exec(ctx); err != nil {
		return fmt.Errorf("read the audit from Redis: %w", err)
	}
	for i, s := range empty {
		found := cmds[i].Val()
		for _, m := range found {
			e, err := entryOf(s.action, m)
			if err != nil {
				return err
			}
			s.entries = append(s.entries, e)
		}
		if s.over = len(found) < readAtOnce; !s.over {
			s.before = "(" + found[len(found)-1].ID
		}
	}
	return nil
}

func entryOf(a Action, m goredis.XMessage) (Entry, error) {
	e := Entry{ID: m.ID + "." + string(a), Action: a}
	at, err := parseID(e.ID)
	if err != nil {
		return e, fmt.Errorf("entry of the audit: %w", err)
	}
	e.At = time.UnixMilli(int64(at.milliseconds)).UTC()
	for _, f := range fields {
		*f.of(&e), _ = m.Values[f.name].(string)
	}
	return e, nil
}

// position is where an entry is in the list. The list is sorted by time, newest
// first, then by action.
type position struct {
	milliseconds, sequence uint64
	action                 Action
}

func (p position) before(q position) bool {
	switch {
	case p.milliseconds != q.milliseconds:
		return p.milliseconds > q.milliseconds
	case p.sequence != q.sequence:
		return p.sequence > q.sequence
	}
	return p.action < q.action
}

func (p position) inStream() string { return fmt.Sprintf("%d-%d", p.milliseconds, p.sequence) }

// parseID returns the position of the entry with an id.
func parseID(id string) (p position, err error) {
	inStream, action, _ := strings.Cut(id, ".")
	ms, seq, _ := strings.Cut(inStream, "-")
	var err1, err2 error
	p.milliseconds, err1 = strconv.ParseUint(ms, 10, 63)
	p.sequence, err2 = strconv.ParseUint(seq, 10, 64)
	p.action = Action(action)
	if err1 != nil || err2 != nil || !slices.Contains(Actions(), p.action) || id != p.inStream()+"."+action {
		return position{}, ErrCursor
	}
	return p, nil
}
