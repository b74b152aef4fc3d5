package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

const processorMetrics = `# TYPE event_processing_latency_seconds histogram
event_processing_latency_seconds_bucket{event_type="KIND",le="0.001"} 4
event_processing_latency_seconds_bucket{event_type="KIND",le="0.01"} 9
event_processing_latency_seconds_bucket{event_type="KIND",le="+Inf"} 10
event_processing_latency_seconds_sum{event_type="KIND"} 0.5
event_processing_latency_seconds_count{event_type="KIND"} 10
# TYPE parkstream_events_total counter
parkstream_events_total{event_type="KIND",outcome="done"} 8
parkstream_events_total{event_type="KIND",outcome="reject"} 2
`

const connectorMetrics = `# TYPE parkstream_connector_messages_received_total counter
parkstream_connector_messages_received_total{queue="vehicle_exits"} 10
parkstream_connector_messages_received_total{queue="vehicle_entries"} 20
# TYPE parkstream_connector_messages_acked_total counter
parkstream_connector_messages_acked_total{queue="vehicle_entries"} 15
# TYPE parkstream_connector_messages_dead_lettered_total counter
parkstream_connector_messages_dead_lettered_total{queue="vehicle_entries"} 2
# TYPE parkstream_connector_messages_unacked gauge
parkstream_connector_messages_unacked{queue="vehicle_entries"} 3
# TYPE parkstream_connector_oldest_unacked_age_seconds gauge
parkstream_connector_oldest_unacked_age_seconds{queue="vehicle_entries"} 0.25
# TYPE parkstream_connector_breaker_state gauge
parkstream_connector_breaker_state{function="entry-processor"} 0
parkstream_connector_breaker_state{function="exit-processor"} 2
# TYPE parkstream_connector_calls_limit gauge
parkstream_connector_calls_limit{function="entry-processor"} 4
`

const queueMetrics = `# TYPE parkstream_connector_queue_messages gauge
parkstream_connector_queue_messages{queue="vehicle_entries",state="ready"} 7
parkstream_connector_queue_messages{queue="vehicle_entries",state="waiting"} 0
parkstream_connector_queue_messages{queue="vehicle_entries",state="dead"} 2
`

// upstream is the gateway and the connector. It has a response for some paths, and 404
// for all others.
type upstream struct {
	*httptest.Server
	calls atomic.Int64

	mu      sync.Mutex
	answers map[string]http.HandlerFunc
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{answers: make(map[string]http.HandlerFunc)}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.calls.Add(1)
		u.mu.Lock()
		answer := u.answers[r.URL.Path]
		u.mu.Unlock()
		if answer == nil {
			answer = http.NotFound
		}
		answer(w, r)
	}))
	t.Cleanup(u.Close)
	for _, name := range watchedFunctions {
		u.says("/function/"+name+"/_/ready", 200, `{"ready":true}`)
	}
	u.says("/function/entry-processor/metrics", 200, strings.ReplaceAll(processorMetrics, "KIND", "entry"))
	u.says("/function/exit-processor/metrics", 200, strings.ReplaceAll(processorMetrics, "KIND", "exit"))
	u.says("/readyz", 200, "ready\n")
	u.says("/metrics", 200, connectorMetrics)
	return u
}

func (u *upstream) does(path string, answer http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answers[path] = answer
}

func (u *upstream) says(path string, status int, body string) {
	u.does(path, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func (u *upstream) locate(context.Context) (string, error) { return u.URL, nil }

func (u *upstream) monitor(t *testing.T, connector string) *Monitor {
	t.Helper()
	s := New(u.locate, connector, func(context.Context) error { return nil }, slog.New(slog.DiscardHandler))
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

func snapshot(t *testing.T, m *Monitor) *Snapshot {
	t.Helper()
	got, err := m.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func states(s *Snapshot) map[string]string {
	parts := make(map[string]string)
	for _, p := range s.Parts {
		parts[p.Name] = strings.TrimSpace(p.State + " " + p.Detail)
	}
	return parts
}

func TestMonitor(t *testing.T) {
	u := newUpstream(t)
	got := snapshot(t, u.monitor(t, u.URL))
	if d := cmp.Diff(map[string]string{
		"entry-processor": "up", "exit-processor": "up", "matcher": "up", "camera": "up", "entry-generator": "up", "exit-generator": "up",
		"summary": "up", "redis": "up", "connector": "up",
	}, states(got)); d != "" {
		t.Error(d)
	}
	latency := func(kind string) Latency {
		return Latency{EventType: kind, Count: 10, SumSeconds: 0.5, Buckets: []Bucket{{new(0.001), 4}, {new(0.01), 9}, {nil, 10}}}
	}
	if d := cmp.Diff([]Latency{latency("entry"), latency("exit")}, got.Latency); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]Outcome{{"entry", "done", 8}, {"entry", "reject", 2}, {"exit", "done", 8}, {"exit", "reject", 2}}, got.Outcomes); d != "" {
		t.Error(d)
	}
	want := &Connector{
		Queues: []Queue{
			{Queue: "vehicle_entries", Received: 20, Acked: 15, DeadLettered: 2, InHand: 3, OldestUnackedSeconds: 0.25},
			{Queue: "vehicle_exits", Received: 10},
		},
		Breakers: []Breaker{{Function: "entry-processor", State: "closed", CallsLimit: 4}, {Function: "exit-processor", State: "probing"}},
	}
	if d := cmp.Diff(want, got.Connector); d != "" {
		t.Error(d)
	}

	u.says("/metrics", 200, strings.ReplaceAll(connectorMetrics, "messages_unacked", "messages_in_hand")) // the former name
	if d := cmp.Diff(want, snapshot(t, u.monitor(t, u.URL)).Connector); d != "" {
		t.Error(d)
	}

	u.says("/metrics", 200, connectorMetrics+queueMetrics)
	q := &want.Queues[0]
	q.Ready, q.Waiting, q.Dead = new(7.0), new(0.0), new(2.0)
	if d := cmp.Diff(want, snapshot(t, u.monitor(t, u.URL)).Connector); d != "" {
		t.Error(d)
	}
	if without := snapshot(t, u.monitor(t, "")); without.Connector != nil || states(without)["connector"] != "" {
		t.Errorf("without a connector: %+v", without)
	}
}

// For any fault of the parts there is a snapshot, and it contains no address.
func TestMonitorInTrouble(t *testing.T) {
	u := newUpstream(t)
	ctx, release := context.WithCancel(t.Context())
	defer release()
	hang := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-ctx.Done():
		case <-r.Context().Done():
		}
	}
	u.says("/function/entry-processor/_/ready", 503, `{"ready":false,"failing":["redis","rabbitmq"]}`)
	u.says("/function/exit-processor/_/ready", 404, "not found")
	u.does("/function/entry-generator/_/ready", hang)
	u.says("/function/exit-generator/_/ready", 502, "dial tcp 10.1.2.3")
	u.says("/function/entry-processor/metrics", 200, "no metrics at all {")
	u.does("/function/exit-processor/metrics", hang)
	s := New(u.locate, "http://127.0.0.1:1", func(context.Context) error { return errors.New("dial tcp 10.1.2.3:6379") }, slog.New(slog.DiscardHandler))
	got := snapshot(t, s)
	if d := cmp.Diff(map[string]string{
		"entry-processor": "not_ready waits for redis, rabbitmq", "exit-processor": "unreachable not deployed",
		"matcher": "up", "camera": "up", "entry-generator": "unreachable does not answer in time", "exit-generator": "not_ready answers 502; its log says why",
		"summary": "up", "redis": "unreachable cannot be reached", "connector": "unreachable cannot be reached",
	}, states(got)); d != "" {
		t.Error(d)
	}
	if len(got.Latency) != 0 || len(got.Outcomes) != 0 || got.Connector != nil {
		t.Errorf("%+v", got)
	}
	if text, _ := json.Marshal(got); strings.Contains(string(text), "10.1.2.3") || strings.Contains(string(text), "127.0.0.1") {
		t.Errorf("%s", text)
	}
}

// Metrics of functions that need a token get it, and nothing else does: no readiness
// check, no connector, and no host to which a redirect leads. A refused or missing token
// is told, and the rest of the snapshot is as before.
func TestMonitorSendsItsToken(t *testing.T) {
	const token = "the-token"
	other := newUpstream(t)
	u := newUpstream(t)
	var mu sync.Mutex
	carried := map[string]string{}
	needsToken := func(kind string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+token {
				http.Error(w, `{"error":"this needs a login"}`, http.StatusUnauthorized)
				return
			}
			_, _ = io.WriteString(w, strings.ReplaceAll(processorMetrics, "KIND", kind))
		}
	}
	u.does("/function/entry-processor/metrics", needsToken("entry"))
	u.does("/function/exit-processor/metrics", needsToken("exit"))
	u.does("/function/entry-generator/_/ready", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/readyz", http.StatusTemporaryRedirect)
	})
	for _, s := range []*upstream{u, other} {
		inner := s.Config.Handler
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			carried[r.URL.Path] = r.Header.Get("Authorization")
			mu.Unlock()
			inner.ServeHTTP(w, r)
		})
	}
	told := func(got *Snapshot) string {
		return states(got)["entry-processor"] + ", " + states(got)["exit-processor"]
	}
	m := u.monitor(t, u.URL)
	m.Token = func() (string, error) { return token, nil }
	got := snapshot(t, m)
	if len(got.Latency) != 2 || len(got.Outcomes) != 4 || got.Connector == nil || told(got) != "up, up" {
		t.Errorf("%+v", got)
	}
	for path, value := range carried {
		want := ""
		if path == "/function/entry-processor/metrics" || path == "/function/exit-processor/metrics" {
			want = "Bearer " + token
		}
		if value != want {
			t.Errorf("%s got %q, want %q", path, value, want)
		}
	}
	if len(carried) != 10 {
		t.Errorf("calls of %v", carried)
	}
	for name, secret := range map[string]func() (string, error){
		"none":       nil,
		"another":    func() (string, error) { return "another", nil },
		"unreadable": func() (string, error) { return token, errors.New("permission denied") },
	} {
		m := u.monitor(t, u.URL)
		m.Token = secret
		got := snapshot(t, m)
		const refused = "up refuses the summary's token: its figures are not shown"
		if told(got) != refused+", "+refused || len(got.Latency) != 0 || got.Connector == nil {
			t.Errorf("%s: %+v", name, got)
		}
		if text, _ := json.Marshal(got); strings.Contains(string(text), token) {
			t.Errorf("%s: %s", name, text)
		}
	}
	// A redirect of the metrics takes the token nowhere.
	u.does("/function/entry-processor/metrics", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/elsewhere", http.StatusTemporaryRedirect)
	})
	m = u.monitor(t, "")
	m.Token = func() (string, error) { return token, nil }
	if got := snapshot(t, m); told(got) != "up, up" {
		t.Errorf("%+v", got)
	}
	if _, called := carried["/elsewhere"]; called {
		t.Error("the redirect was followed")
	}
}

// Concurrent callers cost one set of calls. A caller that leaves does not affect the
// others.
func TestOneSnapshotForAll(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	u := newUpstream(t)
	defer u.Close()
	m := u.monitor(t, u.URL)
	defer m.client.CloseIdleConnections()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { _, _ = m.Snapshot(t.Context()) })
	}
	wg.Wait()
	const calls = 10 // six functions are asked, two scraped, the connector both
	if n := u.calls.Load(); n != calls {
		t.Errorf("50 snapshots made %d calls, want %d", n, calls)
	}
	m = u.monitor(t, u.URL)
	defer m.client.CloseIdleConnections()
	gone, cancel := context.WithCancel(t.Context())
	u.does("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		_, _ = io.WriteString(w, "ready\n")
	})
	if got, err := m.Snapshot(gone); err != nil || states(got)["connector"] != "up" {
		t.Errorf("the one who leaves gets %v, %v", got, err)
	}
	if n := u.calls.Load(); n != 2*calls {
		t.Errorf("%d calls, want %d", n, 2*calls)
	}
	if got := snapshot(t, m); states(got)["connector"] != "up" || u.calls.Load() != 2*calls {
		t.Errorf("the next one gets %v, after %d calls", got, u.calls.Load())
	}
	if _, err := m.Snapshot(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("who has left gets %v", err)
	}
}

// A snapshot that is old because of a slow part serves no later caller.
func TestASlowPart(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	u := newUpstream(t)
	defer u.Close()
	m := u.monitor(t, u.URL)
	defer m.client.CloseIdleConnections()
	u.does("/readyz", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(snapshotInterval):
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	if old, got := snapshot(t, m), snapshot(t, m); got.At.Sub(old.At) < snapshotInterval {
		t.Errorf("the snapshot of %v served a caller after it was made", old.At)
	}
}
