package matcher

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	openfaas "github.com/openfaas/templates-sdk/go-http"
	"go.uber.org/goleak"

	"parkstream/docs/api/apitest"
	"parkstream/shared/access"
	"parkstream/shared/faas"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/process"
)

// Cron runs the matcher without a login, once in each tick. Machines and operators run it
// at any time, viewers do not. Nothing is left at its end.
func TestWhoMayMatch(t *testing.T) {
	node := instancetest.Redis(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	secrets, tokens := t.TempDir(), make(map[string]string)
	var users []byte
	for name, role := range map[string]access.Role{"viewer": access.Viewer, "machine": access.Machine, "operator": access.Operator} {
		tokens[name] = access.NewToken()
		var err error
		if users, err = access.AddUser(users, access.NewUser{Name: name, Role: role, Token: tokens[name]}); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"redis-url": node.URL(), "summary-token": "t", "users": string(users)} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var service http.Handler
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- faas.Run(ctx, process.Options{Name: "matcher", Listener: listener, Environ: []string{
			"SECRETS_DIR=" + secrets, "SUMMARY_URL=http://127.0.0.1:1", "SCHEDULE=0 0 1 1 *",
		}}, func(rt *faas.Runtime) error {
			var err error
			service, err = Wire(rt)
			return err
		}, func(req openfaas.Request) (openfaas.Response, error) { return faas.Adapt(service, req) })
	}()
	transport := &http.Transport{}
	defer func() {
		transport.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	client := http.Client{Transport: transport}
	for _, tt := range []struct {
		method, token, query, body string
		status                     int
		want                       string
	}{
		{"GET", "", "", "", 401, "needs a login"},
		{"POST", "", "", "", 200, `"sites":0`},
		{"POST", "", "", "", 429, "log in"},
		{"POST", "", "", "{}", 415, ""},
		{"POST", "viewer", "", "", 403, "viewer"},
		{"POST", "machine", "", "", 200, `"sites":0`},
		{"POST", "operator", "", "", 200, `"sites":0`},
		{"POST", "operator", "?site=a", "", 400, "no parameters"},
		{"GET", "operator", "", "", 405, "use POST"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, "http://"+listener.Addr().String()+"/"+tt.query, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		if tt.token != "" {
			r.Header.Set("Authorization", "Bearer "+tokens[tt.token])
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(text), tt.want) {
			t.Errorf("%s by %q: %d %s, %v, want %d %q", tt.method, tt.token, resp.StatusCode, text, err, tt.status, tt.want)
		}
		if tt.method == http.MethodPost {
			apitest.Check(t, "matcher", tt.method, "/", resp.StatusCode, resp.Header, text)
		}
	}
}
