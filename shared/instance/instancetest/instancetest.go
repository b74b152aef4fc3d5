// Package instancetest starts the nodes of [instance] for a test and stops them at
// its end.
package instancetest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"parkstream/shared/instance"
)

// startTimeout is generous, since machines that run tests are busy.
const startTimeout = 2 * time.Minute

// Redis returns a node of the test's own, which is stopped at its end.
func Redis(t testing.TB) *instance.Redis {
	t.Helper()
	return startRedis(t, instance.RedisOptions{})
}

// RedisClusterOfOne is [Redis] with a cluster of one node.
func RedisClusterOfOne(t testing.TB) *instance.Redis {
	t.Helper()
	return startRedis(t, instance.RedisOptions{Cluster: true})
}

// RedisReplica is [Redis] with a replica of another node.
func RedisReplica(t testing.TB, primary *instance.Redis, config ...string) *instance.Redis {
	t.Helper()
	return startRedis(t, instance.RedisOptions{ReplicaOf: primary, Config: config})
}

func startRedis(t testing.TB, o instance.RedisOptions) *instance.Redis {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	o.Dir = tempDir(t)
	// A replica gets its first copy at once.
	o.Config = append([]string{"repl-diskless-sync-delay 0"}, o.Config...)
	r, err := instance.StartRedis(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Kill() })
	return r
}

// RedisCluster returns a cluster of three masters with a replica each, which is
// stopped at the end of the test.
func RedisCluster(t testing.TB) *instance.RedisCluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c, err := instance.StartRedisCluster(ctx, tempDir(t), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Kill() })
	return c
}

// Sentinel returns a Sentinel of the test's own for a primary with replicas.
func Sentinel(t testing.TB, primary *instance.Redis) *instance.Sentinel {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s, err := instance.StartSentinel(ctx, tempDir(t), primary)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Kill() })
	return s
}

// Danish makes the nodes that the test starts compare text in Danish, where "aa"
// comes after "ab".
func Danish(t testing.TB) {
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

// RabbitMQ returns a node of the test's own, which is stopped at its end. It takes
// some five seconds to start: [SharedRabbitMQ] does so once a package.
func RabbitMQ(t testing.TB) *instance.RabbitMQ {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	r, err := instance.StartRabbitMQ(ctx, instance.RabbitMQOptions{Dir: tempDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Kill() })
	return r
}

// SharedRabbitMQ starts a node for all tests of a package. TestMain calls it, and
// stop at the end.
func SharedRabbitMQ() (r *instance.RabbitMQ, stop func(), err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "parkstream-instance-")
	if err != nil {
		return nil, nil, err
	}
	r, err = instance.StartRabbitMQ(ctx, instance.RabbitMQOptions{Dir: dir})
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, nil, err
	}
	return r, func() {
		_ = r.Kill()
		_ = os.RemoveAll(dir)
	}, nil
}

// TestsThen runs the tests of a package and then stops what they share, as the argument
// of goleak.VerifyTestMain, which ends the process.
type TestsThen struct {
	*testing.M
	Stop func()
}

// Run returns the exit code of the tests.
func (t TestsThen) Run() int {
	defer t.Stop()
	return t.M.Run()
}

// tempDir is removed after the node has ended; t.TempDir fails the test if a dying
// node writes while it is removed.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "parkstream-instance-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
