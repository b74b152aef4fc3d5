package test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	settingTag  = regexp.MustCompile(`(?m)^\s*\w+ .*` + "`" + `env:"([A-Za-z_]+)`)
	annotation  = regexp.MustCompile(`annotationPrefix \+ "([a-z-]+)"`)
	endpoint    = regexp.MustCompile(`method: "([A-Z]+)", path: "(/[^"]*)"`)
	linkedFiles = regexp.MustCompile(`\]\(([^):#]+)\)`)
)

// What a program reads or serves is in the documentation.
func TestEverythingIsDocumented(t *testing.T) {
	tests := []struct {
		sources []string
		what    *regexp.Regexp
		page    string
		as      func(match []string) string
	}{
		{[]string{"shared", "functions", "connectors", "cmd"}, settingTag, "docs/settings.md", func(m []string) string { return "`" + m[1] + "`" }},
		{[]string{"connectors"}, annotation, "docs/connector.md", func(m []string) string { return "`parkstream." + m[1] + "`" }},
		{[]string{"shared/summary"}, endpoint, "docs/summary-api.md", func(m []string) string {
			return "`" + m[1] + " " + m[2] + "`"
		}},
	}
	for _, tt := range tests {
		page := read(t, tt.page)
		seen := 0
		for _, dir := range tt.sources {
			for _, file := range goFiles(t, dir) {
				for _, m := range tt.what.FindAllStringSubmatch(read(t, file), -1) {
					seen++
					if want := tt.as(m); !strings.Contains(page, want) {
						t.Errorf("%s does not mention %s of %s", tt.page, want, file)
					}
				}
			}
		}
		if seen == 0 {
			t.Errorf("nothing in %q matches %s", tt.sources, tt.what)
		}
	}
}

// A link between pages leads somewhere.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(repository, "docs", "*", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	more, _ := filepath.Glob(filepath.Join(repository, "docs", "*.md"))
	top, _ := filepath.Glob(filepath.Join(repository, "*.md"))
	for _, page := range append(pages, append(more, top...)...) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range linkedFiles.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// goFiles lists the source files below a folder, without tests.
func goFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	root := filepath.Join(repository, dir)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			rel, err := filepath.Rel(repository, path)
			files = append(files, rel)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Each decision has its number, date and status, and its line in the index.
func TestDocsDecisions(t *testing.T) {
	const index = "docs/adr/README.md"
	files, err := filepath.Glob(filepath.Join(repository, "docs", "adr", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, file := range files {
		name := filepath.Base(file)
		if name == filepath.Base(index) {
			continue
		}
		text := read(t, filepath.Join("docs", "adr", name))
		m := regexp.MustCompile(`^# (\d+)\. (\S.*)\n\n(\d{4}-\d\d-\d\d), (accepted|superseded by \[ADR \d+\]\([^)]+\))\.`).FindStringSubmatch(text)
		if m == nil || name[:4] != fmt.Sprintf("%04s", m[1]) {
			t.Errorf("%s does not begin with its number and title, and a third line such as `2026-11-27, accepted.`", name)
			continue
		}
		want = append(want, fmt.Sprintf("| [%s](%s) | %s | %s | %s |", m[1], name, m[3], m[4], m[2]))
	}
	var got []string
	for line := range strings.Lines(read(t, index)) {
		if strings.HasPrefix(line, "| [") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	if !slices.Equal(want, got) || len(want) == 0 {
		t.Errorf("%s has to have these lines, in this order:\n%s", index, strings.Join(want, "\n"))
	}
}
