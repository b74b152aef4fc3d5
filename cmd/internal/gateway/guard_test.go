package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"parkstream/shared/eventually"
	"parkstream/shared/process"
)

// TestHosts: a name that was made to point to loopback is not served.
func TestHosts(t *testing.T) {
	l := newGateway(t)
	port := l.server.Listener.Addr().String()[len("127.0.0.1"):]
	for host, want := range map[string]int{
		"127.0.0.1" + port: 200, "127.0.0.1": 200, "127.8.9.10:1": 200, "[::1]" + port: 200, "[::1]": 200, "[::ffff:127.0.0.1]:80": 200,
		"localhost" + port: 200, "LocalHost": 200, "localhost.": 200, "app.localhost" + port: 200,
		"parking.example": 200, "Parking.Example:443": 200, "[2001:db8::1]:443": 200, "[2001:DB8:0::1]": 200,

		"evil.example" + port: 421, "evil.example": 421, "127.0.0.1.evil.example": 421, "localhost.evil.example": 421, "notlocalhost": 421,
		"www.parking.example": 421, "parking.example.evil.example": 421, "0.0.0.0" + port: 421, "[::]": 421, "192.168.0.2": 421, "[2001:db8::2]": 421,
		"169.254.169.254": 421, "localhost:80:80": 421, "2130706433": 421, "parkstream": 421,
	} {
		for _, path := range []string{"/healthz", "/metrics", "/function/two", "/system/functions", "/nothing"} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
			r.Host = host
			w := httptest.NewRecorder()
			l.server.Config.Handler.ServeHTTP(w, r)
			if refused := w.Code == http.StatusMisdirectedRequest; refused != (want == 421) || path == "/healthz" && w.Code != want {
				t.Errorf("%s at %q: %d %s", path, host, w.Code, w.Body)
			}
		}
	}
	for host, ok := range map[string]bool{
		"parking.example": true, "10.0.0.1": true, "::1": true, "localhost": true,
		"": false, "https://parking.example": false, "parking.example:443": false, "[::1]": false, "*.example": false, "a b": false,
	} {
		if err := CheckHost(host); (err == nil) != ok {
			t.Errorf("CheckHost(%q) = %v", host, err)
		}
	}
}

// A function gets credentials as the caller sent them, and learns by whom it was called
// and under which address.
func TestWhatFunctionsLearnOfTheCaller(t *testing.T) {
	l := newGateway(t)
	l.deploy(t, deployment("one", nil))
	host := strings.TrimPrefix(l.server.URL, "http://")
	for name, tt := range map[string]struct{ sent, want map[string]string }{
		"directly": {
			map[string]string{"Authorization": "Bearer hush", "Cookie": `a=1; parkstream_session="x y"`, "X-Real-Ip": "127.0.0.1"},
			map[string]string{
				"Authorization": "Bearer hush", "Cookie": `a=1; parkstream_session="x y"`, "X-Real-Ip": "127.0.0.1",
				"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": host, "X-Forwarded-Proto": "http",
			},
		},
		"through a proxy": {
			map[string]string{"Authorization": "Basic aHVzaA==", "X-Forwarded-For": "203.0.113.7, 10.0.0.2", "X-Forwarded-Host": "parking.example", "X-Forwarded-Proto": "https"},
			map[string]string{
				"Authorization": "Basic aHVzaA==", "Cookie": "",
				"X-Forwarded-For": "203.0.113.7, 10.0.0.2, 127.0.0.1", "X-Forwarded-Host": "parking.example", "X-Forwarded-Proto": "https",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.server.URL+"/function/one", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range tt.sent {
				r.Header.Set(name, value)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var got seen
			if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
				t.Fatal(err)
			}
			for name, want := range tt.want {
				if value := strings.Join(got.Header[name], "|"); value != want {
					t.Errorf("%s is %q, want %q", name, value, want)
				}
			}
		})
	}
}

// An open system is for this machine alone: a proxy in front of it is refused if it names
// its caller. One that asks for a login serves them, if it serves their host.
func TestProxies(t *testing.T) {
	for header, values := range map[string]map[string]int{ // the status of an open gateway
		"X-Forwarded-For": {
			"127.0.0.1": 200, "::1": 200, "[::1]:4711": 200, "127.0.0.1:4711, ::ffff:127.0.0.1": 200,
			"203.0.113.7": 403, "127.0.0.1, 203.0.113.7": 403, "203.0.113.7, 127.0.0.1": 403, "10.0.0.1:80": 403, "unknown": 403, "": 403, "localhost.evil.example": 403,
		},
		"X-Real-Ip":        {"127.0.0.1": 200, "203.0.113.7": 403},
		"Forwarded":        {"for=203.0.113.7": 403, "for=127.0.0.1": 403},
		"X-Forwarded-Host": {"localhost:8080": 200, "127.0.0.1": 200, "evil.example": 421, "localhost, evil.example": 421, "": 421},
	} {
		for value, want := range values {
			for _, open := range []bool{true, false} {
				l := &Gateway{config: Config{Open: open}}
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:8080/", http.NoBody)
				r.Header[header] = []string{value}
				w := httptest.NewRecorder()
				l.guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
				wanted := want
				if wanted == http.StatusForbidden && !open {
					wanted = http.StatusOK
				}
				if w.Code != wanted {
					t.Errorf("%s %q, open %t: %d, want %d", header, value, open, w.Code, wanted)
				}
			}
		}
	}
}

// TestOrigins: a page of another site cannot change anything with an operator's
// browser. Other clients need no origin.
func TestOrigins(t *testing.T) {
	l := newGateway(t)
	l.deploy(t, deployment("one", nil))
	for _, tt := range []struct {
		method, origin, site, contentType string
		refused                           bool
	}{
		{"POST", "", "", "application/json", false}, // curl, a connector
		{"POST", "HOST", "", "application/json", false},
		{"POST", "HOST", "same-origin", "application/json", false},
		{"POST", "", "none", "", false}, // typed by the user
		{"GET", "https://evil.example", "cross-site", "", false},
		{"HEAD", "https://evil.example", "cross-site", "", false},
		{"POST", "https://evil.example", "", "text/plain", true},
		{"POST", "https://evil.example", "cross-site", "text/plain", true},
		{"POST", "http://evil.example", "", "application/x-www-form-urlencoded", true},
		{"POST", "null", "", "text/plain", true}, // a page in a sandbox, a file
		{"POST", "", "cross-site", "", true},
		{"POST", "http://localhost:1", "same-site", "", true}, // another program of this machine
		{"POST", "http://127.0.0.1:1", "", "text/plain", true},
		{"PUT", "https://evil.example", "", "text/plain", true},
		{"DELETE", "https://evil.example", "", "", true},
		{"PATCH", "https://evil.example", "", "", true},
	} {
		for _, path := range []string{"/function/one", "/system/scale-function/one", "/system/functions"} {
			r, err := http.NewRequestWithContext(t.Context(), tt.method, l.server.URL+path, strings.NewReader(`{"replicas":1}`))
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth("admin", "secret")
			for name, value := range map[string]string{"Origin": strings.Replace(tt.origin, "HOST", l.server.URL, 1), "Sec-Fetch-Site": tt.site, "Content-Type": tt.contentType} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if (resp.StatusCode == http.StatusForbidden) != tt.refused {
				t.Errorf("%s %s with Origin %q, Sec-Fetch-Site %q: %d", tt.method, path, tt.origin, tt.site, resp.StatusCode)
			}
		}
	}
}

// TestPasswordIsRotated: the gateway's own password is changed through the gateway
// while it is used. The next request needs the new one, calls of functions do not
// notice, and the gateway cannot be locked.
func TestPasswordIsRotated(t *testing.T) {
	l := newGateway(t)
	l.deploy(t, deployment("one", nil))
	request := func(method, path, password, body string) int {
		r, err := http.NewRequestWithContext(context.Background(), method, l.server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return 0
		}
		if password != "" {
			r.SetBasicAuth("admin", password)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Error(err)
			return 0
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	var (
		load  sync.WaitGroup
		ended atomic.Bool
		calls atomic.Int64
	)
	defer func() {
		ended.Store(true)
		load.Wait()
	}()
	file := process.NewSecret(filepath.Join(l.dir, "secrets"), passwordSecret)
	for range 4 {
		load.Go(func() {
			for !ended.Load() {
				if code := request("POST", "/function/one", "", "x"); code != http.StatusOK {
					t.Errorf("a call during the change: %d", code)
				}
				calls.Add(1)
			}
		})
		load.Go(func() { // as the connector does: the file's content is right
			for !ended.Load() {
				before, err1 := file.Value()
				code := request("GET", "/system/functions", before, "")
				after, err2 := file.Value()
				if err1 != nil || err2 != nil || before == after && code != http.StatusOK {
					t.Errorf("the list with the password of the file: %d %v %v", code, err1, err2)
				}
			}
		})
	}
	old := "secret"
	for i := range 20 {
		next := fmt.Sprint("rotated-", i)
		body, err := json.Marshal(map[string]string{"name": passwordSecret, "value": next + "\n"})
		if err != nil {
			t.Fatal(err)
		}
		if code := request("PUT", "/system/secrets", old, string(body)); code != http.StatusAccepted {
			t.Fatalf("change %d: %d", i, code)
		}
		if was, is := request("GET", "/system/functions", old, ""), request("GET", "/system/functions", next, ""); was != http.StatusUnauthorized || is != http.StatusOK {
			t.Errorf("after change %d the old password gets %d, the new one %d", i, was, is)
		}
		old = next
		seen := calls.Load()
		eventually.True(t, "calls go on", func() bool { return calls.Load() > seen })
	}
	ended.Store(true)
	load.Wait()
	for _, body := range []string{`{"name":"basic-auth-password","value":""}`, `{"name":"basic-auth-user","value":"\n"}`} {
		if code := request("PUT", "/system/secrets", old, body); code != http.StatusBadRequest {
			t.Errorf("%s: %d", body, code)
		}
	}
	if code := request("DELETE", "/system/secrets", old, `{"name":"basic-auth-password"}`); code != http.StatusConflict {
		t.Errorf("the password is removed: %d", code)
	}
	if code := request("GET", "/system/functions", "", ""); code != http.StatusUnauthorized {
		t.Errorf("no password: %d", code)
	}
}
