package schedule

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/robfig/cron/v3"

	"parkstream/shared/failure"
	"parkstream/shared/redis"
)

const (
	// earlyPart is the part of the interval before a tick in which a call already
	// belongs to that tick, and maxEarly bounds it: the clock of cron may be ahead of
	// the function's. The rest of the interval is for calls that are late.
	earlyPart = 4
	maxEarly  = 15 * time.Second
	// tickMemory is how much longer than its time a tick is remembered: the clocks of
	// two replicas may differ by as much.
	tickMemory = 10 * time.Minute
)

// Ticks are the ticks of a cron schedule. A function takes each of them at most once,
// in all its replicas together.
type Ticks struct {
	redis    *redis.Client
	function string
	text     string
	schedule cron.Schedule
}

// NewTicks returns the ticks of a function's schedule, a cron expression with five
// fields or a descriptor such as @hourly. The caller closes the client.
func NewTicks(client *redis.Client, function, text string) (*Ticks, error) {
	parsed, err := Parse(text)
	if err != nil {
		return nil, err
	}
	return &Ticks{redis: client, function: function, text: text, schedule: parsed}, nil
}

// end returns the instant at which the time of now's tick ends and that of the tick
// next begins. The times of the ticks follow each other without a gap.
func (t *Ticks) end(now time.Time) (end, next time.Time) {
	next = t.schedule.Next(now)
	if end = t.begin(next); !now.Before(end) { // now is early for next
		next = t.schedule.Next(next)
		end = t.begin(next)
	}
	return end, next
}

// begin returns the first instant at which a call belongs to a tick.
func (t *Ticks) begin(tick time.Time) time.Time {
	interval := t.schedule.Next(tick).Sub(tick)
	return tick.Add(-min(interval/earlyPart, maxEarly))
}

// Text returns the schedule as it was given.
func (t *Ticks) Text() string { return t.text }

// Take takes the tick of a call at now and reports whether it was not taken yet, and
// when the next tick begins. A tick is named after the tick that follows it.
func (t *Ticks) Take(ctx context.Context, now time.Time) (taken bool, end time.Time, err error) {
	end, next := t.end(now)
	key := "gen:tick:{" + t.function + "}:" + strconv.FormatInt(next.Unix(), 10)
	taken, err = t.redis.Current().SetNX(ctx, key, now.UTC().Format(time.RFC3339Nano), end.Sub(now)+tickMemory).Result()
	if err != nil {
		return false, end, failure.In("Redis", fmt.Errorf("take a tick of %q with the key %s in Redis: %w", t.text, key, err))
	}
	return taken, end, nil
}
