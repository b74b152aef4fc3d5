package test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// connectorProcess is a connector as a process of its own.
type connectorProcess struct {
	program string
	secrets string // its folder of them
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
		"connector-token":     r.s.secret(r.t, "connector-token"),
	} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(value), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	address := fmt.Sprint("127.0.0.1:", freePort(r.t))
	c := &connectorProcess{
		program: r.s.program, secrets: secrets, address: address, log: new(lockedBuffer),
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
