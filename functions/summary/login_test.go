package function

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"parkstream/shared/access/oidc/providertest"
	"parkstream/shared/eventually"
	"parkstream/shared/faas"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/process"
)

// A function starts without its provider, warns, finds the provider later, and logs people
// in there: settings and secrets reach what needs them, and nothing is left at its end.
func TestLoginAtProvider(t *testing.T) {
	node := instancetest.Redis(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	secrets := t.TempDir()
	for name, text := range map[string]string{
		"redis-url": node.URL(), "summary-token": "t", "session-key": strings.Repeat("k", 64), "oidc-client-secret": providertest.Secret,
	} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + listener.Addr().String()
	provider := providertest.Start(t)
	defer provider.Close()
	provider.Set(func(s *providertest.State) { s.Redirect, s.Down = base+"/oidc/callback", true })

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- faas.Run(ctx, process.Options{Name: "summary", Listener: listener, Environ: []string{
			"SECRETS_DIR=" + secrets, "GATEWAY_URL=http://127.0.0.1:1", "OIDC_ISSUER=" + provider.URL, "OIDC_CLIENT_ID=" + providertest.ClientID,
			"PUBLIC_URL=" + base, "OIDC_ROLES=guards=viewer:north",
		}}, Wire, Handle)
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	browser := http.Client{Jar: jar, Transport: transport}
	get := func(path string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	if status, text := get("/_/ready"); status != 200 || !strings.Contains(text, `"oidc":"the login provider is unavailable`) {
		t.Errorf("ready without the provider: %d %s", status, text)
	}
	if status, text := get("/me"); status != 401 || !strings.Contains(text, `"login":[],"unavailable":{"oidc":`) {
		t.Errorf("me without the provider: %d %s", status, text)
	}
	provider.Set(func(s *providertest.State) { s.Down = false })
	eventually.True(t, "the provider to be found", func() bool {
		_, text := get("/me")
		return strings.Contains(text, `"login":["oidc"]`)
	})
	if status, text := get("/_/ready"); status != 200 || strings.Contains(text, "oidc") || strings.Contains(text, "session-key") {
		t.Errorf("ready with the provider: %d %s", status, text)
	}
	if status, text := get("/oidc/login"); status != 200 || !strings.Contains(text, "You are logged in") {
		t.Errorf("the login: %d %s", status, text)
	}
	if status, text := get("/me"); status != 200 || !strings.Contains(text, `"name":"oidc:eve","role":"viewer","sites":["north"]`) {
		t.Errorf("me after the login: %d %s", status, text)
	}
	if status, text := get("/overview"); status != 200 {
		t.Errorf("overview after the login: %d %s", status, text)
	}
}
