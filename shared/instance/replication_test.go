package instance

import (
	"context"
	"testing"
)

// A replica follows, a Sentinel promotes it when its primary has died, and a cluster
// does so by itself.
func TestSentinelPromotes(t *testing.T) {
	primary := RedisForTest(t)
	replica := RedisReplicaForTest(t, primary)
	SentinelForTest(t, primary)
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	promoted(t, replica)
}

func TestClusterPromotes(t *testing.T) {
	cluster := RedisOfThreeForTest(t)
	if err := cluster.Masters[1].Kill(); err != nil {
		t.Fatal(err)
	}
	promoted(t, cluster.Replicas[1])
}

func promoted(t *testing.T, replica *Redis) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testStart)
	defer cancel()
	if err := replica.Promoted(ctx); err != nil {
		t.Fatal(err)
	}
}
