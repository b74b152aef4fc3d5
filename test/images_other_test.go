//go:build !linux

package test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// builtImage is the connector's program where no image can be built.
type builtImage struct {
	root, program     string
	version, revision string
}

func connectorImage(t *testing.T) builtImage {
	t.Helper()
	image := builtImage{root: t.TempDir(), program: "/rabbitmq-connector", version: "0.0.1", revision: "abcdef0"}
	const flag = "-X parkstream/shared/version."
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags", flag+"version="+image.version+" "+flag+"revision="+image.revision,
		"-o", filepath.Join(image.root, image.program), "./connectors/rabbitmq/cmd/rabbitmq-connector")
	build.Dir = repository
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return image
}
