package matcher

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/redis"
)

// Turns has the sites one after the other, in all processes together. It saves work and
// keeps no promise: two ticks of one site at once do no harm.
type Turns struct{ redis *redis.Client }

// NewTurns returns the turns in a Redis. The caller closes the client.
func NewTurns(client *redis.Client) *Turns { return &Turns{client} }

const (
	// turnsKey is a sorted set: sites, each with the milliseconds at which its last turn
	// began. A site whose turn ends in a crash is not the first one of the next tick again.
	turnsKey = redis.Matcher + "turns"
	// turnsKept is how long the turns are kept without a tick.
	turnsKept = 24 * time.Hour
	// longestTurn bounds a turn without a deadline, and turnGrace is added to one with it.
	longestTurn = time.Minute
	turnGrace   = 5 * time.Second
	// releaseTimeout bounds the end of a turn after that of its call.
	releaseTimeout = 2 * time.Second
)

func lockKey(site string) string { return redis.Matcher + "lock:" + site }

// releaseSource is a script: it deletes the key if it has the value.
//
//go:embed release.lua
var releaseSource string

// order returns the wanted ones of the sites, the one whose last turn is the longest ago
// first, and forgets the turns of sites that there are no more.
func (t *Turns) order(ctx context.Context, sites []string, wanted func(string) bool) ([]string, error) {
	turns, err := t.redis.Current().ZRangeWithScores(ctx, turnsKey, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("read the turns of sites from Redis: %w", err)
	}
	known := make(map[string]bool, len(sites))
	for _, site := range sites {
		known[site] = true
	}
	last := make(map[string]float64, len(turns))
	var gone []any
	for _, z := range turns {
		site, _ := z.Member.(string)
		if last[site] = z.Score; !known[site] {
			gone = append(gone, site)
		}
	}
	if len(gone) > 0 {
		if err := t.redis.Current().ZRem(ctx, turnsKey, gone...).Err(); err != nil {
			return nil, fmt.Errorf("forget the turns of %d sites in Redis: %w", len(gone), err)
		}
	}
	ordered := slices.DeleteFunc(slices.Clone(sites), func(site string) bool { return !wanted(site) })
	slices.SortStableFunc(ordered, func(a, b string) int { return cmp.Compare(last[a], last[b]) })
	return ordered, nil
}

// take begins the turn of a site, unless another process has it. release ends it.
func (t *Turns) take(ctx context.Context, site string, now time.Time) (release func(), taken bool, err error) {
	lasts := longestTurn
	if deadline, bounded := ctx.Deadline(); bounded {
		lasts = time.Until(deadline)
	}
	key, token := lockKey(site), rand.Text()
	taken, err = t.redis.Current().SetNX(ctx, key, token, max(lasts, 0)+turnGrace).Result()
	if err != nil {
		return nil, false, fmt.Errorf("take the turn of site %s in Redis: %w", site, err)
	}
	if !taken {
		return nil, false, nil
	}
	release = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		_ = t.redis.Current().Eval(ctx, releaseSource, []string{key}, token).Err() // it expires
	}
	p := t.redis.Current().Pipeline()
	p.ZAdd(ctx, turnsKey, goredis.Z{Score: float64(now.UnixMilli()), Member: site})
	p.Expire(ctx, turnsKey, turnsKept)
	if _, err := p.Exec(ctx); err != nil {
		release()
		return nil, false, fmt.Errorf("note the turn of site %s in Redis: %w", site, err)
	}
	return release, true, nil
}
