package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"parkstream/shared/eventually"
	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
)

var (
	setScript  = NewScript(`redis.call('SET', KEYS[1], ARGV[1]) return ARGV[1]`)
	idleScript = NewScript(`return ARGV[1]`) // writes nothing
)

// waitingClient returns a separate client, as another process has one, that waits for
// replicas. Most calls of the tests wait in vain.
func waitingClient(t *testing.T, url string, n int) *Client {
	t.Helper()
	return patientClient(t, url, n, 300*time.Millisecond)
}

func patientClient(t *testing.T, url string, n int, timeout time.Duration) *Client {
	t.Helper()
	client, err := Open(URL(url), WithSettings(Settings{Replicas: n, ReplicasTimeout: timeout}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func text(ctx context.Context, client *Client, script *Script, keys ...string) (string, error) {
	call := Call{Script: script, Keys: keys, Args: []any{"done"}}
	client.Run(ctx, &call)
	return call.Text()
}

// succeeds waits until a call succeeds: a newly connected replica first writes its
// append-only file, and test machines are busy.
func succeeds(t *testing.T, client *Client, script *Script) {
	t.Helper()
	eventually.Succeeds(t, "the write is done", func() error {
		got, err := text(t.Context(), client, script, "park:{a}:")
		if err == nil && got != "done" {
			err = fmt.Errorf("answer %q", got)
		}
		return err
	})
}

// missing reports whether an error is that of missing acknowledgements by replicas.
func missing(t *testing.T, what string, err error, asked, acknowledged int) {
	t.Helper()
	lost, ok := errors.AsType[*ReplicasError](err)
	if !ok || lost.Asked != asked || lost.Acknowledged != acknowledged || lost.Disk {
		t.Errorf("%s: error %v, want %d of %d replicas", what, err, acknowledged, asked)
	}
}

func pause(t *testing.T, node *instance.Redis) (resume func()) {
	t.Helper()
	if err := node.Pause(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := node.Resume(); err != nil {
			t.Fatal(err)
		}
	}
}

// While the replica is stopped, no call succeeds: neither one that writes nor a
// repeated one over another connection that writes nothing. Afterwards all succeed.
func TestWaitsForReplicas(t *testing.T) {
	primary := instancetest.Redis(t)
	replica := instancetest.RedisReplica(t, primary)
	ctx := t.Context()
	client := waitingClient(t, primary.URL(), 1)
	succeeds(t, client, setScript)
	resume := pause(t, replica)
	_, err := text(ctx, client, setScript, "park:{a}:")
	missing(t, "a write", err, 1, 0)
	for _, key := range []string{"park:{a}:", "park:sites"} {
		_, err = text(ctx, waitingClient(t, primary.URL(), 1), idleScript, key)
		missing(t, "a call that writes nothing, on a new connection", err, 1, 0)
	}
	if err := client.Current().ScriptFlush(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	_, err = text(ctx, client, setScript, "park:{a}:")
	missing(t, "a call that Redis has forgotten the script of", err, 1, 0)

	// The text does not depend on the duration of the wait, so logs and dead letters
	// are grouped.
	reason := err.Error()
	for _, left := range []time.Duration{1000 * time.Millisecond, 1003 * time.Millisecond, 1070 * time.Millisecond} {
		short, cancel := context.WithTimeout(ctx, left)
		_, err = text(short, patientClient(t, primary.URL(), 1, maxReplicasTimeout), setScript, "park:{a}:")
		cancel()
		missing(t, "a call whose context ends before the time of the replicas", err, 1, 0)
		if err != nil && err.Error() != reason {
			t.Errorf("the reason is %q, and %q at another time", err, reason)
		}
	}

	resume()
	succeeds(t, client, setScript)
	succeeds(t, client, idleScript)
	_, err = text(ctx, waitingClient(t, primary.URL(), 2), setScript, "park:{a}:")
	missing(t, "with a replica too few", err, 2, 1)
	resume = pause(t, replica)
	defer resume()
	if got, err := text(ctx, waitingClient(t, primary.URL(), 0), setScript, "park:{a}:"); got != "done" || err != nil {
		t.Errorf("without waiting: %q, %v", got, err)
	}
}

// From Redis 7.2 on WAIT does not wait if its connection has written nothing. Therefore
// each round trip writes.
func TestEachRoundTripWrites(t *testing.T) {
	primary := instancetest.Redis(t)
	instancetest.RedisReplica(t, primary)
	client := waitingClient(t, primary.URL(), 1)
	offset := func() (offset string) {
		info, err := client.Current().Info(t.Context(), "replication").Result()
		if err != nil {
			t.Fatal(err)
		}
		_, offset, _ = strings.Cut(info, "master_repl_offset:")
		offset, _, _ = strings.Cut(offset, "\r\n")
		return offset
	}
	for range 2 { // with and without the script's source
		before := offset()
		succeeds(t, client, idleScript)
		if after := offset(); after == before {
			t.Errorf("nothing was written after offset %s", before)
		}
	}
	if ttl := client.Current().PTTL(t.Context(), "park:{a}:replicated").Val(); ttl <= 0 || ttl > time.Minute {
		t.Errorf("what was written expires in %s", ttl)
	}
}

// Calls that only read succeed while replicas are missing.
func TestReadsWaitForNoReplica(t *testing.T) {
	client := waitingClient(t, instancetest.Redis(t).URL(), 1)
	r := NewRegistry(client, "park:registry")
	if _, err := r.Admit(t.Context(), []string{"a"}, time.Now().Add(time.Hour), 10); !errors.As(err, new(*ReplicasError)) {
		t.Errorf("without a replica a name was registered: %v", err)
	}
	if names, err := r.Names(t.Context()); err != nil || !slices.Equal(names, []string{"a"}) {
		t.Errorf("names %v, error %v", names, err)
	}
	if err := client.rewrite(t.Context(), false); err != nil {
		t.Errorf("look for what is pending: %v", err)
	}
}

// If the server supports it, a write in the replica's memory alone is not enough. An
// older server can promise no more.
func TestWaitsForAppendOnlyFiles(t *testing.T) {
	for _, fsync := range []string{"always", "everysec"} {
		primary := instancetest.Redis(t)
		instancetest.RedisReplica(t, primary, "appendfsync "+fsync)
		succeeds(t, patientClient(t, primary.URL(), 1, 5*time.Second), setScript)
	}
	primary := instancetest.Redis(t)
	instancetest.RedisReplica(t, primary, "appendonly no")
	client := waitingClient(t, primary.URL(), 1)
	_, err := primary.Command(t.Context(), "WAITAOF", 0, 0, 1)
	hasWaitAOF := err == nil
	eventually.Succeeds(t, "the write is acknowledged in memory", func() error {
		_, err = text(t.Context(), client, setScript, "park:{a}:")
		if lost, ok := errors.AsType[*ReplicasError](err); ok && !lost.Disk {
			return err
		}
		return nil
	})
	if lost, ok := errors.AsType[*ReplicasError](err); ok != hasWaitAOF || ok && (!lost.Primary || lost.Acknowledged != 0) {
		t.Errorf("a replica without a file: error %v; the server has WAITAOF: %t", err, hasWaitAOF)
	}
	// Without the primary's own file, the replica's file is not waited for.
	if _, err := primary.Command(t.Context(), "CONFIG", "SET", "appendonly", "no"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		succeeds(t, client, setScript)
	}
}

func TestCheckReplicas(t *testing.T) {
	primary := instancetest.Redis(t)
	check := func(n int, want string) {
		t.Helper()
		err := waitingClient(t, primary.URL(), n).CheckReplicas(t.Context())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("REDIS_REPLICAS %d: error %v, want %q", n, err, want)
		}
		if detailed, ok := err.(interface{ Detail() string }); err != nil && (!ok || strings.Contains(detailed.Detail(), "127.0.0.1")) {
			t.Errorf("REDIS_REPLICAS %d: error %v has nothing to show, or an address", n, err)
		}
	}
	check(0, "")
	check(1, "has 0 replicas online and REDIS_REPLICAS is 1")
	replica := instancetest.RedisReplica(t, primary)
	eventually.Succeeds(t, "the replica is online", func() error { return waitingClient(t, primary.URL(), 1).CheckReplicas(t.Context()) })
	check(0, "has replicas (1) and REDIS_REPLICAS is 0")
	check(1, "")
	check(2, "has 1 replicas online and REDIS_REPLICAS is 2")
	if err := replica.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually.Succeeds(t, "the primary has no replica", func() error {
		if err := waitingClient(t, primary.URL(), 0).CheckReplicas(t.Context()); err != nil {
			return err
		}
		return nil
	})
	check(1, "has 0 replicas online")
}

type checks map[string]string

func (c checks) OnReady(name string, _ func(context.Context) error)   { c[name] = "ready" }
func (c checks) OnWarning(name string, _ func(context.Context) error) { c[name] = "warning" }

func TestRegisterReplicas(t *testing.T) {
	for n, want := range []string{"warning", "ready", "ready"} {
		got := make(checks)
		waitingClient(t, "redis://127.0.0.1:1", n).RegisterReplicas(got)
		if got["redis-replicas"] != want {
			t.Errorf("REDIS_REPLICAS %d: %v, want %s", n, got, want)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		settings Settings
		want     string
	}{
		{Settings{0, 3 * time.Second}, ""},
		{Settings{9, 10 * time.Millisecond}, ""},
		{Settings{-1, 7 * time.Second}, "REDIS_REPLICAS is -1, want 0 to 9"},
		{Settings{10, 0}, "REDIS_REPLICAS is 10, want 0 to 9\nREDIS_REPLICAS_TIMEOUT is 0s, want 10ms to 7s: a wait takes at most a third of what is left of its call (exec_timeout)"},
		{Settings{1, 7*time.Second + 1}, "REDIS_REPLICAS_TIMEOUT is 7.000000001s, want 10ms to 7s: a wait takes at most a third of what is left of its call (exec_timeout)"},
		{Settings{1, 20 * time.Second}, "REDIS_REPLICAS_TIMEOUT is 20s, want 10ms to 7s: a wait takes at most a third of what is left of its call (exec_timeout)"},
	} {
		if err := tt.settings.Validate(); tt.want == "" && err != nil || tt.want != "" && fmt.Sprint(err) != tt.want {
			t.Errorf("%+v: %v, want %q", tt.settings, err, tt.want)
		}
	}
}

// The connection outlasts the wait for replicas.
func TestReadTimeout(t *testing.T) {
	for _, tt := range []struct {
		given, want time.Duration
		replicas    int
	}{
		{0, 3 * time.Second, 0},
		{time.Second, time.Second, 0},
		{-1, -1, 1},
		{0, 9 * time.Second, 1},
		{time.Second, 7 * time.Second, 1},
	} {
		if got := readTimeout(tt.given, Settings{tt.replicas, 3 * time.Second}); got != tt.want {
			t.Errorf("read timeout %s with %d replicas is %s, want %s", tt.given, tt.replicas, got, tt.want)
		}
	}
}
