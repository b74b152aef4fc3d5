package matcher

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"parkstream/docs/api/apitest"
	"parkstream/shared/learn"
)

// The document has the methods that the matcher takes.
func TestDocumentedMethods(t *testing.T) {
	operations := apitest.Operations(t, "matcher")
	_, ticks := operations["POST /"]
	_, learns := operations["POST /learn"]
	if !ticks || !learns || len(operations) != 2 {
		t.Errorf("%v, want POST / and POST /learn", operations)
	}
	log := slog.New(slog.DiscardHandler)
	h := handler(New(Config{Log: log}), nil, learn.Handler(&learn.Learner{}, log))
	for _, tt := range []struct {
		method, target string
		status         int
	}{
		{"GET", "/", http.StatusMethodNotAllowed},
		{"PUT", "/", http.StatusMethodNotAllowed},
		{"DELETE", "/", http.StatusMethodNotAllowed},
		{"POST", "/?site=a", http.StatusBadRequest},
		{"POST", "/other", http.StatusNotFound},
		{"GET", "/learn?site=north", http.StatusMethodNotAllowed},
		{"POST", "/learn", http.StatusBadRequest},
		{"POST", "/learn?site=north", http.StatusForbidden},
	} {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.target, nil)); w.Code != tt.status {
			t.Errorf("%s %s: %d %s", tt.method, tt.target, w.Code, w.Body)
		}
	}
}
