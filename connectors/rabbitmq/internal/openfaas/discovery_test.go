package openfaas

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// testGateway lists functions.
type testGateway struct {
	t      testing.TB
	server *httptest.Server

	mu        sync.Mutex
	functions map[string]listed
}

func newTestGateway(t testing.TB) *testGateway {
	t.Helper()
	g := &testGateway{t: t, functions: make(map[string]listed)}
	g.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		_ = json.NewEncoder(w).Encode(slices.Collect(maps.Values(g.functions)))
	}))
	t.Cleanup(g.server.Close)
	return g
}

func (g *testGateway) deploy(name, topics, batchSize string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.functions[name] = listed{Name: name, Annotations: map[string]string{annotationTopic: topics, annotationBatchSize: batchSize}}
}

func (g *testGateway) remove(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.functions, name)
}

// gateway returns the gateway as it is called.
func (g *testGateway) gateway() *Gateway {
	g.t.Helper()
	gateway, err := NewGateway(GatewayConfig{
		URL: g.server.URL, Connector: "test", Credential: func() (user, password string, err error) { return "", "", nil },
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(gateway.CloseIdleConnections)
	return gateway
}

var testDefaults = Defaults{Timeout: time.Second, ConsumerTimeout: time.Minute, MaxAttempts: 8, BatchBytes: 1 << 20, MaxInFlight: 4, MaxInFlightSingle: 32}

func (g *testGateway) discovery(c DiscoveryConfig) *Discovery {
	g.t.Helper()
	c.Gateway, c.Defaults, c.Interval, c.Log = g.gateway(), testDefaults, time.Hour, slog.New(slog.DiscardHandler)
	return NewDiscovery(c)
}

// A topic of another connector gets no queues and no warning, whatever the other
// annotations.
func TestForeignTopicsAreNoProblem(t *testing.T) {
	g := newTestGateway(t)
	g.deploy("orders", "orders.v1", "a matter of Kafka's connector")
	g.deploy("both", "vehicle_entries,clicks", "100")
	g.deploy("ours", "vehicle_entries", "100")
	g.functions["ours"].Annotations[annotationSendToken] = "true"
	d := g.discovery(DiscoveryConfig{Topics: Topics{Served: []string{"vehicle_*"}}})
	if !d.refresh(t.Context()) {
		t.Fatal("no function was found")
	}
	if r, _ := d.Routes(); len(r) != 1 || len(r["vehicle_entries"]) != 2 {
		t.Errorf("the routes are %v", r)
	}
	if ps := d.Problems(); len(ps) > 0 {
		t.Errorf("problems %q", ps)
	}
	want := []string{
		"queue vehicle_entries goes to function both",
		"queue vehicle_entries goes to function ours, with the connector's token",
		"topic clicks of function both is left to other connectors: see TOPICS and IGNORED_TOPICS",
		"topic orders.v1 of function orders is left to other connectors: see TOPICS and IGNORED_TOPICS",
	}
	if notes := d.Notes(); !slices.Equal(notes, want) {
		t.Errorf("notes %q", notes)
	}
}

// A function that is redeployed is missing in the list for a while: the list is asked
// again at once, the function is served on, and it is gone when enough lists lack it.
func TestAFunctionIsMissingInTheList(t *testing.T) {
	g := newTestGateway(t)
	g.deploy("fn", "q1,q2", "100")
	g.deploy("other", "q2", "100")
	d := g.discovery(DiscoveryConfig{})
	served := func(queue string) string {
		p, _ := d.Routes()
		var names []string
		for _, f := range p[queue] {
			names = append(names, f.Name)
		}
		return strings.Join(names, " ")
	}
	if !d.refresh(t.Context()) || served("q1") != "fn" || served("q2") != "fn other" {
		t.Fatalf("q1 %q, q2 %q", served("q1"), served("q2"))
	}
	_, changed := d.Routes()
	g.remove("fn")
	for i := 1; i < absentLists; i++ {
		if d.refresh(t.Context()) {
			t.Fatalf("list %d without the function is not followed by another at once", i)
		}
		if served("q1") != "fn" || served("q2") != "fn other" {
			t.Fatalf("list %d without the function: q1 %q, q2 %q", i, served("q1"), served("q2"))
		}
	}
	select {
	case <-changed:
		t.Error("the routes changed meanwhile")
	default:
	}
	if d.refresh(t.Context()) || served("q1") != "" || served("q2") != "other" {
		t.Errorf("after %d lists without the function: q1 %q, q2 %q", absentLists, served("q1"), served("q2"))
	}
	// It is looked for a while longer, and taken as soon as it is back.
	g.deploy("fn", "q1,q2", "100")
	if !d.refresh(t.Context()) || served("q1") != "fn" {
		t.Errorf("the function is back: q1 %q", served("q1"))
	}
	g.remove("fn")
	for range watchedLists {
		d.refresh(t.Context())
	}
	if !d.refresh(t.Context()) {
		t.Errorf("after %d lists without the function it is still looked for", watchedLists)
	}
	// One that listens no more, or cannot be served, was not redeployed.
	g.deploy("other", "q3", "100")
	if !d.refresh(t.Context()) || served("q2") != "" || served("q3") != "other" {
		t.Errorf("with another topic: q2 %q, q3 %q", served("q2"), served("q3"))
	}
	g.deploy("third", "q3", "many")
	g.remove("other")
	d.refresh(t.Context())
	if got := served("q3"); got != "" {
		t.Errorf("a parked queue is served by %q", got)
	}
	if !slices.ContainsFunc(d.Problems(), func(p string) bool { return strings.Contains(p, "third") }) {
		t.Errorf("problems %q", d.Problems())
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Run asks for the list every second if no function is known or one is missing, and at the
// interval otherwise. An interval below a second is kept.
func TestPace(t *testing.T) {
	const none, one, broken = "[]", `[{"name":"fn","annotations":{"topic":"q"}}]`, "no list"
	type change struct {
		at   time.Duration
		list string
	}
	for _, tt := range []struct {
		name     string
		interval time.Duration
		changes  []change
		want     string // when the list is asked for
	}{
		{"served", 30 * time.Second, []change{{0, one}}, "[0s 30s 1m0s 1m30s]"},
		{"deployed later", 30 * time.Second, []change{{0, none}, {2500 * time.Millisecond, one}}, "[0s 1s 2s 3s 33s 1m3s 1m33s]"},
		{"no list at first", 30 * time.Second, []change{{0, broken}, {1500 * time.Millisecond, one}}, "[0s 1s 2s 32s 1m2s 1m32s]"},
		{"missing for a while", 30 * time.Second, []change{{0, one}, {29 * time.Second, none}, {32500 * time.Millisecond, one}}, "[0s 30s 31s 32s 33s 1m3s 1m33s]"},
		{"a short interval", 700 * time.Millisecond, []change{{0, none}, {98 * time.Second, one}}, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			var asked []time.Duration
			client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				since := time.Since(start)
				asked = append(asked, since)
				var list string
				for _, c := range tt.changes {
					if c.at <= since {
						list = c.list
					}
				}
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(list)), Request: r}, nil
			})}
			g := &Gateway{url: "http://gateway", client: client, credential: func() (user, password string, err error) { return "", "", nil }}
			d := NewDiscovery(DiscoveryConfig{Gateway: g, Defaults: testDefaults, Interval: tt.interval, Log: slog.New(slog.DiscardHandler)})
			ctx, stop := context.WithTimeout(t.Context(), 100*time.Second)
			defer stop()
			d.Run(ctx)
			if got := fmt.Sprint(asked); tt.want != "" && got != tt.want {
				t.Errorf("%s: asked at %s, want %s", tt.name, got, tt.want)
			}
			if n := len(asked); tt.want == "" && n != int(100*time.Second/tt.interval)+1 {
				t.Errorf("%s: asked %d times", tt.name, n)
			}
		})
	}
}
