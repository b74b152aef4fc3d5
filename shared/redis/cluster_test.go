package redis

import (
	"errors"
	"fmt"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/instance"
)

// siteOf returns the prefix of a site whose slot a master has.
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

// Every shard waits for its own replicas; a slot that moves and a replica that takes
// over cost a retry at most.
func TestClusterWaitsForReplicas(t *testing.T) {
	nodes := instance.RedisOfThreeForTest(t)
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
	await(t, func() error { return client.CheckReplicas(t.Context()) })
	await(t, run)

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
	await(t, run)

	// A planned failover: the replica becomes the master, and the master its replica.
	command(t, nodes.Replicas[0], "CLUSTER", "FAILOVER")
	if err := nodes.Replicas[0].Promoted(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, run)
	nodes.Masters[0], nodes.Replicas[0] = nodes.Replicas[0], nodes.Masters[0]

	t.Run("slots move", func(t *testing.T) { slotsMove(t, client, nodes) })

	if err := nodes.Masters[2].Kill(); err != nil {
		t.Fatal(err)
	}
	// One replica is all that the shard had.
	alone := siteOf(t, client, nodes.Masters[2])
	await(t, func() error {
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

// While a slot is on its way, a script whose keys only begin with what it names must
// run at neither master; when it has arrived, the client finds it.
func slotsMove(t *testing.T, client *Client, nodes *instance.RedisCluster) {
	from, to := nodes.Masters[0], nodes.Masters[1]
	prefix := siteOf(t, client, from)
	slot := command(t, from, "CLUSTER", "KEYSLOT", prefix)
	fromID, toID := command(t, from, "CLUSTER", "MYID"), command(t, to, "CLUSTER", "MYID")
	command(t, to, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	command(t, from, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	// No key of that name exists, as none has that of a prefix.
	command(t, from, "DEL", prefix)
	writeBeside := NewScript(`redis.call('SET', KEYS[1] .. 'e', ARGV[1]) return ARGV[1]`)
	if got, err := text(t.Context(), client, writeBeside, prefix); err == nil {
		t.Errorf("a script of a slot on its way answers %q", got)
	}
	if n := command(t, to, "CLUSTER", "COUNTKEYSINSLOT", slot); n != int64(0) {
		t.Errorf("the new master has %d keys already", n)
	}
	// Keys move, then the slot does.
	for _, key := range command(t, from, "CLUSTER", "GETKEYSINSLOT", slot, 10).([]any) {
		command(t, from, "DEL", key)
	}
	for _, node := range []*instance.Redis{to, from, nodes.Masters[2]} {
		command(t, node, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	}
	await(t, func() error {
		_, err := text(t.Context(), client, writeBeside, prefix)
		return err
	})
	if n := command(t, to, "EXISTS", prefix+"e"); n != int64(1) {
		t.Error("the new master does not have the key")
	}
}
