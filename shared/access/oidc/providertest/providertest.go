// Package providertest runs a provider of OpenID Connect for tests: discovery, keys,
// authorization and token endpoint. It checks what the standards require of a client,
// PKCE included, and makes the mistakes that a test asks for.
package providertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"
	"golang.org/x/oauth2"
)

// What the client has to be.
const (
	ClientID = "parkstream"
	Secret   = "a secret: it has % and &" //nolint:gosec // of tests
)

// Provider is a provider on this machine. A test changes it by Set.
type Provider struct {
	*httptest.Server
	t testing.TB

	mu    sync.Mutex
	state State
	codes map[string]code
	keys  oidctest.Server
}

// State is how the provider behaves.
type State struct {
	// Redirect is the only address that it sends people back to.
	Redirect string
	// Person is who logs in, as claims of the id token.
	Person map[string]any
	// Change may spoil the claims of an id token.
	Change func(claims map[string]any)
	// Key signs; it is published unless Hidden.
	Key    *ecdsa.PrivateKey
	KeyID  string
	Hidden bool
	// Public: the client has no secret.
	Public bool
	// Down: each request is answered 503. TokenDown: those of the token endpoint.
	Down, TokenDown bool
	// Lax: a code is taken more than once.
	Lax bool
	// Deny: people are sent back with this error.
	Deny string
	// NoIDToken: the token endpoint answers without an id token.
	NoIDToken bool
}

type code struct{ challenge, nonce string }

// Start starts a provider at which "eve" of the group "guards" logs in. It ends with the
// test.
func Start(t testing.TB) *Provider {
	t.Helper()
	p := &Provider{t: t, codes: make(map[string]code), state: State{
		Person: map[string]any{"sub": "248289761001", "preferred_username": "eve", "groups": []string{"guards"}},
		Key:    NewKey(t), KeyID: "one",
	}}
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	p.keys.SetIssuer(p.URL)
	return p
}

// NewKey returns a key to sign with.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Set changes how the provider behaves.
func (p *Provider) Set(change func(*State)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.state)
}

func (p *Provider) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.Down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	switch r.URL.Path {
	case "/auth":
		p.authorize(w, r)
	case "/token":
		p.token(w, r)
	default:
		p.keys.Algorithms, p.keys.PublicKeys = []string{oidc.ES256}, nil
		if !p.state.Hidden {
			p.keys.PublicKeys = []oidctest.PublicKey{{PublicKey: p.state.Key.Public(), KeyID: p.state.KeyID, Algorithm: oidc.ES256}}
		}
		p.keys.ServeHTTP(w, r)
	}
}

// authorize logs the person in and sends the browser back with a code.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name, want := range map[string]string{"client_id": ClientID, "redirect_uri": p.state.Redirect, "response_type": "code", "code_challenge_method": "S256"} {
		if q.Get(name) != want {
			http.Error(w, fmt.Sprintf("%s is %q, want %q", name, q.Get(name), want), http.StatusBadRequest)
			return
		}
	}
	if q.Get("state") == "" || q.Get("nonce") == "" || len(q.Get("code_challenge")) != 43 || !slices.Contains(strings.Fields(q.Get("scope")), "openid") {
		http.Error(w, "state, nonce, code_challenge or the scope openid is missing", http.StatusBadRequest)
		return
	}
	back := url.Values{"state": {q.Get("state")}, "session_state": {"of no interest"}, "iss": {p.URL}}
	if p.state.Deny != "" {
		back.Set("error", p.state.Deny)
		back.Set("error_description", "<script>alert(1)</script>")
	} else {
		one := rand.Text()
		p.codes[one] = code{challenge: q.Get("code_challenge"), nonce: q.Get("nonce")}
		back.Set("code", one)
	}
	http.Redirect(w, r, p.state.Redirect+"?"+back.Encode(), http.StatusFound)
}

// token gives an id token for a code.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, reason string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": reason})
	}
	if p.state.TokenDown {
		http.Error(w, "down", http.StatusBadGateway)
		return
	}
	if id, secret, ok := r.BasicAuth(); p.state.Public && (ok || r.PostFormValue("client_id") != ClientID || r.PostForm.Has("client_secret")) ||
		!p.state.Public && (!ok || id != url.QueryEscape(ClientID) || secret != url.QueryEscape(Secret)) {
		refuse(http.StatusUnauthorized, "invalid_client")
		return
	}
	issued, known := p.codes[r.PostFormValue("code")]
	if !known || r.PostFormValue("grant_type") != "authorization_code" || r.PostFormValue("redirect_uri") != p.state.Redirect ||
		oauth2.S256ChallengeFromVerifier(r.PostFormValue("code_verifier")) != issued.challenge {
		refuse(http.StatusBadRequest, "invalid_grant")
		return
	}
	if !p.state.Lax {
		delete(p.codes, r.PostFormValue("code"))
	}
	claims := map[string]any{
		"iss": p.URL, "aud": ClientID, "nonce": issued.nonce, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
	maps.Copy(claims, p.state.Person)
	if p.state.Change != nil {
		p.state.Change(claims)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
	}
	answer := map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "expires_in": 60}
	if !p.state.NoIDToken {
		answer["id_token"] = oidctest.SignIDToken(p.state.Key, p.state.KeyID, oidc.ES256, string(text))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}
