package test

import (
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unfinished are the places whose prose is still to be rewritten. One that is done has
// to leave the list.
var unfinished = []string{
	"test",
}

var (
	// worst are words that stand for a way of writing which has to be read twice;
	// CONTRIBUTING has what is written instead.
	worst = regexp.MustCompile(`\b([Ss]ays? whether|[Nn]obody|[Ww]hoever|[Aa]new|[Ff]or ever)\b`)
	// lineEnd is the end of a line of prose, with what begins the next one.
	lineEnd = regexp.MustCompile(`[ \t]*\n[ \t]*(//|--|#|\*)?[ \t]*`)
	quoted  = regexp.MustCompile("`[^`\n]*`")
	prose   = []string{".go", ".md", ".lua", ".js", ".html", ".css", ".sh", ".yml", ".yaml", ".service", "Dockerfile", "Makefile"}
)

// What is written for people has none of the worst words: documentation, comments,
// help, errors and the page.
func TestWords(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "git", "ls-files")
	cmd.Dir = repository
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool) // in unfinished
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
		words := worst.FindAllStringIndex(text, -1)
		if words == nil {
			continue
		}
		if i := slices.IndexFunc(unfinished, func(place string) bool { return file == place || strings.HasPrefix(file, place+"/") }); i >= 0 {
			found[unfinished[i]] = true
			continue
		}
		for _, at := range words {
			t.Errorf("%s: %q in ...%s...", file, text[at[0]:at[1]], text[max(0, at[0]-60):min(len(text), at[1]+40)])
		}
	}
	for _, place := range unfinished {
		if !found[place] {
			t.Errorf("%s is done: take it out of unfinished", place)
		}
	}
	if len(files) == 0 {
		t.Error("no files")
	}
}
