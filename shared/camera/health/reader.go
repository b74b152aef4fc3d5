package health

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/probe"
	"parkstream/shared/redis"
	"parkstream/shared/site"
)

const (
	// freshFor is how long the health that was read is used.
	freshFor = 10 * time.Second
	// MaxCameras bounds the cameras whose health is read, the first ones by site and id.
	MaxCameras = 5000
	// camerasPerTrip bounds the cameras in one round trip.
	camerasPerTrip = 200
)

// Reader reads the health of the configured cameras, at most once in ten seconds. It is
// safe for concurrent use.
type Reader struct {
	redis *redis.Client
	sites *site.Registry
	now   func() time.Time
	read  *probe.Shared[*Snapshot]
}

// Snapshot is the health of the cameras at one time. It does not change.
type Snapshot struct {
	At time.Time
	// Configured is the number of all cameras. There are at most MaxCameras in All.
	Configured int
	All        []Health // by site and id
	bySite     map[string][]Health
}

// Of returns the cameras of a site.
func (s *Snapshot) Of(site string) []Health { return s.bySite[site] }

// NewReader returns a Reader of the cameras of a registry. The caller closes the client.
func NewReader(client *redis.Client, sites *site.Registry) *Reader {
	r := &Reader{redis: client, sites: sites, now: time.Now}
	r.read = probe.New(freshFor, r.snapshot)
	return r
}

// Snapshot returns the health of all cameras.
func (r *Reader) Snapshot(ctx context.Context) (*Snapshot, error) { return r.read.Result(ctx) }

func (r *Reader) snapshot(ctx context.Context) (*Snapshot, error) {
	sites, err := r.sites.Sites(ctx)
	if err != nil {
		return nil, err
	}
	now := r.now().UTC()
	s := &Snapshot{At: now, All: []Health{}, bySite: make(map[string][]Health)}
	var all []subject
	for i := range sites {
		s.Configured += len(sites[i].Cameras)
		cameras := slices.Clone(sites[i].Cameras)
		slices.SortFunc(cameras, func(a, b site.Camera) int { return strings.Compare(a.ID, b.ID) })
		for j := range cameras {
			all = append(all, subject{&cameras[j], sites[i].Location})
		}
	}
	for some := range slices.Chunk(all[:min(len(all), MaxCameras)], camerasPerTrip) {
		healths, err := r.healths(ctx, some, now)
		if err != nil {
			return nil, fmt.Errorf("read the health of %d cameras from Redis: %w", len(some), err)
		}
		s.All = append(s.All, healths...)
	}
	for _, h := range s.All {
		s.bySite[h.Site] = append(s.bySite[h.Site], h)
	}
	return s, nil
}

// subject is a camera and the zone of its site.
type subject struct {
	camera *site.Camera
	zone   *time.Location
}

// healths reads some cameras in one round trip, and the history of those that may be
// silent in another one.
func (r *Reader) healths(ctx context.Context, some []subject, now time.Time) ([]Health, error) {
	today := redis.Day(now)
	records := make([]record, len(some))
	reads := make([]reading, len(some))
	p := r.redis.Current().Pipeline()
	for i, s := range some {
		reads[i].state = p.HGetAll(ctx, redis.CameraKey(s.camera.ID))
		reads[i].readDays(ctx, p, s.camera.ID, today, today-1)
		for set, last := range setsOf(s.camera.Role) {
			for day := today - last; day > today-last-matchDays; day-- {
				reads[i].sets = append(reads[i].sets, ids{set, p.PFCount(ctx, matchKey(s.camera.ID, day, set))})
			}
		}
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, err
	}
	p = r.redis.Current().Pipeline()
	for i, s := range some {
		records[i] = reads[i].record()
		if days := historyOf(s.zone, &records[i], now); len(days) > 0 {
			reads[i].readDays(ctx, p, s.camera.ID, days...)
		}
	}
	if p.Len() > 0 {
		if _, err := p.Exec(ctx); err != nil {
			return nil, err
		}
	}
	healths := make([]Health, len(some))
	for i, s := range some {
		records[i] = reads[i].record()
		healths[i] = evaluate(s.camera, s.zone, &records[i], now)
	}
	return healths, nil
}

// setsOf returns the sets of the events that a camera sees, and how many days before
// today the last day is that counts. Vehicles have at least a day to leave.
func setsOf(role site.Role) map[string]int64 {
	sets := make(map[string]int64)
	if role != site.Exits {
		sets[setEntries], sets[setTaken] = 2, 2
	}
	if role != site.Entries {
		sets[setExits], sets[setMatched] = 0, 0
	}
	return sets
}

// historyOf returns the days whose counts it takes to know if a camera is silent, but
// for those that its record has.
func historyOf(zone *time.Location, r *record, now time.Time) []int64 {
	need := make(map[int64]bool)
	var days []int64
	silence(zone, r.time(fieldSince), r.time(fieldRequest), r.time(fieldRead), now, func(_ string, hour time.Time) int64 {
		day := redis.Day(hour)
		if _, known := r.days[day]; !known && !need[day] {
			need[day] = true
			days = append(days, day)
		}
		return 0
	})
	return days
}

// reading is what is read of a camera.
type reading struct {
	state *goredis.MapStringStringCmd
	days  []counts
	sets  []ids
}

type counts struct {
	day  int64
	read *goredis.MapStringStringCmd
}

type ids struct {
	set string
	n   *goredis.IntCmd
}

func (r *reading) readDays(ctx context.Context, p goredis.Pipeliner, id string, days ...int64) {
	for _, day := range days {
		r.days = append(r.days, counts{day, p.HGetAll(ctx, dayKey(id, day))})
	}
}

// record returns what was read.
func (r *reading) record() record {
	one := record{state: r.state.Val(), days: make(map[int64]map[string]string, len(r.days)), sets: make(map[string]int64)}
	for _, d := range r.days {
		one.days[d.day] = d.read.Val()
	}
	for _, s := range r.sets {
		one.sets[s.set] += s.n.Val()
	}
	return one
}
