package function

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/faas/faastest"
)

func TestWireReportsEveryMistake(t *testing.T) {
	dir := t.TempDir()
	run := func(environ ...string) []string { return faastest.Mistakes(t, Wire, dir, environ...) }
	secret := `secret redis-url: put it into the file ` + filepath.Join(dir, "redis-url") + `, or name its folder in SECRETS_DIR: file does not exist`
	for _, tt := range []struct{ environ, want []string }{
		{nil, nil}, // every setting has a default that is right
		{[]string{"GATEWAY_URL=gateway:8080", "CONNECTOR_URL=ftp://host", "RETENTION=0", "REDIS_REPLICAS=10", "AUDIT_RETENTION=23h", "IMAGES_URL=s3://hush:hush@bucket", "IMAGE_RETENTION=59m"}, []string{
			`GATEWAY_URL is not an http:// or https:// URL with a host`,
			`CONNECTOR_URL is not an http:// or https:// URL with a host`,
			`REDIS_REPLICAS is 10, want 0 to 9`,
			`AUDIT_RETENTION is 23h0m0s, want 24h0m0s to 87840h0m0s`,
			`IMAGES_URL has a user: put the keys into the files of images-access-key and images-secret-key`,
			`RETENTION is 0s, want at least 1h`,
			`IMAGE_RETENTION is 59m0s, want at least 1h`,
		}},
	} {
		want := append(append([]string{"cannot start:"}, tt.want...), secret)
		if diff := cmp.Diff(want, run(tt.environ...)); diff != "" {
			t.Errorf("mistakes of %q (-want +got):\n%s", tt.environ, diff)
		}
	}
}
