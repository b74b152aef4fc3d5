package redis

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"parkstream/shared/eventually"
	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
)

// A stopped Redis neither answers nor fails. Scripts and other commands nevertheless
// end in time, for every kind of Redis and with any repetitions in the URL.
func TestASilentRedis(t *testing.T) {
	primary := instancetest.Redis(t)
	behind := instancetest.Redis(t)
	replica := instancetest.RedisReplica(t, behind)
	sentinel := instancetest.Sentinel(t, behind)
	other := instancetest.Redis(t)
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
			eventually.Succeeds(t, "every node answers", exists)
			run := func(ctx context.Context) error {
				_, err := text(ctx, client, setScript, "park:{a}:")
				return err
			}
			get := func(ctx context.Context) error { return client.Current().Exists(ctx, "park:{a}:").Err() }
			eventually.Succeeds(t, "every node takes writes", func() error { return run(t.Context()) })
			for _, node := range tt.silent {
				defer pause(t, node)()
			}
			silent := make(chan error, 1)
			go func() { silent <- exists() }()
			// The first call takes the node's whole timeout, later ones none.
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
			// A caller that got the client before its replacement does not wait for its
			// node.
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
			eventually.Succeeds(t, "every node answers again", func() error { return errors.Join(run(t.Context()), get(t.Context())) })
		})
	}
}

// stopped is a node behind the hook of silence. It answers nothing until it is resumed.
type stopped struct {
	hook    *silence
	resumed atomic.Bool
}

// ask sends the node a command and returns the duration. Several words are a pipeline.
func (s *stopped) ask(ctx context.Context, words string) (time.Duration, error) {
	start := time.Now()
	answer := func(ctx context.Context) error {
		if s.resumed.Load() {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
	var cmds []redis.Cmder
	for word := range strings.FieldsSeq(words) {
		cmds = append(cmds, redis.NewStatusCmd(ctx, word))
	}
	var err error
	if len(cmds) == 1 {
		err = s.hook.ProcessHook(func(ctx context.Context, _ redis.Cmder) error { return answer(ctx) })(ctx, cmds[0])
	} else {
		err = s.hook.ProcessPipelineHook(func(ctx context.Context, _ []redis.Cmder) error { return answer(ctx) })(ctx, cmds)
	}
	return time.Since(start), err
}

// A silent node is remembered. One call per interval takes its timeout, all others fail
// at once, and an answer ends the silence.
func TestSilenceIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &stopped{hook: newSilence(timeouts{}, Settings{})}
		takes := func(word string, want time.Duration) {
			t.Helper()
			took, err := node.ask(t.Context(), word)
			if _, ok := errors.AsType[silentError](err); took != want || !ok {
				t.Errorf("%s takes %s, want %s: error %v", word, took, want, err)
			}
		}
		// Another node has the topology, while this one may only be busy.
		takes("cluster", topologyTimeout)
		takes("cluster", 0)
		takes("get", answerTimeout)
		takes("get", 0)
		takes("get set", 0)
		for range 3 {
			time.Sleep(silentFor)
			var calls sync.WaitGroup
			var long atomic.Int64
			for range 20 {
				calls.Go(func() {
					if took, _ := node.ask(t.Context(), "get"); took > 0 {
						long.Add(1)
					}
				})
			}
			calls.Wait()
			if long.Load() != 1 {
				t.Errorf("%d of 20 calls take the node's time, want 1", long.Load())
			}
		}
		time.Sleep(silentFor)
		node.resumed.Store(true)
		for _, word := range []string{"get", "cluster", "get set"} {
			if took, err := node.ask(t.Context(), word); err != nil || took > 0 {
				t.Errorf("%s of a resumed node takes %s: error %v", word, took, err)
			}
		}
	})
}

// A node is not silent if the caller's own time is shorter than the node's, or if it
// answered another call.
func TestNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &stopped{hook: newSilence(timeouts{}, Settings{})}
		reached := func(what string) {
			t.Helper()
			node.resumed.Store(true)
			if _, err := node.ask(t.Context(), "get"); err != nil {
				t.Errorf("after %s: %v", what, err)
			}
			node.resumed.Store(false)
		}
		ctx, cancel := context.WithTimeout(t.Context(), answerTimeout-time.Second)
		_, _ = node.ask(ctx, "get")
		cancel()
		reached("an impatient caller")
		time.Sleep(time.Second)
		var slow sync.WaitGroup
		slow.Go(func() { _, _ = node.ask(t.Context(), "get") })
		time.Sleep(answerTimeout / 2)
		reached("a second call during the first")
		slow.Wait()
		reached("a slow command beside others")
	})
}

// The timeout of a node is the longest timeout in its URL.
func TestSilenceOfAURL(t *testing.T) {
	for url, want := range map[string]time.Duration{
		"redis://h": 3 * time.Second,
		"redis://h?read_timeout=1s&dial_timeout=1s":         3 * time.Second,
		"redis://h?read_timeout=4s":                         4 * time.Second,
		"redis+cluster://h?dial_timeout=5s&read_timeout=4s": 5 * time.Second,
		"redis+sentinel://h?master_name=m&read_timeout=6s":  6 * time.Second,
		"redis://h?read_timeout=-1":                         0,
		"redis+cluster://h?read_timeout=-1&dial_timeout=5s": 0,
		"redis+sentinel://h?master_name=m&read_timeout=-1":  0,
	} {
		for n, replicas := range []time.Duration{0, 4 * time.Second, 4 * time.Second} {
			s := Settings{Replicas: n, ReplicasTimeout: 2 * time.Second}
			var given timeouts
			client, err := parse(url, s, &given)
			if err != nil {
				t.Fatal(err)
			}
			_ = client.Close()
			if h := newSilence(given, s); h.timeout != want || h.replicas != replicas {
				t.Errorf("%s with %d replicas: %s and %s for replicas, want %s and %s", url, n, h.timeout, h.replicas, want, replicas)
			}
		}
	}
}

// A node is not silent if calls that wait for a replica use all its connections.
func TestWaitingForReplicasIsNoSilence(t *testing.T) {
	t.Parallel()
	primary := instancetest.Redis(t)
	replica := instancetest.RedisReplica(t, primary)
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
	eventually.True(t, "both connections wait", func() bool { return strings.Count(a.ClientList(t.Context()).Val(), "cmd=wait") == 2 })
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

// A Redis that is down refuses connections. It is not silent and is used as soon as it
// is back.
func TestARefusedConnectionIsNoSilence(t *testing.T) {
	node := instancetest.Redis(t)
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
