package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/faas"
)

// A function that can reject some events while what the others need is unavailable
// costs these nothing, in batches of any size, as probes, and with another function on
// the queue.
func TestRejectsInAnOutage(t *testing.T) {
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
			const good = 3 // one less than the messages that may be in hand
			var msgs []broker.Message
			for i := range 60 {
				msgs = append(msgs, events(queue, fmt.Sprint("bad-", i), 1)...)
				if i%20 == 10 {
					msgs = append(msgs, events(queue, fmt.Sprint("good-", i), 1)...)
				}
			}
			publish(t, msgs...)
			c := startConnector(t, g, nil)
			waitFor(t, "the outage is told", func() bool { _, text := readyz(c); return strings.Contains(text, "OOM command not allowed") })
			waitFor(t, "all good events have been tried often", func() bool {
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
			waitFor(t, "the bad ones are dead", func() bool { return ready(t, conn, broker.DeadQueue(queue)) == 80 })
			away.Store(false)
			waitFor(t, "the good ones are done", func() bool { once, twice := f.done(); return once+twice == good })
			waitFor(t, "nothing is in hand", func() bool { return c.counters(t, queue)["in_hand"] == 0 })
			if n := ready(t, conn, broker.DeadQueue(queue)); n != 80 {
				t.Errorf("%d dead letters", n)
			}
			if paid := fmt.Sprintf(`outcomes_total{function="fn",outcome="retry",queue=%q}`, queue); strings.Contains(c.scrape(t), paid) {
				t.Error("an event has spent an attempt")
			}
		})
	}
}

// An event that is answered 503 with Retry-After without end holds up no other for that
// long, and is a dead letter in the end.
func TestOneEventAsksToWait(t *testing.T) {
	queue, g, f := deployed(t, map[string]string{annotationBatchSize: "50", annotationMaxAttempts: "2"})
	f.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
		if !slices.Contains(ids, "e-0") {
			return false
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	publish(t, events(queue, "e", 200)...)
	c := startConnector(t, g, nil)
	waitFor(t, "the others are done", func() bool { once, _ := f.done(); return once == 199 })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	p := broker.NewPublisher(broker.Config{URLs: func() ([]string, error) { return []string{node.URL()}, nil }})
	defer p.Close()
	var traffic sync.WaitGroup
	defer traffic.Wait()
	defer stop()
	traffic.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if err := p.Publish(ctx, events(queue, fmt.Sprint("more-", i), 5)); err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			waitFor(t, "they are done", func() bool { once, _ := f.done(); return once >= 199+5*(i+1) || ctx.Err() != nil })
		}
	})
	waitFor(t, "the one is a dead letter", func() bool { return c.counters(t, queue)["dead_lettered"] == 1 })
	if dead := takeDead(t, queue); len(dead) != 1 || dead[0].MessageId != "e-0" {
		t.Errorf("dead letters: %v", dead)
	}
}

// A queue that cannot be used warns once, and again when the reason is another one.
func TestRefusedQueueWarnsOnce(t *testing.T) {
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
	startConnector(t, g, func(cfg *Config) { cfg.Log = faas.NewLogger(log, "text", slog.LevelDebug) })
	const line = `msg="consuming a queue was interrupted"`
	waitFor(t, "it is tried again", func() bool { return strings.Count(log.String(), line) >= 4 })
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
	queue, g, f := deployed(t, batched)
	f.result = func(id string) batch.Result {
		return batch.Result{ID: id, Outcome: batch.Reject, Reason: strings.Repeat("r", 1<<20)}
	}
	publish(t, broker.Message{Queue: queue, ID: strings.Repeat("i", 255), Body: []byte("{}")})
	log := new(lockedText)
	c := startConnector(t, g, func(cfg *Config) { cfg.Log = faas.NewLogger(log, "text", slog.LevelDebug) })
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
