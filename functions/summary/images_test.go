package function

import (
	"testing"
	"time"

	"parkstream/shared/instance/instancetest"
	"parkstream/shared/redis"
	"parkstream/shared/site"
)

// A site keeps pictures for its own time, or that of the settings, and never longer than
// events are kept, by which an erasure finds them.
func TestKeepImages(t *testing.T) {
	node := instancetest.Redis(t)
	client, err := redis.Open(redis.URL(node.URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	registry := site.NewRegistry(client)
	const day = 24 * time.Hour
	for id, kept := range map[string]time.Duration{"short": day, "long": 99 * day, "none": 0} {
		if err := registry.Put(t.Context(), site.Site{ID: id, Location: time.UTC, ImageRetention: kept}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		retention, images time.Duration
		want              map[string]time.Duration
	}{
		{90 * day, 30 * day, map[string]time.Duration{"short": day, "long": 90 * day, "none": 30 * day, "unknown": 30 * day}},
		{7 * day, 30 * day, map[string]time.Duration{"short": day, "long": 7 * day, "none": 7 * day, "unknown": 7 * day}},
	} {
		keep := settings{Retention: tt.retention, ImageRetention: tt.images}.keepImages(registry)
		for id, want := range tt.want {
			if got, err := keep(t.Context(), id); got != want || err != nil {
				t.Errorf("%s: %s, %v, want %s", id, got, err, want)
			}
		}
	}
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	// Without the registry nothing is removed.
	if got, err := (settings{Retention: day, ImageRetention: day}).keepImages(site.NewRegistry(client))(t.Context(), "short"); err == nil {
		t.Errorf("kept for %s, though the site's time is unknown", got)
	}
}
