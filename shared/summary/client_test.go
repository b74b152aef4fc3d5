package summary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/access"
	"parkstream/shared/parking"
	"parkstream/shared/summary/summaryclient"
)

func TestClientPosts(t *testing.T) {
	e := newEndpoint(t)
	server := httptest.NewServer(e)
	defer server.Close()
	shown, tokenErr := token, error(nil)
	c := summaryclient.New(server.URL+"/", func() (string, error) { return shown, tokenErr })
	defer c.Close()
	stays := []parking.Stay{completed("x1", "a", "P1", today, 60)}
	if err := c.Post(t.Context(), stays); err != nil {
		t.Fatal(err)
	}
	if k, err := e.stays.Get(t.Context(), []string{"a"}, "x1"); err != nil || k.Stay != stays[0] {
		t.Errorf("%+v, %v", k, err)
	}
	shown = "rotated"
	if err := c.Post(t.Context(), stays); err == nil || !strings.Contains(err.Error(), "401") || strings.Contains(err.Error(), shown) {
		t.Errorf("wrong token: %v", err)
	}
	shown = token
	if err := c.Post(t.Context(), stays); err != nil {
		t.Errorf("the token is to be read for each call: %v", err)
	}
	if err := c.Post(t.Context(), []parking.Stay{{}}); err == nil || !strings.Contains(err.Error(), "id is missing") {
		t.Errorf("bad stay: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Post(ctx, stays); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	tokenErr = errors.New("no such file")
	if err := c.Post(t.Context(), stays); !errors.Is(err, tokenErr) {
		t.Errorf("no token: %v", err)
	}
}

// TestTokenIsRotatedUnderLoad changes the secret while stays are posted: none is
// lost, the new token is used at once, and no old one is accepted after it.
func TestTokenIsRotatedUnderLoad(t *testing.T) {
	e := newEndpoint(t)
	file := filepath.Join(t.TempDir(), "summary-token")
	write := func(value string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (string, error) {
		text, err := os.ReadFile(file)
		return string(text), err
	}
	write("token-0")
	server := httptest.NewServer(admitting{t, NewHandler(Config{
		Stays: e.stays, Sites: e.events, Access: newGuard(t, "", read, access.PostStays),
		Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler),
	})})
	defer server.Close()

	const posters = 4
	var (
		load   sync.WaitGroup
		ended  atomic.Bool
		posted [posters]atomic.Int64
	)
	defer load.Wait()
	defer ended.Store(true)
	for i := range posters {
		load.Go(func() {
			c := summaryclient.New(server.URL, read)
			defer c.Close()
			for !ended.Load() {
				n := posted[i].Load()
				err := c.Post(context.Background(), []parking.Stay{completed(fmt.Sprintf("x%d-%d", i, n), "a", "P1", today, 60)})
				switch {
				case err == nil:
					posted[i].Add(1)
				case !strings.Contains(err.Error(), "401"): // changed between reading it and showing it: posted again
					t.Errorf("post: %v", err)
				}
			}
		})
	}
	for n := range 20 {
		old, next := fmt.Sprint("token-", n), fmt.Sprint("token-", n+1)
		write(next)
		for _, shown := range []string{next, old} { // the old one counts for a second, or until the new one is shown
			c := summaryclient.New(server.URL, func() (string, error) { return shown, nil })
			if err := c.Post(t.Context(), []parking.Stay{}); (err == nil) != (shown == next) {
				t.Errorf("after the change %d the token %s: %v", n, shown, err)
			}
			c.Close()
		}
		for i := range posters {
			before := posted[i].Load()
			for deadline := time.Now().Add(20 * time.Second); posted[i].Load() == before; {
				if time.Now().After(deadline) {
					t.Fatalf("after the change %d nothing is posted", n)
				}
				time.Sleep(time.Millisecond)
			}
		}
	}
	ended.Store(true)
	load.Wait()
	want := int64(0)
	for i := range posters {
		want += posted[i].Load()
	}
	stats, err := e.stays.Stats(t.Context(), []string{"a"}, today, time.Time{})
	if err != nil || stats.Completed != want {
		t.Errorf("%d stays were posted, kept are %+v, error %v", want, stats.Counts, err)
	}
}

// The empty post of a probe reaches the summary with the secret. It stores nothing and
// is not counted.
func TestClientReaches(t *testing.T) {
	e := newEndpoint(t)
	server := httptest.NewServer(e)
	defer server.Close()
	c := summaryclient.New(server.URL, func() (string, error) { return token, nil })
	defer c.Close()
	if err := c.Reachable(t.Context()); err != nil {
		t.Fatal(err)
	}
	c = summaryclient.New(server.URL, func() (string, error) { return "another", nil })
	defer c.Close()
	if err := c.Reachable(t.Context()); err == nil {
		t.Error("with another secret it is reachable")
	}
}
