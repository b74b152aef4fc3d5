package services

import (
	"fmt"
	"strings"
	"testing"

	"parkstream/shared/instance/instancetest"
	"parkstream/shared/redis"
)

// A given Redis that may lose events is used with a warning. A Redis that refuses
// writes is not used.
func TestAGivenRedisIsLookedAt(t *testing.T) {
	r := instancetest.Redis(t)
	client, err := redis.Open(redis.URL(r.URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var said strings.Builder
	given := Options{RedisURL: r.URL(), Say: func(format string, args ...any) { fmt.Fprintf(&said, format+"\n", args...) }}
	if err := checkGiven(t.Context(), given); err != nil || said.Len() > 0 {
		t.Errorf("a safe one: error %v, said %q", err, &said)
	}
	set := func(settings ...any) {
		t.Helper()
		if err := client.Current().Do(t.Context(), append([]any{"CONFIG", "SET"}, settings...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("maxmemory", "100mb", "maxmemory-policy", "allkeys-lru", "appendonly", "no")
	if err := checkGiven(t.Context(), given); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"maxmemory-policy is allkeys-lru", "appendonly yes"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("said %q, want %q in it", &said, want)
		}
	}
	set("maxmemory", "1", "maxmemory-policy", "noeviction")
	if err := checkGiven(t.Context(), given); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("a full one: error %v", err)
	}
}
