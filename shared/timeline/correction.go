package timeline

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

//go:embed correct.lua
var correctSource string

var correctScript = newScript(correctSource)

// Correction is a count by hand.
type Correction struct {
	At      time.Time `json:"at"`
	Counted int64     `json:"counted"`
	// Was is the occupancy before the count.
	Was    int64  `json:"was"`
	Reason string `json:"reason"`
}

const (
	correctionsKept = 1000
	maxReasonBytes  = 500
)

// CorrectOccupancy sets the occupancy to a number counted by hand and records it with
// its reason. From then on the occupancy follows the entries and exits observed later.
// An event observed before the count that arrives after it does not change the
// occupancy.
func (s *Store) CorrectOccupancy(ctx context.Context, site string, counted int64, reason string) (Correction, error) {
	const most = 1_000_000
	switch {
	case counted < 0 || counted > most:
		return Correction{}, parking.Invalid("counted is %d, want 0 to %d", counted, most)
	case strings.TrimSpace(reason) == "":
		return Correction{}, parking.Invalid("reason is missing")
	case len(reason) > maxReasonBytes:
		return Correction{}, parking.Invalid("reason has %d bytes, at most %d are allowed", len(reason), maxReasonBytes)
	}
	now, until := s.now(), s.forgottenAt()
	switch refused, err := s.sites.Admit(ctx, []string{site}, until, s.MaxSites); {
	case err != nil:
		return Correction{}, fmt.Errorf("correct the occupancy of site %s: %w", site, err)
	case len(refused) > 0:
		return Correction{}, s.tooMany(site)
	}
	call := redis.Call{
		Script: correctScript, Keys: []string{string(keysOf(site))},
		Args: []any{counted, now.UnixMilli(), reason, s.oldestInside(now), correctionsKept, until.UnixMilli()},
	}
	keep := s.sites.Keep([]string{site}, until)
	s.redis.Run(ctx, append([]*redis.Call{&call}, keep...)...)
	was, err := call.Int64()
	if err = cmp.Or(err, redis.FirstError(keep)); err != nil {
		return Correction{}, fmt.Errorf("correct the occupancy of site %s in Redis: %w", site, err)
	}
	return Correction{At: now.UTC().Truncate(time.Millisecond), Counted: counted, Was: was, Reason: reason}, nil
}

// Corrections returns the last counts by hand, newest first, at most limit of them.
func (s *Store) Corrections(ctx context.Context, site string, limit int64) ([]Correction, error) {
	lines, err := s.redis.Current().LRange(ctx, keysOf(site).corrections(), 0, limit-1).Result()
	if err != nil {
		return nil, fmt.Errorf("read the corrections of site %s from Redis: %w", site, err)
	}
	corrections := make([]Correction, len(lines))
	for i, line := range lines {
		f := strings.SplitN(line, "\n", 4)
		if len(f) != 4 {
			return nil, fmt.Errorf("correction %q of site %s has not four fields", line, site)
		}
		corrections[i] = Correction{At: time.UnixMilli(parseCount(f[0])).UTC(), Counted: parseCount(f[1]), Was: parseCount(f[2]), Reason: f[3]}
	}
	return corrections, nil
}
