package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCameraShow(t *testing.T) {
	var asked, token string
	answer := `{"requests":[{"time":"2026-11-27T08:00:01Z","camera":"gate-1","site":"north","status":422,"reason":"of no known format","content_type":"text/plain","bytes":7,"body":"new\r\nAA99"},
		{"time":"2026-11-27T08:00:00Z","camera":"gate-1","site":"north","format":"axis","status":400,"reason":"cut off","bytes":3,"body":"old\u001b"}]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, token = r.URL.String(), r.Header.Get("Authorization")
		if answer == "" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = w.Write([]byte(answer))
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("t\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := cameraShowCommand{Camera: "gate-1", Plates: true, summaryAPI: summaryAPI{Gateway: server.URL, TokenFile: file}}
	var out strings.Builder
	if err := c.run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	want := `2026-11-27T08:00:00Z  camera gate-1 of site north, answered 400, 3 bytes, axis
  cut off

old�

2026-11-27T08:00:01Z  camera gate-1 of site north, answered 422, 7 bytes, text/plain
  of no known format

new
AA99

`
	if out.String() != want || asked != "/function/camera/?camera=gate-1&plates=true" || token != "Bearer t" {
		t.Errorf("asked %s with %s:\n%s\nwant\n%s", asked, token, &out, want)
	}
	answer = `{"requests":[]}`
	out.Reset()
	if err := c.run(t.Context(), &out); err != nil || out.String() != "no request of a camera was refused in the last day\n" {
		t.Errorf("%q, %v", &out, err)
	}
	answer = "this is another program"
	if err := c.run(t.Context(), &out); err == nil || !strings.Contains(err.Error(), "does not answer as Parkstream's function camera") {
		t.Errorf("of another program: %v", err)
	}
	answer = ""
	if err := c.run(t.Context(), &out); err == nil || !strings.Contains(err.Error(), "the function camera answers 401 Unauthorized: ") {
		t.Errorf("without the right: %v", err)
	}
	server.Close()
	if err := c.run(t.Context(), &out); err == nil {
		t.Error("no error without a server")
	}
}
