package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"parkstream/shared/access"
	"parkstream/shared/access/oidc/providertest"
	"parkstream/shared/access/session"
	"parkstream/shared/eventually"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const publicURL = "http://localhost:8080/function/summary/"

// client is a Provider for a provider of the test.
func client(t *testing.T, p *providertest.Provider) *Provider {
	t.Helper()
	p.Set(func(s *providertest.State) { s.Redirect = "http://localhost:8080/function/summary/oidc/callback" })
	c := Start(Settings{
		Issuer: p.URL, ClientID: providertest.ClientID, PublicURL: publicURL,
		Roles: "guards=viewer:north; managers=admin", GroupsClaim: "groups", NameClaim: "preferred_username", Scopes: []string{"profile"},
	}, func() (string, error) { return providertest.Secret, nil }, slog.New(slog.DiscardHandler))
	t.Cleanup(c.Close)
	return c
}

// found waits until the provider is found.
func found(t *testing.T, c *Provider) *Provider {
	t.Helper()
	eventually.Succeeds(t, "the provider to be found", func() error { return c.Available(t.Context()) })
	return c
}

// visit has a browser log in, and returns what is kept and the query with which it comes
// back.
func visit(t *testing.T, c *Provider) (kept string, back url.Values) {
	t.Helper()
	address, kept, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.client.Transport.(bounded).Transport.RoundTrip(httptest.NewRequest("GET", address, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("the provider does not send the browser back: %s: %s", resp.Status, text)
	}
	return kept, to.Query()
}

// status returns that of a refusal, 0 of another error.
func status(err error) int {
	if refusal, ok := errors.AsType[*access.Refusal](err); ok {
		return refusal.Status
	}
	return 0
}

func eve(groups ...string) session.Identity {
	return session.Identity{Name: "oidc:eve", Subject: "1", Groups: groups}
}

// The groups of a person may be absent, a text or a list; they give a role or none.
func TestLogin(t *testing.T) {
	p := providertest.Start(t)
	c := found(t, client(t, p))
	for _, tt := range []struct {
		name   string
		person map[string]any
		want   session.Identity
		status int
		reason string
	}{
		{name: "a list", person: map[string]any{"sub": "1", "preferred_username": "eve", "groups": []string{"x", "guards", "guards"}}, want: eve("guards")},
		{name: "a text", person: map[string]any{"sub": "1", "preferred_username": "eve", "groups": "guards"}, want: eve("guards")},
		{name: "the higher role", person: map[string]any{"sub": "1", "preferred_username": "eve", "groups": []string{"guards", "managers"}}, want: eve("managers")},
		{name: "no name", person: map[string]any{"sub": "1", "groups": "guards"}, want: session.Identity{Name: "oidc:1", Subject: "1", Groups: []string{"guards"}}},
		{name: "no groups", person: map[string]any{"sub": "1", "preferred_username": "eve"}, status: 403, reason: "eve is logged in at the provider, but none of its groups has a role here"},
		{name: "null", person: map[string]any{"sub": "1", "preferred_username": "eve", "groups": nil}, status: 403, reason: "none of its groups"},
		{name: "an empty list", person: map[string]any{"sub": "1", "preferred_username": "eve", "groups": []string{}}, status: 403, reason: "none of its groups"},
		{name: "an empty text", person: map[string]any{"sub": "1", "preferred_username": "eve", "groups": ""}, status: 403, reason: "none of its groups"},
		{name: "other groups", person: map[string]any{"sub": "1", "preferred_username": "eve", "groups": []string{"Guards", "guards ", "viewer", "guards,managers"}}, status: 403, reason: "none of its groups"},
		{name: "a number", person: map[string]any{"sub": "1", "preferred_username": "eve", "groups": 7}, status: 403, reason: "groups cannot be read"},
		{name: "a list with a number", person: map[string]any{"sub": "1", "preferred_username": "eve", "groups": []any{"guards", 7}}, status: 403, reason: "groups cannot be read"},
		{name: "an object", person: map[string]any{"sub": "1", "preferred_username": "eve", "groups": map[string]any{"guards": true}}, status: 403, reason: "groups cannot be read"},
		{name: "no name at all", person: map[string]any{"groups": "guards"}, status: 403, reason: "name for you cannot be used"},
		{name: "a name of two lines", person: map[string]any{"sub": "1", "preferred_username": "eve\nadmin", "groups": "guards"}, status: 403, reason: "name for you cannot be used"},
		{name: "a name written backwards", person: map[string]any{"sub": "1", "preferred_username": "\u202eeve", "groups": "guards"}, status: 403, reason: "name for you cannot be used"},
		{name: "a long name", person: map[string]any{"sub": "1", "preferred_username": strings.Repeat("e", 129), "groups": "guards"}, status: 403, reason: "name for you cannot be used"},
	} {
		p.Set(func(s *providertest.State) { s.Person = tt.person })
		kept, back := visit(t, c)
		got, err := c.Complete(t.Context(), kept, back)
		if diff := cmp.Diff(tt.want, got); diff != "" || status(err) != tt.status || tt.reason != "" && !strings.Contains(fmt.Sprint(err), tt.reason) {
			t.Errorf("%s: error %v, want %d %q, identity (-want +got):\n%s", tt.name, err, tt.status, tt.reason, diff)
		}
	}
}

// An address is a name only if the provider has verified it.
func TestNameIsAVerifiedAddress(t *testing.T) {
	for _, tt := range []struct {
		verified any
		want     string
	}{{true, "eve@example.org"}, {false, "1"}, {nil, "1"}, {"true", "1"}} {
		c := Provider{settings: Settings{NameClaim: "email"}}
		if got, err := c.name("1", map[string]any{"email": "eve@example.org", "email_verified": tt.verified}); err != nil || got != tt.want {
			t.Errorf("email_verified %v: name %q, %v, want %q", tt.verified, got, err, tt.want)
		}
	}
}

// What is not exactly the answer to this browser's login logs no one in.
func TestRefusedLogins(t *testing.T) {
	claims := func(name string, value any) func(*providertest.State) {
		return func(s *providertest.State) {
			s.Change = func(c map[string]any) {
				if c[name] = value; value == nil {
					delete(c, name)
				}
			}
		}
	}
	hour := func(hours int64) int64 { return time.Now().Unix() + hours*3600 }
	none := func(*providertest.State) {}
	for _, tt := range []struct {
		name   string
		set    func(*providertest.State)
		change func(kept *string, back url.Values)
		status int
		reason string // what the log has
	}{
		{"another state", none, func(_ *string, back url.Values) { back.Set("state", "x") }, 403, "state"},
		{"no state", none, func(_ *string, back url.Values) { back.Del("state") }, 403, "state"},
		{"two states", none, func(_ *string, back url.Values) { back.Add("state", "x") }, 403, "state"},
		{"the state of another login", none, func(kept *string, _ url.Values) { *kept = `{"state":"` + strings.Repeat("A", 26) + `"}` }, 403, "state"},
		{"an empty state on both sides", none, func(kept *string, back url.Values) { *kept = `{}`; back.Set("state", "") }, 403, "state"},
		{"no code", none, func(_ *string, back url.Values) { back.Del("code") }, 403, "0 codes"},
		{"two codes", none, func(_ *string, back url.Values) { back.Add("code", "x") }, 403, "2 codes"},
		{"another code", none, func(_ *string, back url.Values) { back.Set("code", "x") }, 403, "invalid_grant"},
		{"another verifier", none, func(kept *string, _ url.Values) { *kept = strings.Replace(*kept, `"verifier":"`, `"verifier":"x`, 1) }, 403, "invalid_grant"},
		{"another nonce kept", none, func(kept *string, _ url.Values) { *kept = strings.Replace(*kept, `"nonce":"`, `"nonce":"x`, 1) }, 403, "nonce"},
		{"another nonce in the token", claims("nonce", "x"), nil, 403, "nonce"},
		{"no nonce", claims("nonce", nil), nil, 403, "nonce"},
		{"expired", claims("exp", hour(-1)), nil, 403, "expired"},
		{"no expiry", claims("exp", nil), nil, 403, "expired"},
		{"not valid yet", claims("nbf", hour(1)), nil, 403, "nbf"},
		{"another audience", claims("aud", "other"), nil, 403, "audience"},
		{"no audience", claims("aud", nil), nil, 403, "audience"},
		{"for several, and not for us", claims("aud", []string{providertest.ClientID, "other"}), nil, 403, "is for"},
		{"for another party", claims("azp", "other"), nil, 403, "is for"},
		{"another issuer", claims("iss", "https://other.example"), nil, 403, "issued by a different provider"},
		{"a key that is not published", func(s *providertest.State) { s.Hidden = true }, nil, 403, "signature"},
		{"no id token", func(s *providertest.State) { s.NoIDToken = true }, nil, 403, "id_token"},
		{"denied", func(s *providertest.State) { s.Deny = "access_denied" }, nil, 403, "access_denied"},
		{"an error that is text", func(s *providertest.State) { s.Deny = "<script>alert(1)</script>" }, nil, 403, "an unknown error"},
		{"the provider is overloaded", func(s *providertest.State) { s.Deny = "temporarily_unavailable" }, nil, 503, "temporarily_unavailable"},
		{"the token endpoint is down", func(s *providertest.State) { s.TokenDown = true }, nil, 503, "502"},
		{"another secret", func(s *providertest.State) { s.Public = true }, nil, 503, "oidc-client-secret"},
		{"what was kept is damaged", none, func(kept *string, _ url.Values) { *kept = "{" }, 0, "kept"},
	} {
		p := providertest.Start(t)
		c := found(t, client(t, p))
		p.Set(tt.set)
		kept, back := visit(t, c)
		if tt.change != nil {
			tt.change(&kept, back)
		}
		got, err := c.Complete(t.Context(), kept, back)
		if err == nil || got.Name != "" || got.Groups != nil || status(err) != tt.status || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s: %+v, error %v (%d), want %d and %q", tt.name, got, err, status(err), tt.status, tt.reason)
		}
		if err != nil && strings.Contains(err.Error(), "script") {
			t.Errorf("%s: the error repeats what anyone can write: %v", tt.name, err)
		}
		c.Close()
		p.CloseClientConnections()
	}
}

// A code logs in once.
func TestReplayedCode(t *testing.T) {
	p := providertest.Start(t)
	c := found(t, client(t, p))
	kept, back := visit(t, c)
	if _, err := c.Complete(t.Context(), kept, back); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Complete(t.Context(), kept, back); status(err) != http.StatusForbidden {
		t.Errorf("a code that was used: %v", err)
	}
}

// The provider signs with new keys, and a client without a secret has none to send.
func TestRotatedKeyAndPublicClient(t *testing.T) {
	p := providertest.Start(t)
	c := found(t, client(t, p))
	// A login is tried again: for an instant after it has read the keys, go-oidc takes them
	// for those that a further login asks it to read (keysFromRemote).
	in := func(what string) {
		t.Helper()
		eventually.Succeeds(t, what, func() error {
			kept, back := visit(t, c)
			id, err := c.Complete(t.Context(), kept, back)
			if err == nil && id.Name != "oidc:eve" {
				err = fmt.Errorf("%+v", id)
			}
			return err
		})
	}
	in("the first key")
	p.Set(func(s *providertest.State) { s.Key, s.KeyID = providertest.NewKey(t), "two" })
	in("another key with another name")
	p.Set(func(s *providertest.State) { s.Key = providertest.NewKey(t) })
	in("another key with the same name")
	p.Set(func(s *providertest.State) { s.Public = true })
	c.secret = func() (string, error) { return "", fmt.Errorf("secret oidc-client-secret: %w", fs.ErrNotExist) }
	in("no secret")
	c.secret = func() (string, error) { return "", fs.ErrPermission }
	kept, back := visit(t, c)
	if _, err := c.Complete(t.Context(), kept, back); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a secret that cannot be read: %v", err)
	}
}

// A provider that is unavailable is found as soon as it is there, and Close ends the
// search.
func TestProviderIsFoundLater(t *testing.T) {
	p := providertest.Start(t)
	p.Set(func(s *providertest.State) { s.Down = true })
	c := client(t, p)
	eventually.True(t, "a try to fail", func() bool { return c.failed.Load() != nil })
	err := c.Available(t.Context())
	if detailed, ok := errors.AsType[unavailable](err); !ok || detailed.Detail() != notFound || !strings.Contains(err.Error(), "503") {
		t.Errorf("available: %v", err)
	}
	if _, _, err := c.Begin(t.Context()); status(err) != http.StatusServiceUnavailable || !strings.Contains(err.Error(), notFound) {
		t.Errorf("a login begins: %v", err)
	}
	if _, err := c.Complete(t.Context(), `{"state":"a"}`, url.Values{"state": {"a"}, "code": {"b"}}); status(err) != http.StatusServiceUnavailable {
		t.Errorf("a login is completed: %v", err)
	}
	p.Set(func(s *providertest.State) { s.Down = false })
	found(t, c)
	kept, back := visit(t, c)
	if id, err := c.Complete(t.Context(), kept, back); err != nil || id.Name != "oidc:eve" {
		t.Errorf("%+v, %v", id, err)
	}

	p.Set(func(s *providertest.State) { s.Down = true })
	other := client(t, p)
	eventually.True(t, "a try to fail", func() bool { return other.failed.Load() != nil })
	other.Close()
}

// A discovery document that cannot be used is refused with its reason, and an endless one
// is not read to its end.
func TestDiscovery(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(w http.ResponseWriter, issuer string)
		want   string
	}{
		{"another issuer", func(w http.ResponseWriter, _ string) { fmt.Fprint(w, `{"issuer":"https://other.example"}`) }, "did not match"},
		{"a page", func(w http.ResponseWriter, _ string) { fmt.Fprint(w, "<html>") }, "decode"},
		{"no endpoints", func(w http.ResponseWriter, issuer string) { fmt.Fprintf(w, `{"issuer":%q}`, issuer) }, "no usable authorization_endpoint: it is missing"},
		{"an endpoint that is a script", func(w http.ResponseWriter, issuer string) {
			fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":"javascript:alert(1)"}`, issuer)
		}, "no usable authorization_endpoint"},
		{"an endpoint by http", func(w http.ResponseWriter, issuer string) {
			fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":"https://other.example/?p=1","token_endpoint":"http://other.example/"}`, issuer)
		}, "no usable token_endpoint: token_endpoint is at http://other.example, want https://"},
		{"elsewhere", func(w http.ResponseWriter, _ string) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(302)
		}, "redirects to http://127.0.0.1:1"},
		{"endless", func(w http.ResponseWriter, _ string) { fmt.Fprint(w, strings.Repeat(" ", maxResponse+1)) }, "too large"},
	} {
		var issuer atomic.Value
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { tt.answer(w, issuer.Load().(string)) }))
		issuer.Store(server.URL)
		c := Start(Settings{Issuer: server.URL, PublicURL: publicURL}, nil, slog.New(slog.DiscardHandler))
		eventually.True(t, "a try to fail", func() bool { return c.failed.Load() != nil })
		if err := c.Available(context.Background()); err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 600 {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		c.Close()
		server.Close()
	}
}

// No more logins are completed at a time than are waited for.
func TestExchangesAreBounded(t *testing.T) {
	p := providertest.Start(t)
	c := found(t, client(t, p))
	for range maxExchanges {
		c.exchanging <- struct{}{}
	}
	kept, back := visit(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.Complete(ctx, kept, back); status(err) != http.StatusServiceUnavailable || ctx.Err() != nil {
		t.Errorf("one login more: %v, %v", err, ctx.Err())
	}
	<-c.exchanging
	if _, err := c.Complete(t.Context(), kept, back); err != nil {
		t.Errorf("with a free place: %v", err)
	}
	if len(c.exchanging) != maxExchanges-1 {
		t.Errorf("%d places are taken", len(c.exchanging))
	}
}

// What is kept in the browser has no secret of the client, and each login has its own.
func TestKept(t *testing.T) {
	p := providertest.Start(t)
	c := found(t, client(t, p))
	seen := make(map[string]bool)
	for range 20 {
		_, kept, err := c.Begin(t.Context())
		if err != nil || strings.Contains(kept, "secret") {
			t.Fatal(kept, err)
		}
		var l login
		if err := json.Unmarshal([]byte(kept), &l); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{l.State, l.Nonce, l.Verifier} {
			if seen[text] || len(text) < 26 {
				t.Errorf("%q is kept twice or too short", text)
			}
			seen[text] = true
		}
	}
	if c.Path() != "/function/summary" {
		t.Errorf("the function is at %q", c.Path())
	}
}
