package timeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

// at returns an entry of a plate at a site.
func at(site, id string) parking.Event {
	e := entry(id, 0)
	e.Site = site
	return e
}

// The site of a completed event is listed, regardless of what Redis has lost or refused
// in between.
func TestTheSiteOfADoneEventIsListed(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, r *instance.Redis, client goredis.UniversalClient){
		"nothing": func(*testing.T, *instance.Redis, goredis.UniversalClient) {},
		"everything": func(t *testing.T, _ *instance.Redis, client goredis.UniversalClient) {
			do(t, client, "FLUSHALL")
		},
		"the registry": func(t *testing.T, _ *instance.Redis, client goredis.UniversalClient) {
			do(t, client, "DEL", "park:registry")
		},
		"one site of the registry": func(t *testing.T, _ *instance.Redis, client goredis.UniversalClient) {
			do(t, client, "ZREM", "park:registry", "ghost")
		},
		"what was written last": func(t *testing.T, r *instance.Redis, client goredis.UniversalClient) {
			do(t, client, "FLUSHALL")
			do(t, client, "SHUTDOWN", "NOSAVE")
			<-r.Done()
			if err := r.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"a registry of another type": func(t *testing.T, _ *instance.Redis, client goredis.UniversalClient) {
			do(t, client, "SET", "park:registry", "nonsense")
		},
		"the login": func(t *testing.T, _ *instance.Redis, client goredis.UniversalClient) {
			do(t, client, "CONFIG", "SET", "requirepass", "another")
			do(t, client, "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "NO")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := instancetest.Redis(t)
			s, client := storeOf(t, r)
			if got := s.Record(t.Context(), []parking.Event{at("ghost", "first")})[0]; got.Err != nil {
				t.Fatal(got.Err)
			}
			lose(t, r, client)
			got := s.Record(t.Context(), []parking.Event{at("ghost", "second")})[0]
			sites, err := s.Sites(t.Context())
			switch {
			case got.Err == nil && (err != nil || !slices.Equal(sites, []string{"ghost"})):
				t.Errorf("the event is done, the sites are %q, error %v", sites, err)
			case got.Err != nil && name != "a registry of another type" && name != "the login":
				t.Errorf("the event is not done: %v", got.Err)
			case errors.Is(got.Err, parking.ErrInvalid):
				t.Errorf("the event can never be done: %v", got.Err)
			}
		})
	}
}

func do(t *testing.T, client goredis.UniversalClient, args ...any) {
	t.Helper()
	err := client.Do(t.Context(), args...).Err()
	if redisErr := goredis.Error(nil); errors.As(err, &redisErr) {
		t.Fatalf("%v: %v", args, err) // some commands end the connection
	}
}

func storeOf(t testing.TB, r *instance.Redis) (*Store, goredis.UniversalClient) {
	t.Helper()
	client, err := redis.Open(redis.URL(r.URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return New(client, retention), client.Current()
}

// Concurrent new sites cannot exceed the bound together, and a batch larger than the
// bound cannot either. Known sites continue.
func TestSitesAreBounded(t *testing.T) {
	r := instancetest.Redis(t)
	const most, strangers, each = 30, 8, 300
	var known []parking.Event
	for i := range most / 2 {
		known = append(known, at(fmt.Sprint("known-", i), "e"))
	}
	s, client := storeOf(t, r)
	s.MaxSites = most
	s.Record(t.Context(), known)

	var mu sync.Mutex
	var done int
	var wg sync.WaitGroup
	for stranger := range strangers {
		wg.Go(func() {
			s, _ := storeOf(t, r) // a process of its own
			s.MaxSites = most
			var events []parking.Event
			for i := range each {
				events = append(events, at(fmt.Sprintf("evil-%d-%d", stranger, i), "e"), at("known-0", fmt.Sprint(stranger, "-", i)))
			}
			for i, got := range s.Record(t.Context(), events) {
				evil := strings.HasPrefix(events[i].Site, "evil")
				switch {
				case got.Err == nil && evil:
					mu.Lock()
					done++
					mu.Unlock()
				case got.Err != nil && (!evil || !errors.Is(got.Err, parking.ErrTooManySites) || !errors.Is(got.Err, parking.ErrInvalid)):
					t.Errorf("event of site %s: %v", events[i].Site, got.Err)
				case got.Err != nil && !strings.Contains(got.Err.Error(), "MAX_SITES"):
					t.Errorf("the reason does not say what to do: %v", got.Err)
				}
			}
		})
	}
	wg.Wait()
	if done != most-len(known) {
		t.Errorf("%d events of new sites are done, want %d", done, most-len(known))
	}
	sites, err := s.Sites(t.Context())
	if err != nil || len(sites) != most {
		t.Errorf("%d sites, error %v; want %d", len(sites), err, most)
	}
	for _, key := range keys(t, client) {
		if site, _, ok := strings.Cut(strings.TrimPrefix(key, "park:{"), "}"); ok && !slices.Contains(sites, site) {
			t.Errorf("%s is a key of a site that was refused", key)
		}
	}
	if _, err := s.CorrectOccupancy(t.Context(), "evil", 1, "x"); !errors.Is(err, parking.ErrTooManySites) {
		t.Errorf("a count at one site more: %v", err)
	}
	for i, got := range s.Record(t.Context(), known) {
		if got.Err != nil || !got.Duplicate {
			t.Errorf("known site %d: %+v", i, got)
		}
	}
}

// A site leaves the registry when its last key expires, and makes room for another.
func TestSitesAreForgotten(t *testing.T) {
	s, client := newStore(t)
	s.MaxSites = 2
	s.Record(t.Context(), []parking.Event{at("old", "e"), at("kept", "e")})
	if _, err := s.CorrectOccupancy(t.Context(), "kept", 3, "counted"); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys(t, client) {
		ttl := client.PTTL(t.Context(), key).Val()
		forgotten := time.Until(time.UnixMilli(int64(client.ZScore(t.Context(), "park:registry", "kept").Val())))
		if key != "park:registry" && (ttl < 0 || ttl > forgotten+time.Second) {
			t.Errorf("%s expires in %s, its site is forgotten in %s", key, ttl, forgotten)
		}
	}
	do(t, client, "ZADD", "park:registry", time.Now().Add(-time.Minute).UnixMilli(), "old")
	if sites, err := s.Sites(t.Context()); err != nil || !slices.Equal(sites, []string{"kept"}) {
		t.Errorf("sites %q, error %v", sites, err)
	}
	if got := s.Record(t.Context(), []parking.Event{at("new", "e")})[0]; got.Err != nil {
		t.Errorf("there is no room: %v", got.Err)
	}
	if sites, err := s.Sites(t.Context()); err != nil || !slices.Equal(sites, []string{"kept", "new"}) {
		t.Errorf("sites %q, error %v", sites, err)
	}
}

// A count by hand registers a site without events.
func TestACountMakesASiteKnown(t *testing.T) {
	s, _ := newStore(t)
	if _, err := s.CorrectOccupancy(t.Context(), "counted", 3, "walked through"); err != nil {
		t.Fatal(err)
	}
	if sites, err := s.Sites(t.Context()); err != nil || !slices.Equal(sites, []string{"counted"}) {
		t.Errorf("sites %q, error %v", sites, err)
	}
}
