package generator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/faas"
	"parkstream/shared/faas/faastest"
	"parkstream/shared/generator"
)

func TestWireReportsEveryMistake(t *testing.T) {
	wire := func(rt *faas.Runtime) error {
		_, err := generator.Wire(rt)
		return err
	}
	dir := t.TempDir()
	run := func(environ ...string) []string { return faastest.Mistakes(t, wire, dir, environ...) }
	want := []string{
		`cannot start:`,
		`DEFAULT_COUNT is 0, want 1 to 100000`,
		`DEFAULT_ABOVE is 101, want 0 to 100`,
		`RETENTION is 5s, want at least 1h`,
		`secret redis-url: put it into the file ` + filepath.Join(dir, "redis-url") + `, or name its folder in SECRETS_DIR: file does not exist`,
	}
	if diff := cmp.Diff(want, run("DEFAULT_COUNT=0", "DEFAULT_ABOVE=101", "RETENTION=5")); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}

	if err := os.WriteFile(filepath.Join(dir, "redis-url"), []byte("postgres://user:hidden@host/"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(run(), "\n"); !strings.Contains(got, `unknown scheme "postgres"`) || strings.Contains(got, "hidden") {
		t.Error(got)
	}
}
