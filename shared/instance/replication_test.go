package instance

import (
	"testing"
	"time"
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
	start := time.Now()
	if err := poll(t.Context(), func() error {
		if role, err := replica.Command(t.Context(), "ROLE"); err != nil || role.([]any)[0] != "master" {
			return errNotYet
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("after %s", time.Since(start))
}
