package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker"
	"parkstream/shared/broker/brokertest"
	"parkstream/shared/eventually"
	"parkstream/shared/instance"
)

// Each run has so many vehicles, which enter and leave, and malformed events: 20,000
// events, 5 % of them malformed.
const (
	vehicles  = 9500
	malformed = 1000
	// perSecond is the pace of publishing, so that a fault finds events on their
	// way.
	perSecond = 5000
	// recovery is how long a fault may delay events.
	recovery = 2 * time.Minute
)

// Whatever dies while events flow, each is done exactly once or is a dead letter
// with its reason. Every part is a process of its own.
func TestFaults(t *testing.T) {
	s := startSystem(t, t.TempDir(), "--no-cron", "--no-connector")
	var table []string
	for _, f := range []struct {
		name   string
		inject func(r *faultRun)
	}{
		{"kill -9 the connector, twice", func(r *faultRun) {
			for range 2 {
				r.kill(r.connectors[0].cmd.Process.Pid)
				r.connectors[0].restart(r.t)
				r.progress(1000)
			}
		}},
		{"kill -9 each function", func(r *faultRun) {
			for _, name := range []string{"entry-processor", "exit-processor", "summary"} {
				r.kill(r.s.functionPID(r.t, name))
				r.progress(500)
			}
		}},
		{"kill -9 Redis", func(r *faultRun) { r.kill(r.s.redisPID(r.t)) }},
		{"kill -9 RabbitMQ", func(r *faultRun) { r.kill(r.s.rabbitMQPID(r.t)) }},
		{"the gateway is away for 20 s", func(r *faultRun) {
			r.gateway.answer.Store(&refuse)
			r.wait(20 * time.Second)
			r.gateway.answer.Store(nil)
		}},
		{"a function answers 500 for 10 s", func(r *faultRun) {
			r.gateway.answer.Store(&serverError)
			r.wait(10 * time.Second)
			r.gateway.answer.Store(nil)
		}},
		{"a function hangs for 10 s", func(r *faultRun) {
			pid := r.s.functionPID(r.t, "entry-processor")
			r.signal(pid, syscall.SIGSTOP)
			r.wait(10 * time.Second)
			r.signal(pid, syscall.SIGCONT)
		}},
		{"a function's network goes silent for 3 s", func(r *faultRun) {
			// As when another instance takes its place: what was sent to the old one gets
			// no answer, whether it took effect or not, and its connections stay open.
			var calls, ended atomic.Int64
			silent := answerer(func(_ http.ResponseWriter, req *http.Request, body []byte) bool {
				if !strings.HasSuffix(req.URL.Path, "/entry-processor") {
					return false
				}
				n := calls.Add(1)
				if n%2 == 0 {
					req.Body = io.NopCloser(bytes.NewReader(body))
					r.gateway.proxy.ServeHTTP(httptest.NewRecorder(), req)
				}
				<-req.Context().Done()
				if n <= 2 {
					ended.Add(1)
				}
				return true
			})
			r.gateway.answer.Store(&silent)
			eventually.SucceedsWithin(r.t, recovery, "calls are on their way", func() error {
				if n := calls.Load(); n < 2 {
					return fmt.Errorf("%d calls got no answer", n)
				}
				return nil
			})
			r.wait(3 * time.Second)
			before, err := r.totals()
			if err != nil {
				r.t.Fatal(err)
			}
			r.gateway.answer.Store(nil)
			eventually.SucceedsWithin(r.t, recovery, "entries are done again", func() error {
				now, err := r.totals()
				if err == nil && now.Entries < min(before.Entries+1000, vehicles) {
					err = fmt.Errorf("%d entries are done", now.Entries)
				}
				return err
			})
			if n := ended.Load(); n > 0 {
				r.t.Errorf("entries went on only when %d calls had been given up", n)
			}
		}},
		{"a function crashes on one event", func(r *faultRun) {
			crash := answerer(func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
				if !bytes.Contains(body, []byte(`"poison"`)) {
					return false
				}
				if pid, err := r.s.findFunction("entry-processor"); err == nil { // else it is dead already
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
				w.WriteHeader(http.StatusBadGateway)
				return true
			})
			r.gateway.answer.Store(&crash)
			r.publish(r.event("vehicle_entries", "poison", "POISON", "entry", time.Now().Add(-time.Hour)))
			r.dead["poison"] = "502 Bad Gateway"
		}},
		{"SIGTERM of the connector", func(r *faultRun) {
			r.connectors[0].terminate(r.t)
			r.connectors[0].restart(r.t)
		}},
		{"two connectors, one is killed", func(r *faultRun) {
			r.connectors = append(r.connectors, r.startConnector())
			eventually.SucceedsWithin(r.t, recovery, "the second one works", func() error {
				if n := r.connectors[1].counters(r.t)["received"]; n == 0 {
					return errors.New("it has received nothing")
				}
				return nil
			})
			r.kill(r.connectors[0].cmd.Process.Pid)
			r.connectors = r.connectors[1:]
		}},
		{"the network to RabbitMQ is cut for 5 s", func(r *faultRun) {
			r.network.SetDown(true)
			r.network.Cut()
			r.wait(5 * time.Second)
			r.network.SetDown(false)
		}},
		{"the network to RabbitMQ is silent for 10 s", func(r *faultRun) {
			r.network.Pause()
			r.wait(10 * time.Second)
			r.network.Resume()
		}},
	} {
		t.Run(f.name, func(t *testing.T) { table = append(table, runFault(t, s, f.name, f.inject)) })
	}
	header := fmt.Sprintf("| %-42s | events | lost | doubled | seconds to recover |\n|%s|---:|---:|---:|---:|\n", "fault", strings.Repeat("-", 44))
	t.Logf("\n%s%s", header, strings.Join(table, ""))
}

// Of three RabbitMQ nodes that which leads a queue is killed.
func TestFaultsOfACluster(t *testing.T) {
	cluster := startCluster(t)
	s := startSystem(t, t.TempDir(), "--no-cron", "--no-connector", "--rabbitmq-url", cluster.URLs())
	runFault(t, s, "kill -9 the leader of three RabbitMQ nodes", func(r *faultRun) {
		leader, err := cluster.Leader(t.Context(), "vehicle_entries")
		if err != nil {
			t.Fatal(err)
		}
		if err := leader.Kill(); err != nil {
			t.Fatal(err)
		}
	})
}

func startCluster(t *testing.T) *instance.RabbitMQCluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "parkstream-cluster-") //nolint:usetesting // a dying node writes while t.TempDir is removed
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c, err := instance.StartRabbitMQCluster(ctx, dir, 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Kill() })
	return c
}

// runFault injects a fault while events flow and returns a line of the table.
func runFault(t *testing.T, s *system, name string, inject func(r *faultRun)) string {
	t.Helper()
	r := newFaultRun(t, s)
	published := make(chan struct{})
	go func() {
		defer close(published)
		r.publishAll()
	}()
	r.progress(2000)
	stall := r.watch()
	inject(r)
	<-published
	r.progress(2 * vehicles)
	return r.reconcile(name, max(0, stall()-r.held))
}

// faultRun is one run: its site, what stands between the processes, and what is
// expected.
type faultRun struct {
	t          *testing.T
	s          *system
	site       string
	start      time.Time
	gateway    *faultyGateway
	network    *brokertest.Proxy // nil in front of a cluster
	connectors []*connectorProcess
	publisher  *broker.Publisher
	dead       map[string]string // the reasons of dead letters by id
	held       time.Duration     // how long the fault was there
}

func newFaultRun(t *testing.T, s *system) *faultRun {
	r := &faultRun{
		t: t, s: s, site: strings.Trim(strings.Map(func(c rune) rune {
			if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
				return c
			}
			return '-'
		}, strings.ToLower(filepath.Base(t.Name()))), "-"),
		start:     time.Now().UTC().Add(-5 * time.Hour).Truncate(time.Second),
		gateway:   newFaultyGateway(t, s.gateway),
		publisher: broker.NewPublisher(broker.Config{URLs: broker.URLFile(filepath.Join(s.dir, "secrets", "rabbitmq-url"))}),
		dead:      make(map[string]string),
	}
	t.Cleanup(func() { _ = r.publisher.Close() })
	if url := s.secret(t, "rabbitmq-url"); !strings.Contains(url, ",") {
		r.network = brokertest.NewProxy(t, url)
	}
	for i := range malformed {
		r.dead[fmt.Sprint("bad-", i)] = "_date_time is missing"
	}
	r.connectors = []*connectorProcess{r.startConnector()}
	return r
}

func (r *faultRun) event(queue, id, plate, kind string, at time.Time) broker.Message {
	body := fmt.Sprintf(`{"id":%q,"vehicle_plate":%q,"site":%q,"%s_date_time":%q}`, id, plate, r.site, kind, at.UTC().Format(time.RFC3339Nano))
	return broker.Message{Queue: queue, ID: id, Body: []byte(body), ContentType: "application/json"}
}

// publishAll publishes entries, exits and malformed events at perSecond.
func (r *faultRun) publishAll() {
	var all []broker.Message
	for i := range vehicles {
		plate, at := fmt.Sprint("F", i), r.start.Add(time.Duration(i)*time.Millisecond)
		all = append(all,
			r.event("vehicle_entries", fmt.Sprint("e-", i), plate, "entry", at),
			r.event("vehicle_exits", fmt.Sprint("x-", i), plate, "exit", at.Add(time.Hour)))
		if i%9 == 0 && i/9 < malformed {
			bad := r.event([]string{"vehicle_entries", "vehicle_exits"}[i%2], fmt.Sprint("bad-", i/9), plate, "no", at)
			all = append(all, bad)
		}
	}
	tick := time.NewTicker(time.Second / 20)
	defer tick.Stop()
	for batch := range slices.Chunk(all, perSecond/20) {
		r.publish(batch...)
		<-tick.C
	}
}

// publish repeats what the broker has not confirmed, as every publisher should.
func (r *faultRun) publish(msgs ...broker.Message) {
	deadline := time.Now().Add(2 * time.Minute)
	for len(msgs) > 0 {
		if time.Now().After(deadline) {
			r.t.Errorf("%d events could not be published", len(msgs))
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := r.publisher.Publish(ctx, msgs)
		cancel()
		if err == nil {
			return
		}
		failed, ok := errors.AsType[*broker.PublishError](err)
		if !ok {
			r.t.Errorf("publish: %v", err)
			return
		}
		var left []broker.Message
		for i := range failed.Failed {
			left = append(left, msgs[i])
		}
		msgs = left
	}
}

// totals of the site, zero where they cannot be read now.
type totals struct {
	Entries, Exits int
	Completed      int `json:"completed_stays"`
	Unmatched      int `json:"unmatched_exits"`
	Missed         int `json:"missed_exits"`
}

func (r *faultRun) totals() (totals, error) {
	var site struct{ Totals totals }
	err := r.s.tryGet(r.t, "/function/summary/sites/"+r.site, &site)
	return site.Totals, err
}

// taken is how many events the processors have taken in.
func (r *faultRun) taken() int {
	n, err := r.totals()
	if err != nil {
		return 0
	}
	return n.Entries + n.Exits
}

// progress waits until n more events are done, or all.
func (r *faultRun) progress(n int) {
	r.t.Helper()
	before := r.taken()
	eventually.SucceedsWithin(r.t, recovery, "events are done", func() error {
		if now := r.taken(); now < before+n && now < 2*vehicles {
			return fmt.Errorf("%d events are done, %d were before", now, before)
		}
		return nil
	})
}

// watch looks at how entries and exits get on, and returns a function that ends
// that and tells the longest time in which none of either was done.
func (r *faultRun) watch() (stall func() time.Duration) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan time.Duration)
	go func() {
		var longest time.Duration
		defer func() { done <- longest }()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		now := time.Now()
		before, since := [2]int{}, [2]time.Time{now, now}
		for ctx.Err() == nil && before[0]+before[1] < 2*vehicles {
			<-tick.C
			n, err := r.totals()
			if err != nil {
				continue
			}
			for kind, done := range [2]int{n.Entries, n.Exits} {
				if done > before[kind] {
					longest = max(longest, time.Since(since[kind]))
					before[kind], since[kind] = done, time.Now()
				}
			}
		}
	}()
	return func() time.Duration {
		cancel()
		return <-done
	}
}

// wait keeps a fault in place.
func (r *faultRun) wait(d time.Duration) {
	r.held += d
	select {
	case <-time.After(d):
	case <-r.t.Context().Done():
	}
}

func (r *faultRun) kill(pid int) { r.signal(pid, syscall.SIGKILL) }

func (r *faultRun) signal(pid int, s syscall.Signal) {
	r.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		r.t.Fatalf("send %s to process %d: %v", s, pid, err)
	}
}

// reconcile waits until everything has ended and compares it with what was
// published. It returns a line of the table.
func (r *faultRun) reconcile(name string, recovered time.Duration) string {
	t := r.t
	t.Helper()
	var ch *amqp.Channel
	found := make(map[string]int)
	queues := []string{"vehicle_entries", "vehicle_exits"}
	eventually.SucceedsWithin(t, recovery, "every event has ended", func() (err error) {
		if ch == nil || ch.IsClosed() { // a queue may still be looking for a leader
			if ch, err = r.s.tryDial(t); err != nil {
				return err
			}
		}
		for _, queue := range queues {
			for {
				d, ok, err := ch.Get(broker.DeadQueue(queue), false)
				if err != nil {
					return err
				}
				if !ok {
					break
				}
				if err := d.Ack(false); err != nil {
					return err
				}
				reason, _ := d.Headers["x-parkstream-reason"].(string)
				if want, known := r.dead[d.MessageId]; !known || !strings.Contains(reason, want) {
					t.Errorf("dead letter %s has the reason %q, want %q", d.MessageId, reason, want)
				}
				found[d.MessageId]++
			}
		}
		n, err := r.totals()
		if err != nil || n.Completed < vehicles || len(found) < len(r.dead) {
			return fmt.Errorf("%+v, %w; %d of %d dead letters", n, err, len(found), len(r.dead))
		}
		for _, queue := range queues {
			if n, err := tryDepth(ch, queue); err != nil || n > 0 {
				return fmt.Errorf("%d messages are left in %s: %w", n, queue, err)
			}
		}
		for _, c := range r.connectors {
			counters := c.counters(t)
			if counters["in_hand"] != 0 {
				return fmt.Errorf("counters %v", counters)
			}
			if counters["received"] != counters["acked"]+counters["dead_lettered"]+counters["retried"]+counters["returned"] {
				t.Errorf("the counters do not add up: %v", counters)
			}
		}
		return nil
	})
	n, err := r.totals()
	if want := (totals{Entries: vehicles, Exits: vehicles, Completed: vehicles}); err != nil || n != want {
		t.Errorf("the site says %+v, %v; want %+v", n, err, want)
	}
	lost, doubled := 0, 0
	stays := make(map[string]int)
	for _, stay := range r.s.stays(t, url.Values{"site": {r.site}, "limit": {"1000"}, "status": {"completed"}}) {
		stays[stay.ID]++
	}
	for i := range vehicles {
		switch n := stays[fmt.Sprint("x-", i)]; {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
	}
	doubled += n.Entries + n.Exits - 2*vehicles
	for id := range r.dead {
		if found[id] == 0 {
			lost++
		}
	}
	if lost != 0 || doubled != 0 || len(stays) != vehicles {
		t.Errorf("%d lost, %d doubled, %d stays", lost, doubled, len(stays))
	}
	line := fmt.Sprintf("| %-42s | %d | %d | %d | %.1f |\n", name, 2*vehicles+len(r.dead), lost, doubled, recovered.Seconds())
	t.Log(line)
	return line
}

// answerer answers a call in place of the gateway when it returns true.
type answerer func(w http.ResponseWriter, r *http.Request, body []byte) bool

// The connection is cut without an answer, as by a gateway that is not there.
var refuse answerer = func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
	return true
}

var serverError answerer = func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
	if !strings.Contains(r.URL.Path, "/function/exit-processor") {
		return false
	}
	http.Error(w, "exit status 1", http.StatusInternalServerError)
	return true
}

// faultyGateway stands between connector and gateway.
type faultyGateway struct {
	*httptest.Server
	proxy  *httputil.ReverseProxy
	answer atomic.Pointer[answerer]
}

func newFaultyGateway(t *testing.T, gateway string) *faultyGateway {
	t.Helper()
	target, err := url.Parse(gateway)
	if err != nil {
		t.Fatal(err)
	}
	g := new(faultyGateway)
	g.proxy = &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if answer := g.answer.Load(); answer != nil && (*answer)(w, r, body) {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		g.proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		g.CloseClientConnections()
		g.Close()
	})
	return g
}

// connectorProcess is a connector as a process of its own.
type connectorProcess struct {
	program string
	env     []string
	address string
	log     *lockedBuffer
	cmd     *exec.Cmd
	ended   chan struct{}
}

func (r *faultRun) startConnector() *connectorProcess {
	r.t.Helper()
	rabbitMQ := r.s.secret(r.t, "rabbitmq-url")
	if r.network != nil {
		rabbitMQ = r.network.Through(rabbitMQ)
	}
	secrets := r.t.TempDir()
	for name, value := range map[string]string{
		"rabbitmq-url":        rabbitMQ,
		"basic-auth-user":     r.s.secret(r.t, "basic-auth-user"),
		"basic-auth-password": r.s.secret(r.t, "basic-auth-password"),
	} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(value), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	address := fmt.Sprint("127.0.0.1:", freePort(r.t))
	c := &connectorProcess{
		program: r.s.program, address: address, log: new(lockedBuffer),
		env: append([]string{
			"SECRETS_DIR=" + secrets, "GATEWAY_URL=" + r.gateway.URL, "LISTEN=" + address,
			"UPSTREAM_TIMEOUT=3s", "RETRY_DELAY=100ms", "RETRY_MAX_DELAY=1s", "PROBE_MAX_DELAY=2s", "RABBITMQ_HEARTBEAT=2s",
		}, r.s.connectorEnv...),
	}
	c.start(r.t)
	r.t.Cleanup(func() {
		c.terminate(r.t)
		if r.t.Failed() {
			r.t.Logf("the connector's log ends with\n%s", tail([]byte(c.log.String()), 4000))
		}
	})
	return c
}

func (c *connectorProcess) start(t *testing.T) {
	t.Helper()
	c.cmd, c.ended = exec.Command(c.program, "connector"), make(chan struct{})
	c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr = c.env, c.log, c.log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func(cmd *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		_ = cmd.Wait()
	}(c.cmd, c.ended)
}

// restart starts it again when it has ended.
func (c *connectorProcess) restart(t *testing.T) {
	t.Helper()
	<-c.ended
	c.start(t)
}

// terminate sends SIGTERM and wants a clean end, unless it was killed before.
func (c *connectorProcess) terminate(t *testing.T) {
	t.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(time.Minute):
		_ = c.cmd.Process.Kill()
		<-c.ended
		t.Error("the connector did not end within a minute of SIGTERM")
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 && !strings.Contains(c.cmd.ProcessState.String(), "killed") {
		t.Errorf("the connector ended with %s", c.cmd.ProcessState)
	}
}

// counters adds the connector's counters of all queues up.
func (c *connectorProcess) counters(t *testing.T) map[string]int {
	t.Helper()
	sums := make(map[string]int)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil { // it was just started
		return sums
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimPrefix(line, "parkstream_connector_messages_"), "{"); ok && len(name) < len(line) && strings.HasPrefix(line, "parkstream_connector_messages_") {
			_, number, _ := strings.Cut(value, "} ")
			n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			sums[strings.TrimSuffix(name, "_total")] += int(n)
		}
	}
	return sums
}
