package process_test

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestProfiles: the port of a process, which may be open to strangers, serves no
// profiles; the address of the setting does, until the process ends.
func TestProfiles(t *testing.T) {
	p := start(t, []string{"PPROF_LISTEN=127.0.0.1:0"}, nothing)
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap"} {
		if _, text := get(t, p.url+path); text != "the handler" {
			t.Errorf("%s is answered by the process: %.100s", path, text)
		}
	}
	found := regexp.MustCompile(`"serving","process":"test","what":"profiles","address":"(127\.0\.0\.1:\d+)"`).FindStringSubmatch(p.log.String())
	if found == nil {
		t.Fatalf("the log does not tell the address: %s", p.log)
	}
	url := "http://" + found[1]
	for path, want := range map[string]string{"/debug/pprof/": "goroutine", "/debug/pprof/cmdline": "test", "/debug/pprof/goroutine?debug=1": "goroutine profile", "/debug/pprof/heap?debug=1": "heap profile"} {
		if resp, text := get(t, url+path); resp.StatusCode != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: %d %.100s", path, resp.StatusCode, text)
		}
	}
	if resp, _ := get(t, url+"/"); resp.StatusCode != http.StatusNotFound {
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
		second = start(t, []string{"PPROF_LISTEN=" + found[1]}, nothing)
		if _, text := get(t, second.url+"/"); text != "the handler" {
			t.Errorf("answered with %s", text)
		}
	}
	if text := second.log.String(); !strings.Contains(text, `"not served","process":"test","what":"profiles"`) {
		t.Errorf("the second says %s", text)
	}
}

// METRICS_LISTEN serves the metrics alone, until the process ends.
func TestMetricsBeside(t *testing.T) {
	p := start(t, []string{"METRICS_LISTEN=127.0.0.1:0"}, nothing)
	get(t, p.url+"/") // it serves
	found := regexp.MustCompile(`"what":"metrics","address":"(127\.0\.0\.1:\d+)"`).FindStringSubmatch(p.log.String())
	if found == nil {
		t.Fatalf("the log does not tell the address: %s", p.log)
	}
	url := "http://" + found[1]
	if resp, text := get(t, url+"/metrics"); resp.StatusCode != http.StatusOK || !strings.Contains(text, "go_goroutines") {
		t.Errorf("/metrics: %d %.100s", resp.StatusCode, text)
	}
	for _, path := range []string{"/", "/_/ready", "/debug/pprof/", "/metrics/more"} {
		if resp, _ := get(t, url+path); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if resp, err := http.Get(url + "/metrics"); err == nil {
		_ = resp.Body.Close()
		t.Error("metrics are served after the end")
	}
}
