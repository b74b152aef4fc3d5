package instance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// Generous, since machines that run tests are busy.
const testStart = 2 * time.Minute

// RedisForTest returns a node of the test's own, which is stopped at its end.
func RedisForTest(t testing.TB) *Redis {
	t.Helper()
	return redisForTest(t, RedisOptions{})
}

// RedisClusterForTest is RedisForTest with a cluster of one node.
func RedisClusterForTest(t testing.TB) *Redis {
	t.Helper()
	return redisForTest(t, RedisOptions{Cluster: true})
}

// RedisReplicaForTest is RedisForTest with a copy of another node.
func RedisReplicaForTest(t testing.TB, primary *Redis, config ...string) *Redis {
	t.Helper()
	return redisForTest(t, RedisOptions{ReplicaOf: primary, Config: config})
}

// RedisOfThreeForTest returns a cluster of three masters with a replica each, which
// is stopped at the end of the test.
func RedisOfThreeForTest(t testing.TB) *RedisCluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testStart)
	defer cancel()
	c, err := StartRedisCluster(ctx, tempDir(t), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Kill() })
	return c
}

// SentinelForTest returns a Sentinel of the test's own for a primary with replicas.
func SentinelForTest(t testing.TB, primary *Redis) *Sentinel {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testStart)
	defer cancel()
	s, err := StartSentinel(ctx, tempDir(t), primary)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Kill() })
	return s
}

func redisForTest(t testing.TB, o RedisOptions) *Redis {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testStart)
	defer cancel()
	o.Dir = tempDir(t)
	// A replica gets its first copy at once.
	o.Config = append([]string{"repl-diskless-sync-delay 0"}, o.Config...)
	r, err := StartRedis(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Kill() })
	return r
}

// DanishForTest has the nodes that the test starts compare text in Danish, where
// "aa" comes after "ab".
func DanishForTest(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only glibc sorts text as a locale does")
	}
	dir := t.TempDir()
	out, err := exec.Command("localedef", "-i", "da_DK", "-f", "UTF-8", filepath.Join(dir, "da_DK.UTF-8")).CombinedOutput()
	if err != nil {
		t.Fatalf("compile a Danish locale (make deps installs its source): %v: %s", err, out)
	}
	t.Setenv("LOCPATH", dir)
	t.Setenv("LC_ALL", "da_DK.UTF-8")
}

// RabbitMQForTest returns a node of the test's own, which is stopped at its end.
// It takes some five seconds to start: [SharedRabbitMQ] does so once a package.
func RabbitMQForTest(t testing.TB) *RabbitMQ {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testStart)
	defer cancel()
	r, err := StartRabbitMQ(ctx, RabbitMQOptions{Dir: tempDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Kill() })
	return r
}

// tempDir is removed after the node has ended; t.TempDir fails the test where a
// dying node writes while it is removed.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "parkstream-instance-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// SharedRabbitMQ starts a node for all tests of a package; it is called from
// TestMain, which calls stop at the end.
func SharedRabbitMQ() (r *RabbitMQ, stop func(), err error) {
	ctx, cancel := context.WithTimeout(context.Background(), testStart)
	defer cancel()
	dir, err := os.MkdirTemp("", "parkstream-instance-")
	if err != nil {
		return nil, nil, err
	}
	r, err = StartRabbitMQ(ctx, RabbitMQOptions{Dir: dir})
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, nil, err
	}
	return r, func() {
		_ = r.Kill()
		_ = os.RemoveAll(dir)
	}, nil
}
