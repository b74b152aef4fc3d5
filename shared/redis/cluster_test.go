package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/eventually"
	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
)

// siteOf returns the prefix of a site whose slot belongs to a master.
func siteOf(t *testing.T, client *Client, master *instance.Redis) string {
	t.Helper()
	cluster := client.Current().(*goredis.ClusterClient)
	for i := range 1000 {
		key := fmt.Sprintf("park:{site%d}:", i)
		node, err := cluster.MasterForKey(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if node.Options().Addr == fmt.Sprint("127.0.0.1:", master.Port()) {
			return key
		}
	}
	t.Fatalf("no site is on the master at port %d", master.Port())
	return ""
}

func command(t *testing.T, node *instance.Redis, args ...any) any {
	t.Helper()
	answer, err := node.Command(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// Every shard waits for its own replicas. A moved slot or a failover costs a retry at
// most.
func TestClusterWaitsForReplicas(t *testing.T) {
	nodes := instancetest.RedisCluster(t)
	client := waitingClient(t, nodes.URL(), 1)
	var sites []string
	for _, master := range nodes.Masters {
		sites = append(sites, siteOf(t, client, master))
	}
	var calls []*Call
	run := func() error {
		calls = nil
		for _, site := range sites {
			calls = append(calls, &Call{Script: setScript, Keys: []string{site}, Args: []any{"done"}})
		}
		client.Run(t.Context(), calls...)
		var errs []error
		for _, call := range calls {
			_, err := call.Text()
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	eventually.Succeeds(t, "the replicas are online", func() error { return client.CheckReplicas(t.Context()) })
	eventually.Succeeds(t, "every shard takes writes", run)

	resume := pause(t, nodes.Replicas[1])
	if err := run(); err == nil {
		t.Error("a shard without its replica is no error")
	}
	for i, call := range calls {
		if _, err := call.Text(); i == 1 {
			missing(t, "the shard with a stopped replica", err, 1, 0)
		} else if err != nil {
			t.Errorf("shard %d: %v", i, err)
		}
	}
	resume()
	eventually.Succeeds(t, "every shard takes writes again", run)

	// A planned failover: the replica becomes the master, and the master its replica.
	command(t, nodes.Replicas[0], "CLUSTER", "FAILOVER")
	if err := nodes.Replicas[0].Promoted(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually.Succeeds(t, "every shard takes writes after the failover", run)
	nodes.Masters[0], nodes.Replicas[0] = nodes.Replicas[0], nodes.Masters[0]

	t.Run("slots move", func(t *testing.T) { slotsMove(t, client, nodes) })
	t.Run("the URL is rotated", func(t *testing.T) { rotates(t, nodes, sites) })
	t.Run("a node is no standalone Redis", func(t *testing.T) { aNodeIsRefused(t, nodes) })
	t.Run("one master has no file", func(t *testing.T) {
		for _, master := range nodes.Masters {
			command(t, master, "CONFIG", "SET", "appendonly", "no")
			if found, err := client.look(t.Context()); err != nil || found[unsafeAppendOnly] == "" {
				t.Errorf("found %q, error %v", found, err)
			}
			command(t, master, "CONFIG", "SET", "appendonly", "yes")
		}
	})

	if err := nodes.Masters[2].Kill(); err != nil {
		t.Fatal(err)
	}
	// The shard had only this replica.
	alone := siteOf(t, client, nodes.Masters[2])
	eventually.Succeeds(t, "the shard reports its missing replicas", func() error {
		_, err := text(t.Context(), client, setScript, alone)
		if lost, ok := errors.AsType[*ReplicasError](err); !ok || lost.Acknowledged != 0 {
			return fmt.Errorf("the shard with a killed master: error %w, want that of a master without replicas", err)
		}
		return nil
	})
	if err := client.CheckReplicas(t.Context()); err == nil {
		t.Error("a master without replicas is ready")
	}
}

// A rotation under load aborts no call, even one that waits. The new client waits for
// replicas, too.
func rotates(t *testing.T, nodes *instance.RedisCluster, sites []string) {
	s := &secret{url: nodes.URL()}
	client, err := Open(s.value, WithSettings(Settings{Replicas: 1, ReplicasTimeout: 5 * time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var load sync.WaitGroup
	defer load.Wait()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				var calls []*Call
				for _, site := range sites {
					calls = append(calls, &Call{Script: setScript, Keys: []string{site}, Args: []any{"done"}})
				}
				client.Run(t.Context(), calls...)
				_, err := client.Current().Pipelined(t.Context(), func(p goredis.Pipeliner) error {
					for _, site := range sites {
						p.Exists(t.Context(), site)
					}
					return nil
				})
				if err := errors.Join(FirstError(calls), err); err != nil {
					t.Errorf("under load: %v", err)
				}
			}
		})
	}
	for i := range 20 {
		before := client.Current()
		s.set(fmt.Sprint(nodes.URL(), "&pool_size=", 20+i), nil)
		if err := client.Problem(t.Context()); err != nil || client.Current() == before {
			t.Fatalf("rotation %d: problem %v", i, err)
		}
	}
	stop()
	load.Wait()
	resume := pause(t, nodes.Replicas[2])
	defer resume()
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = text(short, client, setScript, siteOf(t, client, nodes.Masters[2]))
	missing(t, "after the rotation, a shard with a stopped replica", err, 1, 0)
}

// The URL of a cluster's node is not accepted for a standalone Redis, regardless of the
// node's slots.
func aNodeIsRefused(t *testing.T, nodes *instance.RedisCluster) {
	s := &secret{url: nodes.URL()}
	client := rotated(t, s)
	before := client.Current()
	for _, node := range slices.Concat(nodes.Masters, nodes.Replicas) {
		s.set(strings.Replace(node.URL(), "redis+cluster:", "redis:", 1), nil)
		problem := client.Problem(t.Context())
		if unusable, ok := errors.AsType[unusableError](problem); !ok || !strings.Contains(unusable.Detail(), "MOVED") || client.Current() != before {
			t.Errorf("the node at port %d: %v, want MOVED in its detail", node.Port(), problem)
		}
	}
}

// A client that is replaced between two tries of a call stays open until the last try.
func TestNoClientIsClosedBetweenTries(t *testing.T) {
	r := instancetest.RedisClusterOfOne(t)
	s := &secret{url: r.URL()}
	client, err := Open(s.value)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	replaced := client.Current().(*goredis.ClusterClient)
	failing := func() error {
		s.set(r.URL()+"?pool_size=20", nil)
		if err := client.Problem(t.Context()); err != nil || client.Current() == replaced {
			t.Errorf("the client is not replaced: %v", err)
		}
		return errors.New("the connection was cut")
	}
	var tries atomic.Int64
	replaced.OnNewNode(func(node *goredis.Client) {
		node.AddHook(onPipeline(func() error {
			if tries.Add(1) > 1 {
				return nil
			}
			return failing()
		}))
	})
	if _, err := text(t.Context(), client, setScript, "park:{a}:"); err != nil || tries.Load() < 2 {
		t.Errorf("after %d tries: %v", tries.Load(), err)
	}
	eventually.True(t, "the replaced client is closed", func() bool {
		client.mu.Lock()
		defer client.mu.Unlock()
		return len(client.retired) == 0
	})
}

// onPipeline is a hook that may return an error instead of running a pipeline.
type onPipeline func() error

func (onPipeline) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (onPipeline) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }

func (fail onPipeline) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		if err := fail(); err != nil {
			return err
		}
		return next(ctx, cmds)
	}
}

// While a slot is moved, a script must run at neither master, because it declares only
// the prefix of its keys. After the move the client finds the slot.
func slotsMove(t *testing.T, client *Client, nodes *instance.RedisCluster) {
	from, to := nodes.Masters[0], nodes.Masters[1]
	prefix := siteOf(t, client, from)
	slot := command(t, from, "CLUSTER", "KEYSLOT", prefix)
	fromID, toID := command(t, from, "CLUSTER", "MYID"), command(t, to, "CLUSTER", "MYID")
	command(t, to, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	command(t, from, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	// No key has the name of a prefix.
	command(t, from, "DEL", prefix)
	writeBeside := NewScript(`redis.call('SET', KEYS[1] .. 'e', ARGV[1]) return ARGV[1]`)
	if got, err := text(t.Context(), client, writeBeside, prefix); err == nil {
		t.Errorf("a script of a slot on its way answers %q", got)
	}
	if n := command(t, to, "CLUSTER", "COUNTKEYSINSLOT", slot); n != int64(0) {
		t.Errorf("the new master has %d keys already", n)
	}
	// The keys move first, then the slot.
	for _, key := range command(t, from, "CLUSTER", "GETKEYSINSLOT", slot, 10).([]any) {
		command(t, from, "DEL", key)
	}
	for _, node := range []*instance.Redis{to, from, nodes.Masters[2]} {
		command(t, node, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	}
	eventually.Succeeds(t, "the new master takes the write", func() error {
		_, err := text(t.Context(), client, writeBeside, prefix)
		return err
	})
	if n := command(t, to, "EXISTS", prefix+"e"); n != int64(1) {
		t.Error("the new master does not have the key")
	}
}

// A stopped shard neither answers nor fails. It delays the calls of the other shards by
// a bounded time, with and without replicas.
func TestASilentShard(t *testing.T) {
	nodes := instancetest.RedisCluster(t)
	var sites []string
	// No node counts as dead here. A live master that a busy machine stalls would leave
	// the third one without a majority beside the silent one: it would answer CLUSTERDOWN.
	for _, node := range slices.Concat(nodes.Masters, nodes.Replicas) {
		command(t, node, "CONFIG", "SET", "cluster-node-timeout", "60000")
	}
	for shard := range nodes.Masters {
		for i := 0; len(sites) == shard; i++ {
			site := fmt.Sprintf("park:{site%d}:", i)
			of, err := nodes.Shard(t.Context(), site)
			if err != nil {
				t.Fatal(err)
			}
			if of == shard {
				sites = append(sites, site)
			}
		}
	}
	for _, tt := range []struct{ replicas, silent int }{{0, 1}, {1, 2}} {
		t.Run(fmt.Sprint("replicas: ", tt.replicas), func(t *testing.T) {
			silent := tt.silent
			client := patientClient(t, nodes.URL(), tt.replicas, 5*time.Second)
			run := func(ctx context.Context) (errs []error) {
				var calls []*Call
				for _, site := range sites {
					calls = append(calls, &Call{Script: setScript, Keys: []string{site}, Args: []any{"done"}})
				}
				client.Run(ctx, calls...)
				for _, call := range calls {
					_, err := call.Text()
					errs = append(errs, err)
				}
				return errs
			}
			eventually.Succeeds(t, "every call succeeds", func() error { return errors.Join(run(t.Context())...) })
			// The replica is stopped, too, so there is no failover.
			resumeReplica, resume := pause(t, nodes.Replicas[silent]), pause(t, nodes.Masters[silent])
			defer resumeReplica()
			defer resume()
			// A call to a node with a recent answer waits as long as replicas may take.
			under, cancel := context.WithTimeout(t.Context(), heardFor)
			run(under)
			cancel()
			// The first call takes the node's whole timeout, the second one none.
			for _, bound := range []time.Duration{2 * answerTimeout, answerTimeout - time.Second} {
				ctx, cancel := context.WithTimeout(t.Context(), bound)
				errs := run(ctx)
				if ctx.Err() != nil {
					t.Error("the time of the call is used up")
				}
				cancel()
				for i, err := range errs {
					if (err != nil) != (i == silent) {
						t.Errorf("shard %d: error %v", i, err)
					}
				}
				if _, ok := errors.AsType[silentError](errs[silent]); !ok {
					t.Errorf("the silent shard: error %v", errs[silent])
				}
			}
			resume()
			resumeReplica()
			eventually.Succeeds(t, "every call succeeds again", func() error { return errors.Join(run(t.Context())...) })
		})
	}
}

// A call during a change of the cluster asks one node after the other for the topology,
// even if some are silent.
func TestTheTopologyIsAskedOfOthers(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	var slots atomic.Pointer[string]
	address := func(url string) string {
		_, rest, _ := strings.Cut(url, "@")
		address, _, _ := strings.Cut(rest, "?")
		return address
	}
	silent := func() string {
		url, _ := blocked(t)
		return address(url)
	}
	live := address(fake(t, func(command string, _ int) string {
		switch command {
		case "hello":
			return "-ERR unknown command 'HELLO'\r\n"
		case "cluster":
			asked.Add(1)
			return *slots.Load()
		case "evalsha":
			return "-TRYAGAIN Multiple keys request during rehashing of slot\r\n"
		default:
			return "+OK\r\n"
		}
	}))
	answer := "*1\r\n*5\r\n:0\r\n:16383\r\n"
	for _, node := range []string{live, silent(), silent()} {
		host, port, _ := net.SplitHostPort(node)
		answer += fmt.Sprintf("*3\r\n$%d\r\n%s\r\n:%s\r\n$1\r\n0\r\n", len(host), host, port)
	}
	slots.Store(&answer)
	client := newClient(t, "redis+cluster://"+live)
	if _, err := text(t.Context(), client, setScript, "park:{a}:"); err == nil || !strings.Contains(err.Error(), "TRYAGAIN") {
		t.Errorf("error %v", err)
	}
	if got, want := asked.Load(), int64(1+len(clusterBackoff)); got != want {
		t.Errorf("the node that is not silent was asked %d times, want %d", got, want)
	}
}
