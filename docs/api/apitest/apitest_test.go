package apitest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"parkstream/docs/api/apitest"
)

// failures is a test that counts its errors.
type failures struct {
	testing.TB
	count int
}

func (f *failures) Helper()               {}
func (f *failures) Errorf(string, ...any) { f.count++ }

// Each response that the document does not describe fails a test, and one that it
// describes does not.
func TestHandler(t *testing.T) {
	const (
		asJSON  = "application/json"
		noError = `{"error":"x"}`
		names   = `{"sites":["a"]}`
	)
	for _, tt := range []struct {
		method, path string
		status       int
		kind, body   string
		header       string // that the response has, too
		described    bool
	}{
		{"GET", "/sites", 200, asJSON, names, "", true},
		{"GET", "/sites", 200, asJSON + "; charset=utf-8", names, "", true},
		{"HEAD", "/sites", 200, asJSON, "", "", true},
		{"GET", "/sites", 201, asJSON, names, "", false},
		{"GET", "/sites", 200, "text/plain", names, "", false},
		{"GET", "/sites", 200, "", names, "", false},
		{"GET", "/sites", 200, asJSON, `{"sites":["a"],"more":1}`, "", false},
		{"GET", "/sites", 200, asJSON, `{"sites":["a b"]}`, "", false},
		{"GET", "/sites", 200, asJSON, `{}`, "", false},
		{"GET", "/sites", 200, asJSON, `{"sites":[]`, "", false},
		{"GET", "/sites", 200, asJSON, ``, "", false},
		{"GET", "/sites", 503, asJSON, noError, "", false},
		{"GET", "/sites", 503, asJSON, noError, "Retry-After", true},
		{"GET", "/sites", 401, asJSON, noError, "", false},
		{"GET", "/sites", 401, asJSON, noError, "Www-Authenticate", true},
		{"POST", "/logout", 204, "", "", "", true},
		{"POST", "/logout", 204, asJSON, noError, "", false},
		{"GET", "/none", 404, asJSON, noError, "", true},
		{"GET", "/none", 200, asJSON, noError, "", false},
		{"GET", "/none", 500, asJSON, noError, "", false},
		{"PUT", "/sites", 405, asJSON, noError, "", true},
		{"GET", "/sites/a/b", 404, asJSON, noError, "", true},
		{"GET", "/stays/a/b", 404, asJSON, noError, "", true},
		{"GET", "/stays/a%2Fb", 200, asJSON, names, "", false},
		{"GET", "/_/health", 200, "text/plain", "ok", "", true},
	} {
		name := fmt.Sprint(tt.method, " ", tt.path, " ", tt.status, " ", tt.kind, " ", tt.body, " ", tt.header)
		f := &failures{TB: t}
		h := apitest.Handler(f, "summary", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if tt.kind != "" {
				w.Header().Set("Content-Type", tt.kind)
			}
			if tt.header != "" {
				w.Header().Set(tt.header, "1")
			}
			w.WriteHeader(tt.status)
			_, _ = w.Write([]byte(tt.body))
		}))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if (f.count == 0) != tt.described {
			t.Errorf("%s: %d errors, want described: %t", name, f.count, tt.described)
		}
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s: passed on as %d %s", name, w.Code, w.Body)
		}
	}
}
