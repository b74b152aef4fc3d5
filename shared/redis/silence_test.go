package redis

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"parkstream/shared/instance"
)

// A Redis that is stopped, so that it neither answers nor fails, uses up the time of
// neither a script nor another command, whatever its kind is and whatever its URL repeats.
func TestASilentRedis(t *testing.T) {
	primary := instance.RedisForTest(t)
	behind := instance.RedisForTest(t)
	replica := instance.RedisReplicaForTest(t, behind)
	sentinel := instance.SentinelForTest(t, behind)
	other := instance.RedisForTest(t)
	for name, tt := range map[string]struct {
		url    string
		silent []*instance.Redis
	}{
		"standalone": {primary.URL(), []*instance.Redis{primary}},
		"Sentinel":   {sentinel.URL(), []*instance.Redis{replica, behind}}, // no failover
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := waitingClient(t, tt.url, 0)
			s := &secret{url: tt.url}
			rotated := rotated(t, s)
			replaced := rotated.Current()
			exists := func() error { return replaced.Exists(t.Context(), "park:{a}:").Err() }
			await(t, exists)
			run := func(ctx context.Context) error {
				_, err := text(ctx, client, setScript, "park:{a}:")
				return err
			}
			get := func(ctx context.Context) error { return client.Current().Exists(ctx, "park:{a}:").Err() }
			await(t, func() error { return run(t.Context()) })
			for _, node := range tt.silent {
				defer pause(t, node)()
			}
			silent := make(chan error, 1)
			go func() { silent <- exists() }()
			// The first call takes the node's time, those after it take none.
			for i, do := range []func(context.Context) error{get, run, get} {
				bound := 2 * answerTimeout
				if i > 0 {
					bound = answerTimeout - time.Second
				}
				ctx, cancel := context.WithTimeout(t.Context(), bound)
				err := do(ctx)
				if ctx.Err() != nil {
					t.Errorf("call %d: its time is used up", i)
				}
				cancel()
				if _, ok := errors.AsType[silentError](err); !ok {
					t.Errorf("call %d: error %v", i, err)
				}
			}
			// Who got the client before it was replaced does not pay for its node.
			if _, ok := errors.AsType[silentError](<-silent); !ok {
				t.Error("the node was not silent: the test shows nothing")
			}
			s.set(other.URL(), nil)
			if err := rotated.Problem(t.Context()); err != nil || rotated.Current() == replaced {
				t.Fatalf("the client is not replaced: %v", err)
			}
			if err := exists(); err != nil {
				t.Errorf("a command of the replaced client: %v", err)
			}
			for _, node := range tt.silent {
				if err := node.Resume(); err != nil {
					t.Fatal(err)
				}
			}
			await(t, func() error { return errors.Join(run(t.Context()), get(t.Context())) })
		})
	}
}

// A node whose connections are all taken by calls that wait for a replica is not silent.
func TestWaitingForReplicasIsNoSilence(t *testing.T) {
	t.Parallel()
	primary := instance.RedisForTest(t)
	replica := instance.RedisReplicaForTest(t, primary)
	client := patientClient(t, primary.URL()+"?pool_size=2&pipeline_pool_size=-1", 1, maxReplicasTimeout)
	succeeds(t, client, setScript)
	a := admin(t, primary.URL())
	resume := pause(t, replica)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer resume()
	for range 2 {
		calls.Go(func() {
			if _, err := text(t.Context(), client, setScript, "park:{a}:"); err != nil {
				t.Errorf("a call that waits for the replica: %v", err)
			}
		})
	}
	eventually(t, "both connections wait", func() bool { return strings.Count(a.ClientList(t.Context()).Val(), "cmd=wait") == 2 })
	exists := func() error { return client.Current().Exists(t.Context(), "park:{a}:").Err() }
	if err := exists(); !errors.Is(err, busyError{}) {
		t.Errorf("error %v, want that of a pool without a free connection", err)
	}
	resume()
	calls.Wait()
	if err := exists(); err != nil {
		t.Errorf("the node is taken for silent: %v", err)
	}
}

// A Redis that is not there refuses connections: that is no silence, and it is used as
// soon as it is back.
func TestARefusedConnectionIsNoSilence(t *testing.T) {
	node := instance.RedisForTest(t)
	client, err := Open(URL(node.URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := client.Current().Set(t.Context(), "key", 1, 0).Err(); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a command: %v", err)
	}
	call := &Call{Script: NewScript("return 1"), Keys: []string{"key"}}
	client.Run(t.Context(), call)
	if _, err := call.Int64(); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a script: %v", err)
	}
	if err := node.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := client.Current().Set(t.Context(), "key", 1, 0).Err(); err != nil {
		t.Errorf("after the start: %v", err)
	}
}
