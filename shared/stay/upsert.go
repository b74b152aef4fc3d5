package stay

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

// staysPerScript bounds the stays of one script, because Redis runs nothing else
// meanwhile.
const staysPerScript = 250

//go:embed upsert.lua
var upsertSource string

var upsertScript = newScript(upsertSource)

// Upsert stores stays and returns the number of stays that were new or newer than the
// stored revision. Redis keeps the highest revision of each stay and counts the stay
// once, so storing one again changes nothing. Stays older than the retention are
// ignored: if they were stored, later calls would count them again. After an error some
// may be stored. Storing all of them again is safe.
func (s *Store) Upsert(ctx context.Context, stays []parking.Stay) (int, error) {
	now := s.Now()
	oldest := now.Add(-s.retention)
	bySite := make(map[string][]any)
	kept := slices.DeleteFunc(slices.Clone(stays), func(s parking.Stay) bool { return s.ExitTime.Before(oldest) })
	for _, stay := range parking.Latest(kept) {
		zone, err := s.zone(ctx, stay.Site)
		if err != nil {
			return 0, fmt.Errorf("store %d stays: %w", len(stays), err)
		}
		if bySite[stay.Site], err = appendArgs(bySite[stay.Site], StoredStay{stay, now}, parking.Date(stay.ExitTime, zone)); err != nil {
			return 0, fmt.Errorf("store %d stays: %w", len(stays), err)
		}
	}
	until := now.Add(s.retention + indexSlack)
	head := []any{instant(oldest), until.UnixMilli()}
	var upserts []*redis.Call
	for site, args := range bySite {
		for chunk := range slices.Chunk(args, staysPerScript*argsPerStay) {
			upserts = append(upserts, &redis.Call{Script: upsertScript, Keys: []string{string(keysOf(site))}, Args: slices.Concat(head, chunk)})
		}
	}
	keep := s.sites.Keep(slices.Sorted(maps.Keys(bySite)), until)
	calls := slices.Concat(upserts, keep)
	s.redis.Run(ctx, calls...)
	if err := redis.FirstError(calls); err != nil {
		return 0, fmt.Errorf("store %d stays in Redis: %w", len(stays), err)
	}
	var n int64
	for _, call := range upserts {
		stored, err := call.Int64()
		if err != nil {
			return 0, fmt.Errorf("store %d stays in Redis: %w", len(stays), err)
		}
		n += stored
	}
	return int(n), nil
}

// indexSlack is added to the lifetime of a site's keys, beyond the latest exit of its
// stays. The exit may lie ahead of this machine's clock.
const indexSlack = 48 * time.Hour

const argsPerStay = 6

// appendArgs appends the arguments of one stay, which is counted at a date.
func appendArgs(args []any, k StoredStay, date time.Time) ([]any, error) {
	if k.Disputed && k.Match == nil { // it has nothing else to tell
		k.Match = &parking.Explanation{Method: parking.Exact}
	}
	status, seconds := letters[k.Status()], int64(0)
	d, completed := k.Duration()
	if completed {
		seconds = int64(d / time.Second)
	}
	tally := strconv.AppendInt(nil, redis.Day(date), 10)
	tally = append(append(tally, ' '), status...)
	if completed {
		tally = strconv.AppendInt(append(tally, ' '), int64(bucketOf(seconds)), 10)
	}
	value := strconv.AppendInt(make([]byte, 0, valueSize), k.Revision, 10)
	value = strconv.AppendInt(append(value, ' '), seconds, 10)
	value, err := k.appendDetails(append(append(append(value, ' '), tally...), '\n'))
	for _, mark := range marksOf(&k.Stay) {
		status += " " + mark
	}
	return append(args, position(k.ExitTime, k.ID), k.Plate, status, seconds, tally, value), err
}

// valueSize is a capacity that is enough for the value of nearly every stay.
const valueSize = 128
