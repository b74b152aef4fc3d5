package summary

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

const browserAccept = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"

// The list and the page have one path. A program gets the list, a person gets the page.
func TestPageOrList(t *testing.T) {
	e := newEndpoint(t)
	for _, tt := range []struct {
		path, accept, forwarded string
		page                    bool
	}{
		{"/", "", "", false},
		{"/", "*/*", "", false},
		{"/", "*/*", "/function/summary", false},
		{"/", "*/*", "/function/summary/", true},
		{"/", "", "/function/summary/", true},
		{"/?limit=1", "*/*", "/function/summary/?limit=1", false},
		{"/", browserAccept, "", true},
		{"/", browserAccept, "/function/summary/", true},
		{"/?plate=P1", browserAccept, "/function/summary/?plate=P1", true},
		{"/?format=json", browserAccept, "/function/summary/?format=json", false},
		{"/", "application/json", "", false},
		{"/", "application/json, text/html;q=0.5", "", false},
		{"/", "text/html;q=0", "", false},
		{"/", "text/html;q=much", "", false},
		{"/", "text/htmlx", "", false},
	} {
		w := e.call("GET", tt.path, "", "Accept", tt.accept, "X-Forwarded-Uri", tt.forwarded)
		want := "application/json"
		if tt.page {
			want = "text/html; charset=utf-8"
		}
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != want || strings.Join(w.Header().Values("Vary"), ", ") != "Authorization, Cookie, Accept" {
			t.Errorf("%+v: %d %v", tt, w.Code, w.Header())
		}
	}
}

// Without a slash at the end the page's relative addresses would be wrong.
func TestPageWithoutSlash(t *testing.T) {
	e := newEndpoint(t)
	for forwarded, want := range map[string]string{
		"/function/summary":         "./summary/",
		"/function/summary?plate=X": "./summary/?plate=X",
		"/a/b%2Fc//evil.example":    "./evil.example/",
		"//evil.example":            "",
	} {
		path := "/"
		if _, query, ok := strings.Cut(forwarded, "?"); ok {
			path += "?" + query
		}
		w := e.call("GET", path, "", "Accept", browserAccept, "X-Forwarded-Uri", forwarded)
		if got := w.Header().Get("Location"); got != want || (w.Code == http.StatusFound) != (want != "") {
			t.Errorf("%s: %d, Location %q, want %q", forwarded, w.Code, got, want)
		}
	}
}

var (
	address    = regexp.MustCompile(`(?:src|href)="(page/[^"?]+\?[^"]*)"`)
	outside    = regexp.MustCompile(`(?i)(src|href)="[a-z]*:?//`)
	inlineCode = regexp.MustCompile(`(?i)<[^>]+\s(on[a-z]+|style)=`)
)

// The page contains all that it needs, and forbids the browser all other sources.
func TestPageAndItsFiles(t *testing.T) {
	e := newEndpoint(t)
	w := e.call("GET", "/", "", "Accept", browserAccept)
	html := w.Body.String()
	if outside.MatchString(html) || inlineCode.MatchString(html) || strings.Contains(html, "VERSION") {
		t.Errorf("the page has %q %q", outside.FindString(html), inlineCode.FindString(html))
	}
	scripts := regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllStringSubmatch(html, -1)
	if len(scripts) != 1 {
		t.Fatalf("the page has %d scripts in it, want the one that the policy allows", len(scripts))
	}
	sum := sha256.Sum256([]byte(scripts[0][1]))
	policy := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self' 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'", "style-src 'self'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want+";") && !strings.HasSuffix(policy, want) {
			t.Errorf("the policy %q lacks %s", policy, want)
		}
	}
	if strings.Contains(policy, "unsafe") || w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-cache" {
		t.Errorf("%v", w.Header())
	}
	if again := e.call("GET", "/", "", "Accept", browserAccept, "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified {
		t.Errorf("a known page: %d", again.Code)
	}

	files := address.FindAllStringSubmatch(html, -1)
	types := map[string]string{"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
	if len(files) < 5 {
		t.Errorf("the page asks for %q", files)
	}
	for _, f := range files {
		w := e.call("GET", "/"+f[1], "")
		path, _, _ := strings.Cut(f[1], "?")
		kind := types[path[strings.LastIndexByte(path, '.')+1:]]
		if w.Code != http.StatusOK || w.Body.Len() == 0 || w.Header().Get("Content-Type") != kind ||
			w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", f[1], w.Code, w.Header())
		}
		if old := e.call("GET", "/"+path+"?v=old", ""); old.Code != http.StatusOK || old.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("%s of another version: %d %v", path, old.Code, old.Header())
		}
	}
	for _, missing := range []string{"/page/", "/page/index.html", "/page/../page.go", "/page/%2e%2e/page.go", "/page/other.js"} {
		if w := e.call("GET", missing, ""); w.Code == http.StatusOK {
			t.Errorf("%s: %d", missing, w.Code)
		}
	}
}
