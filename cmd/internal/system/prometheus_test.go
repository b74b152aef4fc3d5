package system

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"parkstream/shared/instance"
)

// Prometheus finds its rules and its password in a folder of any name.
func TestPrometheusInAnyFolder(t *testing.T) {
	promtool, err := instance.Promtool()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plain", "it's [1] \"x\"*?{a,b}$(x)\\ MÜ\n", "\xff"} {
		s, err := New(Config{Dir: filepath.Join(t.TempDir(), name), Say: t.Logf})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Stop() }()
		if err := errors.Join(noUsers(s), s.writeSecrets()); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(s.Dir, "prometheus")
		if err := s.configurePrometheus(dir); err != nil {
			t.Fatal(err)
		}
		rules, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), promtool, "check", "config", prometheusFile)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Count(string(out), "rules found") != len(rules)-1 {
			t.Errorf("%q: %v\n%s", name, err, out)
		}
	}
}
