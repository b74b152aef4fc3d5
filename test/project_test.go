package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// `make help` lists every target with what it does.
func TestMakeHelp(t *testing.T) {
	var targets []string
	for _, m := range regexp.MustCompile(`(?m)^\.PHONY: (.+)$`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		targets = append(targets, strings.Fields(m[1])...)
	}
	cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "help")
	cmd.Dir = repository
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^  make (\S+) +\S.*$`).FindAllStringSubmatch(string(out), -1) {
		listed = append(listed, m[1])
	}
	slices.Sort(targets)
	slices.Sort(listed)
	if !slices.Equal(targets, listed) || len(listed) < 10 {
		t.Errorf("make help lists %q, and .PHONY has %q:\n%s", listed, targets, out)
	}
}

// The workflow runs .ci/run with no rights, and actions are pinned by hash.
func TestWorkflow(t *testing.T) {
	text := read(t, ".github/workflows/ci.yml")
	var workflow struct {
		On          map[string]any
		Permissions map[string]string
		Jobs        map[string]struct {
			Timeout int `yaml:"timeout-minutes"`
			Steps   []struct{ Run string }
		}
	}
	if err := yaml.Unmarshal([]byte(text), &workflow); err != nil {
		t.Fatal(err)
	}
	if len(workflow.Permissions) != 1 || workflow.Permissions["contents"] != "read" {
		t.Errorf("permissions %v", workflow.Permissions)
	}
	runs := 0
	for name, job := range workflow.Jobs {
		if job.Timeout == 0 {
			t.Errorf("%s has no timeout-minutes", name)
		}
		for _, step := range job.Steps {
			if step.Run == ".ci/run" {
				runs++
			}
		}
	}
	if _, ok := workflow.On["pull_request"]; !ok || runs != 1 {
		t.Errorf(".ci/run is run %d times, on %v", runs, workflow.On)
	}
	if info, err := os.Stat(filepath.Join(repository, ".ci", "run")); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf(".ci/run cannot be run: %v", err)
	}
	for _, m := range regexp.MustCompile(`uses:(.*)`).FindAllStringSubmatch(text, -1) {
		if !regexp.MustCompile(`^ [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`).MatchString(m[1]) {
			t.Errorf("the action%s is not pinned by hash, with its version behind it", m[1])
		}
	}
}

// The configuration of dependency updates names every place with dependencies.
func TestDependabot(t *testing.T) {
	var config struct {
		Updates []struct {
			Ecosystem   string `yaml:"package-ecosystem"`
			Directory   string
			Directories []string
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, ".github/dependabot.yml")), &config); err != nil {
		t.Fatal(err)
	}
	looks := make(map[string][]string)
	for _, u := range config.Updates {
		for _, dir := range append(u.Directories, u.Directory) {
			if dir != "" {
				looks[u.Ecosystem] = append(looks[u.Ecosystem], strings.TrimPrefix(dir, "/"))
			}
		}
	}
	out, err := exec.CommandContext(t.Context(), "git", "-C", repository, "ls-files").Output()
	if err != nil {
		t.Fatal(err)
	}
	has := map[string][]string{"github-actions": {""}}
	for file := range strings.FieldsSeq(string(out)) {
		dir, name := filepath.Split(file)
		dir = strings.TrimSuffix(dir, "/")
		switch name {
		case "Dockerfile":
			has["docker"] = append(has["docker"], dir)
		case "go.mod":
			has["gomod"] = append(has["gomod"], dir)
		case "compose.yaml":
			has["docker-compose"] = append(has["docker-compose"], dir)
		}
	}
	for ecosystem, dirs := range has {
		slices.Sort(dirs)
		slices.Sort(looks[ecosystem])
		if !slices.Equal(dirs, looks[ecosystem]) {
			t.Errorf("%s: updates are looked for in %q, and %q have some", ecosystem, looks[ecosystem], dirs)
		}
	}
	if len(looks) != len(has) {
		t.Errorf("updates are looked for of %v", looks)
	}
}
