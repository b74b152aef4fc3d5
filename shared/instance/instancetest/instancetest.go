// Package instancetest starts the nodes of [instance] for a test and stops them at
// its end.
package instancetest

import (
	"testing"

	"parkstream/shared/instance"
)

// Redis returns a node of the test's own, which is stopped at its end.
func Redis(t testing.TB) *instance.Redis { return instance.RedisForTest(t) }

// RedisClusterOfOne is [Redis] with a cluster of one node.
func RedisClusterOfOne(t testing.TB) *instance.Redis { return instance.RedisClusterForTest(t) }

// RedisReplica is [Redis] with a replica of another node.
func RedisReplica(t testing.TB, primary *instance.Redis, config ...string) *instance.Redis {
	return instance.RedisReplicaForTest(t, primary, config...)
}

// RedisCluster returns a cluster of three masters with a replica each, which is
// stopped at the end of the test.
func RedisCluster(t testing.TB) *instance.RedisCluster { return instance.RedisOfThreeForTest(t) }

// Sentinel returns a Sentinel of the test's own for a primary with replicas.
func Sentinel(t testing.TB, primary *instance.Redis) *instance.Sentinel {
	return instance.SentinelForTest(t, primary)
}

// Danish makes the nodes that the test starts compare text in Danish, where "aa"
// comes after "ab".
func Danish(t testing.TB) { instance.DanishForTest(t) }

// RabbitMQ returns a node of the test's own, which is stopped at its end. It takes
// some five seconds to start: [SharedRabbitMQ] does so once a package.
func RabbitMQ(t testing.TB) *instance.RabbitMQ { return instance.RabbitMQForTest(t) }

// SharedRabbitMQ starts a node for all tests of a package. TestMain calls it, and
// stop at the end.
func SharedRabbitMQ() (r *instance.RabbitMQ, stop func(), err error) {
	return instance.SharedRabbitMQ()
}
