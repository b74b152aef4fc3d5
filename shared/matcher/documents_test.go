package matcher

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"parkstream/docs/api/apitest"
)

// The document has the methods that the matcher takes.
func TestDocumentedMethods(t *testing.T) {
	operations := apitest.Operations(t, "matcher")
	if _, found := operations["POST /"]; !found || len(operations) != 1 {
		t.Errorf("%v, want POST", operations)
	}
	h := handler(New(Config{Log: slog.New(slog.DiscardHandler)}), nil)
	for _, tt := range []struct {
		method, target string
		status         int
	}{
		{"GET", "/", http.StatusMethodNotAllowed},
		{"PUT", "/", http.StatusMethodNotAllowed},
		{"DELETE", "/", http.StatusMethodNotAllowed},
		{"POST", "/?site=a", http.StatusBadRequest},
		{"POST", "/other", http.StatusNotFound},
	} {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.target, nil)); w.Code != tt.status {
			t.Errorf("%s %s: %d %s", tt.method, tt.target, w.Code, w.Body)
		}
	}
}
