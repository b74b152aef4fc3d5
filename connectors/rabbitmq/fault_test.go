package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/attempt"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/broker/brokertest"
	"parkstream/shared/instance"
)

func writeSecret(t testing.TB, dir, name, value string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A function or gateway that is away for a while costs no event an attempt.
func TestOutagesCostNothing(t *testing.T) {
	hijack := func(w http.ResponseWriter) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}
	tests := []struct {
		name string
		fail func(w http.ResponseWriter, r *http.Request)
		// reason is shown by readyz
		reason string
	}{
		{"503", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "503 Service Unavailable"},
		{"429", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(429)
		}, "429 Too Many Requests"},
		{"404", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "404 Not Found"},
		{"302", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "302 Found"},
		{"500", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "exit status 1", 500) }, "500 Internal Server Error: exit status 1"},
		{"502", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, "502 Bad Gateway"},
		{"cut", func(w http.ResponseWriter, _ *http.Request) { hijack(w) }, "cut short"},
		{"hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer within 200ms"},
		{"garbage", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("Hello!")) }, "does not speak the batch contract"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			queue := queueName(t)
			g := newGateway(t)
			timeout := "20s" // a busy machine must not look like a function that hangs
			if tt.name == "hang" {
				timeout = "200ms"
			}
			f := g.add("fn", queue, map[string]string{annotationBatchSize: "100", annotationTimeout: timeout})
			var failing atomic.Bool
			f.setScript(func(w http.ResponseWriter, r *http.Request, _ []string) bool {
				if failing.Load() {
					tt.fail(w, r)
					return true
				}
				return false
			})
			failing.Store(true)
			declareQueue(t, queue)
			publish(t, events(queue, "e", 1000)...)
			c := startConnector(t, g, nil)
			waitFor(t, "the outage is told", func() bool {
				_, text := readyz(c)
				return strings.Contains(text, "function fn cannot be called") && strings.Contains(text, tt.reason)
			})
			start := time.Now()
			before := f.callCount()
			waitFor(t, "it is probed", func() bool {
				return time.Since(start) > 500*time.Millisecond && (f.callCount() >= before+3 || tt.name == "429")
			})
			// The delays of testSettings allow six probes and then one in 100 ms; a
			// probe costs at most four calls, as does what was under way.
			calls, rounds := f.callCount()-before, 10+time.Since(start).Milliseconds()/100
			if int64(calls) > 4*rounds {
				t.Errorf("%d calls in %s of an outage", calls, time.Since(start))
			}
			failing.Store(false)
			counters := c.settled(t, queue, 1000)
			// A function that is given up as hanging may do its work all the same.
			if once, twice := f.done(); once+twice != 1000 || twice != 0 && tt.name != "hang" {
				t.Errorf("%d done once, %d more often", once, twice)
			}
			if counters["acked"] != 1000 || c.outcomes(t, queue, "retry") != 0 || counters["dead_lettered"] != 0 {
				t.Errorf("counters: %v", counters)
			}
			if code, text := readyz(c); code != http.StatusOK {
				t.Errorf("not ready afterwards: %s", text)
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	queue, g, f := deployed(t, batched)
	var (
		mu    sync.Mutex
		calls []time.Time
	)
	f.setScript(func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, time.Now())
		if len(calls) > 1 {
			return false
		}
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	publish(t, events(queue, "e", 1)...)
	c := startConnector(t, g, nil)
	c.settled(t, queue, 1)
	if gap := calls[1].Sub(calls[0]); gap < 2*time.Second {
		t.Errorf("called again after %s", gap)
	}
}

// The gateway is gone: nothing listens on its port.
func TestGatewayIsAway(t *testing.T) {
	queue, g, f := deployed(t, batched)
	c := startConnector(t, g, nil)
	publish(t, events(queue, "a", 500)...)
	c.settled(t, queue, 500)
	addr := g.server.Listener.Addr().String()
	g.server.CloseClientConnections()
	g.server.Close()
	publish(t, events(queue, "b", 500)...)
	waitFor(t, "the outage is told", func() bool { _, text := readyz(c); return strings.Contains(text, "the gateway cannot be reached") })
	server := httptest.NewUnstartedServer(g.server.Config.Handler)
	_ = server.Listener.Close()
	var err error
	if server.Listener, err = listen(t, addr); err != nil {
		t.Fatal(err)
	}
	server.Start()
	defer server.Close()
	counters := c.settled(t, queue, 1000)
	if once, twice := f.done(); once != 1000 || twice != 0 || c.outcomes(t, queue, "retry") != 0 {
		t.Errorf("%d done once, %d more often, %v", once, twice, counters)
	}
}

// Events that kill the function are found and dead-lettered, and all others done.
func TestHalvingIsolatesThePoison(t *testing.T) {
	for _, poison := range [][]string{
		{"e-0"}, {"e-99"}, {"e-50"}, {"e-0", "e-1", "e-2"}, {"e-0", "e-50", "e-99"}, {"e-3", "e-77", "e-150", "e-151", "e-399"},
	} {
		t.Run(strings.Join(poison, "+"), func(t *testing.T) {
			t.Parallel()
			queue := strings.ReplaceAll(queueName(t), "+", "-")
			g := newGateway(t)
			f := g.add("fn", queue, map[string]string{annotationBatchSize: "100", annotationMaxAttempts: "4"})
			f.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
				if slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(poison, id) }) {
					http.Error(w, "signal: killed", http.StatusInternalServerError)
					return true
				}
				return false
			})
			declareQueue(t, queue)
			publish(t, events(queue, "e", 400)...)
			c := startConnector(t, g, nil)
			counters := c.settled(t, queue, 400)
			if once, twice := f.done(); once != 400-len(poison) || twice != 0 {
				t.Errorf("%d done once, %d more often", once, twice)
			}
			if counters["dead_lettered"] != len(poison) || counters["acked"] != 400-len(poison) {
				t.Errorf("counters: %v", counters)
			}
			dead := takeDead(t, queue)
			for _, d := range dead {
				if !slices.Contains(poison, d.MessageId) || d.Headers[message.HeaderAttempts] != int32(4) || d.Headers[message.HeaderStatus] != int32(500) || d.Headers[message.HeaderReason] != "500 Internal Server Error: signal: killed" {
					t.Errorf("dead letter %s: %v", d.MessageId, d.Headers)
				}
			}
			if len(dead) != len(poison) {
				t.Errorf("%d dead letters", len(dead))
			}
			if n := f.callCount(); n > 150*len(poison) {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// A function that is killed by an event is away until it has started again, so
// that nobody can be asked at once who it was.
func TestPoisonAndRestart(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("shared=", shared), func(t *testing.T) {
			t.Parallel()
			queue := strings.ReplaceAll(queueName(t), "=", "-")
			g := newGateway(t)
			f := g.add("fn", queue, map[string]string{annotationBatchSize: "100", annotationMaxAttempts: "3"})
			if shared {
				g.add("other", queue, batched)
			}
			var back atomic.Int64
			f.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
				if now := time.Now().UnixMilli(); now < back.Load() {
					w.WriteHeader(http.StatusServiceUnavailable)
					return true
				}
				if !slices.Contains(ids, "e-123") {
					return false
				}
				back.Store(time.Now().Add(100 * time.Millisecond).UnixMilli())
				w.WriteHeader(http.StatusBadGateway)
				return true
			})
			declareQueue(t, queue)
			publish(t, events(queue, "e", 400)...)
			c := startConnector(t, g, nil)
			waitFor(t, "all others are done", func() bool { once, _ := f.done(); return once == 399 })
			waitFor(t, "the poison is a dead letter", func() bool { return c.counters(t, queue)["dead_lettered"] == 1 })
			if dead := takeDead(t, queue); len(dead) != 1 || dead[0].MessageId != "e-123" {
				t.Errorf("%d dead letters", len(dead))
			}
			if _, twice := f.done(); twice != 0 {
				t.Errorf("%d done more often", twice)
			}
		})
	}
}

// An event that kills the function while nothing else comes is not held for ever.
// A function that takes batches proves to be alive without it.
func TestPoisonAlone(t *testing.T) {
	for name, tt := range map[string]struct {
		size   string
		shared bool // the queue has another function
	}{"single": {"0", false}, "batch": {"10", false}, "shared": {"10", true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			queue, g, f := deployed(t, map[string]string{annotationBatchSize: tt.size, annotationMaxAttempts: "2"})
			if tt.shared {
				g.add("other", queue, batched)
			}
			f.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
				if len(ids) > 0 {
					w.WriteHeader(http.StatusInternalServerError)
				}
				return len(ids) > 0
			})
			publish(t, events(queue, "e", 1)...)
			c := startConnector(t, g, nil)
			if counters := c.settled(t, queue, 1); counters["dead_lettered"] != 1 {
				t.Errorf("counters: %v", counters)
			}
		})
	}
}

// A function that takes no batch without events, as the contract does not ask of
// it, is alive all the same when it says so.
func TestPoisonAloneWhereEmptyBatchesAreRefused(t *testing.T) {
	for name, refuse := range map[string]func(w http.ResponseWriter){
		"400":     func(w http.ResponseWriter) { http.Error(w, "no events", http.StatusBadRequest) },
		"no-list": func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"results":null}`)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: "2"})
			f.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
				if len(ids) == 0 {
					refuse(w)
				} else {
					w.WriteHeader(http.StatusInternalServerError)
				}
				return true
			})
			publish(t, events(queue, "e", 1)...)
			c := startConnector(t, g, nil)
			if counters := c.settled(t, queue, 1); counters["dead_lettered"] != 1 {
				t.Errorf("counters: %v", counters)
			}
		})
	}
}

// A lone event in a long outage of its function, on the other hand, pays nothing.
func TestALoneEventInAnOutage(t *testing.T) {
	queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: "2"})
	var failing atomic.Bool
	failing.Store(true)
	f.setScript(func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
		if failing.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return failing.Load()
	})
	publish(t, events(queue, "e", 1)...)
	c := startConnector(t, g, nil)
	waitFor(t, "it has failed often", func() bool { return f.callCount() > 4*message.MaxFailedAlone })
	failing.Store(false)
	if counters := c.settled(t, queue, 1); counters["acked"] != 1 || c.outcomes(t, queue, "retry") != 0 {
		t.Errorf("counters: %v", counters)
	}
}

// An event that waited at the broker during an outage, without having been called,
// is no suspect when the next outage begins.
func TestWaitingIsNoFailure(t *testing.T) {
	queue, g, f := deployed(t, map[string]string{annotationMinInFlight: "1", annotationMaxInFlight: "1"})
	g.add("other", queue, batched) // nobody holds messages where it is not alone
	var (
		mu       sync.Mutex
		phase    string
		failures = map[string]int{} // calls of an event in outages
		done     int
	)
	enter := func(p string) {
		mu.Lock()
		defer mu.Unlock()
		phase = p
	}
	f.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
		mu.Lock()
		defer mu.Unlock()
		switch phase {
		case "away":
			failures[ids[0]]++
			w.WriteHeader(http.StatusServiceUnavailable)
		case "back":
			if done++; done == 5 {
				phase = "failing"
			}
			w.WriteHeader(http.StatusOK)
		case "failing":
			failures[ids[0]]++
			w.WriteHeader(http.StatusInternalServerError)
		case "rejecting":
			w.WriteHeader(http.StatusBadRequest)
		}
		return true
	})
	enter("away")
	publish(t, events(queue, "e", 100)...)
	c := startConnector(t, g, nil)
	waitFor(t, "all wait at the broker", func() bool { return c.counters(t, queue)["retried"] >= 150 })
	enter("back")
	waitFor(t, "the next outage is told", func() bool {
		_, text := readyz(c)
		return strings.Contains(text, "function fn cannot be called") && strings.Contains(text, "500")
	})
	enter("rejecting")
	conn := dialNode(t)
	waitFor(t, "all are done or dead", func() bool { return ready(t, conn, broker.DeadQueue(queue)) == 95 })
	mu.Lock()
	defer mu.Unlock()
	for _, d := range takeDead(t, queue) {
		if n := failures[string(d.Body)]; n <= 1 && d.Headers[message.HeaderAttempts] != int32(1) {
			t.Errorf("%s failed %d times in outages and has paid %v attempts", d.MessageId, n, d.Headers[message.HeaderAttempts])
		}
	}
}

// A function that says 404 or 503 to one event is not away: the others are done,
// and in the end the one is a dead letter.
func TestOneEventStopsNobody(t *testing.T) {
	for _, tt := range []struct {
		name, size, inFlight string
		status               int
	}{{"raw", "0", "1", 404}, {"raw-many", "0", "8", 403}, {"batch", "50", "2", 503}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			queue := queueName(t)
			g := newGateway(t)
			f := g.add("fn", queue, map[string]string{
				annotationBatchSize: tt.size, annotationMaxAttempts: "2", annotationMinInFlight: "1", annotationMaxInFlight: tt.inFlight,
			})
			f.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
				if slices.ContainsFunc(ids, func(id string) bool { return id == "e-0" || id == `{"id":"e-0"}` }) {
					w.WriteHeader(tt.status)
					return true
				}
				return false
			})
			declareQueue(t, queue)
			publish(t, events(queue, "e", 200)...)
			c := startConnector(t, g, nil)
			waitFor(t, "the others are done", func() bool { once, _ := f.done(); return once == 199 })
			// Suspicion needs successes of others.
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			p := broker.NewPublisher(broker.Config{URLs: func() ([]string, error) { return []string{node.URL()}, nil }})
			defer p.Close()
			var traffic sync.WaitGroup
			traffic.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					if err := p.Publish(ctx, events(queue, fmt.Sprint("more-", i), 5)); err != nil {
						if ctx.Err() == nil {
							t.Error(err)
						}
						return
					}
					// No backlog that the one would have to wait behind.
					waitFor(t, "they are done", func() bool { once, _ := f.done(); return once >= 199+5*(i+1) || ctx.Err() != nil })
				}
			})
			waitFor(t, "the one is a dead letter", func() bool { return c.counters(t, queue)["dead_lettered"] == 1 })
			stop()
			traffic.Wait()
			if dead := takeDead(t, queue); len(dead) != 1 || dead[0].MessageId != "e-0" || dead[0].Headers[message.HeaderStatus] != int32(tt.status) {
				t.Errorf("dead letters: %v", dead)
			}
		})
	}
}

// A request that the function refuses as a whole is taken apart, too.
func TestRefusedBatch(t *testing.T) {
	queue, g, f := deployed(t, batched)
	f.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
		if slices.Contains(ids, "e-13") {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return true
		}
		return false
	})
	publish(t, events(queue, "e", 200)...)
	c := startConnector(t, g, nil)
	if counters := c.settled(t, queue, 200); counters["acked"] != 199 || counters["dead_lettered"] != 1 {
		t.Errorf("counters: %v", counters)
	}
	if dead := takeDead(t, queue); len(dead) != 1 || dead[0].MessageId != "e-13" || dead[0].Headers[message.HeaderAttempts] != int32(1) {
		t.Errorf("dead letters: %v", dead)
	}
}

// While what a function needs is away, only a few events are spent on finding
// out.
func TestDependencyIsAway(t *testing.T) {
	queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10", annotationMaxInFlight: "1"})
	var away atomic.Bool
	away.Store(true)
	f.result = func(id string) batch.Result {
		if away.Load() {
			return batch.Result{ID: id, Outcome: batch.Retry, Reason: "redis is away"}
		}
		return succeed(id)
	}
	publish(t, events(queue, "e", 1000)...)
	c := startConnector(t, g, nil)
	waitFor(t, "the breaker opens", func() bool {
		_, text := readyz(c)
		return strings.Contains(text, "every event has to wait: redis is away")
	})
	waitFor(t, "it is probed", func() bool { return f.callCount() >= 6 })
	away.Store(false)
	counters := c.settled(t, queue, 1000)
	if counters["acked"] != 1000 || counters["retried"] > 100 {
		t.Errorf("counters: %v", counters)
	}
}

// One event that has to be done again says nothing about its function: the breaker
// stays closed.
func TestOneRetryOpensNoBreaker(t *testing.T) {
	queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: "3"})
	f.result = func(id string) batch.Result {
		if id == "e-0" {
			return batch.Result{ID: id, Outcome: batch.Retry, Reason: "not yet"}
		}
		return succeed(id)
	}
	publish(t, append(events(queue, "e", 1), events(queue, "more", 300)...)...)
	var connector atomic.Pointer[running]
	var closed, open atomic.Int64
	f.setScript(func(http.ResponseWriter, *http.Request, []string) bool {
		if c := connector.Load(); c != nil {
			if strings.Contains(c.scrape(t), `parkstream_connector_breaker_state{function="fn"} 0`) {
				closed.Add(1)
			} else {
				open.Add(1)
			}
		}
		return false
	})
	c := startConnector(t, g, nil)
	connector.Store(c)
	if counters := c.settled(t, queue, 301); counters["acked"] != 300 || counters["retried"] != 2 || counters["dead_lettered"] != 1 {
		t.Errorf("counters: %v", counters)
	}
	if open.Load() > 0 || closed.Load() < 10 {
		t.Errorf("the breaker was seen open %d times, closed %d times", open.Load(), closed.Load())
	}
}

// What waits at the broker for the end of an outage waits the longer the longer
// the outage has lasted, so that a long one is not a storm of messages.
func TestWaitsGrowWithTheOutage(t *testing.T) {
	k := &consumer{queue: "q", source: message.Source{Queue: "q"}, Connector: &Connector{delays: []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}}}
	for _, tt := range []struct {
		attempts   int
		away, want time.Duration
	}{
		{0, 0, time.Second},
		{0, 1900 * time.Millisecond, time.Second},
		{0, 2 * time.Second, 2 * time.Second},
		{0, 5 * time.Second, 4 * time.Second},
		{0, time.Hour, 8 * time.Second},
		{1, 0, time.Second},
		{3, 0, 4 * time.Second},
		{3, 3 * time.Second, 4 * time.Second},
		{3, time.Minute, 8 * time.Second},
		{100, 0, 8 * time.Second},
	} {
		e := attempt.NewEvent(k.source.Read(&amqp.Delivery{MessageId: "e"}, time.Now()))
		out := k.retry(e, message.History{Attempts: tt.attempts, Last: time.Now()}, message.Failure{}, tt.away)
		if want := broker.RetryQueue("q", tt.want); out.message.Queue != want || out.message.TTL > tt.want || out.message.TTL < tt.want/2 {
			t.Errorf("after %d attempts and an outage of %s: %s for %s, want %s", tt.attempts, tt.away, out.message.Queue, out.message.TTL, want)
		}
	}
}

// reconcile checks that every event was done, and that all is accounted for.
func reconcile(t *testing.T, f *function, n int, rejected func(i int) bool, dead []amqp.Delivery, prefix string) {
	t.Helper()
	deadIDs := map[string]int{}
	for _, d := range dead {
		deadIDs[d.MessageId]++
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range n {
		id := fmt.Sprint(prefix, "-", i)
		switch {
		case rejected(i) && (deadIDs[id] == 0 || f.effects[id] > 0):
			t.Errorf("%s: %d dead letters, done %d times", id, deadIDs[id], f.effects[id])
		case !rejected(i) && (deadIDs[id] > 0 || f.effects[id] == 0):
			t.Errorf("%s: %d dead letters, done %d times", id, deadIDs[id], f.effects[id])
		}
		if t.Failed() {
			return
		}
	}
}

// faultRun publishes n events, every 20th of which is rejected, disturbs the
// connector while they are worked off, and reconciles.
func faultRun(t *testing.T, url func() string, disturb func(c *running, f *function)) {
	t.Helper()
	const n = 4000
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, map[string]string{annotationBatchSize: "50"})
	rejected := func(i int) bool { return i%20 == 0 }
	f.result = func(id string) batch.Result {
		var i int
		if _, err := fmt.Sscanf(id, "e-%d", &i); err == nil && rejected(i) {
			return batch.Result{ID: id, Outcome: batch.Reject, Reason: "malformed"}
		}
		return succeed(id)
	}
	f.setScript(func(http.ResponseWriter, *http.Request, []string) bool {
		time.Sleep(10 * time.Millisecond) // so that there is time to disturb
		return false
	})
	c := startConnector(t, g, func(cfg *Config) {
		cfg.Broker = func() ([]string, error) { return []string{url()}, nil }
	})
	p := broker.NewPublisher(broker.Config{URLs: func() ([]string, error) { return []string{node.URL()}, nil }})
	defer p.Close()
	if _, err := p.DeclareQueue(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), events(queue, "e", n)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the first events are done", func() bool { once, _ := f.done(); return once > 100 })
	disturb(c, f)
	waitFor(t, "every event is done", func() bool {
		once, twice := f.done()
		return once+twice == n-n/20
	})
	conn := dialNode(t)
	waitFor(t, "nothing is left", func() bool {
		counters := c.counters(t, queue)
		c.checkIdentity(t, counters)
		return counters["in_hand"] == 0 && ready(t, conn, queue) == 0 && ready(t, conn, broker.DeadQueue(queue)) >= n/20
	})
	reconcile(t, f, n, rejected, takeDead(t, queue), "e")
}

func TestConnectionIsCut(t *testing.T) {
	proxy := brokertest.NewProxy(t, node.URL())
	faultRun(t, func() string { return proxy.Through(node.URL()) }, func(c *running, f *function) {
		for range 4 {
			before, _ := f.done()
			proxy.Cut()
			waitFor(t, "it goes on", func() bool { once, twice := f.done(); return once+twice > before+200 || once+twice >= 3800 })
		}
	})
}

func TestNetworkIsFrozen(t *testing.T) {
	proxy := brokertest.NewProxy(t, node.URL())
	faultRun(t, func() string { return proxy.Through(node.URL()) }, func(c *running, _ *function) {
		proxy.Pause()
		waitFor(t, "the silence is noticed", func() bool { code, _ := readyz(c); return code != http.StatusOK })
		proxy.Resume()
	})
}

// A broker of its own is killed, restarted, frozen and thawed.
func TestBrokerDies(t *testing.T) {
	private := instance.RabbitMQForTest(t)
	shared := node
	node = private
	defer func() { node = shared }()
	restart := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if err := private.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("killed", func(t *testing.T) {
		faultRun(t, private.URL, func(c *running, _ *function) {
			if err := private.Kill(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the loss is told", func() bool { _, text := readyz(c); return strings.Contains(text, "no connection to RabbitMQ") })
			restart()
		})
	})
	t.Run("stopped", func(t *testing.T) {
		faultRun(t, private.URL, func(*running, *function) {
			if err := private.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			restart()
		})
	})
	t.Run("password changed", func(t *testing.T) {
		ctl := func(args ...string) {
			t.Helper()
			if _, err := private.Ctl(t.Context(), args...); err != nil {
				t.Fatal(err)
			}
		}
		as := func(password string) string {
			u, err := url.Parse(private.URL())
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.UserPassword("connector", password)
			return u.String()
		}
		ctl("add_user", "connector", "first-password")
		ctl("set_permissions", "connector", ".*", ".*", ".*")
		dir := t.TempDir()
		writeSecret(t, dir, "rabbitmq-url", as("first-password")+"\n")
		secret := func() string {
			urls, err := broker.URLFile(filepath.Join(dir, "rabbitmq-url"))()
			if err != nil {
				t.Error(err)
				return ""
			}
			return urls[0]
		}
		faultRun(t, secret, func(c *running, _ *function) {
			ctl("change_password", "connector", "second-password")
			ctl("close_all_user_connections", "connector", "rotated")
			waitFor(t, "the old password is refused", func() bool {
				_, text := readyz(c)
				if strings.Contains(text, "first-password") || strings.Contains(text, "second-password") {
					t.Fatalf("the password is told: %s", text)
				}
				return strings.Contains(text, "no connection to RabbitMQ")
			})
			if _, err := broker.Dial(t.Context(), broker.Config{URLs: func() ([]string, error) { return []string{as("first-password")}, nil }}); err == nil {
				t.Error("the old password is accepted")
			}
			writeSecret(t, dir, "rabbitmq-url", as("second-password")+"\n")
			waitFor(t, "the new password is used", func() bool { code, _ := readyz(c); return code == http.StatusOK })
		})
	})
	t.Run("frozen", func(t *testing.T) {
		faultRun(t, private.URL, func(c *running, _ *function) {
			if err := private.Pause(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the silence is noticed", func() bool { code, _ := readyz(c); return code != http.StatusOK })
			if err := private.Resume(); err != nil {
				t.Fatal(err)
			}
		})
	})
}

func TestBrokerURLIsReadAnew(t *testing.T) {
	proxy := brokertest.NewProxy(t, node.URL())
	var current atomic.Value
	current.Store(proxy.Through(node.URL()))
	faultRun(t, func() string { return current.Load().(string) }, func(*running, *function) {
		current.Store(node.URL())
		proxy.SetDown(true)
		proxy.Cut()
	})
}

// The queue is deleted under the consumer and declared again.
func TestQueueIsDeleted(t *testing.T) {
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, batched)
	c := startConnector(t, g, nil)
	waitFor(t, "ready", func() bool { code, _ := readyz(c); return code == http.StatusOK })
	conn := dialNode(t)
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	p := broker.NewPublisher(broker.Config{URLs: func() ([]string, error) { return []string{node.URL()}, nil }})
	defer p.Close()
	waitFor(t, "the queue is there again", func() bool { return p.Publish(t.Context(), events(queue, "e", 1)) == nil })
	waitFor(t, "it is consumed", func() bool { once, _ := f.done(); return once == 1 })
}

func TestWrongQueueIsToldWhatToDo(t *testing.T) {
	queue := queueName(t)
	conn := dialNode(t)
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	g := newGateway(t)
	f := g.add("fn", queue, batched)
	c := startConnector(t, g, nil)
	waitFor(t, "it is told", func() bool { _, text := readyz(c); return strings.Contains(text, "rabbitmqctl delete_queue "+queue) })
	if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "ready", func() bool { code, _ := readyz(c); return code == http.StatusOK })
	publish(t, events(queue, "e", 1)...)
	waitFor(t, "it is consumed", func() bool { once, _ := f.done(); return once == 1 })
}

func TestDrain(t *testing.T) {
	queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10", annotationMaxInFlight: "2"})
	entered, leave := make(chan struct{}, 100), make(chan struct{})
	f.setScript(func(_ http.ResponseWriter, r *http.Request, _ []string) bool {
		entered <- struct{}{}
		select {
		case <-leave:
		case <-r.Context().Done():
		}
		return false
	})
	publish(t, events(queue, "e", 1000)...)
	c := startConnector(t, g, nil)
	<-entered
	<-entered
	waitFor(t, "it holds more than its calls have", func() bool { return c.counters(t, queue)["received"] > 20 })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c.stop()
	}()
	conn := dialNode(t)
	waitFor(t, "it is draining", func() bool { _, text := readyz(c); return strings.Contains(text, "draining") })
	select {
	case <-stopped:
		t.Fatal("stopped with calls under way")
	default:
	}
	close(leave)
	<-stopped
	counters := c.counters(t, queue)
	c.checkIdentity(t, counters)
	once, twice := f.done()
	if once != counters["acked"] || twice != 0 || once == 0 || counters["in_hand"] != 0 || counters["returned"] == 0 {
		t.Errorf("%d done, %v", once, counters)
	}
	if n := f.callCount(); n > 4 {
		t.Errorf("%d calls: new ones were begun while draining", n)
	}
	waitFor(t, "the rest is in the queue", func() bool { return ready(t, conn, queue) == 1000-once })
}

// What is settled behind a message that stays open does not go back to the queue.
func TestDrainSettlesWhatIsDone(t *testing.T) {
	queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10", annotationMinInFlight: "2", annotationMaxInFlight: "2"})
	entered, leave := make(chan string, 100), make(chan struct{})
	f.setScript(func(_ http.ResponseWriter, r *http.Request, ids []string) bool {
		entered <- ids[0]
		if ids[0] == "e-0" { // the oldest never ends
			<-r.Context().Done()
			return true
		}
		<-leave
		return false
	})
	publish(t, events(queue, "e", 20)...)
	c := startConnector(t, g, func(cfg *Config) { cfg.DrainTimeout, cfg.Timeout = time.Second, time.Minute })
	<-entered
	<-entered
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c.stop()
	}()
	waitFor(t, "it is draining", func() bool { _, text := readyz(c); return strings.Contains(text, "draining") })
	close(leave)
	<-stopped
	done, _ := f.done()
	conn := dialNode(t)
	waitFor(t, "the rest is in the queue", func() bool { return ready(t, conn, queue) == 20-done })
	if counters := c.counters(t, queue); counters["acked"] != done || done != 10 {
		t.Errorf("%d done, counters: %v", done, counters)
	}
}

// One call that hangs does not hold up the others, however few messages may be in
// hand: what is settled behind its messages is acknowledged.
func TestOneCallHangs(t *testing.T) {
	queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10", annotationMinInFlight: "2", annotationMaxInFlight: "2"})
	entered, leave := make(chan struct{}), make(chan struct{})
	end := sync.OnceFunc(func() { close(leave) })
	defer end()
	f.setScript(func(_ http.ResponseWriter, _ *http.Request, ids []string) bool {
		if slices.Contains(ids, "e-0") {
			close(entered)
			<-leave
		}
		return false
	})
	publish(t, events(queue, "e", 10)...)
	c := startConnector(t, g, func(cfg *Config) { cfg.Timeout, cfg.MaxPrefetch = time.Minute, 20 })
	<-entered
	publish(t, events(queue, "f", 200)...)
	waitFor(t, "the others are done", func() bool { once, _ := f.done(); return once >= 200 })
	if n := c.counters(t, queue)["received"]; n > 210 {
		t.Errorf("%d messages were delivered", n)
	}
	end()
	if counters := c.settled(t, queue, 210); counters["acked"] != 210 || counters["received"] != 210 {
		t.Errorf("counters: %v", counters)
	}
}

// Calls that outlast the drain timeout settle nothing.
func TestDrainHasAnEnd(t *testing.T) {
	queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10"})
	entered := make(chan struct{}, 100)
	f.setScript(func(_ http.ResponseWriter, r *http.Request, _ []string) bool {
		entered <- struct{}{}
		<-r.Context().Done()
		return true
	})
	publish(t, events(queue, "e", 100)...)
	c := startConnector(t, g, func(cfg *Config) { cfg.DrainTimeout, cfg.Timeout = 200*time.Millisecond, time.Minute })
	<-entered
	start := time.Now()
	c.stop()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	conn := dialNode(t)
	waitFor(t, "all is in the queue", func() bool { return ready(t, conn, queue) == 100 })
	if counters := c.counters(t, queue); counters["acked"]+counters["dead_lettered"]+counters["retried"]+counters["in_hand"] != 0 {
		t.Errorf("counters: %v", counters)
	}
}

// Two connectors share the work, and one goes on when the other is gone.
func TestTwoConnectors(t *testing.T) {
	proxy := brokertest.NewProxy(t, node.URL())
	var (
		second *running
		queue  string
	)
	faultRun(t, node.URL, func(c *running, f *function) {
		g := &gateway{server: httptest.NewServer(nil)}
		t.Cleanup(g.server.Close)
		target, err := url.Parse(c.GatewayURL)
		if err != nil {
			t.Fatal(err)
		}
		g.server.URL = target.String()
		second = startConnector(t, g, func(cfg *Config) {
			cfg.Broker = func() ([]string, error) { return []string{proxy.Through(node.URL())}, nil }
		})
		queue = f.annotations[annotationTopic]
		waitFor(t, "both work", func() bool { return second.counters(t, queue)["received"] > 0 })
		proxy.SetDown(true)
		proxy.Cut()
	})
	second.checkIdentity(t, second.counters(t, queue))
}

// During a long outage messages are handed back before the broker takes them away.
func TestLongOutageGivesMessagesBack(t *testing.T) {
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, map[string]string{annotationBatchSize: "10", annotationTimeout: "100ms"})
	var failing atomic.Bool
	failing.Store(true)
	f.setScript(func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
		if failing.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return failing.Load()
	})
	declareQueue(t, queue)
	publish(t, events(queue, "e", 100)...)
	c := startConnector(t, g, func(cfg *Config) { cfg.Timeout, cfg.ConsumerTimeout = 100*time.Millisecond, time.Second })
	waitFor(t, "messages are given back", func() bool { return c.counters(t, queue)["returned"] >= 200 })
	failing.Store(false)
	if counters := c.settled(t, queue, 100); counters["acked"] != 100 || c.outcomes(t, queue, "retry") != 0 {
		t.Errorf("counters: %v", counters)
	}
}

// declareFullDeadQueue declares the dead letters' queue of queue, full.
func declareFullDeadQueue(t *testing.T, queue string) {
	t.Helper()
	ch, err := dialNode(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	full := amqp.Table{"x-queue-type": "quorum", "x-max-length": int64(1), "x-overflow": "reject-publish"}
	if _, err := ch.QueueDeclare(broker.DeadQueue(queue), true, false, false, false, full); err != nil {
		t.Fatal(err)
	}
	p := broker.NewPublisher(broker.Config{URLs: func() ([]string, error) { return []string{node.URL()}, nil }})
	defer p.Close()
	waitFor(t, "no more dead letters are taken", func() bool {
		return errors.Is(p.Publish(t.Context(), events(broker.DeadQueue(queue), "old", 1)), broker.ErrNacked)
	})
}

// Dead letters that their queue does not take stay in hand, which is told. They do
// not keep their queue from being consumed when they are given back, nor the
// connector from stopping.
func TestDeadLettersAreFull(t *testing.T) {
	queue := queueName(t)
	declareFullDeadQueue(t, queue)
	declareQueue(t, queue)
	g := newGateway(t)
	f := g.add("fn", queue, batched)
	f.result = func(id string) batch.Result {
		if strings.HasPrefix(id, "bad") {
			return batch.Result{ID: id, Outcome: batch.Reject, Reason: "malformed"}
		}
		return succeed(id)
	}
	publish(t, events(queue, "bad", 3)...)
	c := startConnector(t, g, func(cfg *Config) {
		cfg.Timeout, cfg.ConsumerTimeout, cfg.DrainTimeout = 200*time.Millisecond, 2*time.Second, time.Minute
	})
	waitFor(t, "it is told", func() bool {
		_, text := readyz(c)
		return strings.Contains(text, "3 messages of queue "+queue+" can be neither retried nor dead-lettered") && strings.Contains(text, "the queue is full")
	})
	waitFor(t, "they are given back", func() bool { return c.counters(t, queue)["returned"] >= 6 })
	publish(t, events(queue, "good", 10)...)
	waitFor(t, "others are done", func() bool { once, _ := f.done(); return once == 10 })
	start := time.Now()
	c.stop()
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("the stop took %s", took)
	}
	counters := c.counters(t, queue)
	c.checkIdentity(t, counters)
	if counters["acked"] != 10 || counters["dead_lettered"] != 0 || counters["in_hand"] != 0 {
		t.Errorf("counters: %v", counters)
	}
	conn := dialNode(t)
	waitFor(t, "they are in the queue", func() bool { return ready(t, conn, queue) == 3 })
}

// Headers that leave no room for ours in the one frame that AMQP has for them cost
// no connection and hold up no other message: the largest is left out.
func TestHugeHeaders(t *testing.T) {
	queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: "2"})
	f.result = func(id string) batch.Result {
		return batch.Result{ID: id, Outcome: batch.Retry, Reason: strings.Repeat("why ", 300)}
	}
	ch, err := dialNode(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{10, 120_000, 127_000, 130_000, 130_900} {
		m := amqp.Publishing{MessageId: fmt.Sprint(i), Headers: amqp.Table{"huge": strings.Repeat("x", n), "small": "kept"}}
		if err := ch.PublishWithContext(t.Context(), "", queue, true, false, m); err != nil {
			t.Fatal(err)
		}
	}
	c := startConnector(t, g, nil)
	c.settled(t, queue, 5)
	dead := takeDead(t, queue)
	if len(dead) != 5 {
		t.Errorf("%d dead letters", len(dead))
	}
	for _, d := range dead {
		_, kept := d.Headers["huge"]
		if want := d.MessageId == "0" || d.MessageId == "1"; kept != want || (headerText(d.Headers, message.HeaderOmitted) == "huge") == want ||
			d.Headers["small"] != "kept" || d.Headers[message.HeaderAttempts] != int32(2) {
			t.Errorf("message %s: kept %t, omitted %q", d.MessageId, kept, headerText(d.Headers, message.HeaderOmitted))
		}
	}
	if text := c.scrape(t); !strings.Contains(text, `parkstream_amqp_connects_total{connection="parkstream-rabbitmq-publish"} 1`) {
		t.Error("the publishing connection was lost")
	}
}

// During an alarm of the broker's memory retries cannot be published: they stay in
// hand, a stop does not wait for the alarm's end, and nothing is lost.
func TestStopDuringAnAlarm(t *testing.T) {
	private := instance.RabbitMQForTest(t)
	shared := node
	node = private
	defer func() { node = shared }()
	watermark := func(fraction string) {
		t.Helper()
		if _, err := private.Ctl(t.Context(), "set_vm_memory_high_watermark", fraction); err != nil {
			t.Fatal(err)
		}
	}
	queue, g, f := deployed(t, batched)
	var away atomic.Bool
	away.Store(true)
	f.result = func(id string) batch.Result {
		if away.Load() {
			return batch.Result{ID: id, Outcome: batch.Retry, Reason: "away"}
		}
		return succeed(id)
	}
	publish(t, events(queue, "e", 50)...)
	watermark("0.00001")
	c := startConnector(t, g, func(cfg *Config) { cfg.DrainTimeout = time.Second })
	waitFor(t, "it has tried", func() bool { return f.callCount() > 0 })
	c.stop()
	counters := c.counters(t, queue)
	c.checkIdentity(t, counters)
	if counters["in_hand"] != 0 || counters["acked"] != 0 {
		t.Errorf("counters: %v", counters)
	}
	away.Store(false)
	watermark("0.4")
	again := startConnector(t, g, nil)
	waitFor(t, "all are done", func() bool { once, twice := f.done(); return once+twice == 50 })
	again.checkIdentity(t, again.counters(t, queue))
}

// With a stopped function and a long queue no more is taken than the prefetch.
func TestNothingPilesUp(t *testing.T) {
	queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10", annotationMaxInFlight: "2"})
	f.setScript(func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	publish(t, events(queue, "e", 2000)...)
	c := startConnector(t, g, nil)
	waitFor(t, "it is probed", func() bool { return f.callCount() > 5 })
	if n := c.counters(t, queue)["in_hand"]; n == 0 || n > 40 {
		t.Errorf("%d messages are in hand", n)
	}
}
