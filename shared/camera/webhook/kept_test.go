package webhook

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"parkstream/shared/access"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/redis"
)

// An administrator sees the requests of its sites, and their plates if it asks for them.
func TestList(t *testing.T) {
	client, err := redis.Open(redis.URL(instancetest.Redis(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	h := New(Config{Kept: NewKept(client), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	for _, site := range []string{"north", "south"} {
		if err := h.Kept.add(t.Context(), keptRequest{Camera: site + "-in", Site: site, Time: time.Now(), Body: "KA01"}); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]string{
		"":                            `"body":"AA99"`,
		"?plates=true":                `"body":"KA01"`,
		"?camera=north-in":            `"body":"AA99"`,
		"?camera=south-in":            `{"requests":[]}`,
		"?camera=unknown&plates=true": `{"requests":[]}`,
	} {
		p := access.Principal{Name: "anna", Role: access.Admin, Sites: access.SitesOf("north")}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(access.NewContext(t.Context(), p), "GET", "/"+query, nil))
		if text := w.Body.String(); w.Code != 200 || !strings.Contains(text, want) || strings.Contains(text, "south") {
			t.Errorf("%q: %d %s, want %s", query, w.Code, text, want)
		}
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	if w.Code != 503 || w.Header().Get("Retry-After") != retryAfter {
		t.Errorf("without Redis: %d %s", w.Code, w.Body)
	}
}
