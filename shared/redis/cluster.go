package redis

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// clusterBackoff has the delays before calls are repeated after a change of the cluster
// or a lost connection.
var clusterBackoff = []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond}

// reloadTimeout bounds a reload of the topology. It asks one node after the other until
// one answers. Nodes found silent are skipped the next time.
const reloadTimeout = 3 * topologyTimeout

// runCluster runs calls at the masters of their keys, at all masters concurrently. The
// cluster pipeline of go-redis is unsuitable: it sends commands without a key, such as
// WAIT, to any node. It also follows ASK while a slot is moved from one master to
// another. Our scripts declare only the prefix of the keys that they use, so the new
// master would begin an empty site beside the data on the old one. Here such a call
// fails until the slot has moved.
func (c *Client) runCluster(ctx context.Context, cluster *redis.ClusterClient, calls []*Call, eval evaluate) {
	for _, delay := range append(slices.Clone(clusterBackoff), 0) {
		var wg sync.WaitGroup
		for master, calls := range byMaster(ctx, cluster, calls) {
			wg.Go(func() { c.pipeline(ctx, master, calls, eval) })
		}
		wg.Wait()
		if len(failed(calls, timedOut)) > 0 {
			cluster.ReloadState(ctx) // runs concurrently: a replica may have taken over
		}
		calls = failed(calls, changing)
		if len(calls) == 0 || delay == 0 || !sleep(ctx, delay) {
			return
		}
		// The topology is read before anything else.
		asked, cancel := context.WithTimeout(ctx, reloadTimeout)
		_ = cluster.ForEachMaster(asked, func(context.Context, *redis.Client) error { return nil })
		cancel()
	}
}

// byMaster groups calls by master. A call with an unknown master gets the error.
func byMaster(ctx context.Context, cluster *redis.ClusterClient, calls []*Call) map[*redis.Client][]*Call {
	groups := make(map[*redis.Client][]*Call)
	for _, call := range calls {
		key := ""
		if len(call.Keys) > 0 {
			key = call.Keys[0]
		}
		master, err := cluster.MasterForKey(ctx, key)
		if err != nil {
			call.err = err
			continue
		}
		groups[master] = append(groups[master], call)
	}
	return groups
}

// changing reports whether calls may be repeated after an error: a master was replaced,
// a slot is being moved, or a connection failed. A timeout is not among them: it would
// recur.
func changing(err error) bool {
	if _, answered := errors.AsType[redis.Error](err); !answered {
		_, replicas := errors.AsType[*ReplicasError](err)
		return !replicas && !timedOut(err)
	}
	return hasPrefix(err, "MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "READONLY", "MASTERDOWN", "LOADING")
}

// sleep waits for a delay. It returns false if the context ends first.
func sleep(ctx context.Context, delay time.Duration) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
