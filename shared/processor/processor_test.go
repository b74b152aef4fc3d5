package processor_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/faas"
	"parkstream/shared/faas/faastest"
	"parkstream/shared/processor"
	"parkstream/shared/summary/summaryclient"
)

func TestWireReportsEveryMistake(t *testing.T) {
	wire := func(rt *faas.Runtime) error {
		_, err := processor.Wire(rt)
		return err
	}
	dir := t.TempDir()
	run := func(environ ...string) []string { return faastest.Mistakes(t, wire, dir, environ...) }
	secret := `secret redis-url: put it into the file ` + filepath.Join(dir, "redis-url") + `, or name its folder in SECRETS_DIR: file does not exist`
	for _, tt := range []struct{ environ, want []string }{
		{nil, nil}, // every setting has a default that is right
		{[]string{"REDIS_REPLICAS=9", "REDIS_REPLICAS_TIMEOUT=7", "RETENTION=1h", "MAX_FUTURE=24h", "SUMMARY_URL=https://host/summary"}, nil},
		{[]string{"GATEWAY_URL=gateway:8080", "SUMMARY_URL=http://user:hidden@host", "RETENTION=59m", "MAX_FUTURE=-1s", "MAX_SITES=0", "REDIS_REPLICAS=-1", "REDIS_REPLICAS_TIMEOUT=1m", "AUDIT_RETENTION=1h", "AUDIT_MAX_ENTRIES=1"}, []string{
			`GATEWAY_URL is not an http:// or https:// URL with a host`,
			`SUMMARY_URL has a password: no secret may be in the environment, and none is asked for there`,
			`REDIS_REPLICAS is -1, want 0 to 9`,
			`REDIS_REPLICAS_TIMEOUT is 1m0s, want 10ms to 7s: a wait takes at most a third of what is left of its call (exec_timeout)`,
			`AUDIT_RETENTION is 1h0m0s, want 24h0m0s to 87840h0m0s`,
			`AUDIT_MAX_ENTRIES is 1, want 1000 to 1000000`,
			`RETENTION is 59m0s, want at least 1h`,
			`MAX_FUTURE is -1s, want 0s to 24h`,
			`MAX_SITES is 0, want 1 to 10000`,
		}},
	} {
		want := append(append([]string{"cannot start:"}, tt.want...), secret)
		if diff := cmp.Diff(want, run(tt.environ...)); diff != "" {
			t.Errorf("mistakes of %q (-want +got):\n%s", tt.environ, diff)
		}
	}
}

// A try of a post outlasts the endpoint's waits for the memory and for the disks of
// its replicas.
func TestPostsOutlastTheWaitsForReplicas(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "redis-url"), []byte("redis://127.0.0.1:1"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		environ []string
		want    time.Duration
	}{
		{nil, 4 * time.Second},
		{[]string{"REDIS_REPLICAS=0", "REDIS_REPLICAS_TIMEOUT=7s"}, 4 * time.Second},
		{[]string{"REDIS_REPLICAS=1"}, 10 * time.Second},
		{[]string{"REDIS_REPLICAS=2", "REDIS_REPLICAS_TIMEOUT=500ms"}, 5 * time.Second},
		{[]string{"REDIS_REPLICAS=2", "REDIS_REPLICAS_TIMEOUT=500ms", "SUMMARY_URL=http://summary"}, 5 * time.Second},
	} {
		var got time.Duration
		faastest.Mistakes(t, func(rt *faas.Runtime) error {
			config, err := processor.Wire(rt)
			if err == nil {
				got = config.Summaries.(*summaryclient.Client).Timeout
			}
			return errors.Join(err, errors.New("the test has seen enough"))
		}, dir, tt.environ...)
		if got != tt.want {
			t.Errorf("%q: a try may take %s, want %s", tt.environ, got, tt.want)
		}
	}
}
