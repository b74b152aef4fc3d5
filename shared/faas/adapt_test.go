package faas_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/faas"
)

// describe answers with what it was asked.
var describe = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Answer", "yes")
	w.WriteHeader(http.StatusEarlyHints)
	w.WriteHeader(http.StatusAccepted)
	w.WriteHeader(http.StatusTeapot)
	fmt.Fprintf(w, "%s %s %s q=%s host=%s header=%s body=%s", r.Method, r.URL.Path, r.URL.EscapedPath(), r.FormValue("q"), r.Host, r.Header.Get("X-Call-Id"), body)
})

func TestAdaptBehindTheServer(t *testing.T) {
	p := start(t, nil, nil, func(req handler.Request) (handler.Response, error) { return faas.Adapt(describe, req) })
	resp, text := do(t, "DELETE", p.url+"/sites/a%2Fb/plates?q=1", strings.NewReader("x"))
	host := strings.TrimPrefix(p.url, "http://")
	if want := "DELETE /sites/a/b/plates /sites/a%2Fb/plates q=1 host=" + host + " header=call-17 body=x"; text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("X-Answer") != "yes" {
		t.Errorf("got %d %v", resp.StatusCode, resp.Header)
	}
	if _, text := do(t, "GET", p.url, nil); !strings.HasPrefix(text, "GET / / q= ") {
		t.Errorf("without a path: %s", text)
	}
}

// A handler learns the caller's address: failed logins are counted by it.
func TestAdaptKnowsTheCaller(t *testing.T) {
	remote := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) })
	p := start(t, nil, nil, func(req handler.Request) (handler.Response, error) { return faas.Adapt(remote, req) })
	if _, text := do(t, "GET", p.url, nil); !strings.HasPrefix(text, "127.0.0.1:") {
		t.Errorf("the caller's address is %q", text)
	}
}

func TestAdaptWithAnotherTemplate(t *testing.T) {
	resp, err := faas.Adapt(describe, handler.Request{Method: "POST", QueryString: "q=2", Body: []byte("y")})
	if want := "POST / / q=2 host= header= body=y"; string(resp.Body) != want || err != nil {
		t.Errorf("got %s, %v, want %s", resp.Body, err, want)
	}
	resp, _ = faas.Adapt(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a")
		_, _ = w.Write([]byte("b"))
	}), handler.Request{Method: "GET"})
	if string(resp.Body) != "ab" || resp.StatusCode != 200 {
		t.Errorf("got %d %s", resp.StatusCode, resp.Body)
	}
}

func BenchmarkAdapt(b *testing.B) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "{}")
	})
	req := handler.Request{Method: "POST", Body: []byte(`{"id":"1"}`), Header: http.Header{"Content-Type": {"application/json"}}}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = faas.Adapt(h, req)
	}
}
