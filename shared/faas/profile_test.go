package faas_test

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/faas"
)

// TestProfiles: a function's own port, which is open to all callers of the gateway,
// serves no profiles; the address of the setting does, until the process ends.
func TestProfiles(t *testing.T) {
	called := func(handler.Request) (handler.Response, error) {
		return handler.Response{Body: []byte("the function")}, nil
	}
	p := start(t, []string{"PPROF_LISTEN=127.0.0.1:0"}, nil, called)
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap"} {
		if _, text := do(t, "GET", p.url+path, nil); text != "the function" {
			t.Errorf("%s is answered by the process: %.100s", path, text)
		}
	}
	found := regexp.MustCompile(`"serving profiles","process":"test","address":"(127\.0\.0\.1:\d+)"`).FindStringSubmatch(p.log.String())
	if found == nil {
		t.Fatalf("the log does not tell the address: %s", p.log)
	}
	url := "http://" + found[1]
	for path, want := range map[string]string{"/debug/pprof/": "goroutine", "/debug/pprof/cmdline": "test", "/debug/pprof/goroutine?debug=1": "goroutine profile", "/debug/pprof/heap?debug=1": "heap profile"} {
		if resp, text := do(t, "GET", url+path, nil); resp.StatusCode != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: %d %.100s", path, resp.StatusCode, text)
		}
	}
	if resp, _ := do(t, "GET", url+"/", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("besides profiles: %d", resp.StatusCode)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if resp, err := http.Get(url + "/debug/pprof/"); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		t.Error("profiles are served after the end")
	}
	// Replicas on one machine have the same setting: the second goes without.
	var second running
	for range 2 {
		second = start(t, []string{"PPROF_LISTEN=" + found[1]}, nil, called)
		if _, text := do(t, "GET", second.url+"/", nil); text != "the function" {
			t.Errorf("answered with %s", text)
		}
	}
	if text := second.log.String(); !strings.Contains(text, "profiles are not served") {
		t.Errorf("the second says %s", text)
	}
}

func TestCheckProfileAddress(t *testing.T) {
	for value, ok := range map[string]bool{
		"": true, "127.0.0.1:6060": true, "127.1.2.3:0": true, "[::1]:6060": true, "localhost:6060": true,
		":6060": false, "0.0.0.0:6060": false, "[::]:6060": false, "10.0.0.3:6060": false, "example.org:6060": false,
		"127.0.0.1": false, "true": false, "6060": false, "localhost.example.org:1": false,
	} {
		if err := faas.CheckProfileAddress("PPROF_LISTEN", value); (err == nil) != ok {
			t.Errorf("%q: %v", value, err)
		}
	}
}
