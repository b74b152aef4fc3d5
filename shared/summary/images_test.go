package summary

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parkstream/shared/audit"
	"parkstream/shared/image"
	"parkstream/shared/process"
)

var jpeg = []byte("\xff\xd8\xff\xe0 a picture")

// pictured is the id of an event with a picture.
const pictured = "a/b KA01AB1234"

// imageOf returns the reference of the picture of that event. Names must not change:
// events have them.
func imageOf(site string) string {
	sum := sha256.Sum256([]byte(site + "/" + pictured))
	return site + "/" + today.Format(time.DateOnly) + "/" + hex.EncodeToString(sum[:])[:32] + "-0.jpg"
}

// newImages returns the store of pictures of a URL.
func newImages(t *testing.T, url string) *image.Store {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"images-access-key", "images-secret-key"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("hush"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := process.New(process.Options{Environ: []string{"SECRETS_DIR=" + dir}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	store, err := image.Wire(p, image.Settings{URL: url, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestImage(t *testing.T) {
	e := newEndpoint(t)
	if w := e.call("GET", "/images/"+imageOf("a"), ""); w.Code != http.StatusNotFound {
		t.Errorf("without a store: %d %s", w.Code, w.Body)
	}
	e.images = newImages(t, "file://"+t.TempDir())
	e.Handler = admitting{t, NewHandler(e.config(newGuard(t, "", theToken, everyRight...)))}
	png := []byte("\x89PNG\r\n\x1a\n<script>")
	reference, err := e.images.Put(t.Context(), "a", pictured, today, jpeg, png)
	if err != nil || reference != imageOf("a") {
		t.Fatal(reference, err)
	}
	second := strings.Replace(reference, "-0.jpg", "-1.png", 1)
	for _, method := range []string{"GET", "HEAD"} {
		for reference, want := range map[string]struct{ text, kind string }{reference: {string(jpeg), "image/jpeg"}, second: {string(png), "image/png"}} {
			w := e.call(method, "/images/"+reference, "", "Accept", "text/html")
			if text := w.Body.String(); w.Code != http.StatusOK || method == "GET" && text != want.text || method == "HEAD" && text != "" {
				t.Errorf("%s %s: %d %q", method, reference, w.Code, text)
			}
			for name, value := range map[string]string{
				"Content-Type": want.kind, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Length": fmt.Sprint(len(want.text)),
				"Content-Disposition": `inline; filename="` + filepath.Base(reference) + `"`, "Content-Security-Policy": "default-src 'none'; sandbox",
				"Vary": "Authorization, Cookie", "Cross-Origin-Resource-Policy": "same-origin",
			} {
				if got := w.Header().Get(name); got != value {
					t.Errorf("%s %s: %s is %q, want %q", method, reference, name, got, value)
				}
			}
		}
	}
	if w := e.call("GET", "/images/"+reference, "", "Range", "bytes=0-1"); w.Code != http.StatusOK || w.Body.String() != string(jpeg) {
		t.Errorf("a range: %d %q", w.Code, w.Body)
	}
	day, file := today.Format(time.DateOnly), filepath.Base(reference)
	for _, path := range []string{
		"a/" + day + "/../" + day + "/" + file, "a/" + day + "/.." + "%2f" + file, "a/%2e%2e/" + file, "../a/" + day + "/" + file, "a/" + day + "/" + file + "/", "a/" + day + "//" + file,
		"b/" + day + "/" + file, "a/2026-99-99/" + file, "a/" + day + "/passwd", "a/" + day + "/" + strings.Replace(file, "0.jpg", "3.jpg", 1), "a/" + day, "a", "",
	} {
		if w := e.call("GET", "/images/"+path, ""); w.Code != http.StatusNotFound || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("GET /images/%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// A server that cannot be used is told as that, without its address, and its pictures
// keep their events from being erased: the next request finds them.
func TestImagesAreUnavailable(t *testing.T) {
	e := newEndpoint(t)
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	e.images = newImages(t, "s3://pictures?endpoint="+server.URL)
	e.Handler = admitting{t, NewHandler(e.config(newGuard(t, "", theToken, everyRight...)))}
	e.record(t, "a", "PLATE1+")
	for _, tt := range []struct{ method, path string }{{"GET", "/images/" + imageOf("a")}, {"DELETE", "/plates/PLATE1"}} {
		w := e.authorized(tt.method, tt.path, "")
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Body.String() != `{"error":"the store of pictures cannot be used now, try again"}`+"\n" {
			t.Errorf("%s: %d %s", tt.path, w.Code, w.Body)
		}
	}
	if places, err := e.events.Places(t.Context(), "a", "PLATE1"); len(places) != 2 || err != nil {
		t.Errorf("left: %v, %v", places, err)
	}
	if !strings.Contains(e.log.String(), "connection refused") || strings.Contains(e.log.String(), "PLATE1") {
		t.Errorf("the log: %s", e.log)
	}
}

// The pictures of a plate's events go with it, at the sites of the erasure.
func TestEraseRemovesPictures(t *testing.T) {
	e := newEndpoint(t)
	dir := t.TempDir()
	e.images = newImages(t, "file://"+dir)
	e.Handler = admitting{t, NewHandler(e.config(newGuard(t, "", theToken, everyRight...)))}
	e.record(t, "a", "PLATE1+", "P2+")
	e.record(t, "b", "PLATE1+")
	pictures := func() (names []string) {
		found, err := filepath.Glob(filepath.Join(dir, "*", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for _, site := range []string{"a", "b"} {
		for _, plate := range []string{"PLATE1", "P2"} {
			places, err := e.events.Places(t.Context(), site, plate)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range places {
				if _, err := e.images.Put(t.Context(), site, p.ID, p.Time, jpeg, jpeg); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if n := len(pictures()); n != 12 {
		t.Fatalf("%d pictures", n)
	}
	for _, tt := range []struct {
		path, want string
		left       int
	}{
		{"/plates/plate-1?site=a", `{"events":2,"stays":1,"keys":3,"pictures":4}`, 8},
		{"/plates/plate-1", `{"events":2,"stays":1,"keys":3,"pictures":4}`, 4},
		{"/plates/plate-1", `{"events":0,"stays":0,"keys":0,"pictures":0}`, 4},
	} {
		w := e.authorized("DELETE", tt.path, "")
		if got := strings.TrimSpace(w.Body.String()); w.Code != http.StatusOK || got != tt.want || len(pictures()) != tt.left {
			t.Errorf("DELETE %s: %d %s, left %q", tt.path, w.Code, got, pictures())
		}
	}
	page, err := e.audit.List(t.Context(), audit.Query{Action: audit.Erase, Limit: 10})
	if err != nil || len(page.Entries) != 6 || page.Entries[4].After != "2 events, 1 stays, 4 pictures" {
		t.Errorf("the audit: %+v, %v", page.Entries, err)
	}
}

// A picture goes to its reader in parts, and one that breaks off looks like that.
func TestImageIsStreamed(t *testing.T) {
	const size = 4 << 20
	data := append(bytes.Clone(jpeg), make([]byte, size)...)
	e := newEndpoint(t)
	breaks := false
	s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", today.Format(http.TimeFormat))
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		if breaks {
			_, _ = w.Write(data[:size/2])
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(data)
	}))
	defer s3.Close()
	e.images = newImages(t, "s3://pictures?endpoint="+s3.URL)
	e.Handler = admitting{t, NewHandler(e.config(newGuard(t, "", theToken, everyRight...)))}
	summary := httptest.NewServer(e)
	defer summary.Close()
	read := func() ([]byte, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, summary.URL+"/images/"+imageOf("a"), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := summary.Client().Do(r)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		return io.ReadAll(resp.Body)
	}
	if got, err := read(); !bytes.Equal(got, data) || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	breaks = true
	if got, err := read(); err == nil {
		t.Errorf("%d bytes, and no error", len(got))
	}
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
			t.Errorf("a response that broke off ends with %v", err)
		}
	}()
	e.call("GET", "/images/"+imageOf("a"), "")
}
