package test

import (
	"context"
	"testing"
	"time"

	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
)

// waitForOne has every script wait for one replica, for less time than a call of the
// connector of these tests lasts.
var waitForOne = []string{"REDIS_REPLICAS=1", "REDIS_REPLICAS_TIMEOUT=500ms"}

// patience makes up for the short delays between the attempts of these tests.
var patience = []string{"MAX_ATTEMPTS=30"}

// The replica lags when the primary dies: what it has not got yet was acknowledged
// by nothing, and is delivered again.
func TestFaultsOfASentinel(t *testing.T) {
	primary := instancetest.Redis(t)
	replica := instancetest.RedisReplica(t, primary)
	sentinel := instancetest.Sentinel(t, primary)
	s := startSystemWith(t, waitForOne, t.TempDir(), "--no-cron", "--no-connector", "--redis-url", sentinel.URL())
	s.connectorEnv = patience
	runFault(t, s, "a Redis replica lags, its primary is killed", func(r *faultRun) {
		r.failOver(primary, replica)
		if err := primary.Follow(t.Context(), replica); err != nil {
			t.Fatal(err)
		}
	})
}

// The shard that has the site loses its master while its replica lags.
func TestFaultsOfARedisCluster(t *testing.T) {
	cluster := instancetest.RedisCluster(t)
	s := startSystemWith(t, waitForOne, t.TempDir(), "--no-cron", "--no-connector", "--redis-url", cluster.URL())
	s.connectorEnv = patience
	runFault(t, s, "of three Redis shards a master is killed", func(r *faultRun) {
		shard, err := cluster.Shard(t.Context(), "park:{"+r.site+"}:")
		if err != nil {
			t.Fatal(err)
		}
		r.failOver(cluster.Masters[shard], cluster.Replicas[shard])
	})
}

// failOver has a replica lag for two seconds, kills its primary, and starts that
// again when the replica has taken over: there has to be one to wait for. Without its
// connection the replica has only what was in it; the kernel alone would keep
// megabytes for it.
func (r *faultRun) failOver(primary, replica *instance.Redis) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	step := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	step(replica.Pause())
	_, err := primary.Command(ctx, "CLIENT", "KILL", "TYPE", "REPLICA")
	step(err)
	r.wait(2 * time.Second)
	step(primary.Kill())
	step(replica.Resume())
	step(replica.Promoted(ctx))
	step(primary.Restart(ctx))
}
