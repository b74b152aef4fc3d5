package gateway

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Each path is answered unchanged: none is cleaned, decoded or completed by a redirect.
// Refusals are JSON.
func TestRoutes(t *testing.T) {
	l := newGateway(t)
	l.deploy(t, deployment("one", nil))
	handler := l.Handler()
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/healthz", 200},
		{"POST", "/healthz", 200},
		{"GET", "/metrics", 200},
		{"GET", "/", 302},
		{"HEAD", "/", 405},
		{"POST", "/", 405},

		{"GET", "/system/functions", 200},
		{"HEAD", "/system/functions", 405},
		{"PATCH", "/system/functions", 405},
		{"GET", "/system/functions/", 404},
		{"GET", "//system/functions", 404},
		{"GET", "/system//functions", 404},
		{"GET", "/x/../system/functions", 404},
		{"GET", "/system/./functions", 404},
		{"GET", "/system%2Ffunctions", 404},
		{"GET", "/%73ystem/functions", 404},
		{"GET", "/system/%66unctions", 404},
		{"POST", "/system/%66unctions", 404},
		{"GET", "/system/function%73", 404},
		{"GET", "/system/%66unction/one", 404},
		{"GET", "/%68ealthz", 404},
		{"GET", "/%6detrics", 404},
		{"GET", "/%66unction/one", 404},
		{"GET", "/system/%6eamespace/", 404},
		{"GET", "/system/function/one", 200},
		{"GET", "/system/function/%6fne", 200},
		{"GET", "/system/function/two", 404},
		{"GET", "/system/function/", 404},
		{"GET", "/system/function", 404},
		{"GET", "/system/function/one/two", 404},
		{"DELETE", "/system/function/one", 405},
		{"GET", "/system/scale-function/one", 405},
		{"GET", "/system/namespace/openfaas-fn", 200},
		{"GET", "/system/namespace/other", 404},
		{"GET", "/system/namespace/", 405},
		{"GET", "/system/namespace", 404},
		{"POST", "/system/namespace/", 405},
		{"POST", "/system/namespace/a/b", 405},
		{"GET", "/system/namespace/a/b", 405},
		{"PUT", "/system/namespace/a/", 405},
		{"GET", "/system/namespace/openfaas-fn/", 405},
		{"POST", "/system/namespace/a%2Fb", 405},
		{"GET", "/system", 404},
		{"GET", "/nothing", 404},

		{"GET", "/function", 404},
		{"GET", "/function/", 404},
		{"GET", "/function//a", 404},
		{"GET", "/function/two", 404},
		{"GET", "/function/one", 200},
		{"OPTIONS", "/function/one/", 200},
		{"GET", "/function/%6fne/a//b/../c", 200},
		{"GET", "/function/one/%2F", 200},
		{"GET", "/async-function/one", 501},
		{"POST", "/async-function/", 501},
		{"GET", "/async-function", 404},
	} {
		r := httptest.NewRequest(tt.method, "http://localhost"+tt.path, http.NoBody)
		r.SetBasicAuth("admin", "secret")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s %s: %d %s, want %d", tt.method, tt.path, w.Code, w.Body, tt.want)
		}
		if w.Code >= 400 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s: %d %q is no JSON", tt.method, tt.path, w.Code, w.Body)
		}
	}
}
