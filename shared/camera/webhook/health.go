package webhook

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"parkstream/shared/camera"
	"parkstream/shared/redis"
)

const (
	// writeEvery is the interval at which the health of the cameras is written.
	writeEvery   = time.Second
	writeTimeout = 5 * time.Second
	// A camera's state is kept for stateFor after its last request, and the counts of an
	// hour for hoursFor: five of the same weekday.
	stateFor = 90 * 24 * time.Hour
	hoursFor = 36 * 24 * time.Hour
	// confidenceUnits are counted for a confidence of 1: Redis adds whole numbers.
	confidenceUnits = 10_000
)

// Fields of a camera's state, the hash of [redis.CameraKey]. Times are milliseconds since
// 1970.
const (
	stateFormat    = "format"
	stateRequest   = "last_request"
	stateHeartbeat = "last_heartbeat"
	stateRead      = "last_read"
	stateRefused   = "last_refused"
	stateSkew      = "skew_ms"
)

// Fields of the counts of an hour, the hash of [redis.CameraHourKey].
const (
	hourRequests   = "requests"
	hourRefused    = "refused"
	hourReads      = "reads"
	hourNoPlate    = "no_plate"
	hourConfident  = "confident"  // reads with a confidence
	hourConfidence = "confidence" // the sum of them, in 1/10,000
)

// Health records in Redis what is known of the health of each camera: its last requests
// of each kind, and counts of each hour. It is written each second, and lost for as long
// as Redis is unavailable: no camera waits for it.
type Health struct {
	redis   *redis.Client
	log     *slog.Logger
	failing rate.Sometimes
	stop    context.CancelFunc
	ended   sync.WaitGroup

	mu      sync.Mutex
	pending map[string]*state // by the id of a configured camera
}

// state is what is to be written of a camera.
type state struct {
	at     time.Time         // of the last request
	fields map[string]string // of its state
	counts map[string]int64  // of the hour
}

// NewHealth returns a Health that writes until it is closed.
func NewHealth(client *redis.Client, log *slog.Logger) *Health {
	ctx, stop := context.WithCancel(context.Background())
	h := &Health{redis: client, log: log, failing: rate.Sometimes{First: 1, Interval: time.Minute}, stop: stop, pending: map[string]*state{}}
	h.ended.Go(func() { h.run(ctx) })
	return h
}

// Close writes what is not yet written.
func (h *Health) Close(context.Context) error {
	h.stop()
	h.ended.Wait()
	return nil
}

func (h *Health) run(ctx context.Context) {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.write(ctx)
		case <-ctx.Done():
			h.write(context.WithoutCancel(ctx))
			return
		}
	}
}

// change changes what is to be written of a camera.
func (h *Health) change(id string, at time.Time, change func(*state)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.pending[id]
	if s == nil {
		s = &state{fields: map[string]string{}, counts: map[string]int64{}}
		h.pending[id] = s
	}
	s.at = at
	s.fields[stateRequest] = millis(at)
	s.counts[hourRequests]++
	change(s)
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// refused records a request that came to no event.
func (h *Health) refused(id string, at time.Time) {
	h.change(id, at, func(s *state) {
		s.fields[stateRefused] = millis(at)
		s.counts[hourRefused]++
	})
}

// accepted records a request and its reads.
func (h *Health) accepted(id, format string, heartbeat bool, observed []camera.Observation, at time.Time) {
	h.change(id, at, func(s *state) {
		s.fields[stateFormat] = format
		if heartbeat {
			s.fields[stateHeartbeat] = millis(at)
		}
		for i := range observed {
			o := &observed[i]
			s.fields[stateRead] = millis(at)
			s.counts[hourReads]++
			if o.Event.NoPlate {
				s.counts[hourNoPlate]++
			}
			if c := o.Event.Details.Confidence; c != nil {
				s.counts[hourConfident]++
				s.counts[hourConfidence] += int64(*c * confidenceUnits)
			}
			if !o.Read.Time.IsZero() {
				s.fields[stateSkew] = strconv.FormatInt(at.Sub(o.Read.Time).Milliseconds(), 10)
			}
		}
	})
}

// write writes what is pending, in one round trip.
func (h *Health) write(ctx context.Context) {
	h.mu.Lock()
	pending := h.pending
	h.pending = map[string]*state{}
	h.mu.Unlock()
	if len(pending) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_, err := h.redis.Current().Pipelined(ctx, func(p goredis.Pipeliner) error {
		for id, s := range pending {
			key, hour := redis.CameraKey(id), redis.CameraHourKey(id, s.at)
			p.HSet(ctx, key, s.fields)
			p.Expire(ctx, key, stateFor)
			for field, n := range s.counts {
				p.HIncrBy(ctx, hour, field, n)
			}
			p.Expire(ctx, hour, hoursFor)
		}
		return nil
	})
	if err != nil {
		h.failing.Do(func() {
			h.log.WarnContext(ctx, "the health of cameras is not recorded", "cameras", len(pending), "error", err)
		})
	}
}
