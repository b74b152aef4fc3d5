package timeline

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"parkstream/shared/failure"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

// LoneRead is a lone read as it is found by a search.
type LoneRead struct {
	Kind parking.Kind
	// ID is empty of a vehicle inside. Those have one read each.
	ID    string
	Plate string
	Time  time.Time // of a vehicle inside rounded down to milliseconds
}

// maxFound bounds the lone reads that a search returns: so many are like each other if a
// sender makes plates up, and then some are as good as all.
const maxFound = 100_000

// FindLone returns the lone reads of a kind at a site that were observed from one instant
// until before another, of the wanted plates; those of vehicles inside are entries, too. If
// there are more than [MaxLone], it looks at the newest. The reads are in no order. One that
// arrives or changes meanwhile may be missing. FindLone calls wanted with each plate, one
// after the other.
func (s *Store) FindLone(ctx context.Context, site string, kind parking.Kind, from, to time.Time, wanted func(plate string) bool) ([]LoneRead, error) {
	r := s.loneReader(site, from, to)
	first, last := instant(r.from), instant(r.to)
	var members, inside []string
	var mu sync.Mutex
	g, within := errgroup.WithContext(ctx)
	g.Go(func() error {
		// Scores are rounded down to milliseconds, so those at the ends are looked at.
		lowest, highest := r.from.UnixMilli(), r.to.UnixMilli()
		if kind == parking.Entry {
			lowest, highest = -highest, -lowest
		}
		return r.scan(within, r.keys.lone(), lowest, highest, func(page []string) {
			mu.Lock()
			defer mu.Unlock()
			for _, text := range page {
				if m, plate, _ := strings.Cut(text, "\n"); m >= first && m < last && wanted(plate) && len(members) < maxFound {
					members = append(members, text)
				}
			}
		})
	})
	if kind == parking.Entry {
		g.Go(func() error {
			return r.scan(within, r.keys.inside(), r.from.UnixMilli(), r.to.UnixMilli(), func(page []string) {
				mu.Lock()
				defer mu.Unlock()
				for _, plate := range page {
					if wanted(plate) && len(inside) < maxFound {
						inside = append(inside, plate)
					}
				}
			})
		})
	}
	err := g.Wait()
	var reads []LoneRead
	if err == nil {
		if reads, err = r.readInside(ctx, inside); err == nil {
			reads, err = appendReads(reads, members)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("search the lone reads of site %s in Redis: %w", site, err)
	}
	return reads, nil
}

//go:embed exits.lua
var exitsSource string

var exitsScript = newScript(newestSource, exitsSource)

// LoneExits returns the newest lone exits of a site that are before a place in the order of
// timelines, the newest first, at most limit of them.
func (s *Store) LoneExits(ctx context.Context, site string, before Place, limit int) ([]LoneRead, error) {
	call := redis.Call{
		Script: exitsScript, Keys: []string{string(keysOf(site))}, NoWait: true,
		Args: []any{exitMember(before.ID, before.Time), limit, s.oldest().UnixMilli()},
	}
	s.redis.Run(ctx, &call)
	text, err := call.Text()
	var members []string
	if text != "" {
		members = strings.Split(text, "\r")
	}
	exits := make([]LoneRead, 0, len(members))
	if err == nil {
		exits, err = appendReads(exits, members)
	}
	if err != nil {
		return nil, fmt.Errorf("list the lone exits of site %s from Redis: %w", site, err)
	}
	return exits, nil
}

// scansAtOnce bounds the pages of one sorted set that are read at once: Redis makes one while
// another is received.
const scansAtOnce = 2

// scan calls each with the members of a sorted set whose scores are from one to another, in
// pages in no order, some at the same time. Of very many they are those farthest from 0: the
// newest. Without their scores, which cost Redis more than the members.
func (r *loneReader) scan(ctx context.Context, key string, lowest, highest int64, each func(page []string)) error {
	cuts, err := r.cut(ctx, key, lowest, highest)
	if err != nil {
		return err
	}
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(scansAtOnce)
	for i := range len(cuts) - 1 {
		g.Go(func() error {
			args := goredis.ZRangeArgs{Key: key, ByScore: true, Start: cuts[i], Stop: fmt.Sprint("(", cuts[i+1]), Count: 2 * membersPerTrip}
			for more := true; more; args.Offset += args.Count {
				page, err := r.redis.Current().ZRangeArgs(within, args).Result()
				if err != nil {
					return err
				}
				each(page)
				more = int64(len(page)) == args.Count && args.Offset < MaxLone
			}
			return nil
		})
	}
	return g.Wait()
}

// cut returns the scores at which the pages of a scan begin, and behind them the end of the
// last one. Scores are whole numbers.
func (r *loneReader) cut(ctx context.Context, key string, lowest, highest int64) ([]int64, error) {
	p := r.redis.Current().Pipeline()
	before := p.ZCount(ctx, key, "-inf", fmt.Sprint("(", lowest))
	within := p.ZCount(ctx, key, fmt.Sprint(lowest), fmt.Sprint(highest))
	if _, err := p.Exec(ctx); err != nil {
		return nil, err
	}
	var starts []*goredis.ZSliceCmd
	for skip := int64(membersPerTrip); skip < within.Val(); skip += membersPerTrip {
		starts = append(starts, p.ZRangeWithScores(ctx, key, before.Val()+skip, before.Val()+skip))
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, err
	}
	cuts := []int64{lowest}
	for _, start := range starts {
		for _, z := range start.Val() {
			if score := int64(z.Score); score > cuts[len(cuts)-1] && score <= highest { // else many have one score
				cuts = append(cuts, score)
			}
		}
	}
	cuts = append(cuts, highest+1)
	if excess := len(cuts) - 1 - MaxLone/membersPerTrip; excess > 0 && lowest < 0 {
		cuts = cuts[:len(cuts)-excess]
	} else if excess > 0 {
		cuts = cuts[excess:]
	}
	return cuts, nil
}

// readInside returns the reads of vehicles inside by their plates.
func (r *loneReader) readInside(ctx context.Context, plates []string) ([]LoneRead, error) {
	reads := make([]LoneRead, 0, len(plates))
	for some := range slices.Chunk(plates, lonePerPage) {
		scores, err := r.redis.Current().ZMScore(ctx, r.keys.inside(), some...).Result()
		if err != nil {
			return nil, err
		}
		for i, plate := range some {
			// The score of one that has left is 0, which is the start of 1970.
			if at := time.UnixMilli(int64(scores[i])).UTC(); scores[i] != 0 && at.Before(r.to) {
				reads = append(reads, LoneRead{Kind: parking.Entry, Plate: plate, Time: at})
			}
		}
	}
	return reads, nil
}

// LoneAt returns those of some reads that are lone now, as [Store.Lone] does.
func (s *Store) LoneAt(ctx context.Context, site string, reads []LoneRead) ([]parking.Lone, error) {
	var lone []parking.Lone
	for some := range slices.Chunk(reads, lonePerPage) {
		var err error
		if lone, err = s.loneReader(site, time.Time{}, endOfTime).readLone(ctx, lone, some); err != nil {
			return nil, fmt.Errorf("read %d lone reads of site %s from Redis: %w", len(reads), site, err)
		}
	}
	return lone, nil
}

// endOfTime is the last instant that a member can have.
var endOfTime = time.Unix(0, math.MaxInt64)

// readLone appends those of some reads that are lone.
func (r *loneReader) readLone(ctx context.Context, lone []parking.Lone, reads []LoneRead) ([]parking.Lone, error) {
	places, listed := make([]placed, len(reads)), make(map[string]bool)
	var ids, texts []string
	for i := range reads {
		l := &reads[i]
		if places[i].plate = l.Plate; l.ID != "" {
			places[i].member = instant(l.Time) + string(rune(l.Kind)) + l.ID
			ids, texts = append(ids, l.ID), append(texts, places[i].member+"\n"+l.Plate)
		}
	}
	if len(texts) > 0 {
		scores, err := r.redis.Current().ZMScore(ctx, r.keys.lone(), texts...).Result()
		if err != nil {
			return nil, err
		}
		for i, id := range ids {
			listed[id] = scores[i] != 0
		}
	}
	n := len(lone)
	lone, err := r.read(ctx, lone, places)
	if err != nil {
		return nil, err
	}
	// What is neither listed nor the entry of a vehicle inside is a repeat.
	found := slices.DeleteFunc(lone[n:], func(l parking.Lone) bool {
		return !listed[l.ID] && (l.Kind == parking.Exit || !l.Next.IsZero())
	})
	return lone[:n+len(found)], nil
}

// Undecided returns those of some lone reads that no decision gives a partner.
func (s *Store) Undecided(ctx context.Context, site string, lone []parking.Lone) ([]parking.Lone, error) {
	if len(lone) == 0 {
		return nil, nil
	}
	ids := make([]string, len(lone))
	for i := range lone {
		ids[i] = lone[i].ID
	}
	keys, p := keysOf(site), s.redis.Current().Pipeline()
	decisions, given := p.HMGet(ctx, keys.decisions(), ids...), p.HMGet(ctx, keys.given(), ids...)
	if _, err := p.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read what was decided of %d lone reads of site %s from Redis: %w", len(lone), site, err)
	}
	var free []parking.Lone
	for i := range lone {
		has := given.Val()[i] != nil
		if text, decided := decisions.Val()[i].(string); decided && lone[i].Kind == parking.Exit {
			d, err := parseDecision(site, strings.Split(text, "\n"))
			if err != nil {
				return nil, failure.Odd("Redis", fmt.Errorf("unexpected decision of exit %q: %w", lone[i].ID, err))
			}
			has = !d.Withdraws()
		}
		if !has {
			free = append(free, lone[i])
		}
	}
	return free, nil
}

func appendReads(reads []LoneRead, members []string) ([]LoneRead, error) {
	for _, text := range members {
		m, plate, _ := strings.Cut(text, "\n")
		id, at, err := parseMember(m)
		if err != nil {
			return nil, failure.Odd("Redis", err)
		}
		reads = append(reads, LoneRead{Kind: kindOf(m), ID: id, Plate: plate, Time: at})
	}
	return reads, nil
}
