package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parkstream/shared/eventually"

	"github.com/google/go-cmp/cmp"
)

// fakeGateway answers for the summary with the present status.
type fakeGateway struct {
	*httptest.Server
	status atomic.Int64
	calls  atomic.Int64
}

func newFakeGateway(t *testing.T, status int64) *fakeGateway {
	t.Helper()
	g := new(fakeGateway)
	g.status.Store(status)
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.calls.Add(1)
		if r.URL.Path != "/function/summary/_/health" || r.Header.Get("Authorization") != "" {
			t.Errorf("%s %s with %v", r.Method, r.URL, r.Header)
		}
		w.WriteHeader(int(g.status.Load()))
	}))
	t.Cleanup(g.Close)
	return g
}

// Of the default names the one behind which the summary answers is chosen, whatever has
// the other name.
func TestGatewayIsFound(t *testing.T) {
	const ok, refused = http.StatusOK, -1
	for _, tt := range []struct {
		name     string
		statuses []int64
		want     int // index of the one that is found; -1: none
	}{
		{"faasd", []int64{ok, refused}, 0},
		{"Kubernetes", []int64{refused, ok}, 1},
		{"another host has the short name", []int64{http.StatusNotFound, ok}, 1},
		{"a login page has the short name", []int64{http.StatusFound, ok}, 1},
		{"a broken gateway", []int64{http.StatusBadGateway, ok}, 1},
		{"both", []int64{ok, ok}, 0},
		{"the summary is not deployed yet", []int64{http.StatusNotFound, refused}, -1},
		{"none", []int64{refused, refused}, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var candidates []string
			for _, status := range tt.statuses {
				g := newFakeGateway(t, max(status, 0))
				if status == refused {
					g.Close()
				}
				candidates = append(candidates, g.URL)
			}
			got, err := find(candidates).URL(t.Context())
			want := ""
			if tt.want >= 0 {
				want = candidates[tt.want]
			}
			if got != want || (err == nil) != (tt.want >= 0) {
				t.Errorf("found %q, %v, want %q", got, err, want)
			}
		})
	}
}

// The error of a gateway that is not found names the remedy.
func TestNoGateway(t *testing.T) {
	other := newFakeGateway(t, http.StatusNotFound)
	_, err := find([]string{other.URL, "http://127.0.0.1:1"}).SummaryURL(t.Context())
	want := other.URL + " answers 404, http://127.0.0.1:1 refuses connections: is the summary deployed? If the gateway has another name, set GATEWAY_URL"
	if told, ok := errors.AsType[interface {
		error
		Detail() string
	}](err); !ok || told.Detail() != want {
		t.Errorf("%v tells %v, want %s", err, told, want)
	}
}

// A failed search is repeated by a later call, one search for all concurrent callers. A
// found gateway is not searched again.
func TestGatewayIsLookedForAgain(t *testing.T) {
	fake := newFakeGateway(t, http.StatusServiceUnavailable)
	g := find([]string{fake.URL})
	ask := func() (failures int64) {
		var failed atomic.Int64
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := g.URL(t.Context()); err != nil {
					failed.Add(1)
				}
			})
		}
		all.Wait()
		return failed.Load()
	}
	if failed := ask(); failed != 20 || fake.calls.Load() != 1 {
		t.Errorf("%d of 20 failed, after %d looks", failed, fake.calls.Load())
	}
	fake.status.Store(http.StatusOK)
	eventually.True(t, "the gateway to be found", func() bool { return ask() == 0 })
	if n := fake.calls.Load(); n != 2 {
		t.Errorf("it is found after %d looks, want 2", n)
	}
	fake.Close()
	if failed := ask(); failed != 0 {
		t.Errorf("what was found is looked for again, %d failed", failed)
	}
}

// A caller who goes leaves no failure to the others, and no caller waits longer than
// its own deadline.
func TestGatewayLookEndsWithItsContext(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer server.Close()
	g := find([]string{server.URL})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if _, err := g.URL(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("URL returns %v", err)
			}
		})
	}
	all.Wait()
	close(hang)
	if _, err := g.URL(t.Context()); err != nil {
		t.Errorf("the next caller gets %v", err)
	}
}

// A configured gateway is not probed.
func TestGatewayThatIsTold(t *testing.T) {
	got, err := New("http://gw.example:8080/").SummaryURL(t.Context())
	if got != "http://gw.example:8080/function/summary" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, tt := range []struct{ gateway, summary, want string }{
		{"http://gw.example:8080/", "", "http://gw.example:8080/function/summary"},
		{"http://gw.example:8080", "http://sum.example/it/", "http://sum.example/it"},
		{"", "http://sum.example", "http://sum.example"},
	} {
		if got, err := LocateSummary(tt.gateway, tt.summary)(t.Context()); got != tt.want || err != nil {
			t.Errorf("gateway %q, summary %q: %q, %v, want %q", tt.gateway, tt.summary, got, err, tt.want)
		}
	}
	if diff := cmp.Diff([]string{"http://gateway:8080", "http://gateway.openfaas:8080"}, New("").candidates); diff != "" {
		t.Error(diff)
	}
}
