package test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// answerer answers a call in place of the gateway when it returns true.
type answerer func(w http.ResponseWriter, r *http.Request, body []byte) bool

// The connection is cut without an answer, as by a gateway that is not there.
var refuse answerer = func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
	return true
}

var serverError answerer = func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
	if !strings.Contains(r.URL.Path, "/function/exit-processor") {
		return false
	}
	http.Error(w, "exit status 1", http.StatusInternalServerError)
	return true
}

// faultyGateway stands between connector and gateway.
type faultyGateway struct {
	*httptest.Server
	proxy  *httputil.ReverseProxy
	answer atomic.Pointer[answerer]
}

func newFaultyGateway(t *testing.T, gateway string) *faultyGateway {
	t.Helper()
	target, err := url.Parse(gateway)
	if err != nil {
		t.Fatal(err)
	}
	g := new(faultyGateway)
	g.proxy = &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if answer := g.answer.Load(); answer != nil && (*answer)(w, r, body) {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		g.proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		g.CloseClientConnections()
		g.Close()
	})
	return g
}
