package timeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/failure"
	"parkstream/shared/parking"
)

const (
	// MaxLone bounds the lone reads of a site that are read at once.
	MaxLone = 1_000_000
	// maxSearched bounds the older members of a timeline among which an exact stay is
	// searched.
	maxSearched = 10_000
	// lonePerPage bounds the lone reads whose timelines and events are read in one round
	// trip.
	lonePerPage = 1000
)

// Lone returns the lone reads of a site that were observed from one instant until before
// another: exits without an entry, entries that another one follows, and those of the
// vehicles inside. If there are more than [MaxLone], more is set and these are the newest. The
// reads are in no order. One that arrives or changes meanwhile may be missing. Of a plate with
// more than 10,000 reads these tell whether it is known.
func (s *Store) Lone(ctx context.Context, site string, from, to time.Time) (lone []parking.Lone, more bool, err error) {
	r := s.loneReader(site, from, to)
	lone, more, err = r.all(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("read the lone reads of site %s from Redis: %w", site, err)
	}
	return lone, more, nil
}

// Events returns the versions that count of events of a site with a plate, by id. One that
// is not known, or not so any more, is missing.
func (s *Store) Events(ctx context.Context, site string, ids []string) (map[string]parking.Event, error) {
	events := make(map[string]parking.Event, len(ids))
	for some := range slices.Chunk(ids, lonePerPage) {
		if err := s.loneReader(site, time.Time{}, time.Time{}).byID(ctx, events, some); err != nil {
			return nil, fmt.Errorf("read %d events of site %s from Redis: %w", len(ids), site, err)
		}
	}
	return events, nil
}

// Corrected returns the ids of the events of a site that were observed from one instant
// until before another and have, or had, a version that a person gave.
func (s *Store) Corrected(ctx context.Context, site string, from, to time.Time) ([]string, error) {
	ids, err := s.redis.Current().ZRangeByScore(ctx, keysOf(site).corrected(), &goredis.ZRangeBy{
		Min: strconv.FormatInt(s.retained(from).UnixMilli(), 10), Max: "(" + strconv.FormatInt(to.UnixMilli(), 10),
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("list the corrected events of site %s from Redis: %w", site, err)
	}
	return ids, nil
}

// retained returns an instant, or the oldest retained one if that is later.
func (s *Store) retained(t time.Time) time.Time {
	if oldest := s.oldest(); t.Before(oldest) {
		return oldest
	}
	return t
}

// loneReader reads the lone reads of a site.
type loneReader struct {
	*Store
	site     string
	keys     siteKeys
	from, to time.Time
	lines    map[string]*line // of the plates with long timelines
}

func (s *Store) loneReader(site string, from, to time.Time) *loneReader {
	return &loneReader{Store: s, site: site, keys: keysOf(site), from: s.retained(from), to: to, lines: make(map[string]*line)}
}

// members returns the members of the lone reads of a kind, the newest first, without the
// entries of the vehicles inside.
func (r *loneReader) members(ctx context.Context, kind parking.Kind) (members []string, more bool, err error) {
	// Scores are rounded down to milliseconds, so those at the ends are looked at.
	start, stop := r.to.UnixMilli(), r.from.UnixMilli()
	if kind == parking.Entry {
		start, stop = -start, -stop
	}
	first, last := instant(r.from), instant(r.to)
	args := goredis.ZRangeArgs{Key: r.keys.lone(), Start: start, Stop: stop, Rev: kind == parking.Exit}
	found, more, err := pages(args, func(args goredis.ZRangeArgs) ([]string, error) {
		return r.redis.Current().ZRangeArgs(ctx, args).Result()
	}, func(m string) (int64, error) {
		_, at, err := parseMember(m)
		if kind == parking.Entry {
			return -at.UnixMilli(), err
		}
		return at.UnixMilli(), err
	})
	return slices.DeleteFunc(found, func(m string) bool { return m < first || m >= last }), more, err
}

// inside returns the plates of the vehicles inside, with the milliseconds of their entries,
// the newest first.
func (r *loneReader) inside(ctx context.Context) (found []goredis.Z, more bool, err error) {
	args := goredis.ZRangeArgs{Key: r.keys.inside(), Start: r.to.UnixMilli(), Stop: r.from.UnixMilli(), Rev: true}
	return pages(args, func(args goredis.ZRangeArgs) ([]goredis.Z, error) {
		return r.redis.Current().ZRangeArgsWithScores(ctx, args).Result()
	}, func(z goredis.Z) (int64, error) { return int64(z.Score), nil })
}

// pages returns the members of a sorted set within a range of scores, at most [MaxLone]. A
// page begins with the last score of the one before: what arrives meanwhile moves nothing.
func pages[T comparable](args goredis.ZRangeArgs, read func(goredis.ZRangeArgs) ([]T, error), score func(T) (int64, error)) (found []T, more bool, err error) {
	args.ByScore = true
	seen := make(map[T]bool) // those of the score with which the page begins
	for {
		args.Count = membersPerTrip + int64(len(seen))
		page, err := read(args)
		if err != nil {
			return nil, false, err
		}
		if len(seen) == 0 {
			found = append(found, page...)
		} else {
			found = append(found, slices.DeleteFunc(slices.Clone(page), func(m T) bool { return seen[m] })...)
		}
		if len(found) > MaxLone {
			return found[:MaxLone], true, nil
		}
		if int64(len(page)) < args.Count {
			return found, false, nil
		}
		last, err := score(page[len(page)-1])
		if err != nil {
			return nil, false, failure.Odd("Redis", err)
		}
		clear(seen)
		for _, m := range slices.Backward(page) {
			if at, err := score(m); err != nil || at != last {
				break
			}
			seen[m] = true
		}
		args.Start = last
	}
}

func (r *loneReader) all(ctx context.Context) (lone []parking.Lone, more bool, err error) {
	exits, moreExits, err := r.members(ctx, parking.Exit)
	if err != nil {
		return nil, false, err
	}
	entries, moreEntries, err := r.members(ctx, parking.Entry)
	if err != nil {
		return nil, false, err
	}
	inside, moreInside, err := r.inside(ctx)
	if err != nil {
		return nil, false, err
	}
	if len(exits)+len(entries)+len(inside) > MaxLone {
		millis := func(members []string) func(i int) int64 {
			return func(i int) int64 {
				_, at, _ := parseMember(members[i]) // members has parsed it
				return at.UnixMilli()
			}
		}
		n := newest(MaxLone, r.from.UnixMilli(), r.to.UnixMilli(), ordered{len(exits), millis(exits)}, ordered{len(entries), millis(entries)},
			ordered{len(inside), func(i int) int64 { return int64(inside[i].Score) }})
		exits, entries, inside, moreExits = exits[:n[0]], entries[:n[1]], inside[:n[2]], true
	}
	lone = make([]parking.Lone, 0, len(exits)+len(entries)+len(inside))
	for _, members := range [][]string{exits, entries} {
		for page := range slices.Chunk(members, lonePerPage) {
			reads := make([]placed, len(page))
			for i, text := range page {
				reads[i].member, reads[i].plate, _ = strings.Cut(text, "\n")
			}
			if lone, err = r.read(ctx, lone, reads); err != nil {
				return nil, false, err
			}
		}
	}
	for page := range slices.Chunk(inside, lonePerPage) {
		reads := make([]placed, len(page))
		for i, z := range page {
			reads[i].plate = z.Member.(string)
		}
		if lone, err = r.read(ctx, lone, reads); err != nil {
			return nil, false, err
		}
	}
	return lone, moreExits || moreEntries || moreInside, nil
}

// ordered are reads of one kind, the newest first.
type ordered struct {
	len    int
	millis func(i int) int64
}

// newest returns how many of some reads that were observed from one instant to another are
// among the newest of all, at most so many together. Those of one millisecond are all among
// them, or none.
func newest(most int, from, to int64, of ...ordered) (counts []int) {
	counts = make([]int, len(of))
	since := func(at int64) (sum int) {
		for i, reads := range of {
			counts[i] = sort.Search(reads.len, func(n int) bool { return reads.millis(n) < at })
			sum += counts[i]
		}
		return sum
	}
	after := sort.Search(int(to-from), func(n int) bool { return since(from+int64(n)) <= most })
	since(from + int64(after))
	return counts
}

// placed is a member and the plate of its timeline. Of a vehicle inside the member is empty
// until the timeline is read.
type placed struct{ member, plate string }

// read appends the lone reads at some places. A place that is none any more is left out.
func (r *loneReader) read(ctx context.Context, lone []parking.Lone, reads []placed) ([]parking.Lone, error) {
	lines, err := r.readLines(ctx, reads)
	if err != nil {
		return nil, err
	}
	found := reads[:0]
	for _, at := range reads {
		if members := lines[at.plate].members; at.member == "" && len(members) > 0 {
			if at.member = members[len(members)-1]; kindOf(at.member) == parking.Exit {
				continue // the vehicle has left
			}
		}
		if at.member != "" {
			found = append(found, at)
		}
	}
	events, err := r.readEvents(ctx, found)
	if err != nil {
		return nil, err
	}
	for i, at := range found {
		before, after, there := lines[at.plate].around(at.member)
		if events[i] == nil || !there || events[i].Time.Before(r.from) || !events[i].Time.Before(r.to) {
			continue
		}
		read := parking.Lone{Event: *events[i], Known: lines[at.plate].known}
		switch {
		case read.Kind == parking.Exit && before == "", read.Kind == parking.Entry && after == "":
		case read.Kind == parking.Exit && kindOf(before) == parking.Entry, read.Kind == parking.Entry && kindOf(after) == parking.Exit:
			continue // it is a part of a stay by now
		case read.Kind == parking.Exit:
			_, read.Previous, err = parseMember(before)
		default:
			_, read.Next, err = parseMember(after)
		}
		if err != nil {
			return nil, failure.Odd("Redis", err)
		}
		lone = append(lone, read)
	}
	return lone, nil
}

// readEvents returns the events at some places, nil of one that is not there.
func (r *loneReader) readEvents(ctx context.Context, places []placed) ([]*parking.Event, error) {
	if len(places) == 0 {
		return nil, nil
	}
	ids := make([]string, len(places))
	for i, at := range places {
		ids[i] = at.member[headLen:]
	}
	kept, err := r.redis.Current().HMGet(ctx, r.keys.events(), ids...).Result()
	if err != nil {
		return nil, err
	}
	events := make([]*parking.Event, len(places))
	for i, at := range places {
		text, _ := kept[i].(string)
		if text == "" || text[:min(slotLen, len(text))] != at.member[:slotLen] {
			continue
		}
		e, err := parseKept(r.site, at.member, text)
		switch {
		case errors.Is(err, errNoPlateKept):
		case err != nil:
			return nil, failure.Odd("Redis", err)
		case e.Plate == at.plate:
			events[i] = &e
		}
	}
	return events, nil
}

// line is a timeline, or so much of its end as was read.
type line struct {
	members []string // in order
	older   bool     // whether there are others
	read    int64    // how many of the older ones were read
	known   bool     // whether there is an exact stay
}

// around returns the neighbours of a member, and reports whether it is there.
func (l *line) around(member string) (before, after string, found bool) {
	i, found := slices.BinarySearch(l.members, member)
	if found && i > 0 {
		before = l.members[i-1]
	}
	if found && i+1 < len(l.members) {
		after = l.members[i+1]
	}
	return before, after, found
}

// readLines returns the timelines of some plates: so much of each that it tells whether the
// plate is known, and what is before and after its places.
func (r *loneReader) readLines(ctx context.Context, reads []placed) (map[string]*line, error) {
	lines, plates := make(map[string]*line, len(reads)), make([]string, 0, len(reads))
	for _, at := range reads {
		if lines[at.plate] == nil {
			lines[at.plate] = r.lines[at.plate]
		}
		if lines[at.plate] == nil {
			lines[at.plate] = new(line)
			plates = append(plates, at.plate)
		}
	}
	oldest := instant(r.oldest())
	if len(plates) > 0 {
		texts, err := r.redis.Current().HMGet(ctx, r.keys.timelines(), plates...).Result()
		if err != nil {
			return nil, err
		}
		for i, plate := range plates {
			text, _ := texts[i].(string)
			newest, older := strings.CutPrefix(text, "+")
			l := lines[plate]
			l.members, l.older = retainedOf(strings.Split(newest, "\n"), oldest), older
			l.known = hasStay(l.members)
			if older {
				r.lines[plate] = l
			}
		}
	}
	for _, at := range reads {
		l := lines[at.plate]
		for l.older && (!l.known && l.read < maxSearched || at.member != "" && at.member <= l.members[0]) {
			if err := r.readOlder(ctx, at.plate, l, oldest); err != nil {
				return nil, err
			}
		}
	}
	return lines, nil
}

// readOlder reads the next page of the older members of a timeline.
func (r *loneReader) readOlder(ctx context.Context, plate string, l *line, oldest string) error {
	page, err := r.redis.Current().ZRevRange(ctx, r.keys.older(plate), l.read, l.read+lonePerPage-1).Result()
	if err != nil {
		return err
	}
	l.read += int64(len(page))
	slices.Reverse(page)
	kept := retainedOf(page, oldest)
	l.older = len(kept) == lonePerPage
	l.members = append(kept, l.members...)
	l.known = l.known || hasStay(l.members[:min(len(l.members), len(kept)+1)])
	return nil
}

// retainedOf returns the members that have not expired.
func retainedOf(members []string, oldest string) []string {
	return slices.DeleteFunc(members, func(m string) bool { return m < oldest })
}

// hasStay reports whether an exit is directly after an entry.
func hasStay(members []string) bool {
	for i := 1; i < len(members); i++ {
		if kindOf(members[i]) == parking.Exit && kindOf(members[i-1]) == parking.Entry {
			return true
		}
	}
	return false
}

func kindOf(member string) parking.Kind { return parking.Kind(member[headLen-1]) }

// byID adds the events with some ids.
func (r *loneReader) byID(ctx context.Context, events map[string]parking.Event, ids []string) error {
	kept, err := r.redis.Current().HMGet(ctx, r.keys.events(), ids...).Result()
	if err != nil {
		return err
	}
	texts, plates, rests := make([]string, len(ids)), make([]string, len(ids)), make([]string, len(ids))
	var short []placed
	for i := range ids {
		texts[i], _ = kept[i].(string)
		plates[i], rests[i] = headOf(texts[i])
		if plates[i] != "" && rests[i] == "" {
			short = append(short, placed{plate: plates[i]})
		}
	}
	lines, err := r.readLines(ctx, short)
	if err != nil {
		return err
	}
	for i, id := range ids {
		if plates[i] == "" {
			continue
		}
		slot := texts[i][:slotLen]
		m := slot + rests[i] + id
		if rests[i] == "" {
			members := lines[plates[i]].members
			at := slices.IndexFunc(members, func(m string) bool { return m[:slotLen] == slot && m[headLen:] == id })
			if at < 0 {
				continue
			}
			m = members[at]
		}
		e, err := parseKept(r.site, m, texts[i])
		if err != nil {
			return failure.Odd("Redis", err)
		}
		if !e.Time.Before(r.from) {
			events[id] = e
		}
	}
	return nil
}

// headOf returns the plate in what is kept of an event, or nothing if it has none, and the
// rest of its member, unless that is in a short timeline; see layout.lua.
func headOf(kept string) (plate, rest string) {
	head, _, _ := strings.Cut(kept, "\n")
	plate, rest, _ = strings.Cut(head[min(slotLen, len(head)):], "\t")
	if strings.HasPrefix(plate, void) || strings.HasPrefix(plate, noPlate) {
		return "", ""
	}
	return plate, rest
}
