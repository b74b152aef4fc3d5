package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"parkstream/shared/eventually"
	"parkstream/shared/instance"
)

// Parts die while events flow: each event is done exactly once or is a dead letter with
// its reason. Every part is a process of its own.
func TestFaults(t *testing.T) {
	s, _ := startClosed(t, nil, t.TempDir(), "--no-cron", "--no-connector")
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
		{"the gateway is down for 20 s", func(r *faultRun) {
			r.gateway.answer.Store(&refuse)
			r.wait(20 * time.Second)
			r.gateway.answer.Store(nil)
		}},
		{"the connector's token is another one for 5 s", func(r *faultRun) {
			// The processors read it before the connector does: they refuse what it sends.
			token := []byte("rotated-" + r.s.secret(r.t, "connector-token"))
			give := func(dir string) {
				if err := os.WriteFile(filepath.Join(dir, "connector-token"), token, 0o600); err != nil {
					r.t.Fatal(err)
				}
			}
			give(filepath.Join(r.s.dir, "secrets"))
			r.wait(5 * time.Second)
			give(r.connectors[0].secrets)
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
			// As when another instance replaces it: requests to the old one get no
			// response, with or without effect, and its connections stay open.
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
			// Each attempt costs a restart of the function, which is delayed longer each time.
			c := r.connectors[0]
			c.env = append(c.env, "MAX_ATTEMPTS=5")
			c.terminate(r.t)
			c.restart(r.t)
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
