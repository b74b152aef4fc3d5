// Package health is how the cameras are: what each has sent and when, what its reads are
// worth, and whether it is silent though it should not be. The function camera and the
// processors record it, and the summary evaluates it.
package health

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/site"
)

const (
	// writeEvery is the interval at which a Recorder writes.
	writeEvery   = time.Second
	writeTimeout = 5 * time.Second
	// maxOutcomes bounds the outcomes that are not yet written. Further ones are dropped.
	maxOutcomes = 100_000
)

// Recorder records the health of the cameras in Redis. It writes each second, and what is
// not written is lost if Redis is unavailable: no camera and no event waits for it. It is
// safe for concurrent use.
type Recorder struct {
	redis   *redis.Client
	log     *slog.Logger
	failing rate.Sometimes
	stop    context.CancelFunc
	ended   sync.WaitGroup

	mu       sync.Mutex
	pending  map[string]*state // by the id of a configured camera
	outcomes map[outcome]struct{}
}

// state is what is to be written of a camera.
type state struct {
	first  time.Time
	fields map[string]string          // of its state
	counts map[int64]map[string]int64 // by day and field
}

// NewRecorder returns a Recorder that writes until it is closed.
func NewRecorder(client *redis.Client, log *slog.Logger) *Recorder {
	ctx, stop := context.WithCancel(context.Background())
	r := &Recorder{
		redis: client, log: log, failing: rate.Sometimes{First: 1, Interval: time.Minute}, stop: stop,
		pending: make(map[string]*state), outcomes: make(map[outcome]struct{}),
	}
	r.ended.Go(func() { r.run(ctx) })
	return r
}

// Close writes what is not yet written.
func (r *Recorder) Close(context.Context) error {
	r.stop()
	r.ended.Wait()
	return nil
}

func (r *Recorder) run(ctx context.Context) {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.write(ctx)
		case <-ctx.Done():
			r.write(context.WithoutCancel(ctx))
			return
		}
	}
}

// Request is a request of a configured camera.
type Request struct {
	Camera string
	At     time.Time
	// Refused: it came to no event. The other fields are empty then.
	Refused   bool
	Format    string
	Heartbeat bool
	Reads     []Read
}

// Read is what counts of a read.
type Read struct {
	NoPlate    bool
	Confidence *float64       // nil: not known
	Skew       *time.Duration // from the camera's time to the arrival; nil: the camera told no time
}

// Request records a request.
func (r *Recorder) Request(q Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.pending[q.Camera]
	if s == nil {
		s = &state{first: q.At, fields: make(map[string]string), counts: make(map[int64]map[string]int64)}
		r.pending[q.Camera] = s
	}
	day := redis.Day(q.At)
	if s.counts[day] == nil {
		s.counts[day] = make(map[string]int64)
	}
	at := millis(q.At)
	count := func(name string, n int64) { s.counts[day][countField(name, q.At)] += n }
	s.fields[fieldRequest] = at
	count(countRequests, 1)
	if q.Refused {
		s.fields[fieldRefused] = at
		count(countRefused, 1)
		return
	}
	s.fields[fieldFormat] = q.Format
	if q.Heartbeat {
		s.fields[fieldHeartbeat] = at
	}
	for _, one := range q.Reads {
		s.fields[fieldRead] = at
		count(countReads, 1)
		if one.NoPlate {
			count(countNoPlate, 1)
		}
		if one.Confidence != nil {
			count(countConfident, 1)
			count(countConfidence, int64(*one.Confidence*confidenceUnits))
		}
		if one.Skew != nil {
			s.fields[fieldSkew] = strconv.FormatInt(one.Skew.Milliseconds(), 10)
		}
	}
}

// outcome is that an event is in a set of a camera and day.
type outcome struct {
	camera string
	day    int64
	set    string
	id     string
}

// outcomesOf returns what an event and the stays that it affects tell of cameras. Each
// may be told any number of times.
func outcomesOf(e *parking.Event, stays []parking.Stay) (all []outcome) {
	add := func(id string, at time.Time, sets ...string) {
		camera := cameraOf(id)
		if camera == "" {
			return
		}
		for _, set := range sets {
			all = append(all, outcome{camera, redis.Day(at), set, id})
		}
	}
	if e.Kind == parking.Entry && !e.NoPlate && !e.Void {
		add(e.ID, e.Time, setEntries)
	}
	for i := range stays {
		s := &stays[i]
		switch s.Status() {
		case parking.Completed:
			add(s.ID, s.ExitTime, setExits, setMatched)
			add(s.EntryID, s.EntryTime, setEntries, setTaken)
		case parking.UnmatchedExit:
			add(s.ID, s.ExitTime, setExits)
		case parking.Repeated, parking.Void:
		}
	}
	return all
}

// Outcome records what became of an event at a site with cameras. Events of others are
// ignored, and those of other days than count.
func (r *Recorder) Outcome(cameras []site.Camera, e *parking.Event, stays []parking.Stay, now time.Time) {
	if len(cameras) == 0 {
		return
	}
	today := redis.Day(now)
	for _, o := range outcomesOf(e, stays) {
		if o.day < today-matchDays-1 || o.day > today+1 || !configured(cameras, o.camera) {
			continue
		}
		r.mu.Lock()
		if len(r.outcomes) < maxOutcomes {
			r.outcomes[o] = struct{}{}
		}
		r.mu.Unlock()
	}
}

func configured(cameras []site.Camera, id string) bool {
	for i := range cameras {
		if cameras[i].ID == id {
			return true
		}
	}
	return false
}

// write writes what is pending, in one round trip.
func (r *Recorder) write(ctx context.Context) {
	r.mu.Lock()
	pending, outcomes := r.pending, r.outcomes
	r.pending, r.outcomes = make(map[string]*state), make(map[outcome]struct{})
	r.mu.Unlock()
	if len(pending) == 0 && len(outcomes) == 0 {
		return
	}
	ids := make(map[string][]any) // by key
	for o := range outcomes {
		key := matchKey(o.camera, o.day, o.set)
		ids[key] = append(ids[key], o.id)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_, err := r.redis.Current().Pipelined(ctx, func(p goredis.Pipeliner) error {
		for id, s := range pending {
			key := redis.CameraKey(id)
			p.HSetNX(ctx, key, fieldSince, millis(s.first))
			p.HSet(ctx, key, s.fields)
			p.Expire(ctx, key, stateFor)
			for day, counts := range s.counts {
				key := dayKey(id, day)
				for field, n := range counts {
					p.HIncrBy(ctx, key, field, n)
				}
				p.Expire(ctx, key, dayFor)
			}
		}
		for key, some := range ids {
			p.PFAdd(ctx, key, some...)
			p.Expire(ctx, key, matchFor)
		}
		return nil
	})
	if err != nil {
		r.failing.Do(func() {
			r.log.WarnContext(ctx, "the health of cameras is not recorded", "cameras", len(pending), "events", len(outcomes), "error", err)
		})
	}
}
