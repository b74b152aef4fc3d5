// Package page serves the operators' live page and decides which requests get it.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"parkstream/shared/httpjson"
)

// files are the files of the page. uplot/ is the npm package uplot 1.6.32, unchanged,
// with its licence.
//
//go:embed index.html icon.svg page.css page.js uplot
var files embed.FS

// Page is one HTML file with its style, script and plots.
type Page struct {
	html   []byte
	policy string
	// version changes with each of the files. A browser may therefore keep an asset
	// under its address without revalidation.
	version string
	assets  map[string]asset
}

type asset struct {
	contentType string
	text        []byte
}

// versionMark is the placeholder of the version in index.html.
const versionMark = "VERSION"

// New returns the page.
func New() *Page {
	p := &Page{assets: make(map[string]asset)}
	sum := sha256.New()
	// The files are embedded in the program, and its tests request each of them.
	_ = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := files.ReadFile(name)
		_, _ = sum.Write(text) // a hash never fails
		if name == "index.html" {
			p.html = text
		} else {
			p.assets[name] = asset{contentType(name), text}
		}
		return err
	})
	p.version = hex.EncodeToString(sum.Sum(nil))[:12]
	p.html = bytes.ReplaceAll(p.html, []byte(versionMark), []byte(p.version))
	_, script, _ := strings.Cut(string(p.html), "<script>")
	script, _, _ = strings.Cut(script, "</script>")
	first := sha256.Sum256([]byte(script))
	p.policy = "default-src 'none'; script-src 'self' 'sha256-" + base64.StdEncoding.EncodeToString(first[:]) +
		"'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	return p
}

// contentType returns the content type of a file. It ignores the machine's own table,
// because an image may lack one.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	default:
		return "text/plain; charset=utf-8"
	}
}

// OrElse serves the page to a person, and list to all other callers. The list of stays
// and the page share one path, because OpenFaaS does not pass a slash at the end of a
// function's path.
func (p *Page) OrElse(list http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept")
		if !p.Wanted(r) {
			list(w, r)
			return
		}
		h := w.Header()
		if to, ok := withSlash(r); ok {
			h.Set("Location", to)
			w.WriteHeader(http.StatusFound)
			return
		}
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", p.policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", `"`+p.version+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(p.html))
	}
}

// Wanted reports whether the caller is a person: a browser, or a request without a
// query whose original path ends in a slash. The gateway of Parkstream passes the
// original path.
func (p *Page) Wanted(r *http.Request) bool {
	if r.URL.Query().Has("format") {
		return false
	}
	return prefersHTML(r.Header.Values("Accept")) ||
		r.URL.RawQuery == "" && strings.HasSuffix(r.Header.Get("X-Forwarded-Uri"), "/")
}

// withSlash returns the address of the page if the request lacks the slash that
// relative addresses need. If the gateway does not pass the original path, the page's
// own script redirects.
func withSlash(r *http.Request) (location string, ok bool) {
	original, err := url.Parse(r.Header.Get("X-Forwarded-Uri"))
	if err != nil || original.Path == "" || strings.HasSuffix(original.Path, "/") {
		return "", false
	}
	to := url.URL{Path: "./" + path.Base(original.Path) + "/", RawQuery: r.URL.RawQuery}
	return to.String(), true
}

// prefersHTML reports whether HTML is accepted, and is not listed after JSON.
func prefersHTML(accept []string) bool {
	var html, plain float64
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if text, ok := params["q"]; ok {
			q, _ = strconv.ParseFloat(text, 64)
		}
		switch kind {
		case "text/html":
			html = q
		case "application/json":
			plain = q
		}
	}
	return html > 0 && html >= plain
}

// Asset serves the file of the path value "file".
func (p *Page) Asset(w http.ResponseWriter, r *http.Request) {
	a, ok := p.assets[r.PathValue("file")]
	if !ok {
		httpjson.Error(w, http.StatusNotFound, "the page has no such file")
		return
	}
	keep := "no-cache"
	if r.URL.Query().Get("v") == p.version {
		keep = "public, max-age=31536000, immutable"
	}
	w.Header().Set("Cache-Control", keep)
	w.Header().Del("Vary") // everyone gets the same
	w.Header().Set("Content-Type", a.contentType)
	w.Header().Set("ETag", `"`+p.version+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.text))
}
