package rabbitmq

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/shared/broker"
)

// Events that kill the function are found and dead-lettered, and all others done.
func TestHalvingIsolatesThePoison(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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

// A function that says 404 or 503 to one event is not away: the others are done,
// and in the end the one is a dead letter.
func TestOneEventStopsNobody(t *testing.T) {
	t.Parallel()
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
			p := broker.NewPublisher(broker.Config{URLs: nodeURLs(t)})
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
	t.Parallel()
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
