package stay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	goredis "github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/timeline"
)

// shard is the part of a Redis with the keys of a prefix, and its replica. The replica
// has everything, or, while it lags, a past state: the effects of the first scripts,
// each complete.
type shard struct {
	client goredis.UniversalClient
	prefix string
	past   map[string]string // nil while the replica has everything
}

func (s *shard) keys(t *rapid.T) []string {
	keys, err := s.client.Keys(context.Background(), s.prefix+"*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// lag makes the replica fall behind from now on.
func (s *shard) lag(t *rapid.T) {
	if s.past != nil {
		return
	}
	s.past = make(map[string]string)
	for _, key := range s.keys(t) {
		value, err := s.client.Dump(context.Background(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		s.past[key] = value
	}
}

func (s *shard) catchUp() { s.past = nil }

// failOver makes the replica the primary.
func (s *shard) failOver(t *rapid.T) {
	if s.past == nil {
		return
	}
	p := s.client.Pipeline()
	for _, key := range s.keys(t) {
		p.Del(context.Background(), key)
	}
	for key, value := range s.past {
		p.Restore(context.Background(), key, time.Hour, value)
	}
	if _, err := p.Exec(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.past = nil
}

// acknowledged reports whether the replica has all writes until now. The client waits
// for that.
func (s *shard) acknowledged() bool { return s.past == nil }

// posting is a recorded event with the stays to post.
type posting struct {
	event int
	stays []parking.Stay
}

// failovers is a pipeline over two shards whose replicas take over at any time.
type failovers struct {
	events           []parking.Event
	timelines, stays *shard
	data             *timeline.Store
	summary          *Store
	pending          map[int]bool // events that are not done and are delivered again
	posting          []posting
}

// record delivers events, including ones that are done, and continues with the
// acknowledged ones.
func (f *failovers) record(t *rapid.T, index []int) {
	events := make([]parking.Event, len(index))
	for i, n := range index {
		events[i] = f.events[n]
	}
	for i, r := range f.data.Record(context.Background(), events) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if f.timelines.acknowledged() {
			f.posting = append(f.posting, posting{index[i], r.Stays})
		}
	}
}

// post posts the stays of an event. The event is done if they are acknowledged.
func (f *failovers) post(t *rapid.T, i int) {
	p := f.posting[i]
	f.posting = append(f.posting[:i], f.posting[i+1:]...)
	if len(p.stays) > 0 {
		if _, err := f.summary.Upsert(context.Background(), p.stays); err != nil {
			t.Fatal(err)
		}
		if !f.stays.acknowledged() {
			return
		}
	}
	delete(f.pending, p.event)
}

// site is the site of all events.
const site = "default"

// Replicas take over at any time. Once every event has been acknowledged, the stays and
// totals are those of the set of events, because no stay is posted before the
// timelines' replica has its event.
func TestFailoversLoseAndDoubleNothing(t *testing.T) {
	client, err := redis.Open(redis.URL(instancetest.Redis(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	current := client.Current()
	rapid.Check(t, func(t *rapid.T) {
		if err := current.FlushDB(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		f := &failovers{
			timelines: &shard{client: current, prefix: "park:"}, stays: &shard{client: current, prefix: "stay:"},
			data: timeline.New(client, 24*time.Hour), summary: New(client, 24*time.Hour), pending: make(map[int]bool),
		}
		start := time.Now().UTC().Add(-time.Hour).Truncate(time.Second)
		n := rapid.IntRange(2, 8).Draw(t, "events")
		versions := make(map[string]int64)
		for i := range n {
			plate := rapid.SampledFrom([]string{"A", "A", "B"}).Draw(t, "plate")
			e := parking.Event{ID: fmt.Sprint("id", rapid.IntRange(0, n).Draw(t, "id")), Site: site, Kind: parking.Entry, Plate: plate, RawPlate: plate}
			versions[e.ID]++
			e.Version = versions[e.ID]
			if rapid.Bool().Draw(t, "exit") {
				e.Kind = parking.Exit
			}
			e.Time = start.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "second")) * time.Second)
			if rapid.IntRange(0, 5).Draw(t, "void") == 0 {
				e.Void, e.Plate, e.RawPlate = true, "", ""
			}
			f.events, f.pending[i] = append(f.events, e), true
		}
		index := rapid.SliceOfN(rapid.IntRange(0, n-1), 1, 3)
		record := func(t *rapid.T) { f.record(t, index.Draw(t, "index")) }
		post := func(t *rapid.T) {
			for len(f.posting) > 0 && rapid.IntRange(0, 3).Draw(t, "more") > 0 {
				f.post(t, rapid.IntRange(0, len(f.posting)-1).Draw(t, "posting"))
			}
		}
		of := rapid.SampledFrom([]*shard{f.timelines, f.stays})
		t.Repeat(map[string]func(*rapid.T){
			"record": record, "record more": record, "post": post, "post more": post,
			"a replica lags":       func(t *rapid.T) { of.Draw(t, "shard").lag(t) },
			"a replica takes over": func(t *rapid.T) { of.Draw(t, "shard").failOver(t) },
			"a replica catches up or a processor dies": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "dies") {
					f.posting = nil
				} else {
					of.Draw(t, "shard").catchUp()
				}
			},
		})
		f.finish(t)
	})
}

// finish makes all replicas current and redelivers the pending events, as the broker
// would.
func (f *failovers) finish(t *rapid.T) {
	if rapid.Bool().Draw(t, "the timelines fail over at last") {
		f.timelines.failOver(t)
	}
	if rapid.Bool().Draw(t, "the stays fail over at last") {
		f.stays.failOver(t)
	}
	f.timelines.catchUp()
	f.stays.catchUp()
	for len(f.posting) > 0 {
		f.post(t, 0)
	}
	for i := range f.events {
		if f.pending[i] {
			f.record(t, []int{i})
			f.post(t, len(f.posting)-1)
		}
	}
	var want timeline.Totals
	stays := make(map[string]string)
	for _, plate := range []string{"A", "B"} {
		var events []parking.Event
		for _, e := range parking.Current(f.events) {
			if e.Plate == plate {
				events = append(events, e)
			}
		}
		line := parking.Pair(events, nil)
		want.MissedExits += int64(len(line.MissedExits))
		want.Entries += int64(len(events) - len(line.Stays))
		want.Exits += int64(len(line.Stays))
		for _, stay := range line.Stays {
			if stays[stay.ID] = stay.EntryID; stay.EntryID != "" {
				want.CompletedStays++
			} else {
				want.UnmatchedExits++
			}
		}
	}
	if got, err := f.data.Site(context.Background(), site); err != nil || got.Totals != want {
		t.Fatalf("totals %+v, error %v, want %+v", got.Totals, err, want)
	}
	page, err := f.summary.List(context.Background(), Query{Sites: []string{site}, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	kept := make(map[string]string)
	for _, k := range page.Stays {
		kept[k.ID] = k.EntryID
	}
	if diff := cmp.Diff(stays, kept); diff != "" {
		t.Fatalf("entries of stays (-want +got):\n%s", diff)
	}
	stats := map[string]string{"c": fmt.Sprint(want.CompletedStays), "u": fmt.Sprint(want.UnmatchedExits)}
	for status, n := range stats {
		total := int64(0)
		for _, key := range f.stays.keys(t) {
			if strings.Contains(key, ":d:") {
				counted, err := f.stays.client.HGet(context.Background(), key, status).Int64()
				if err != nil && !errors.Is(err, goredis.Nil) {
					t.Fatal(err)
				}
				total += counted
			}
		}
		if fmt.Sprint(total) != n {
			t.Fatalf("%d stays of status %s are counted by day, want %s", total, status, n)
		}
	}
}

// A stay is posted when the replica has it, also if it is posted again.
func TestUpsertWaitsForReplicas(t *testing.T) {
	primary := instancetest.Redis(t)
	replica := instancetest.RedisReplica(t, primary)
	put := func() error {
		client, err := redis.Open(redis.URL(primary.URL()), redis.WithSettings(redis.Settings{Replicas: 1, ReplicasTimeout: 300 * time.Millisecond}))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		exit := time.Now().UTC().Add(-time.Hour)
		_, err = New(client, 24*time.Hour).Upsert(t.Context(), []parking.Stay{{ID: "x", Site: site, Plate: "A", ExitTime: exit, Revision: 1}})
		return err
	}
	if err := replica.Pause(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := put()
		if lost, ok := errors.AsType[*redis.ReplicasError](err); !ok || lost.Acknowledged != 0 {
			t.Errorf("with a stopped replica: %v", err)
		}
	}
	if err := replica.Resume(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		err := put()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
