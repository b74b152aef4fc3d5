package rabbitmq

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/broker/brokertest"
	"parkstream/shared/eventually"
	"parkstream/shared/process"
)

// reconcile checks that every event was done, and that all is accounted for.
func reconcile(t *testing.T, f *function, n int, rejected func(i int) bool, dead []amqp.Delivery, prefix string) {
	t.Helper()
	deadIDs := map[string]int{}
	for _, d := range dead {
		deadIDs[d.MessageId]++
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range n {
		id := fmt.Sprint(prefix, "-", i)
		switch {
		case rejected(i) && (deadIDs[id] == 0 || f.effects[id] > 0):
			t.Errorf("%s: %d dead letters, done %d times", id, deadIDs[id], f.effects[id])
		case !rejected(i) && (deadIDs[id] > 0 || f.effects[id] == 0):
			t.Errorf("%s: %d dead letters, done %d times", id, deadIDs[id], f.effects[id])
		}
		if t.Failed() {
			return
		}
	}
}

// faultRun publishes n events, every 20th of which is rejected, disturbs the
// connector while they are worked off, and reconciles.
func faultRun(t *testing.T, url func() string, disturb func(c *running, f *function)) {
	t.Helper()
	const n = 4000
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, map[string]string{annotationBatchSize: "50"})
	rejected := func(i int) bool { return i%20 == 0 }
	f.result = func(id string) batch.Result {
		var i int
		if _, err := fmt.Sscanf(id, "e-%d", &i); err == nil && rejected(i) {
			return batch.Result{ID: id, Outcome: batch.Reject, Reason: "malformed"}
		}
		return succeed(id)
	}
	f.setScript(func(http.ResponseWriter, *http.Request, []string) bool {
		time.Sleep(10 * time.Millisecond) // so that there is time to disturb
		return false
	})
	c := startConnector(t, g, func(cfg *Config) {
		cfg.Broker = func() ([]string, error) { return []string{url()}, nil }
	})
	p := broker.NewPublisher(broker.Config{URLs: nodeURLs(t)})
	defer p.Close()
	if _, err := p.DeclareQueue(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), events(queue, "e", n)); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the first events are done", func() bool { once, _ := f.done(); return once > 100 })
	disturb(c, f)
	eventually.True(t, "every event is done", func() bool {
		once, twice := f.done()
		return once+twice == n-n/20
	})
	conn := dialNode(t)
	eventually.True(t, "nothing is left", func() bool {
		counters := c.counters(t, queue)
		c.checkIdentity(t, counters)
		return counters["unacked"] == 0 && ready(t, conn, queue) == 0 && ready(t, conn, broker.DeadQueue(queue)) >= n/20
	})
	reconcile(t, f, n, rejected, takeDead(t, queue), "e")
}

func TestConnectionIsCut(t *testing.T) {
	t.Parallel()
	proxy := brokertest.NewProxy(t, nodeOf(t).URL())
	faultRun(t, func() string { return proxy.Through(nodeOf(t).URL()) }, func(c *running, f *function) {
		for range 4 {
			before, _ := f.done()
			proxy.Cut()
			eventually.True(t, "it goes on", func() bool { once, twice := f.done(); return once+twice > before+200 || once+twice >= 3800 })
		}
	})
}

func TestNetworkIsFrozen(t *testing.T) {
	t.Parallel()
	proxy := brokertest.NewProxy(t, nodeOf(t).URL())
	faultRun(t, func() string { return proxy.Through(nodeOf(t).URL()) }, func(c *running, _ *function) {
		proxy.Pause()
		eventually.True(t, "the silence is noticed", func() bool { code, _ := readyz(c); return code != http.StatusOK })
		proxy.Resume()
	})
}

// A broker of its own is killed, restarted, frozen and thawed.
func TestBrokerDies(t *testing.T) { //nolint:tparallel // its parts take turns on one node
	t.Parallel()
	private := ownNode(t)
	restart := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if err := private.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("killed", func(t *testing.T) {
		faultRun(t, private.URL, func(c *running, _ *function) {
			if err := private.Kill(); err != nil {
				t.Fatal(err)
			}
			eventually.True(t, "the loss is told", func() bool { _, text := readyz(c); return strings.Contains(text, "no connection to RabbitMQ") })
			restart()
		})
	})
	t.Run("stopped", func(t *testing.T) {
		faultRun(t, private.URL, func(*running, *function) {
			if err := private.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			restart()
		})
	})
	t.Run("password changed", func(t *testing.T) {
		ctl := func(args ...string) {
			t.Helper()
			if _, err := private.Ctl(t.Context(), args...); err != nil {
				t.Fatal(err)
			}
		}
		as := func(password string) string {
			u, err := url.Parse(private.URL())
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.UserPassword("connector", password)
			return u.String()
		}
		ctl("add_user", "connector", "first-password")
		ctl("set_permissions", "connector", ".*", ".*", ".*")
		dir := t.TempDir()
		writeSecret(t, dir, "rabbitmq-url", as("first-password")+"\n")
		secret := func() string {
			urls, err := broker.URLs(process.NewSecret(dir, "rabbitmq-url").Value)()
			if err != nil {
				t.Error(err)
				return ""
			}
			return urls[0]
		}
		faultRun(t, secret, func(c *running, _ *function) {
			ctl("change_password", "connector", "second-password")
			ctl("close_all_user_connections", "connector", "rotated")
			eventually.True(t, "the old password is refused", func() bool {
				_, text := readyz(c)
				if strings.Contains(text, "first-password") || strings.Contains(text, "second-password") {
					t.Fatalf("the password is told: %s", text)
				}
				return strings.Contains(text, "no connection to RabbitMQ")
			})
			if _, err := broker.Dial(t.Context(), broker.Config{URLs: func() ([]string, error) { return []string{as("first-password")}, nil }}); err == nil {
				t.Error("the old password is accepted")
			}
			writeSecret(t, dir, "rabbitmq-url", as("second-password")+"\n")
			eventually.True(t, "the new password is used", func() bool { code, _ := readyz(c); return code == http.StatusOK })
		})
	})
	t.Run("frozen", func(t *testing.T) {
		faultRun(t, private.URL, func(c *running, _ *function) {
			if err := private.Pause(); err != nil {
				t.Fatal(err)
			}
			eventually.True(t, "the silence is noticed", func() bool { code, _ := readyz(c); return code != http.StatusOK })
			if err := private.Resume(); err != nil {
				t.Fatal(err)
			}
		})
	})
}

func TestBrokerURLIsReadAnew(t *testing.T) {
	t.Parallel()
	proxy := brokertest.NewProxy(t, nodeOf(t).URL())
	var current atomic.Value
	current.Store(proxy.Through(nodeOf(t).URL()))
	faultRun(t, func() string { return current.Load().(string) }, func(*running, *function) {
		current.Store(nodeOf(t).URL())
		proxy.SetDown(true)
		proxy.Cut()
	})
}

// The queue is deleted under the consumer and declared again.
func TestQueueIsDeleted(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, batched)
	c := startConnector(t, g, nil)
	eventually.True(t, "ready", func() bool { code, _ := readyz(c); return code == http.StatusOK })
	conn := dialNode(t)
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	p := broker.NewPublisher(broker.Config{URLs: nodeURLs(t)})
	defer p.Close()
	eventually.True(t, "the queue is there again", func() bool { return p.Publish(t.Context(), events(queue, "e", 1)) == nil })
	eventually.True(t, "it is consumed", func() bool { once, _ := f.done(); return once == 1 })
}

func TestWrongQueueIsToldWhatToDo(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	conn := dialNode(t)
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	g := newGateway(t)
	f := g.add("fn", queue, batched)
	c := startConnector(t, g, nil)
	eventually.True(t, "it is told", func() bool { _, text := readyz(c); return strings.Contains(text, "rabbitmqctl delete_queue "+queue) })
	if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "ready", func() bool { code, _ := readyz(c); return code == http.StatusOK })
	publish(t, events(queue, "e", 1)...)
	eventually.True(t, "it is consumed", func() bool { once, _ := f.done(); return once == 1 })
}

// Two connectors share the work, and one continues after the other has ended.
func TestTwoConnectors(t *testing.T) {
	t.Parallel()
	proxy := brokertest.NewProxy(t, nodeOf(t).URL())
	var (
		second *running
		queue  string
	)
	faultRun(t, nodeOf(t).URL, func(c *running, f *function) {
		g := &gateway{server: httptest.NewServer(nil)}
		t.Cleanup(g.server.Close)
		target, err := url.Parse(c.cfg.GatewayURL)
		if err != nil {
			t.Fatal(err)
		}
		g.server.URL = target.String()
		second = startConnector(t, g, func(cfg *Config) {
			cfg.Broker = func() ([]string, error) { return []string{proxy.Through(nodeOf(t).URL())}, nil }
		})
		queue = f.annotations[annotationTopic]
		eventually.True(t, "both work", func() bool { return second.counters(t, queue)["received"] > 0 })
		proxy.SetDown(true)
		proxy.Cut()
	})
	second.checkIdentity(t, second.counters(t, queue))
}
