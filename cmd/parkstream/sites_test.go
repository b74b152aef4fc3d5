package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// fakeSummary keeps a configuration as the summary does.
type fakeSummary struct {
	mu      sync.Mutex
	sites   []site.Site
	version string
	calls   []string
	taken   string // a camera of another site
}

func (f *fakeSummary) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, r.Method+" "+r.URL.RequestURI())
	answer := func(code int, v any) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	if r.URL.Path != "/function/summary/configuration" {
		answer(404, map[string]string{"error": "no such path"})
		return
	}
	if r.Method == http.MethodGet {
		answer(200, map[string]any{"version": f.version, "sites": f.sites})
		return
	}
	if r.Header.Get("Authorization") != "Bearer of-an-admin" || r.Header.Get("Content-Type") != "application/json" {
		answer(401, map[string]string{"error": "this needs a login"})
		return
	}
	body, _ := io.ReadAll(r.Body)
	file, err := site.Parse(body)
	if err != nil || bytes.Contains(body, []byte("the-token")) {
		answer(500, map[string]string{"error": "the body is " + string(body)})
		return
	}
	if f.taken != "" && bytes.Contains(body, []byte(f.taken)) {
		answer(400, map[string]any{"error": "e", "mistakes": []site.Mistake{{Path: "sites[1].cameras[0].id", Text: "it is at another site already"}}})
		return
	}
	changes := site.Diff(f.sites, file.Sites)
	if r.URL.Query().Get("dry_run") != "1" {
		if r.URL.Query().Get("version") != f.version {
			answer(409, map[string]string{"error": "it was changed by others"})
			return
		}
		f.sites, f.version = file.Sites, f.version+"+"
	}
	answer(200, map[string]any{"version": f.version, "changes": changes})
}

// sitesRun runs one of the commands.
type sitesRun struct {
	*fakeSummary
	api summaryAPI
	dir string
}

func newSitesRun(t *testing.T) *sitesRun {
	t.Helper()
	f := &fakeSummary{version: "v"}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("of-an-admin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &sitesRun{f, summaryAPI{Gateway: server.URL, TokenFile: token}, dir}
}

func (s *sitesRun) apply(t *testing.T, text, in string, c sitesApplyCommand, interactive bool) (out, notes string, err error) {
	t.Helper()
	c.summaryAPI = s.api
	if c.File == "" {
		c.File = filepath.Join(s.dir, "sites.yml")
		if err := os.WriteFile(c.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var o, n bytes.Buffer
	err = c.run(terminal{t.Context(), strings.NewReader(in), &o, &n}, interactive)
	return o.String(), n.String(), err
}

const oneSite = "sites:\n- id: a\n  zone: Europe/Berlin\n  cameras:\n  - {id: c, role: entry, token: the-token-of-c}\n"

// A file is shown as changes and applied: what only adds at once, the rest with --yes or
// after a yes on a terminal. What was shown is what is done.
func TestSitesApply(t *testing.T) {
	s := newSitesRun(t)
	for _, tt := range []struct {
		name, text, in string
		yes, terminal  bool
		applied        bool
		says           string // the error or a note
	}{
		{"a no on a terminal", oneSite, "n\n", false, true, false, "nothing was changed"},
		{"no answer", oneSite, "", false, true, false, "nothing was changed"},
		{"only additions", oneSite, "", false, false, true, "done"},
		{"the same again", oneSite, "", false, false, false, "nothing changes"},
		{"a change without --yes", strings.Replace(oneSite, "Berlin", "Paris", 1), "y\n", false, false, false, "--yes"},
		{"a yes", strings.Replace(oneSite, "Berlin", "Paris", 1), " Y \n", false, true, true, "done"},
		{"--yes", oneSite, "", true, true, true, "done"},
		{"a removal without --yes", "sites:\n- id: b\n", "", false, false, false, "--yes"},
	} {
		before := s.version
		out, notes, err := s.apply(t, tt.text, tt.in, sitesApplyCommand{Yes: tt.yes}, tt.terminal)
		said := notes
		if err != nil {
			said += err.Error()
		}
		if (s.version != before) != tt.applied || !strings.Contains(said, tt.says) || tt.applied && (err != nil || !strings.Contains(out, "site a")) {
			t.Errorf("%s: applied %t; %s, %s, %v", tt.name, s.version != before, out, notes, err)
		}
	}
	if s.calls[len(s.calls)-1] != "PUT /function/summary/configuration?dry_run=1" {
		t.Errorf("calls %q", s.calls)
	}
	if out, _, err := s.apply(t, "", oneSite, sitesApplyCommand{File: "-", Prune: true}, false); err != nil || out != "" || !strings.HasSuffix(s.calls[len(s.calls)-1], "?dry_run=1&prune=1") {
		t.Errorf("standard input: %s %v, calls %q", out, err, s.calls)
	}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	in, w := io.Pipe() // a terminal at which no one types
	defer w.Close()
	if err := confirm(terminal{interrupted, in, io.Discard, io.Discard}, true, nil); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("interrupted: %v", err)
	}
}

// Every mistake has its line, those that the summary finds as well.
func TestSitesApplyWithMistakes(t *testing.T) {
	s := newSitesRun(t)
	_, _, err := s.apply(t, "sites:\n- id: a\n  zone: x\n  capacity: -1\n", "", sitesApplyCommand{}, false)
	if err == nil || !strings.Contains(err.Error(), "sites.yml:3: zone") || !strings.Contains(err.Error(), "sites.yml:4: capacity") || len(s.calls) != 0 {
		t.Errorf("%v, calls %q", err, s.calls)
	}
	if _, _, err := s.apply(t, "sites:\n"+strings.Repeat("- {zone: x}\n", 5000), "", sitesApplyCommand{}, false); err == nil || strings.Count(err.Error(), "\n") != site.MaxMistakes+1 || !strings.HasSuffix(err.Error(), "\nand 9900 more") {
		t.Errorf("a flood of mistakes: %.200v", err)
	}
	s.taken = "taken"
	_, _, err = s.apply(t, "sites:\n- id: a\n- id: b\n  cameras:\n  - {id: taken, role: exit}\n", "", sitesApplyCommand{}, false)
	if err == nil || !strings.Contains(err.Error(), "sites.yml:5: it is at another site already") {
		t.Errorf("%v", err)
	}
	s.api.TokenFile = filepath.Join(s.dir, "none")
	if _, _, err := s.apply(t, oneSite, "", sitesApplyCommand{}, false); err == nil || !strings.Contains(err.Error(), "--token-file") {
		t.Errorf("without a token: %v", err)
	}
	if _, _, err := s.apply(t, "", "", sitesApplyCommand{File: filepath.Join(s.dir, "none")}, false); !os.IsNotExist(err) {
		t.Errorf("without a file: %v", err)
	}
	s.api.Gateway = "http://127.0.0.1:1"
	if _, _, err := s.apply(t, oneSite, "", sitesApplyCommand{}, false); err == nil || !strings.Contains(err.Error(), "parkstream up") {
		t.Errorf("without a gateway: %v", err)
	}
}

// What is exported is a file that changes nothing, also texts that YAML takes for others.
func TestSitesExport(t *testing.T) {
	s := newSitesRun(t)
	cameras := []site.Camera{{ID: "007", Site: "no", Role: site.Both, Format: "frigate", Directions: map[string]parking.Kind{"on": parking.Entry, "1e3": parking.Exit}}}
	s.sites = []site.Site{{ID: "no", Name: "Nörd: \"#1\" 🚗", Capacity: 3, Cameras: cameras}, {ID: "1.5"}}
	var out bytes.Buffer
	if err := (sitesExportCommand{s.api}).run(terminal{t.Context(), nil, &out, io.Discard}); err != nil {
		t.Fatal(err)
	}
	file, err := site.Parse(out.Bytes())
	if err != nil {
		t.Fatalf("%s\n%v", &out, err)
	}
	if changes := site.Diff(s.sites, file.Sites); len(changes) != 0 && !cmp.Equal(changes, []string{"~ site no: ~ camera 007: zone default -> UTC"}) {
		t.Errorf("%s\nchanges %q", &out, changes)
	}
	var list bytes.Buffer
	if err := (sitesListCommand{s.api}).run(terminal{t.Context(), nil, &list, io.Discard}); err != nil {
		t.Fatal(err)
	}
	if want := "SITE  NAME          ZONE  CAPACITY  GATES  CAMERAS"; !strings.HasPrefix(list.String(), want) || strings.Count(list.String(), "\n") != 3 {
		t.Errorf("the list is\n%s", &list)
	}
}
