package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go/LICENSE": "of Go", "own/LICENSE": "own", "own/page/js/Licence.txt": "of the page", "a/COPYING.md": "of a", "a/sub/deep/LICENSE-MIT": "of deep",
		"a/other/LICENSE": "of what is not linked", "a/license.go": "no licence", "b/UNLICENSE": "of b", "none/README": "nothing",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := func(name string) string { return filepath.Join(root, name) }
	main := &module{Path: "own", Dir: dir("own"), Main: true}
	a := &module{Path: "example.org/a", Version: "v1.2.3", Dir: dir("a")}
	b := &module{Path: "example.org/b", Version: "v1.0.0", Replace: &module{Path: "example.org/fork", Version: "v1.0.1", Dir: dir("b")}}
	none := &module{Path: "example.org/none", Version: "v0.1.0", Dir: dir("none")}
	linked := []listed{
		{Dir: dir("go/src/fmt"), ImportPath: "fmt", Standard: true},
		{Dir: dir("own"), ImportPath: "own", Module: main, EmbedFiles: []string{"page/js/plot.js"}},
		{Dir: dir("a"), ImportPath: "example.org/a", Module: a},
		{Dir: dir("a/sub/deep"), ImportPath: "example.org/a/sub/deep", Module: a},
		{Dir: dir("b"), ImportPath: "example.org/b", Module: b},
	}
	list := func(packages []listed) *strings.Reader {
		var text strings.Builder
		for _, p := range packages {
			if err := json.NewEncoder(&text).Encode(p); err != nil {
				t.Fatal(err)
			}
		}
		return strings.NewReader(text.String())
	}
	var got strings.Builder
	if err := write(&got, list(linked), dir("go")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Go: LICENSE\n\nof Go\n", "own: LICENSE\n\nown\n", "own: page/js/Licence.txt\n\nof the page\n", "example.org/a v1.2.3: COPYING.md\n\nof a\n",
		"example.org/a v1.2.3: sub/deep/LICENSE-MIT\n\nof deep\n", "example.org/b v1.0.1: UNLICENSE\n\nof b\n", "\nca-certificates\n",
	} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("%q is missing in\n%s", want, got.String())
		}
	}
	for _, no := range []string{"not linked", "no licence"} {
		if strings.Contains(got.String(), no) {
			t.Errorf("%q is in\n%s", no, got.String())
		}
	}
	for want, packages := range map[string][]listed{
		"example.org/none v0.1.0 has no licence": append(linked, listed{Dir: dir("none"), ImportPath: "example.org/none", Module: none}),
		"has named no package":                   linked[:1],
		"is of no module":                        {{Dir: dir("a"), ImportPath: "x"}},
	} {
		if err := write(&got, list(packages), dir("go")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
