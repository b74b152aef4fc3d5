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

// A cluster is not ready before each of its nodes is connected to all others and
// knows whom each replica copies.
func TestConnectedReplicas(t *testing.T) {
	const (
		master   = "aa 127.0.0.1:1@2 master - 0 0 1 connected 0-16383\n"
		replica  = "bb 127.0.0.1:3@4 slave aa 0 0 1 connected\n"
		self     = "bb 127.0.0.1:3@4 myself,slave aa 0 0 1 connected\n"
		unknown  = "bb 127.0.0.1:3@4 slave - 0 0 1 connected\n"
		unlinked = "bb 127.0.0.1:3@4 slave aa 0 0 1 disconnected\n"
	)
	for nodes, want := range map[string]int{
		master + replica: 1, master + self: 1, replica + master: 1, master: 0, master + unknown: 0, master + unlinked: 0, replica + unlinked: 0, "": 0,
	} {
		if got := connectedReplicas(nodes); got != want {
			t.Errorf("%d, want %d, of\n%s", got, want, nodes)
		}
	}
}
