package faas_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof" // a careless import: it registers with http.DefaultServeMux
	"os"
	"path/filepath"
	"strings"
	"testing"

	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/access"
	"parkstream/shared/faas"
	"parkstream/shared/process"
)

// whoAmI answers with the name of the caller.
func whoAmI(req handler.Request) (handler.Response, error) {
	p := access.From(req.Context())
	return handler.Response{Body: []byte(string(p.Role) + " " + p.Name)}, nil
}

// ask sends a request with a bearer token, if there is one.
func ask(t *testing.T, method, url, token string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(all)
}

// A function is closed by default: without users it answers health and readiness and
// nothing else, and with users those only who have a login.
func TestClosedByDefault(t *testing.T) {
	secrets := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	called := 0
	closed := func(t *testing.T) running {
		return start(t, []string{"ACCESS=closed", "SECRETS_DIR=" + secrets}, func(rt *faas.Runtime) error {
			rt.Admit(rt.Require(access.Read))
			return nil
		}, func(req handler.Request) (handler.Response, error) {
			called++
			return whoAmI(req)
		})
	}
	const metricsToken = "the token of Prometheus"
	write("metrics-token", metricsToken)
	p := closed(t)
	for _, tt := range []struct {
		method, path, token string
		status              int
		want                string
	}{
		{"GET", "/_/health", "", 200, "ok\n"},
		{"GET", "/_/ready", "", 503, "access is not set up: create the secret users (parkstream users add), or set OIDC_ISSUER"},
		{"GET", "/", "", 503, "access is not set up: create the secret users (parkstream users add), or set OIDC_ISSUER"},
		{"POST", "/anything", "", 503, "access is not set up"},
		{"GET", "/metrics", "", 503, "access is not set up"},
		{"GET", "/metrics", metricsToken, 503, "access is not set up"},
	} {
		if status, text := ask(t, tt.method, p.url+tt.path, tt.token); status != tt.status || !strings.Contains(text, tt.want) {
			t.Errorf("without users: %s %s: %d %s", tt.method, tt.path, status, text)
		}
	}
	if called != 0 {
		t.Errorf("the function was called %d times", called)
	}

	tokens := make(map[string]string)
	var users []byte
	for name, role := range map[string]access.Role{"vera": access.Viewer, "gate": access.Machine, "ada": access.Admin} {
		tokens[name] = access.NewToken()
		var err error
		if users, err = access.AddUser(users, access.NewUser{Name: name, Role: role, Token: tokens[name]}); err != nil {
			t.Fatal(err)
		}
	}
	write("users", string(users))
	p = closed(t)
	for _, tt := range []struct {
		method, path, token string
		status              int
		want                string
	}{
		{"GET", "/_/health", "", 200, "ok\n"},
		{"GET", "/_/ready", "", 200, `{"ready":true}`},
		{"GET", "/", "", 401, "this needs a login"},
		{"GET", "/_/other", "", 401, "this needs a login"},
		{"GET", "/", "wrong", 401, "the login is not valid"},
		{"GET", "/", tokens["vera"], 200, "viewer vera"},
		{"GET", "/", tokens["gate"], 403, "the role machine"},
		{"GET", "/", metricsToken, 403, "the role part"},
		{"GET", "/metrics", "", 401, "this needs a login"},
		{"GET", "/metrics", tokens["vera"], 403, "the role viewer"},
		{"GET", "/metrics", tokens["gate"], 200, "parkstream_access_set_up 1"},
		{"GET", "/metrics", tokens["ada"], 200, "parkstream_access_refusals_total"},
		{"GET", "/metrics", metricsToken, 200, "go_goroutines"},
	} {
		if status, text := ask(t, tt.method, p.url+tt.path, tt.token); status != tt.status || !strings.Contains(text, tt.want) {
			t.Errorf("with users: %s %s with %q: %d %.300s", tt.method, tt.path, tt.token, status, text)
		}
	}
	if called != 1 {
		t.Errorf("the function was called %d times", called)
	}
}

// A page whose name was made to point to loopback after it was loaded (DNS rebinding)
// reaches each port of this machine, and not only the gateway's.
func TestHostWhenOpen(t *testing.T) {
	p := start(t, []string{"ACCESS=open"}, func(rt *faas.Runtime) error {
		rt.Admit(rt.Require(access.Read))
		return nil
	}, whoAmI)
	port := p.url[strings.LastIndex(p.url, ":"):]
	for host, status := range map[string]int{
		"127.0.0.1" + port: 200, "localhost" + port: 200, "LOCALHOST." + port: 200, "[::1]" + port: 200, "park.localhost": 200,
		"evil.example" + port: 421, "127.0.0.1.evil.example": 421, "localhost.evil.example": 421, "192.0.2.1": 421, "notlocalhost": 421,
	} {
		for _, path := range []string{"/", "/metrics", "/_/ready"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			r.Header.Set("X-Forwarded-Host", "localhost") // the page's own requests have what it likes
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != status {
				t.Errorf("%s at %s: %d, want %d", path, host, resp.StatusCode, status)
			}
		}
	}
}

// A page can send a body without a content type, which an Admission must be able to tell
// from a call without a body.
func TestContentTypeOfABody(t *testing.T) {
	p := start(t, nil, func(rt *faas.Runtime) error {
		rt.Admit(rt.Require(access.PostEvents))
		return nil
	}, whoAmI)
	for name, tt := range map[string]struct {
		kind string
		body io.Reader
		want int
	}{
		"no body":                  {"", nil, 200},
		"JSON":                     {"application/json", strings.NewReader("{}"), 200},
		"JSON in chunks":           {"application/json", io.MultiReader(strings.NewReader("{}")), 200},
		"without a type":           {"", strings.NewReader("{}"), 415},
		"without a type in chunks": {"", io.MultiReader(strings.NewReader("{}")), 415},
		"a form":                   {"text/plain", strings.NewReader("{}"), 415},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url, tt.body)
		if err != nil {
			t.Fatal(err)
		}
		if tt.kind != "" {
			r.Header.Set("Content-Type", tt.kind)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
}

// A function that forgets to decide who may call it does not start. Open is for loopback
// only.
func TestNotOpenByMistake(t *testing.T) {
	run := func(wire func(*faas.Runtime) error, environ ...string) string {
		return fmt.Sprint(faas.Run(canceled(t), process.Options{Name: "test", Environ: environ}, wire, echo))
	}
	nothing := func(*faas.Runtime) error { return nil }
	if got := run(nothing, "LISTEN=127.0.0.1:0"); !strings.Contains(got, "the function does not decide who may call it: its Wire has to call Admit") {
		t.Error(got)
	}
	for _, listen := range []string{":0", "0.0.0.0:0", "[::]:0"} {
		if got := run(admitAll, "LISTEN="+listen, "ACCESS=open"); !strings.Contains(got, "ACCESS is open, and the process does not listen on a loopback address") {
			t.Errorf("open on %s: %s", listen, got)
		}
	}
	everywhere, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer everywhere.Close()
	err = faas.Run(canceled(t), process.Options{Name: "test", Environ: []string{"LISTEN=127.0.0.1:0", "ACCESS=open"}, Listener: everywhere}, admitAll, echo)
	if got := fmt.Sprint(err); !strings.Contains(got, "ACCESS is open") {
		t.Errorf("open on an inherited socket: %s", got)
	}
	if err := faas.Run(canceled(t), process.Options{Name: "test", Environ: []string{"LISTEN=127.0.0.1:0", "ACCESS=open"}}, admitAll, echo); err != nil {
		t.Errorf("open on loopback: %v", err)
	}
}

// The profiles of net/http/pprof are never on the port of a function or of its metrics,
// whatever is set or imported.
func TestNoProfilesOnTheFunctionsPort(t *testing.T) {
	p := start(t, []string{"PPROF_LISTEN=127.0.0.1:0", "METRICS_LISTEN=127.0.0.1:0"}, nil, func(handler.Request) (handler.Response, error) {
		return handler.Response{StatusCode: http.StatusTeapot}, nil
	})
	if status, _ := ask(t, "GET", p.url, ""); status != http.StatusTeapot {
		t.Fatalf("the function: %d", status)
	}
	_, after, _ := strings.Cut(p.log.String(), `"what":"metrics","address":"`)
	metrics, _, _ := strings.Cut(after, `"`)
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/profile?seconds=1", "/debug/vars", "/_/debug/pprof/", "//debug/pprof/"} {
		if status, text := ask(t, "GET", p.url+path, ""); status != http.StatusTeapot {
			t.Errorf("%s of the function: %d %.100s", path, status, text)
		}
		if status, text := ask(t, "GET", "http://"+metrics+path, ""); status != http.StatusNotFound {
			t.Errorf("%s of the metrics: %d %.100s", path, status, text)
		}
	}
	if status, text := ask(t, "GET", "http://"+metrics+"/metrics", ""); status != 200 || !strings.Contains(text, "parkstream_http_calls_total") {
		t.Errorf("the metrics: %d %.100s", status, text)
	}
}

// The principal of a call reaches the function.
func TestPrincipalOfACall(t *testing.T) {
	p := start(t, nil, func(rt *faas.Runtime) error {
		rt.Admit(func(_ http.ResponseWriter, r *http.Request) (context.Context, int64, bool) {
			return access.NewContext(r.Context(), access.Principal{Name: "anna", Role: access.Operator}), 0, true
		})
		return nil
	}, whoAmI)
	if status, text := ask(t, "GET", p.url, ""); status != 200 || text != "operator anna" {
		t.Errorf("%d %s", status, text)
	}
}
