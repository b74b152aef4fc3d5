package timeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const retention = 24 * time.Hour

// newStore returns a store on a Redis of its own, and its client.
func newStore(t testing.TB) (*Store, goredis.UniversalClient) {
	t.Helper()
	client, err := redis.Open(redis.URL(instancetest.Redis(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return New(client, retention), client.Current()
}

// start is the time of the first event of a test, an hour ago on the minute.
var start = time.Now().UTC().Add(-time.Hour).Truncate(time.Minute)

func event(kind parking.Kind, id string, second int) parking.Event {
	return parking.Event{
		ID: id, Kind: kind, Site: "default", RawPlate: "KA01", Plate: "KA01",
		Time: start.Add(time.Duration(second) * time.Second),
	}
}

func entry(id string, second int) parking.Event { return event(parking.Entry, id, second) }

func exit(id string, second int) parking.Event { return event(parking.Exit, id, second) }

func stayOf(e *parking.Event, x parking.Event, revision int64) parking.Stay {
	s := parking.Stay{ID: x.ID, Site: x.Site, Plate: x.Plate, ExitTime: x.Time, Revision: revision}
	if e != nil {
		s.EntryID, s.EntryTime = e.ID, e.Time
	}
	return s
}

// defaultKeys are the keys of the site of most tests.
var defaultKeys = keysOf("default")

// instantLen is the length in bytes of the instant in a member.
var instantLen = redis.Base32.Len()

// timeline returns the ids of a plate's events in order.
func timeline(t testing.TB, client goredis.UniversalClient, plate string) []string {
	t.Helper()
	members, err := client.ZRange(t.Context(), "park:{default}:o:"+plate, 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	text := client.HGet(t.Context(), "park:{default}:t", plate).Val()
	newest, more := strings.CutPrefix(text, "+")
	if more != (len(members) > 0) {
		t.Errorf("timeline %q with %d older events", text, len(members))
	}
	var ids []string
	for _, m := range append(members, strings.Fields(newest)...) {
		ids = append(ids, m[instantLen+1:])
	}
	return ids
}

func keys(t *testing.T, client goredis.UniversalClient) []string {
	t.Helper()
	all, err := client.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A cluster refuses a call with keys on several shards.
func TestCluster(t *testing.T) {
	client, err := redis.Open(redis.URL(instancetest.RedisClusterOfOne(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := New(client, retention)
	sites := []string{"a", "b", "c"}
	var events []parking.Event
	for _, site := range sites {
		// They are out of order, so a revision is stored, too.
		for _, e := range []parking.Event{exit("x", 9), entry("e", 0), entry("inside", 20)} {
			e.Site = site
			events = append(events, e)
		}
	}
	for i, r := range s.Record(t.Context(), events) {
		if r.Err != nil {
			t.Errorf("event %d: %v", i, r.Err)
		}
	}
	if got, err := s.Sites(t.Context()); err != nil || !slices.Equal(got, sites) {
		t.Errorf("sites %q, error %v", got, err)
	}
	states, err := s.States(t.Context(), sites)
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range states {
		if state.VehiclesInside != 1 || state.Totals.CompletedStays != 1 {
			t.Errorf("%+v", state)
		}
	}
	if c, err := s.CorrectOccupancy(t.Context(), "b", 5, "counted"); err != nil || c.Was != 1 {
		t.Errorf("correction %+v, error %v", c, err)
	}
	if got, err := s.ErasePlate(t.Context(), "c", "KA01"); err != nil || got.Events != 3 {
		t.Errorf("erased %+v, error %v", got, err)
	}
}

func TestRecordAfterScriptsAreFlushed(t *testing.T) {
	s, client := newStore(t)
	for i := range 2 {
		if err := client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if r := s.Record(t.Context(), []parking.Event{entry(fmt.Sprint(i), i)}); r[0].Err != nil {
			t.Error(r[0].Err)
		}
	}
}

func TestRecordWithoutRedis(t *testing.T) {
	node := instancetest.Redis(t)
	client, err := redis.Open(redis.URL(node.URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := New(client, retention)
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	r := s.Record(t.Context(), []parking.Event{entry("a", 0)})
	if r[0].Err == nil || errors.Is(r[0].Err, parking.ErrInvalid) {
		t.Errorf("error %v, want one that may be tried again", r[0].Err)
	}
	if err := node.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := s.Record(t.Context(), []parking.Event{entry("a", 0)}); r[0].Err != nil {
		t.Errorf("after the restart: %v", r[0].Err)
	}
}

// totals returns totals without repeats and without events that have no plate.
func totals(entries, exits, completed, unmatched, missed int64) Totals {
	return Totals{Entries: entries, Exits: exits, CompletedStays: completed, UnmatchedExits: unmatched, MissedExits: missed}
}
