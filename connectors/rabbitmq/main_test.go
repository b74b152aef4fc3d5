package rabbitmq

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/docs/api/apitest"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/eventually"
)

// testsAtATime is how many tests run side by side, unless -parallel is given: most of
// their time they wait.
const testsAtATime = "6"

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", testsAtATime) // fails only if there is no such flag
	}
	goleak.VerifyTestMain(withSharedNode{m})
}

// The annotations of functions, as docs/connector.md has them.
const (
	annotationTopic       = "topic"
	annotationBatchSize   = "parkstream.batch-size"
	annotationBatchBytes  = "parkstream.batch-bytes"
	annotationMinInFlight = "parkstream.min-in-flight"
	annotationMaxInFlight = "parkstream.max-in-flight"
	annotationMaxAttempts = "parkstream.max-attempts"
	annotationTimeout     = "parkstream.timeout"
	annotationSendToken   = "parkstream.send-token"
)

// listed is a function as the gateway lists it.
type listed struct {
	Name        string            `json:"name"`
	Annotations map[string]string `json:"annotations"`
}

// gateway is an OpenFaaS gateway with scripted functions behind it.
type gateway struct {
	server *httptest.Server

	mu        sync.Mutex
	functions map[string]*function
	listing   func(w http.ResponseWriter) bool // answers for the list when it returns true
}

// function records its calls and follows its script.
type function struct {
	annotations map[string]string
	// script answers a call in place of the function when it returns true. ids are
	// those of the events, the body of a raw message.
	script func(w http.ResponseWriter, r *http.Request, ids []string) bool
	// result returns the result of an event; nil is done for all.
	result func(id string) batch.Result

	mu      sync.Mutex
	calls   int
	sizes   []int
	effects map[string]int      // how often an event was done
	again   map[string]struct{} // those that were done more than once
	headers []http.Header
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	g := &gateway{functions: make(map[string]*function)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /system/functions", g.list)
	mux.HandleFunc("POST /function/{name}", g.invoke)
	g.server = httptest.NewServer(mux)
	t.Cleanup(g.server.Close)
	return g
}

// deployed returns a queue of the test, declared, and a gateway with a function that
// listens to it.
func deployed(t testing.TB, annotations map[string]string) (queue string, g *gateway, f *function) {
	t.Helper()
	queue, g = queueName(t), newGateway(t)
	declareQueue(t, queue)
	return queue, g, g.add("fn", queue, annotations)
}

// add deploys a function that listens to queue.
func (g *gateway) add(name, queue string, annotations map[string]string) *function {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := &function{annotations: map[string]string{annotationTopic: queue}, effects: make(map[string]int), again: make(map[string]struct{})}
	maps.Copy(f.annotations, annotations)
	g.functions[name] = f
	return f
}

func (g *gateway) remove(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.functions, name)
}

func (g *gateway) setListing(f func(w http.ResponseWriter) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listing = f
}

func (g *gateway) list(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listing != nil && g.listing(w) {
		return
	}
	functions := []listed{}
	for name, f := range g.functions {
		functions = append(functions, listed{Name: name, Annotations: f.annotations})
	}
	_ = json.NewEncoder(w).Encode(functions)
}

func (g *gateway) invoke(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	f := g.functions[r.PathValue("name")]
	g.mu.Unlock()
	if f == nil {
		http.Error(w, "no such function", http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.serve(w, r, body)
}

func (f *function) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	batched := r.Header.Get("Content-Type") == batch.ContentType
	ids, names := []string{string(body)}, []string{string(body)}
	if batched {
		events, err := batch.ParseRequest(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ids, names = ids[:0], names[:0]
		for _, e := range events {
			ids, names = append(ids, e.ID), append(names, nameOf(e))
		}
	}
	f.mu.Lock()
	f.calls++
	f.sizes = append(f.sizes, len(ids))
	f.headers = append(f.headers, r.Header)
	script, result := f.script, f.result
	f.mu.Unlock()
	if script != nil && script(w, r, ids) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	results := make([]batch.Result, len(ids))
	for i, name := range names {
		results[i] = batch.Result{ID: name, Outcome: batch.Done}
		if result != nil {
			results[i] = result(name)
		}
		if results[i].ID == name {
			results[i].ID = ids[i]
		}
		if results[i].Outcome == batch.Done {
			if f.effects[name]++; f.effects[name] == 2 {
				f.again[name] = struct{}{}
			}
		}
	}
	if batched {
		_, _ = w.Write(batch.AppendResponse(nil, results))
	}
}

// nameOf returns the id in the data of an event, if it has one: a message and its copy in
// one batch have two ids.
func nameOf(e batch.Event) string {
	var data struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(e.Data, &data); err != nil || data.ID == "" {
		return e.ID
	}
	return data.ID
}

func (f *function) setScript(s func(w http.ResponseWriter, r *http.Request, ids []string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = s
}

// done returns how many events were done, and how many of them more than once.
func (f *function) done() (once, twice int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.effects) - len(f.again), len(f.again)
}

func (f *function) callCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// testSettings are quick in everything.
func testSettings(gatewayURL string) Settings {
	s, err := SettingsFrom([]string{
		"GATEWAY_URL=" + gatewayURL, "SECRETS_DIR=/nonexistent", "REBUILD_INTERVAL=50ms", "UPSTREAM_TIMEOUT=2s",
		"RETRY_DELAY=20ms", "RETRY_MAX_DELAY=100ms", "PROBE_DELAY=20ms", "PROBE_MAX_DELAY=200ms", "DRAIN_TIMEOUT=5s", "RABBITMQ_HEARTBEAT=1s",
	})
	if err != nil {
		panic(err)
	}
	return s
}

// running is a connector under test.
type running struct {
	*Connector
	registry *prometheus.Registry
	stop     func() // drains it
}

func startConnector(t testing.TB, g *gateway, change func(*Config)) *running {
	t.Helper()
	registry := prometheus.NewRegistry()
	cfg := Config{
		Settings:   testSettings(g.server.URL),
		Broker:     nodeURLs(t),
		Registerer: registry,
		Log:        slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	r := &running{Connector: c, registry: registry, stop: func() {
		cancel()
		<-ended
	}}
	t.Cleanup(r.stop)
	return r
}

var runs atomic.Int64

// queueName is a queue of this run of the test alone: with -count=2 the second
// run must not find what the first has left.
func queueName(t testing.TB) string {
	return fmt.Sprint(strings.ReplaceAll(t.Name(), "/", "-"), ".", runs.Add(1))
}

func declareQueue(t testing.TB, queue string) {
	t.Helper()
	conn := dialNode(t)
	if _, err := broker.DeclareQueue(conn, queue); err != nil {
		t.Fatal(err)
	}
}

func dialNode(t testing.TB) *broker.Conn {
	t.Helper()
	conn, err := broker.Dial(t.Context(), broker.Config{URLs: nodeURLs(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// isSince reports whether the node is of a version of RabbitMQ or a later one.
func isSince(t testing.TB, major, minor int) bool {
	t.Helper()
	version := fmt.Sprint(dialNode(t).Properties["version"])
	var x, y int
	if _, err := fmt.Sscanf(version, "%d.%d", &x, &y); err != nil {
		t.Fatalf("RabbitMQ's version %q: %v", version, err)
	}
	return x > major || x == major && y >= minor
}

// publish returns when the broker has confirmed all messages. A busy one refuses some at
// times although their queue has room: they are published again.
func publish(t testing.TB, msgs ...broker.Message) {
	t.Helper()
	p := broker.NewPublisher(broker.Config{URLs: nodeURLs(t)})
	defer p.Close()
	eventually.True(t, "all is published", func() bool {
		err := p.Publish(t.Context(), msgs)
		if err == nil {
			return true
		}
		failed, ok := errors.AsType[*broker.PublishError](err)
		if !ok {
			t.Fatal(err)
		}
		var again []broker.Message
		for i, err := range failed.Failed {
			if !errors.Is(err, broker.ErrNacked) {
				t.Fatal(err)
			}
			again = append(again, msgs[i])
		}
		t.Logf("publishes %d messages again: %v", len(again), err)
		msgs = again
		return false
	})
}

// events makes n messages with the ids prefix-0, prefix-1, ...
func events(queue, prefix string, n int) []broker.Message {
	msgs := make([]broker.Message, n)
	for i := range msgs {
		id := fmt.Sprint(prefix, "-", i)
		msgs[i] = broker.Message{Queue: queue, ID: id, Body: fmt.Appendf(nil, `{"id":%q}`, id), ContentType: "application/json"}
	}
	return msgs
}

// ready returns how many messages wait in a queue; none if the queue does not exist.
func ready(t testing.TB, conn *broker.Conn, queue string) int {
	t.Helper()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		return 0
	}
	return q.Messages
}

// left waits until a queue has no consumer any more and n messages. RabbitMQ counts a
// cancelled consumer until each of its messages is settled or is back in the queue: none
// comes back after that.
func left(t testing.TB, queue string, n int) {
	t.Helper()
	ch, err := dialNode(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	eventually.Succeeds(t, "the rest is in the queue", func() error {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if q.Consumers != 0 || q.Messages != n {
			return fmt.Errorf("%s has %d consumers and %d messages, want 0 and %d", queue, q.Consumers, q.Messages, n)
		}
		return nil
	})
}

// takeDead takes all dead letters of a queue.
func takeDead(t testing.TB, queue string) []amqp.Delivery {
	t.Helper()
	ch, err := dialNode(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	var got []amqp.Delivery
	for {
		d, ok, err := ch.Get(broker.DeadQueue(queue), true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return got
		}
		ours := maps.Clone(d.Headers)
		maps.DeleteFunc(ours, func(name string, _ any) bool { // what the publisher gave may be anything
			return !strings.HasPrefix(name, message.Prefix) || name == message.HeaderCC || name == message.HeaderDeaths
		})
		headers, err := json.Marshal(ours)
		if err == nil {
			err = apitest.Validate(t, "asyncapi.yaml#/components/schemas/DeadLetterHeaders", headers)
		}
		if err != nil {
			t.Errorf("docs/api/asyncapi.yaml does not describe the headers %s: %v", headers, err)
		}
		got = append(got, d)
	}
}

// unreadable is what the reason of a dead letter begins with if its headers cannot be read.
const unreadable = "the headers of the message cannot be read: "

// headerText returns a header that is text, or "".
func headerText(h amqp.Table, name string) string {
	text, _ := h[name].(string)
	return text
}

// counters returns the metrics of a queue by their short names.
func (r *running) counters(t testing.TB, queue string) map[string]int {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for _, f := range families {
		name := strings.TrimPrefix(f.GetName(), "parkstream_connector_messages_")
		if name == f.GetName() {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == queue {
				got[strings.TrimSuffix(name, "_total")] = int(m.GetCounter().GetValue() + m.GetGauge().GetValue())
			}
		}
	}
	return got
}

// scrape returns the metrics as Prometheus reads them.
func (r *running) scrape(t testing.TB) string {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// settled waits until n messages have ended and none is unacked, and checks that
// the counters add up all the time.
func (r *running) settled(t testing.TB, queue string, n int) map[string]int {
	t.Helper()
	conn := dialNode(t)
	var c map[string]int
	defer func() {
		if t.Failed() {
			t.Logf("counters: %v, problems: %q", c, r.Problems())
		}
	}()
	eventually.True(t, "everything is settled", func() bool {
		c = r.counters(t, queue)
		r.checkIdentity(t, c)
		return c["acked"]+c["dead_lettered"] >= n && c["unacked"] == 0 && ready(t, conn, queue) == 0
	})
	return c
}

func (r *running) checkIdentity(t testing.TB, c map[string]int) {
	t.Helper()
	if c["received"] != c["acked"]+c["dead_lettered"]+c["retried"]+c["returned"]+c["unacked"] {
		t.Errorf("the counters do not add up: %v", c)
	}
}

// listen takes an address that has just been given up.
func listen(t testing.TB, addr string) (net.Listener, error) {
	t.Helper()
	var (
		l   net.Listener
		err error
	)
	eventually.True(t, "the address is free", func() bool {
		l, err = net.Listen("tcp", addr)
		return err == nil
	})
	return l, err
}

func writeSecret(t testing.TB, dir, name, value string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
}
