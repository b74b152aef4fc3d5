package apitest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
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

// A request that is accepted is as the document describes it.
func TestRequestsAreChecked(t *testing.T) {
	for _, tt := range []struct {
		method, target, kind, body string
		status                     int
		described                  bool
	}{
		{"POST", "/search", "application/json", `{"plate":"A1"}`, 204, true},
		{"POST", "/search", "application/json", `{"plate":1}`, 204, false},
		{"POST", "/search", "application/json", `{"plate":1}`, 400, true}, // refused
		{"POST", "/search", "text/plain", `{"plate":1}`, 204, true},
		{"GET", "/?limit=1", "", "", 204, true},
		{"GET", "/sites?none=1", "", "", 204, false},
		{"GET", "/none?none=1", "", "", 204, true},
	} {
		request := httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body))
		request.Header.Set("Content-Type", tt.kind)
		var seen []string
		f := &messages{TB: t, seen: &seen}
		read := ""
		apitest.Handler(f, "summary", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			text, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			read = string(text)
			w.WriteHeader(tt.status)
		})).ServeHTTP(httptest.NewRecorder(), request)
		found := slices.ContainsFunc(seen, func(text string) bool { return strings.Contains(text, "does not describe the request") })
		if found == tt.described || read != tt.body {
			t.Errorf("%s %s %s: %q read, %q", tt.method, tt.target, tt.body, read, seen)
		}
	}
}

// messages is a test whose errors are kept.
type messages struct {
	testing.TB
	seen *[]string
}

func (m *messages) Helper() {}

func (m *messages) Errorf(format string, args ...any) {
	*m.seen = append(*m.seen, fmt.Sprintf(format, args...))
}
