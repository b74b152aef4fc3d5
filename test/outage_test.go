package test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/connectors/rabbitmq"
	"parkstream/shared/broker"
	"parkstream/shared/eventually"
	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
	"parkstream/shared/redis"
	"parkstream/shared/summary/summaryclient"
	"parkstream/shared/timeline"
)

// exitRun is a connector that brings exits from a RabbitMQ into a processor on a Redis,
// with a summary that takes every stay.
type exitRun struct {
	t         *testing.T
	client    *redis.Client
	publisher *broker.Publisher
	connector *rabbitmq.Connector
	registry  *prometheus.Registry
	missing   atomic.Bool // the summary
	calls     atomic.Int64
}

const exitQueue = "vehicle_exits"

func runExits(t *testing.T, redisURL string) *exitRun {
	t.Helper()
	nodeMQ := instancetest.RabbitMQ(t)
	r := &exitRun{t: t, registry: prometheus.NewRegistry()}
	var err error
	if r.client, err = redis.Open(redis.URL(redisURL)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.client.Close() })
	posted := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if r.missing.Load() {
			http.NotFound(w, nil)
			return
		}
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(posted.Close)
	exits := pipeline.NewHTTPHandler(pipeline.NewExitEventProcessor(pipeline.Config{
		Store:     timeline.New(r.client, 24*time.Hour),
		Summaries: summaryclient.New(posted.URL, func() (string, error) { return "token", nil }),
		Caller: func(context.Context) pipeline.Caller {
			return pipeline.Caller{CheckSite: func(string) error { return nil }}
		},
		Limits:  parking.Limits{MaxFuture: time.Minute, Retention: 24 * time.Hour},
		Metrics: pipeline.NewMetrics(prometheus.NewRegistry(), "exit-processor"),
		Log:     slog.New(slog.DiscardHandler),
	}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /system/functions", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode([]map[string]any{{"name": "exit-processor", "annotations": map[string]string{
			"topic": exitQueue, "parkstream.batch-size": "10", "parkstream.max-attempts": "3",
		}}})
	})
	mux.HandleFunc("POST /function/exit-processor", func(w http.ResponseWriter, req *http.Request) {
		r.calls.Add(1)
		ctx, cancel := context.WithTimeout(req.Context(), 9*time.Second) // exec_timeout of stack.yml
		defer cancel()
		exits.ServeHTTP(w, req.WithContext(ctx))
	})
	gateway := httptest.NewServer(mux)
	t.Cleanup(gateway.Close)

	url := func() ([]string, error) { return []string{nodeMQ.URL()}, nil }
	r.publisher = broker.NewPublisher(broker.Config{URLs: url})
	t.Cleanup(func() { _ = r.publisher.Close() })
	settings, err := rabbitmq.SettingsFrom([]string{
		"GATEWAY_URL=" + gateway.URL, "SECRETS_DIR=" + t.TempDir(), "RETRY_DELAY=20ms", "RETRY_MAX_DELAY=100ms", "PROBE_DELAY=20ms", "PROBE_MAX_DELAY=100ms",
	})
	if err != nil {
		t.Fatal(err)
	}
	r.connector, err = rabbitmq.New(rabbitmq.Config{Settings: settings, Broker: url, Registerer: r.registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.connector.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	r.wait("ready", func() bool { return r.ready() == "ready\n" })
	return r
}

func (r *exitRun) ready() string {
	w := httptest.NewRecorder()
	r.connector.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	return w.Body.String()
}

// sum adds up the series of a counter of the connector that have a value of a label, or
// all if it is "".
func (r *exitRun) sum(name, value string) (sum int) {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			has := value == ""
			for _, l := range m.GetLabel() {
				has = has || l.GetValue() == value
			}
			if has && f.GetName() == "parkstream_connector_"+name+"_total" {
				sum += int(m.GetCounter().GetValue())
			}
		}
	}
	return sum
}

func (r *exitRun) wait(what string, cond func() bool) {
	r.t.Helper()
	eventually.Succeeds(r.t, what, func() error {
		if !cond() {
			return fmt.Errorf("not yet; /readyz: %s", r.ready())
		}
		return nil
	})
}

// publish sends n exits of each site.
func (r *exitRun) publish(prefix string, n int, sites ...string) {
	r.t.Helper()
	var msgs []broker.Message
	for i := range n {
		for _, site := range sites {
			id := fmt.Sprint(prefix, site, i)
			msgs = append(msgs, broker.Message{Queue: exitQueue, ID: id, Body: fmt.Appendf(nil, `{"id":%q,"site":%q,"vehicle_plate":"A%d","exit_date_time":%q}`,
				id, site, i, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))})
		}
	}
	if err := r.publisher.Publish(r.t.Context(), msgs); err != nil {
		r.t.Fatal(err)
	}
}

// checkAllDone waits for n events to end, and checks that none has spent an attempt.
func (r *exitRun) checkAllDone(what string, n int) {
	r.t.Helper()
	r.wait("all events have ended", func() bool { return r.sum("messages_acked", "")+r.sum("messages_dead_lettered", "") >= n })
	if acked, spent := r.sum("messages_acked", ""), r.sum("outcomes", "retry"); acked < n || spent != 0 {
		r.t.Errorf("%s: %d of %d done, %d attempts spent", what, acked, n, spent)
	}
}

// While Redis is full, or the summary is unavailable, no event spends an attempt, even
// if it has few: the connector is not ready and reports the reason, and all events are
// done afterwards.
func TestOutagesOfWhatTheProcessorsNeedCostNoAttempt(t *testing.T) {
	const n = 50
	r := runExits(t, instancetest.Redis(t).URL())
	maxmemory := func(bytes string) {
		t.Helper()
		if err := r.client.Current().Do(t.Context(), "CONFIG", "SET", "maxmemory", bytes).Err(); err != nil {
			t.Fatal(err)
		}
	}
	done := 0
	for i, outage := range []struct {
		reason     string
		begin, end func()
	}{
		{"refuses with OOM", func() { maxmemory("1") }, func() { maxmemory("0") }},
		{"the summary answers 404", func() { r.missing.Store(true) }, func() { r.missing.Store(false) }},
	} {
		outage.begin()
		r.publish(fmt.Sprint(i), n, "main")
		r.wait("the reason is told", func() bool { return strings.Contains(r.ready(), outage.reason) })
		before := r.calls.Load()
		r.wait("it is probed", func() bool { return r.calls.Load() > before+3 })
		outage.end()
		r.wait("ready again", func() bool { return r.ready() == "ready\n" })
		done += n
		r.checkAllDone(outage.reason, done)
	}
}

// A shard of a Redis Cluster is lost with its replica: its events wait, however often
// they are tried, while those of the other shards are done and their stays posted. A
// shard may refuse connections, or be silent.
func TestALostShardCostsNoAttempt(t *testing.T) {
	t.Parallel() // with the other tests that mostly wait
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		lostShard(t, (*instance.Redis).Kill, (*instance.Redis).Restart)
	})
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		lostShard(t, (*instance.Redis).Pause, func(node *instance.Redis, _ context.Context) error { return node.Resume() })
	})
}

func lostShard(t *testing.T, lose func(*instance.Redis) error, bringBack func(*instance.Redis, context.Context) error) {
	t.Helper()
	const n, attempts = 20, 3
	cluster := instancetest.RedisCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	step := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range slices.Concat(cluster.Masters, cluster.Replicas) {
		_, err := node.Command(ctx, "CONFIG", "SET", "cluster-require-full-coverage", "no")
		step(err)
	}
	registry, err := cluster.Shard(ctx, "park:registry") // which all sites need
	step(err)
	shard := (registry + 1) % len(cluster.Masters)
	var lost string
	var others []string
	for i := 0; lost == "" || len(others) < 2; i++ {
		site := fmt.Sprint("site", i)
		of, err := cluster.Shard(ctx, "park:{"+site+"}:")
		step(err)
		if of == shard {
			lost = site
		} else if len(others) < 2 {
			others = append(others, site)
		}
	}
	r := runExits(t, cluster.URL())
	r.publish("before", n, lost, others[0], others[1])
	r.checkAllDone("before", 3*n)

	step(lose(cluster.Masters[shard]))
	step(lose(cluster.Replicas[shard]))
	r.publish("during", n, lost, others[0], others[1])
	r.wait("the others are done", func() bool { return r.sum("messages_acked", "") == 5*n })
	r.wait("the lost ones are tried often", func() bool { return r.sum("outcomes", "unavailable") > 2*attempts*n })
	r.publish("more", n, others...)
	r.wait("more of the others are done", func() bool { return r.sum("messages_acked", "") == 7*n })
	if dead := r.sum("messages_dead_lettered", ""); dead != 0 {
		t.Errorf("%d dead letters", dead)
	}
	step(bringBack(cluster.Masters[shard], ctx))
	r.checkAllDone("a shard was lost", 8*n)
}
