package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/eventually"
	"parkstream/shared/monitor"
)

// buckets are cumulative, with bounds of 1 ms, 10 ms, 100 ms and none.
func buckets(counts ...uint64) []monitor.Bucket {
	bounds := []*float64{new(0.001), new(0.01), new(0.1), nil}
	list := make([]monitor.Bucket, len(counts))
	for i, n := range counts {
		list[i] = monitor.Bucket{UpToSeconds: bounds[i], Count: n}
	}
	return list
}

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		name    string
		buckets []monitor.Bucket
		q, want float64 // NaN: none
	}{
		{"nothing", nil, 0.5, math.NaN()},
		{"no events", buckets(0, 0, 0, 0), 0.5, math.NaN()},
		{"in the first bucket", buckets(10, 10, 10, 10), 0.5, 0.0005},
		{"all of the first bucket", buckets(10, 10, 10, 10), 1, 0.001},
		{"in the second bucket", buckets(0, 10, 10, 10), 0.5, 0.0055},
		{"beyond an empty bucket", buckets(5, 5, 10, 10), 0.75, 0.055},
		{"at a bound", buckets(5, 5, 10, 10), 0.5, 0.001},
		{"beyond the last bound", buckets(0, 0, 0, 10), 0.5, 0.1},
	} {
		got := quantile(tt.buckets, tt.q)
		if (got == nil) != math.IsNaN(tt.want) || got != nil && math.Abs(*got-tt.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// snapshots are of two moments two seconds apart.
func snapshots() (before, now *monitor.Snapshot) {
	at := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	part := func(state, detail string) []monitor.Part {
		return []monitor.Part{{Name: "entry-processor", Kind: "function", State: "up"}, {Name: "redis", Kind: "store", State: state, Detail: detail}}
	}
	before = &monitor.Snapshot{
		At: at, Parts: part("up", ""),
		Latency: []monitor.Latency{
			{EventType: "entry", Count: 100, Buckets: buckets(100, 100, 100, 100)},
			{EventType: "exit", Count: 500, Buckets: buckets(500, 500, 500, 500)},
		},
		Connector: &monitor.Connector{Queues: []monitor.Queue{{Queue: "vehicle_entries", Acked: 100}}},
	}
	now = &monitor.Snapshot{
		At: at.Add(2 * time.Second), Parts: part("unreachable", "cannot be reached"),
		Latency: []monitor.Latency{
			{EventType: "entry", Count: 1100, Buckets: buckets(100, 1100, 1100, 1100)},
			{EventType: "exit", Count: 20, Buckets: buckets(0, 0, 20, 20)}, // restarted
		},
		Outcomes: []monitor.Outcome{
			{EventType: "entry", Outcome: "done", Events: 1090},
			{EventType: "entry", Outcome: "reject", Events: 10},
			{EventType: "exit", Outcome: "done", Events: 15},
			{EventType: "exit", Outcome: "unmatched_exit", Events: 5},
		},
		Connector: &monitor.Connector{
			Queues: []monitor.Queue{
				{Queue: "vehicle_entries", Acked: 1100, InHand: 12, OldestUnackedSeconds: 0.25, Ready: new(1234567.0), Waiting: new(0.0), Dead: new(10.0), DeadLettered: 10},
				{Queue: "vehicle_exits", Acked: 20},
			},
			Breakers: []monitor.Breaker{{Function: "entry-processor", State: "closed", CallsInFlight: 1, CallsLimit: 4}, {Function: "exit-processor", State: "open"}},
		},
	}
	return before, now
}

func TestFiguresOf(t *testing.T) {
	before, now := snapshots()
	f := figuresOf(before, now)
	got := map[string]float64{
		"entries a second": f.flows[0].rate, "entry p50": *f.flows[0].p50,
		"exits a second": f.flows[1].rate, "exit p50": *f.flows[1].p50,
		"entries acked": f.acked["vehicle_entries"], "exits acked": f.acked["vehicle_exits"],
	}
	want := map[string]float64{
		"entries a second": 500, "entry p50": 0.0055, // the hundred before count no more
		"exits a second": 10, "exit p50": 0.055,
		"entries acked": 500, "exits acked": 10,
	}
	for name := range got {
		got[name] = math.Round(1e6*got[name]) / 1e6
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	first := figuresOf(nil, now)
	if fl := first.flows[0]; fl.rate != 0 || fl.p50 != nil || fl.outcomes["done"] != 1090 {
		t.Errorf("without an earlier snapshot: %+v", fl)
	}
}

func TestRender(t *testing.T) {
	before, now := snapshots()
	const want = `Parkstream  http://gw  2026-11-25 10:00:02 UTC  1 of 2 parts are not up

EVENTS  a second      p50      p99   done  unmatched  repeats  duplicates  rejected  retried
entry      500.0   5.5 ms   9.9 ms  1,090          -        -           -        10        -
exit        10.0  55.0 ms  99.1 ms     15          5        -           -         -        -

QUEUE                ready  unacked  oldest  to retry  dead  acked/s  acked  retried  dead-lettered
vehicle_entries  1,234,567       12   0.2 s         0    10    500.0  1,100        0             10
vehicle_exits            -        0   0.0 s         -     -     10.0     20        0              0

FUNCTION         breaker  calls  at most
entry-processor   closed      1        4
exit-processor      open      0        0

Not up:
  redis: unreachable, cannot be reached
`
	if d := cmp.Diff(want, render("http://gw", figuresOf(before, now))); d != "" {
		t.Error(d)
	}
	now.Connector = nil
	if text := render("http://gw", figuresOf(before, now)); !strings.Contains(text, "The connector is not seen.") {
		t.Error(text)
	}
}

// server answers with the snapshots in turn, and then with the last.
func server(t *testing.T, answers ...*monitor.Snapshot) *httptest.Server {
	t.Helper()
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path != "/function/summary/system" {
			t.Errorf("asked for %s", r.URL)
		}
		_ = json.NewEncoder(w).Encode(answers[0])
		if len(answers) > 1 {
			answers = answers[1:]
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func topOf(s *httptest.Server, out *lockedText) *top {
	return &top{url: s.URL + "/function/summary/system", name: s.URL, out: out, interval: time.Millisecond}
}

// lockedText is written while the test reads.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestTopOnce(t *testing.T) {
	before, now := snapshots()
	out := new(lockedText)
	if err := topOf(server(t, before, before, now), out).once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "\x1b") || !strings.Contains(text, "entry      500.0   5.5 ms") {
		t.Error(text)
	}
}

func TestTopUntilInterrupted(t *testing.T) {
	before, now := snapshots()
	out := new(lockedText)
	command := topOf(server(t, before, now), out)
	command.terminal = true
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- command.run(ctx) }()
	eventually.Succeeds(t, "it prints the second snapshot", func() error {
		if text := out.String(); !strings.Contains(text, "500.0") {
			return fmt.Errorf("printed %q", text)
		}
		return nil
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if text := out.String(); !strings.HasPrefix(text, enterScreen) || !strings.HasSuffix(text, leaveScreen) {
		t.Errorf("the terminal is not as it was: %q", text)
	}
}

func TestTopOfNothing(t *testing.T) {
	before, _ := snapshots()
	s := server(t, before)
	command := topOf(s, new(lockedText))
	s.Close()
	for _, run := range []func(context.Context) error{command.once, command.run} {
		if err := run(t.Context()); err == nil || !strings.Contains(err.Error(), "start it with `parkstream up`") {
			t.Errorf("%v", err)
		}
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	if err := topOf(other, new(lockedText)).once(t.Context()); err == nil || !strings.Contains(err.Error(), "404 Not Found") {
		t.Errorf("%v", err)
	}
}
