package rabbitmq

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/eventually"
	"parkstream/shared/process"
)

// A function that can reject some events while what the others need is unavailable
// costs these nothing, in batches of any size, as probes, and with another function on
// the queue.
func TestRejectsInAnOutage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		size   string
		shared bool
	}{{"1", false}, {"10", false}, {"1", true}, {"10", true}} {
		t.Run(fmt.Sprint("size-", tt.size, "-shared-", tt.shared), func(t *testing.T) {
			t.Parallel()
			queue, g, f := deployed(t, map[string]string{annotationBatchSize: tt.size, annotationMaxAttempts: "2", annotationMaxInFlight: "2"})
			if tt.shared {
				g.add("other", queue, batched)
			}
			var away atomic.Bool
			away.Store(true)
			var mu sync.Mutex
			refusals := map[string]int{} // answers of 503 to an event
			f.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
				if !away.Load() || !slices.ContainsFunc(ids, func(id string) bool { return strings.HasPrefix(id, "good") }) {
					return false
				}
				mu.Lock()
				defer mu.Unlock()
				for _, id := range ids {
					refusals[id]++
				}
				http.Error(w, "OOM command not allowed", http.StatusServiceUnavailable)
				return true
			})
			f.result = func(id string) batch.Result {
				if strings.HasPrefix(id, "bad") {
					return batch.Result{ID: id, Outcome: batch.Reject, Reason: "malformed"}
				}
				return succeed(id)
			}
			const good = 3 // one less than the messages that may be unacked
			var msgs []broker.Message
			for i := range 60 {
				msgs = append(msgs, events(queue, fmt.Sprint("bad-", i), 1)...)
				if i%20 == 10 {
					msgs = append(msgs, events(queue, fmt.Sprint("good-", i), 1)...)
				}
			}
			publish(t, msgs...)
			c := startConnector(t, g, nil)
			eventually.True(t, "the outage is told", func() bool { _, text := readyz(c); return strings.Contains(text, "OOM command not allowed") })
			eventually.True(t, "all good events have been tried often", func() bool {
				mu.Lock()
				defer mu.Unlock()
				n := 0
				for id, times := range refusals {
					if strings.HasPrefix(id, "good") && times > 3 {
						n++
					}
				}
				return n == good
			})
			publish(t, events(queue, "bad-more", 20)...) // an answer among the refusals all the time
			conn := dialNode(t)
			eventually.True(t, "the bad ones are dead", func() bool { return ready(t, conn, broker.DeadQueue(queue)) == 80 })
			away.Store(false)
			eventually.True(t, "the good ones are done", func() bool { once, twice := f.done(); return once+twice == good })
			eventually.True(t, "nothing is unacked", func() bool { return c.counters(t, queue)["unacked"] == 0 })
			if n := ready(t, conn, broker.DeadQueue(queue)); n != 80 {
				t.Errorf("%d dead letters", n)
			}
			if paid := fmt.Sprintf(`outcomes_total{function="fn",outcome="retry",queue=%q}`, queue); strings.Contains(c.scrape(t), paid) {
				t.Error("an event has spent an attempt")
			}
		})
	}
}

// A queue that cannot be used warns once, and again when the reason is another one.
func TestRefusedQueueWarnsOnce(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	ch, err := dialNode(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil { // a classic queue
		t.Fatal(err)
	}
	g := newGateway(t)
	g.add("fn", queue, batched)
	log := new(lockedText)
	startConnector(t, g, func(cfg *Config) { cfg.Log = process.NewLogger(log, "text", slog.LevelDebug) })
	const line = `msg="consuming a queue was interrupted"`
	eventually.True(t, "it is tried again", func() bool { return strings.Count(log.String(), line) >= 4 })
	if n := strings.Count(log.String(), "level=WARN "+line); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log)
	}
	var repeated repetition
	for i, tt := range []struct {
		err  string
		want slog.Level
	}{{"a", slog.LevelWarn}, {"a", slog.LevelDebug}, {"b", slog.LevelWarn}, {"b", slog.LevelDebug}, {"a", slog.LevelWarn}} {
		if got := repeated.level(errors.New(tt.err)); got != tt.want {
			t.Errorf("error %d: level %s", i, got)
		}
	}
}

// Ids and reasons that others choose are clipped in the log.
func TestLogLinesAreBounded(t *testing.T) {
	t.Parallel()
	queue, g, f := deployed(t, batched)
	f.result = func(id string) batch.Result {
		return batch.Result{ID: id, Outcome: batch.Reject, Reason: strings.Repeat("r", 1<<20)}
	}
	publish(t, broker.Message{Queue: queue, ID: strings.Repeat("i", 255), Body: []byte("{}")})
	log := new(lockedText)
	c := startConnector(t, g, func(cfg *Config) { cfg.Log = process.NewLogger(log, "text", slog.LevelDebug) })
	c.settled(t, queue, 1)
	for line := range strings.Lines(log.String()) {
		if len(line) > message.MaxReason+1000 || strings.Contains(line, strings.Repeat("i", maxLoggedID+1)) {
			t.Errorf("a line of %d bytes: %.300s", len(line), line)
		}
	}
	if !strings.Contains(log.String(), strings.Repeat("i", maxLoggedID)+"…") {
		t.Errorf("the id is not in the log:\n%.2000s", log)
	}
}

// A function or gateway that is unavailable for a while costs no event an attempt.
func TestOutagesCostNothing(t *testing.T) {
	t.Parallel()
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
		{"hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer within 1s"},
		{"garbage", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("Hello!")) }, "does not speak the batch contract"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			queue := queueName(t)
			g := newGateway(t)
			timeout := "20s" // a busy machine must not look like a function that hangs
			if tt.name == "hang" {
				timeout = "1s"
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
			eventually.True(t, "the outage is told", func() bool {
				_, text := readyz(c)
				return strings.Contains(text, "function fn cannot be called") && strings.Contains(text, tt.reason)
			})
			start := time.Now()
			before := f.callCount()
			eventually.True(t, "it is probed", func() bool {
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

// The gateway is gone: nothing listens on its port.
func TestGatewayIsAway(t *testing.T) {
	t.Parallel()
	queue, g, f := deployed(t, batched)
	c := startConnector(t, g, nil)
	publish(t, events(queue, "a", 500)...)
	c.settled(t, queue, 500)
	addr := g.server.Listener.Addr().String()
	g.server.CloseClientConnections()
	g.server.Close()
	publish(t, events(queue, "b", 500)...)
	eventually.True(t, "the outage is told", func() bool { _, text := readyz(c); return strings.Contains(text, "the gateway cannot be reached") })
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

// An event that waited at the broker during an outage, without having been called,
// is not a suspect when the next outage begins.
func TestWaitingIsNoFailure(t *testing.T) {
	t.Parallel()
	queue, g, f := deployed(t, map[string]string{annotationMinInFlight: "1", annotationMaxInFlight: "1"})
	g.add("other", queue, batched) // a function that shares its queue keeps no messages
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
	eventually.True(t, "all wait at the broker", func() bool { return c.counters(t, queue)["retried"] >= 150 })
	enter("back")
	eventually.True(t, "the next outage is told", func() bool {
		_, text := readyz(c)
		return strings.Contains(text, "function fn cannot be called") && strings.Contains(text, "500")
	})
	enter("rejecting")
	conn := dialNode(t)
	eventually.True(t, "all are done or dead", func() bool { return ready(t, conn, broker.DeadQueue(queue)) == 95 })
	mu.Lock()
	defer mu.Unlock()
	for _, d := range takeDead(t, queue) {
		if n := failures[string(d.Body)]; n <= 1 && d.Headers[message.HeaderAttempts] != int32(1) {
			t.Errorf("%s failed %d times in outages and has paid %v attempts", d.MessageId, n, d.Headers[message.HeaderAttempts])
		}
	}
}

// During a long outage messages are given back before the broker's timeout requeues
// them.
func TestLongOutageGivesMessagesBack(t *testing.T) {
	t.Parallel()
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
	eventually.True(t, "messages are given back", func() bool { return c.counters(t, queue)["returned"] >= 200 })
	failing.Store(false)
	if counters := c.settled(t, queue, 100); counters["acked"] != 100 || c.outcomes(t, queue, "retry") != 0 {
		t.Errorf("counters: %v", counters)
	}
}

// With a stopped function and a long queue no more is taken than the prefetch.
func TestNothingPilesUp(t *testing.T) {
	t.Parallel()
	queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10", annotationMaxInFlight: "2"})
	f.setScript(func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	publish(t, events(queue, "e", 2000)...)
	c := startConnector(t, g, nil)
	eventually.True(t, "it is probed", func() bool { return f.callCount() > 5 })
	if n := c.counters(t, queue)["unacked"]; n == 0 || n > 40 {
		t.Errorf("%d messages are unacked", n)
	}
}
