package test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/connectors/rabbitmq"
	"parkstream/shared/broker"
	"parkstream/shared/instance"
	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
	"parkstream/shared/redis"
	"parkstream/shared/store"
	"parkstream/shared/summary"
)

// While Redis is full, or the summary is not there, no event spends an attempt,
// however few it has: the connector is not ready and says why, and all events are done
// afterwards.
func TestOutagesOfWhatTheProcessorsNeedCostNoAttempt(t *testing.T) {
	const queue, n = "vehicle_exits", 50
	nodeMQ, nodeRedis := instance.RabbitMQForTest(t), instance.RedisForTest(t)
	client, err := redis.Open(redis.URL(nodeRedis.URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var missing atomic.Bool
	posted := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if missing.Load() {
			http.NotFound(w, nil)
			return
		}
		w.WriteHeader(http.StatusCreated)
	}))
	defer posted.Close()
	exits := pipeline.NewHTTPHandler(pipeline.NewExitEventProcessor(pipeline.Config{
		Store:     store.New(client, 24*time.Hour),
		Summaries: summary.NewClient(posted.URL, func() (string, error) { return "token", nil }),
		Limits:    parking.Limits{MaxFuture: time.Minute, Retention: 24 * time.Hour},
		Metrics:   pipeline.NewMetrics(prometheus.NewRegistry(), "exit-processor"),
		Log:       slog.New(slog.DiscardHandler),
	}))
	var calls atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /system/functions", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode([]map[string]any{{"name": "exit-processor", "annotations": map[string]string{
			"topic": queue, "parkstream.batch-size": "10", "parkstream.max-attempts": "3",
		}}})
	})
	mux.HandleFunc("POST /function/exit-processor", func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		exits.ServeHTTP(w, r)
	})
	gateway := httptest.NewServer(mux)
	defer gateway.Close()

	url := func() ([]string, error) { return []string{nodeMQ.URL()}, nil }
	publisher := broker.NewPublisher(broker.Config{URLs: url})
	defer publisher.Close()
	settings, err := rabbitmq.SettingsFrom([]string{
		"GATEWAY_URL=" + gateway.URL, "SECRETS_DIR=" + t.TempDir(), "RETRY_DELAY=20ms", "RETRY_MAX_DELAY=100ms", "PROBE_DELAY=20ms", "PROBE_MAX_DELAY=100ms",
	})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	connector, err := rabbitmq.New(rabbitmq.Config{Settings: settings, Broker: url, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		connector.Run(ctx)
	}()
	defer func() {
		stop()
		<-ended
	}()
	ready := func() string {
		w := httptest.NewRecorder()
		connector.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		return w.Body.String()
	}
	counter := func(name string) (sum int) {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "parkstream_connector_messages_"+name+"_total" {
					sum += int(m.GetCounter().GetValue())
				}
			}
		}
		return sum
	}
	wait := func(what string, cond func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("waited in vain: %s; /readyz: %s", what, ready())
			}
		}
	}
	maxmemory := func(bytes string) {
		t.Helper()
		if err := client.Current().Do(t.Context(), "CONFIG", "SET", "maxmemory", bytes).Err(); err != nil {
			t.Fatal(err)
		}
	}
	wait("ready", func() bool { return ready() == "ready\n" })
	done := 0
	for _, outage := range []struct {
		reason     string
		begin, end func()
	}{
		{"refuses with OOM", func() { maxmemory("1") }, func() { maxmemory("0") }},
		{"the summary answers 404", func() { missing.Store(true) }, func() { missing.Store(false) }},
	} {
		outage.begin()
		msgs := make([]broker.Message, n)
		for i := range msgs {
			msgs[i] = broker.Message{Queue: queue, ID: fmt.Sprint(outage.reason, i), Body: fmt.Appendf(nil, `{"id":"%s %d","vehicle_plate":"A%d","exit_date_time":%q}`,
				outage.reason, i, i, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))}
		}
		if err := publisher.Publish(t.Context(), msgs); err != nil {
			t.Fatal(err)
		}
		wait("the reason is told", func() bool { return strings.Contains(ready(), outage.reason) })
		before := calls.Load()
		wait("it is probed", func() bool { return calls.Load() > before+3 })
		outage.end()
		wait("ready again", func() bool { return ready() == "ready\n" })
		done += n
		wait("all events have ended", func() bool { return counter("acked")+counter("dead_lettered") == done })
		if acked, retried := counter("acked"), counter("retried"); acked != done || retried != 0 {
			t.Errorf("%s: %d of %d done, %d attempts spent", outage.reason, acked, done, retried)
		}
	}
}
