package timeline

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

func TestErasePlateLeavesNoTrace(t *testing.T) {
	s, client := newStore(t)
	other := entry("o", 5)
	other.Plate = "KA02"
	s.Record(t.Context(), []parking.Event{other})
	before := keys(t, client)
	events := []parking.Event{exit("x", 9), entry("e", 0), entry("f", 20)}
	for i := range events {
		events[i].RawPlate = "ka-01"
	}
	s.Record(t.Context(), events)
	got, err := s.ErasePlate(t.Context(), "default", "KA01")
	if err != nil || got != (Erased{Events: 3, Keys: 6}) {
		t.Errorf("erased %+v, error %v; want 3 events and 6 keys", got, err)
	}
	after := keys(t, client)
	slices.Sort(before)
	slices.Sort(after)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("keys left, -before +after:\n%s", diff)
	}
	if inside, err := s.Inside(t.Context(), "default", 0, 10); err != nil || len(inside) != 1 || inside[0].Plate != "KA02" {
		t.Errorf("inside %v, error %v", inside, err)
	}
	if got, err := s.ErasePlate(t.Context(), "default", "KA01"); err != nil || got != (Erased{}) {
		t.Errorf("erased again %+v, error %v", got, err)
	}
}

// An erasure that Redis refuses has erased nothing. A repeated one erases everything.
func TestARefusedErasureErasesNothing(t *testing.T) {
	type fault struct{ refuse, mend []any }
	faults := map[string]fault{
		"no key to write": {[]any{"ACL", "SETUSER", "eraser", "resetkeys", "%R~*"}, []any{"ACL", "SETUSER", "eraser", "~*"}},
	}
	for _, command := range []string{"hdel", "hset", "zrem", "unlink", "hget", "hexists", "zscore", "zrange", "evalsha"} {
		faults["no "+command] = fault{[]any{"ACL", "SETUSER", "eraser", "-" + command}, []any{"ACL", "SETUSER", "eraser", "+" + command}}
	}
	r := instancetest.Redis(t)
	s, admin := storeOf(t, r)
	do(t, admin, "ACL", "SETUSER", "eraser", "on", ">pw", "~*", "+@all")
	u, err := url.Parse(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("eraser", "pw")
	client, err := redis.Open(redis.URL(u.String()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	eraser := New(client, retention)
	// The plate has an older part, revisions and a place inside.
	var events []parking.Event
	for i := range 20 {
		events = append(events, exit(fmt.Sprint("x", i), 2*i+1), entry(fmt.Sprint("e", i), 2*i))
	}
	events = append(events, entry("last", 100))
	moved, now := entry("moved", 200), entry("moved", 200)
	now.Version, now.Plate = 2, "KA02"
	held := []string{"e", "r", "in", "t", "f", "o:KA01"}
	for _, key := range held {
		faults["wrong type of "+key] = fault{
			[]any{"COPY", "text", "park:{default}:" + key, "REPLACE"},
			[]any{"COPY", "saved:" + key, "park:{default}:" + key, "REPLACE"},
		}
	}
	var want Erased
	for name, f := range faults {
		do(t, admin, "FLUSHALL")
		s.Record(t.Context(), append(events, moved, now))
		do(t, admin, "SET", "text", "nonsense")
		for _, key := range held {
			do(t, admin, "COPY", "park:{default}:"+key, "saved:"+key)
		}
		do(t, admin, f.refuse...)
		before := dump(t, admin)
		if got, err := eraser.ErasePlate(t.Context(), "default", "KA01"); err == nil {
			t.Errorf("%s: erased %+v", name, got)
		}
		if diff := cmp.Diff(before, dump(t, admin)); diff != "" {
			t.Errorf("%s: the refused erasure changed (-before +after):\n%s", name, diff)
		}
		do(t, admin, f.mend...)
		got, err := eraser.ErasePlate(t.Context(), "default", "KA01")
		if want == (Erased{}) {
			want = got
		}
		if err != nil || got != want || got.Events != int64(len(events)) {
			t.Errorf("%s: repeated, %+v were erased, error %v; want %+v", name, got, err, want)
		}
	}
}

// dump returns the contents of each key.
func dump(t *testing.T, client goredis.UniversalClient) map[string]string {
	t.Helper()
	held := make(map[string]string)
	for _, key := range keys(t, client) {
		text, err := client.Dump(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		held[key] = text
	}
	return held
}

// The stays of an event that is erased meanwhile are not told, and it is not recorded again.
func TestAffectedBesideAnErasure(t *testing.T) {
	s, client := newStore(t)
	events := []parking.Event{entry("e", 0), exit("x", 60)}
	for _, r := range s.Record(t.Context(), events) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if stays, err := s.stays(t.Context(), events); err != nil || len(stays) != 1 || stays[0].ID != "x" {
		t.Fatalf("%+v, %v", stays, err)
	}
	if _, err := s.ErasePlate(t.Context(), "default", "KA01"); err != nil {
		t.Fatal(err)
	}
	before := client.HGetAll(t.Context(), defaultKeys.totals()).Val()
	if stays, err := s.stays(t.Context(), events); !errors.Is(err, parking.ErrConflict) || len(stays) != 0 {
		t.Errorf("%+v, %v", stays, err)
	}
	if n := client.HLen(t.Context(), defaultKeys.events()).Val(); n != 0 {
		t.Errorf("%d events are back", n)
	}
	if diff := cmp.Diff(before, client.HGetAll(t.Context(), defaultKeys.totals()).Val()); diff != "" {
		t.Error(diff)
	}
}
