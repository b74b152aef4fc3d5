package timeline

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Minute has the numbers of observations within one minute.
type Minute struct {
	Start   time.Time `json:"start"`
	Entries int64     `json:"entries"`
	Exits   int64     `json:"exits"`
}

// minutesDaysPerTrip bounds the days of sites in one round trip. A busy day has 2,880
// counts.
const minutesDaysPerTrip = 32

// Minutes returns the sums of the observations at sites by steps of whole minutes. The
// first step contains from. The last step starts before to.
func (s *Store) Minutes(ctx context.Context, sites []string, from, to time.Time, step time.Duration) ([]Minute, error) {
	from = from.UTC().Truncate(step)
	steps := []Minute{}
	for start := from; start.Before(to); start = start.Add(step) {
		steps = append(steps, Minute{Start: start})
	}
	for day := from.Truncate(24 * time.Hour); day.Before(to); day = day.Add(24 * time.Hour) {
		for some := range slices.Chunk(sites, minutesDaysPerTrip) {
			p := s.redis.Current().Pipeline()
			cmds := make([]*goredis.MapStringStringCmd, len(some))
			for i, site := range some {
				cmds[i] = p.HGetAll(ctx, keysOf(site).day(day))
			}
			if _, err := p.Exec(ctx); err != nil {
				return nil, fmt.Errorf("read the minutes of %s from Redis: %w", describe(some), err)
			}
			for _, cmd := range cmds {
				for field, n := range cmd.Val() {
					addMinute(steps, step, day, to, field, parseCount(n))
				}
			}
		}
	}
	return steps, nil
}

// addMinute adds a field of a day's counts to its step. A field is "e" or "x" and the
// minute of the day. Other fields count the whole day and are ignored.
func addMinute(steps []Minute, step time.Duration, day, to time.Time, field string, n int64) {
	if field == "" {
		return
	}
	minute, err := strconv.Atoi(field[1:])
	if err != nil || minute < 0 || minute >= 24*60 {
		return
	}
	at := day.Add(time.Duration(minute) * time.Minute)
	if len(steps) == 0 || at.Before(steps[0].Start) || !at.Before(to) {
		return
	}
	of := &steps[at.Sub(steps[0].Start)/step]
	switch field[0] {
	case 'e':
		of.Entries += n
	case 'x':
		of.Exits += n
	}
}
