package redis

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// clusterBackoff is how long to wait before calls are sent again that met a
// cluster in change, or a connection that was cut.
var clusterBackoff = []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond}

// reloadTimeout bounds how long is asked which master has which slot: one node after the
// other, until one answers. Those found silent are not asked again the next time.
const reloadTimeout = 3 * topologyTimeout

// runCluster runs calls at the masters of their keys, at all at the same time. The
// pipeline of go-redis for a whole cluster does not do: it sends what has no key,
// such as WAIT, to any node. It also follows ASK, while a slot is moved from one
// master to another; but what our scripts name as key is the prefix of those that
// they use, so that the new master would begin a site from nothing beside what the
// old one still has. Here such a call fails until the slot has moved.
func (c *Client) runCluster(ctx context.Context, cluster *redis.ClusterClient, calls []*Call, eval evaluate) {
	for _, delay := range append(slices.Clone(clusterBackoff), 0) {
		var wg sync.WaitGroup
		for master, calls := range byMaster(ctx, cluster, calls) {
			wg.Go(func() { c.pipeline(ctx, master, calls, eval) })
		}
		wg.Wait()
		if len(failed(calls, timedOut)) > 0 {
			cluster.ReloadState(ctx) // beside this call: a replica may have taken over
		}
		calls = failed(calls, changing)
		if len(calls) == 0 || delay == 0 || !sleep(ctx, delay) {
			return
		}
		// Which master has which slot is asked for before anything else is done.
		asked, cancel := context.WithTimeout(ctx, reloadTimeout)
		_ = cluster.ForEachMaster(asked, func(context.Context, *redis.Client) error { return nil })
		cancel()
	}
}

// byMaster groups calls; those whose master is not known hold the error.
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

// changing reports whether an error is that of a cluster in which a master was
// replaced or a slot is on its way, or of a connection that failed: calls may be sent
// again. What was waited for in vain would be so again.
func changing(err error) bool {
	if _, answered := errors.AsType[redis.Error](err); !answered {
		_, replicas := errors.AsType[*ReplicasError](err)
		return !replicas && !timedOut(err)
	}
	return hasPrefix(err, "MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "READONLY", "MASTERDOWN", "LOADING")
}

// sleep reports whether the context still lasts after a delay.
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
