package rabbitmq

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parkstream/shared/eventually"
)

// Events that cannot be done, more of them than may be unacked, do not keep those
// behind them from being tried.
func TestAWindowOfBadEventsTurnsOver(t *testing.T) {
	t.Parallel()
	const unacked, bad, good = 20, 50, 20
	for _, tt := range []struct {
		name, size string
		fail       func(w http.ResponseWriter)
	}{
		{"batch-503", "10", func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }},
		{"batch-404", "5", func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }},
		{"raw-503", "0", func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }},
		{"one-503", "1", func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }},
		{"unavailable", "10", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			queue := queueName(t)
			g := newGateway(t)
			f := g.add("fn", queue, map[string]string{annotationBatchSize: tt.size})
			l := newLossy()
			f.result = l.result
			f.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
				if tt.fail == nil || !l.lost.Load() || !slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(id, "lost") }) {
					return false
				}
				tt.fail(w)
				return true
			})
			declareQueue(t, queue)
			publish(t, append(events(queue, "lost", bad), events(queue, "good", good)...)...)
			c := startConnector(t, g, func(cfg *Config) {
				cfg.MaxPrefetch, cfg.ProbeDelay, cfg.ProbeMaxDelay = unacked, 2*time.Millisecond, 20*time.Millisecond
			})
			eventually.True(t, "the good ones are done", func() bool { once, twice := f.done(); return once+twice == good })
			if c.counters(t, queue)["unacked"] > unacked {
				t.Errorf("counters: %v", c.counters(t, queue))
			}
			l.lost.Store(false)
			counters := c.settled(t, queue, bad+good)
			if once, twice := f.done(); once+twice != bad+good || counters["dead_lettered"] != 0 {
				t.Errorf("%d done, %v", once+twice, counters)
			}
			// A 503 for an event alone, while others are done, counts every fifth time.
			if spent := c.outcomes(t, queue, "retry"); spent > bad {
				t.Errorf("%d attempts were spent", spent)
			}
		})
	}
}

// A function that is back from an outage gets all unacked events although RabbitMQ takes
// no messages: in an alarm, and when the retry queues are full.
func testOutageWhileNothingCanBePublished(t *testing.T) {
	const n = 50
	ctl := func(args []string) {
		t.Helper()
		if _, err := nodeOf(t).Ctl(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	for _, fault := range []struct {
		name       string
		begin, end []string
	}{
		{"alarm", []string{"set_vm_memory_high_watermark", "0.00001"}, []string{"set_vm_memory_high_watermark", "0.4"}},
		{"full", []string{"set_policy", "--apply-to", "queues", "full", `\.retry\.`, `{"max-length":0}`}, []string{"clear_policy", "full"}},
	} {
		var end []func()
		for _, kind := range []string{"plain", "unavailable", "shared"} {
			queue := fmt.Sprint(queueName(t), "-", fault.name, "-", kind)
			g := newGateway(t)
			functions, probes := []*function{g.add("fn", queue, batched)}, 20 // more than a turn-over of all of them takes
			if kind == "shared" {
				probes = 3 // one a second: nothing stays unacked in between
				functions = append(functions, g.add("other", queue, batched))
			}
			l := newLossy()
			for _, f := range functions {
				if kind == "unavailable" {
					f.result = l.result
					continue
				}
				f.setScript(func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
					if l.lost.Load() {
						w.WriteHeader(http.StatusServiceUnavailable)
					}
					return l.lost.Load()
				})
			}
			declareQueue(t, queue)
			publish(t, events(queue, "lost", n)...)
			end = append(end, func() {
				c := startConnector(t, g, func(cfg *Config) { cfg.ProbeDelay, cfg.ProbeMaxDelay = 2*time.Millisecond, 20*time.Millisecond })
				for _, f := range functions {
					eventually.True(t, queue+" is probed", func() bool { return f.callCount() > probes })
				}
				l.lost.Store(false)
				for _, f := range functions {
					eventually.True(t, queue+" is done", func() bool { once, twice := f.done(); return once+twice == n })
				}
				if spent := c.outcomes(t, queue, "retry"); spent != 0 {
					t.Errorf("%s: %d attempts were spent", queue, spent)
				}
			})
		}
		ctl(fault.begin)
		var all sync.WaitGroup
		for _, f := range end {
			all.Go(f)
		}
		all.Wait()
		ctl(fault.end)
	}
}
