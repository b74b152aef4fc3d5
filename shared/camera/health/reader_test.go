package health

import (
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/site"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is recorded is read, each key expires, and a camera that falls silent is noticed by
// what it did four weeks before.
func TestRecordAndRead(t *testing.T) {
	client, err := redis.Open(redis.URL(instancetest.Redis(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	registry := site.NewRegistry(client)
	camera := func(id string, role site.Role) site.Camera {
		return site.Camera{ID: id, Role: role, TokenHash: site.HashToken("token-of-a-camera")}
	}
	cameras := []site.Camera{camera("out", site.Exits), camera("in", site.Entries)}
	if err := registry.Put(t.Context(), site.Site{ID: "north", Cameras: cameras}, site.Site{ID: "south", Cameras: []site.Camera{camera("s", site.Both)}}); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(24 * time.Hour).Add(12*time.Hour + 30*time.Minute)
	r := NewRecorder(client, slog.New(slog.DiscardHandler))
	for w := historyWeeks; w > 0; w-- {
		for i := range 40 {
			r.Request(Request{Camera: "in", At: now.AddDate(0, 0, -7*w).Add(time.Duration(i-35) * time.Minute), Format: "own", Reads: make([]Read, 1)})
		}
	}
	last := now.Add(-31 * time.Minute)
	r.Request(Request{Camera: "in", At: last.Add(-time.Second), Refused: true})
	r.Request(Request{Camera: "in", At: last, Format: "axis", Reads: []Read{{Confidence: new(0.5), Skew: new(2 * time.Second)}, {NoPlate: true}}})
	r.Request(Request{Camera: "in", At: now.Add(-time.Minute), Format: "axis", Heartbeat: true})
	r.Request(Request{Camera: "out", At: now.Add(-time.Minute), Format: "own", Reads: make([]Read, 1)})
	for i := range 10 {
		in, out := now.AddDate(0, 0, -4), now.AddDate(0, 0, -3)
		stay := parking.Stay{ID: "out:" + strconv.Itoa(i), ExitTime: out}
		if i < 6 {
			stay.EntryID, stay.EntryTime = "in:"+strconv.Itoa(i), in
		}
		for range 2 { // versions and repeated deliveries
			r.Outcome(cameras, &parking.Event{Kind: parking.Entry, ID: "in:" + strconv.Itoa(i), Time: in}, nil, now)
			r.Outcome(cameras, &parking.Event{Kind: parking.Exit, ID: stay.ID, Time: out}, []parking.Stay{stay}, now)
		}
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	reader := NewReader(client, registry)
	reader.now = func() time.Time { return now }
	s, err := reader.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Health{
		{
			Camera: "in", Site: "north", Role: site.Entries, Format: "axis", Silent: true,
			Reason:      "no read since " + last.Format(time.RFC3339) + ", usually there are about 18 in this time",
			LastRequest: new(now.Add(-time.Minute)), LastHeartbeat: new(now.Add(-time.Minute)), LastRead: new(last), LastRefused: new(last.Add(-time.Second)),
			ReadsLastHour: 1, ReadsLastDay: 2, RefusedLastDay: 1, NoPlateShare: new(0.5), Confidence: new(0.5), MatchRate: new(0.6), SkewSeconds: new(2.0),
		},
		{
			Camera: "out", Site: "north", Role: site.Exits, Format: "own", LastRequest: new(now.Add(-time.Minute)), LastRead: new(now.Add(-time.Minute)),
			ReadsLastHour: 1, ReadsLastDay: 1, NoPlateShare: new(0.0), MatchRate: new(0.6),
		},
		{Camera: "s", Site: "south", Role: site.Both, Format: site.Auto},
	}
	if diff := cmp.Diff(want, s.All); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s.Configured != 3 || len(s.Of("north")) != 2 || len(s.Of("south")) != 1 || s.Of("elsewhere") != nil {
		t.Errorf("%d cameras are configured, by site %v", s.Configured, s.bySite)
	}
	keys, err := client.Current().Keys(t.Context(), "park:camera:*").Result()
	if err != nil || len(keys) < 10 {
		t.Fatalf("keys %q, %v", keys, err)
	}
	for _, key := range keys {
		if ttl := client.Current().TTL(t.Context(), key).Val(); ttl <= 0 || ttl > stateFor {
			t.Errorf("%s expires in %s", key, ttl)
		}
	}
}
