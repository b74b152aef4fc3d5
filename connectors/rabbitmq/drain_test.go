package rabbitmq

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parkstream/shared/batch"
	"parkstream/shared/broker/brokertest"
	"parkstream/shared/eventually"
	"parkstream/shared/process"
)

func TestDrain(t *testing.T) {
	t.Parallel()
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
	log := new(lockedText)
	c := startConnector(t, g, func(cfg *Config) { cfg.Log = process.NewLogger(log, "text", 0) })
	<-entered
	<-entered
	eventually.True(t, "it holds more than its calls have", func() bool { return c.counters(t, queue)["received"] > 20 })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c.stop()
	}()
	eventually.True(t, "it is draining", func() bool { _, text := readyz(c); return strings.Contains(text, "draining") })
	if text := log.String(); !strings.Contains(text, "msg=draining") || !strings.Contains(text, " calls_in_flight=2\n") {
		t.Errorf("the log does not tell of two calls in flight:\n%s", text)
	}
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
	if once != counters["acked"] || twice != 0 || once == 0 || counters["unacked"] != 0 || counters["returned"] == 0 {
		t.Errorf("%d done, %v", once, counters)
	}
	if n := f.callCount(); n > 4 {
		t.Errorf("%d calls: new ones were begun while draining", n)
	}
	left(t, queue, 1000-once)
}

// What is acknowledged at the end of a drain does not return to a queue that is slow to take
// it: RabbitMQ forgets acknowledgements that wait in a channel when the channel is closed.
func TestDrainOfASlowQueue(t *testing.T) {
	t.Parallel()
	const calls, untouched = 40, 60 // more than the commands that RabbitMQ has under way to a queue
	queue, g, f := deployed(t, map[string]string{annotationMinInFlight: strconv.Itoa(calls), annotationMaxInFlight: strconv.Itoa(calls)})
	var entered sync.WaitGroup
	entered.Add(calls)
	leave := make(chan struct{})
	f.setScript(func(http.ResponseWriter, *http.Request, []string) bool {
		entered.Done()
		<-leave
		return false
	})
	publish(t, events(queue, "e", calls+untouched)...)
	process := func(do string) {
		const find = `{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<%q>>)), {P, _} = amqqueue:get_pid(Q), ok = sys:%s(P).`
		if _, err := nodeOf(t).Ctl(t.Context(), "eval", fmt.Sprintf(find, queue, do)); err != nil {
			t.Error(err)
		}
	}
	resume := sync.OnceFunc(func() { process("resume") })
	defer resume()
	proxy := brokertest.NewProxy(t, nodeOf(t).URL())
	proxy.Filter(func() brokertest.Filter {
		return func(_ bool, f brokertest.Frame) []byte {
			if f.Method() == brokertest.BasicCancelOk { // the last answer that needs the queue
				process("suspend")
			}
			return f
		}
	})
	c := startConnector(t, g, func(cfg *Config) {
		cfg.Broker = func() ([]string, error) { return []string{proxy.Through(nodeOf(t).URL())}, nil }
		cfg.Timeout, cfg.DrainTimeout, cfg.Heartbeat = time.Minute, time.Minute, time.Minute // rabbitmqctl takes its time
	})
	entered.Wait()
	eventually.True(t, "it holds more than its calls have", func() bool { return c.counters(t, queue)["received"] > calls })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c.stop()
	}()
	eventually.True(t, "the others are given back", func() bool { return c.counters(t, queue)["returned"] > 0 })
	close(leave)
	<-stopped
	resume()
	counters := c.counters(t, queue)
	if done, twice := f.done(); done != calls || twice != 0 || counters["acked"] != calls || counters["unacked"] != 0 {
		t.Errorf("%d done, counters: %v", done, counters)
	}
	left(t, queue, untouched)
}

// A message settled behind an open one does not return to the queue.
func TestDrainSettlesWhatIsDone(t *testing.T) {
	t.Parallel()
	queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10", annotationMinInFlight: "2", annotationMaxInFlight: "2"})
	entered, leave := make(chan []string, 100), make(chan struct{})
	f.setScript(func(_ http.ResponseWriter, r *http.Request, ids []string) bool {
		entered <- ids
		if ids[0] == "e-0" { // the oldest never ends
			<-r.Context().Done()
			return true
		}
		<-leave
		return false
	})
	publish(t, events(queue, "e", 20)...)
	c := startConnector(t, g, func(cfg *Config) { cfg.DrainTimeout, cfg.Timeout = time.Second, time.Minute })
	want := 0 // the events of the call that ends
	for range 2 {
		if ids := <-entered; ids[0] != "e-0" {
			want = len(ids)
		}
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c.stop()
	}()
	eventually.True(t, "it is draining", func() bool { _, text := readyz(c); return strings.Contains(text, "draining") })
	close(leave)
	<-stopped
	done, _ := f.done()
	left(t, queue, 20-done)
	if counters := c.counters(t, queue); counters["acked"] != done || done != want || done == 0 {
		t.Errorf("%d done of %d, counters: %v", done, want, counters)
	}
}

// A call that hangs does not delay the others, even with a low bound of unacked
// messages: those settled behind its messages are acknowledged.
func TestOneCallHangs(t *testing.T) {
	t.Parallel()
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
	eventually.True(t, "the others are done", func() bool { once, _ := f.done(); return once >= 200 })
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
	t.Parallel()
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
	left(t, queue, 100)
	if counters := c.counters(t, queue); counters["acked"]+counters["dead_lettered"]+counters["retried"]+counters["unacked"] != 0 {
		t.Errorf("counters: %v", counters)
	}
}

// During an alarm of the broker's memory retries cannot be published: they stay in
// hand, a stop does not wait for the alarm's end, and nothing is lost.
func testStopDuringAnAlarm(t *testing.T) {
	watermark := func(fraction string) {
		t.Helper()
		if _, err := nodeOf(t).Ctl(t.Context(), "set_vm_memory_high_watermark", fraction); err != nil {
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
	eventually.True(t, "it has tried", func() bool { return f.callCount() > 0 })
	c.stop()
	counters := c.counters(t, queue)
	c.checkIdentity(t, counters)
	if counters["unacked"] != 0 || counters["acked"] != 0 {
		t.Errorf("counters: %v", counters)
	}
	away.Store(false)
	watermark("0.4")
	again := startConnector(t, g, nil)
	eventually.True(t, "all are done", func() bool { once, twice := f.done(); return once+twice == 50 })
	again.checkIdentity(t, again.counters(t, queue))
}

// The log of a start has the address, that of a stop one line of what is drained.
func TestStartAndStopInTheLog(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	log := new(lockedText)
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"LISTEN=127.0.0.1:0", "GATEWAY_URL=http://127.0.0.1:1", "DRAIN_TIMEOUT=7s", "SECRETS_DIR=" + t.TempDir()}, log)
	}()
	eventually.True(t, "it has started", func() bool { return strings.Contains(log.String(), "connector started") })
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	text := log.String()
	if strings.Count(text, "msg=draining") != 1 || !strings.Contains(text, "timeout=7s calls_in_flight=0") || !strings.Contains(text, "listen=127.0.0.1:0") {
		t.Errorf("the log is\n%s", text)
	}
}
