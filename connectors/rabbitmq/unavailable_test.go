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

	"parkstream/connectors/rabbitmq/internal/breaker"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/eventually"
)

// outcomes returns how many events of a queue had an outcome.
func (r *running) outcomes(t testing.TB, queue, outcome string) (n int) {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "parkstream_connector_outcomes_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["queue"] == queue && labels["outcome"] == outcome {
				n += int(m.GetCounter().GetValue())
			}
		}
	}
	return n
}

// traffic publishes events that can be done, a few at a time when those before are
// done, until the test or stop ends.
func traffic(t *testing.T, queue string, f *function) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := broker.NewPublisher(broker.Config{URLs: nodeURLs(t)})
	before, _ := f.done()
	var running sync.WaitGroup
	running.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if err := p.Publish(ctx, events(queue, fmt.Sprint("more-", i), 3)); err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			eventually.True(t, "the traffic is done", func() bool { once, _ := f.done(); return once >= before+3*(i+1) || ctx.Err() != nil })
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		_ = p.Close()
	})
	t.Cleanup(stop)
	return stop
}

// lossy has a function that cannot do the events whose ids begin with "lost".
type lossy struct {
	lost  atomic.Bool
	mu    sync.Mutex
	tries map[string]int
}

func (l *lossy) result(id string) batch.Result {
	if !l.lost.Load() || !strings.HasPrefix(id, "lost") {
		return succeed(id)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tries[id]++
	return batch.Result{ID: id, Outcome: batch.Retry, Unavailable: true, Reason: "shard 2 cannot be reached"}
}

// tried reports whether each of n lost events was tried so often.
func (l *lossy) tried(n, often int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	few := len(l.tries) < n
	for _, tries := range l.tries {
		few = few || tries < often
	}
	return !few
}

func newLossy() *lossy {
	l := &lossy{tries: make(map[string]int)}
	l.lost.Store(true)
	return l
}

// Events of a part that is unavailable wait, longer each time up to the longest delay,
// while the others are done. They spend no attempt however often they are tried.
func TestUnavailableEventsWait(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		size   string
		shared bool
	}{{"1", false}, {"10", false}, {"10", true}} {
		t.Run(fmt.Sprint("size-", tt.size, "-shared-", tt.shared), func(t *testing.T) {
			t.Parallel()
			const n, often = 20, 6
			queue := queueName(t)
			g := newGateway(t)
			f := g.add("fn", queue, map[string]string{annotationBatchSize: tt.size, annotationMaxAttempts: "2"})
			if tt.shared {
				g.add("other", queue, batched)
			}
			l := newLossy()
			f.result = l.result
			declareQueue(t, queue)
			publish(t, events(queue, "lost", n)...)
			c := startConnector(t, g, func(cfg *Config) { // probes are more frequent than returns, as they are by default
				cfg.ProbeDelay, cfg.ProbeMaxDelay = 2*time.Millisecond, 10*time.Millisecond
			})
			stop := traffic(t, queue, f)
			conn := dialNode(t)
			eventually.True(t, "the lost ones were tried often", func() bool { return l.tried(n, often) })
			eventually.True(t, "they wait for the longest delay", func() bool {
				return ready(t, conn, broker.RetryQueue(queue, c.delays[len(c.delays)-1])) > n/2
			})
			l.lost.Store(false)
			eventually.True(t, "all are done", func() bool {
				f.mu.Lock()
				defer f.mu.Unlock()
				done := 0
				for i := range n {
					done += min(1, f.effects[fmt.Sprint("lost-", i)])
				}
				return done == n
			})
			stop()
			eventually.True(t, "nothing is unacked", func() bool { return c.counters(t, queue)["unacked"] == 0 })
			if retries, told := c.outcomes(t, queue, "retry"), c.outcomes(t, queue, "unavailable"); retries != 0 || told < n*often {
				t.Errorf("%d attempts were spent; %d outcomes unavailable", retries, told)
			}
			if dead := ready(t, conn, broker.DeadQueue(queue)); dead != 0 {
				t.Errorf("%d dead letters", dead)
			}
		})
	}
}

// A call of which nothing can be done is an outage, with status 503 and without. The
// breaker opens, few calls are made, nothing is spent, and no event waits long
// afterwards.
func TestAllUnavailable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		size   string
		status int
		shared bool
	}{{"1", 200, false}, {"10", 200, false}, {"10", 503, false}, {"1", 503, false}, {"10", 503, true}} {
		t.Run(fmt.Sprint("size-", tt.size, "-status-", tt.status, "-shared-", tt.shared), func(t *testing.T) {
			t.Parallel()
			const n, rejects = 300, 10
			queue := queueName(t)
			g := newGateway(t)
			f := g.add("fn", queue, map[string]string{annotationBatchSize: tt.size, annotationMaxAttempts: "2"})
			if tt.shared {
				g.add("other", queue, batched)
			}
			l := newLossy()
			f.result = func(id string) batch.Result {
				if strings.HasPrefix(id, "bad") {
					return batch.Result{ID: id, Outcome: batch.Reject, Reason: "malformed"}
				}
				return l.result(id)
			}
			var watched atomic.Pointer[breaker.Breaker]
			var probes, others atomic.Int32 // calls
			f.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
				state := breaker.Closed
				if b := watched.Load(); b != nil {
					_, _, state = b.Load()
				}
				if state == breaker.Closed {
					others.Add(1)
				} else {
					probes.Add(1)
				}
				if l.lost.Load() && slices.ContainsFunc(ids, func(id string) bool { return strings.HasPrefix(id, "lost") }) {
					w.WriteHeader(tt.status)
				}
				return false
			})
			declareQueue(t, queue)
			var msgs []broker.Message
			for i := range n {
				msgs = append(msgs, events(queue, fmt.Sprint("lost-", i), 1)...)
				if i%30 == 7 { // what can be rejected is no sign that the outage is over
					msgs = append(msgs, events(queue, fmt.Sprint("bad-", i), 1)...)
				}
			}
			publish(t, msgs...)
			c := startConnector(t, g, func(cfg *Config) { cfg.ProbeDelay, cfg.ProbeMaxDelay = 2*time.Millisecond, 20*time.Millisecond })
			eventually.True(t, "the outage is told", func() bool { _, text := readyz(c); return strings.Contains(text, "shard 2 cannot be reached") })
			c.endpoints.mu.Lock()
			watched.Store(c.endpoints.byName["fn"].breaker)
			c.endpoints.mu.Unlock()
			eventually.True(t, "it is probed", func() bool { return probes.Load() > 60 })
			if n := others.Load(); n > 4*(1+rejects) { // a reject closes the breaker for up to four calls
				t.Errorf("%d calls while the breaker was closed", n)
			}
			l.lost.Store(false)
			conn := dialNode(t)
			eventually.True(t, "all are done", func() bool {
				once, twice := f.done()
				return once+twice == n && ready(t, conn, broker.DeadQueue(queue)) == rejects
			})
			if retries := c.outcomes(t, queue, "retry"); retries != 0 {
				t.Errorf("%d attempts were spent", retries)
			}
			eventually.True(t, "it is ready", func() bool { code, _ := readyz(c); return code == http.StatusOK })
		})
	}
}
