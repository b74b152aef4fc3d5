package instance_test

import (
	"context"
	"testing"
	"time"

	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
)

// A replica follows, a Sentinel promotes it when its primary has died, and a cluster
// does so by itself.
func TestSentinelPromotes(t *testing.T) {
	primary := instancetest.Redis(t)
	replica := instancetest.RedisReplica(t, primary)
	instancetest.Sentinel(t, primary)
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	promoted(t, replica)
}

func TestClusterPromotes(t *testing.T) {
	cluster := instancetest.RedisCluster(t)
	if err := cluster.Masters[1].Kill(); err != nil {
		t.Fatal(err)
	}
	promoted(t, cluster.Replicas[1])
}

func promoted(t *testing.T, replica *instance.Redis) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := replica.Promoted(ctx); err != nil {
		t.Fatal(err)
	}
}
