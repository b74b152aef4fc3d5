package test

import (
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// worst are words that mark a sentence which has to be read twice. CONTRIBUTING
	// lists the words to write instead.
	worst = regexp.MustCompile(`\b([Ss]ays? whether|[Nn]obody|[Ww]hoever|[Aa]new|[Ff]or ever|(is|are) away)\b`)
	// lineEnd is the end of a line of prose, with what begins the next one.
	lineEnd = regexp.MustCompile(`[ \t]*\n[ \t]*(//|--|#|\*)?[ \t]*`)
	quoted  = regexp.MustCompile("`[^`\n]*`")
	prose   = []string{".go", ".md", ".lua", ".js", ".html", ".css", ".sh", ".yml", ".yaml", ".service", "Dockerfile", "Makefile"}
)

// Documentation, comments, help, errors and the page have none of the worst words.
func TestWords(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "git", "ls-files")
	cmd.Dir = repository
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	files := strings.Fields(string(out))
	for _, file := range files {
		if !slices.ContainsFunc(prose, func(end string) bool { return strings.HasSuffix(file, end) }) || strings.Contains(file, "/uplot/") || file == "test/words_test.go" {
			continue
		}
		text := read(t, file)
		if path.Ext(file) == ".md" {
			text = quoted.ReplaceAllString(text, "")
		}
		text = lineEnd.ReplaceAllString(text, " ")
		for _, at := range worst.FindAllStringIndex(text, -1) {
			t.Errorf("%s: %q in ...%s...", file, text[at[0]:at[1]], text[max(0, at[0]-60):min(len(text), at[1]+40)])
		}
	}
	if len(files) == 0 {
		t.Error("no files")
	}
}
