// Package oidc logs people in at a provider of OpenID Connect: code flow with PKCE. ADR 51
// has the reasons.
package oidc

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"parkstream/shared/access"
	"parkstream/shared/access/session"
	"parkstream/shared/process"
	"parkstream/shared/redirect"
	"parkstream/shared/restart"
)

const (
	// requestTimeout bounds one request to the provider.
	requestTimeout = 10 * time.Second
	// maxResponse bounds what is read of a response of the provider.
	maxResponse = 1 << 20
	// maxExchanges bounds the logins that are completed at a time: each waits for the
	// provider.
	maxExchanges = 8
	// maxName bounds the name of a user in bytes.
	maxName = 120
	// prefix begins the names of the provider's users. No user of the users file has a
	// colon in its name.
	prefix = "oidc:"
)

// Provider is where people log in.
type Provider struct {
	settings Settings
	roles    Roles
	// callback is the address that the provider sends people back to; path is that of
	// the function.
	callback, path string
	secret         func() (string, error)
	log            *slog.Logger

	client     *http.Client
	exchanging chan struct{} // holds one element for each login that is being completed
	found      atomic.Pointer[discovered]
	failed     atomic.Pointer[error] // of the last try to find the provider
	stop       context.CancelFunc
	stopped    chan struct{}
}

// discovered is what the provider's discovery document has.
type discovered struct {
	endpoint oauth2.Endpoint
	verifier *oidc.IDTokenVerifier
	// inHeader: the provider takes the client's secret as Basic credentials.
	inHeader bool
}

// Start returns the provider of valid settings that have an issuer. It looks for the
// provider until that is found, or until Close. secret returns the client's secret; an
// error that wraps fs.ErrNotExist means that there is none.
func Start(s Settings, secret func() (string, error), log *slog.Logger) *Provider {
	roles, _ := ParseRoles(s.Roles) // is valid
	base := strings.TrimRight(s.PublicURL, "/")
	public, _ := url.Parse(base)
	ctx, stop := context.WithCancel(context.Background())
	p := &Provider{
		settings: s, roles: roles, callback: base + "/oidc/callback", path: cmp.Or(public.EscapedPath(), "/"), secret: secret, log: log,
		client: &http.Client{
			Timeout: requestTimeout, CheckRedirect: redirect.Refuse,
			Transport: bounded{http.DefaultTransport.(*http.Transport).Clone()}, //nolint:forcetypeassert // nothing replaces it
		},
		exchanging: make(chan struct{}, maxExchanges), stop: stop, stopped: make(chan struct{}),
	}
	go func() {
		defer close(p.stopped)
		p.find(ctx)
	}()
	return p
}

// Close ends the search for the provider and the connections to it.
func (p *Provider) Close() {
	p.stop()
	<-p.stopped
	p.client.CloseIdleConnections()
}

// Grant returns what groups may do; see [Roles.Grant].
func (p *Provider) Grant(groups []string) (access.Role, access.Sites, bool) {
	return p.roles.Grant(groups)
}

// Path returns the path of the function as browsers see it.
func (p *Provider) Path() string { return p.path }

// find tries to find the provider until it succeeds or ctx ends.
func (p *Provider) find(ctx context.Context) {
	for delays := restart.NewDelays(); ; {
		found, err := p.discover(ctx)
		if err == nil {
			p.found.Store(found)
			p.log.InfoContext(ctx, "people can log in at the provider", "issuer", p.settings.Issuer)
			return
		}
		p.failed.Store(&err)
		select {
		case <-time.After(delays.Next(0)):
		case <-ctx.Done():
			return
		}
	}
}

func (p *Provider) discover(ctx context.Context) (*discovered, error) {
	provider, err := oidc.NewProvider(p.context(ctx), p.settings.Issuer)
	if err != nil {
		return nil, fmt.Errorf("read %s/.well-known/openid-configuration: %w", strings.TrimRight(p.settings.Issuer, "/"), short(err))
	}
	var document struct {
		Keys    string   `json:"jwks_uri"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := provider.Claims(&document); err != nil {
		return nil, fmt.Errorf("read the discovery document of OIDC_ISSUER: %w", err)
	}
	endpoint := provider.Endpoint()
	for _, one := range []struct{ name, url string }{
		{"authorization_endpoint", endpoint.AuthURL}, {"token_endpoint", endpoint.TokenURL}, {"jwks_uri", document.Keys},
	} {
		if err := checkSecure(one.name, one.url); err != nil || one.url == "" {
			return nil, fmt.Errorf("the discovery document of OIDC_ISSUER has no usable %s: %w", one.name, cmp.Or(err, errMissing))
		}
	}
	return &discovered{
		endpoint: endpoint,
		verifier: provider.Verifier(&oidc.Config{ClientID: p.settings.ClientID}),
		inHeader: len(document.Methods) == 0 || slices.Contains(document.Methods, "client_secret_basic"), // the standard's default
	}, nil
}

var errMissing = errors.New("it is missing")

// context returns one with the client for requests to the provider.
func (p *Provider) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.client)
}

// unavailable is the error of a provider that was not found yet.
type unavailable struct{ cause error }

func (e unavailable) Error() string {
	return fmt.Sprintf("the login provider at OIDC_ISSUER is unavailable: %v", e.cause)
}
func (e unavailable) Unwrap() error { return e.cause }

// Detail returns the public text.
func (unavailable) Detail() string { return notFound }

const notFound = "the login provider is unavailable; it is tried again every few seconds"

var errFirst = errors.New("it is being looked for")

// Available returns the reason why no one can log in at the provider, or nil. Its error
// has a method Detail() string with a public text.
func (p *Provider) Available(context.Context) error {
	if p.found.Load() != nil {
		return nil
	}
	if err := p.failed.Load(); err != nil {
		return unavailable{*err}
	}
	return unavailable{errFirst}
}

// login is what is kept in the browser until it comes back.
type login struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
}

// Begin returns the address at the provider at which a person logs in, and what Complete
// needs afterwards. It is for this browser only.
func (p *Provider) Begin(ctx context.Context) (address, kept string, err error) {
	found := p.found.Load()
	if found == nil {
		return "", "", later(notFound, p.Available(ctx))
	}
	l := login{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
	text, err := json.Marshal(l)
	if err != nil {
		return "", "", fmt.Errorf("begin a login at the provider: %w", err)
	}
	config := p.config(found, "")
	return config.AuthCodeURL(l.State, oidc.Nonce(l.Nonce), oauth2.S256ChallengeOption(l.Verifier)), string(text), nil
}

func (p *Provider) config(found *discovered, secret string) *oauth2.Config {
	endpoint := found.endpoint
	endpoint.AuthStyle = oauth2.AuthStyleInParams
	if secret != "" && found.inHeader {
		endpoint.AuthStyle = oauth2.AuthStyleInHeader
	}
	return &oauth2.Config{
		ClientID: p.settings.ClientID, ClientSecret: secret, Endpoint: endpoint, RedirectURL: p.callback,
		Scopes: append([]string{oidc.ScopeOpenID}, p.settings.Scopes...),
	}
}

// Complete returns who has logged in, from the query with which the provider sent the
// browser back and from what Begin returned. An error that wraps an [access.Refusal] is
// for the person.
func (p *Provider) Complete(ctx context.Context, kept string, query url.Values) (session.Identity, error) {
	var l login
	if err := json.Unmarshal([]byte(kept), &l); err != nil {
		return session.Identity{}, fmt.Errorf("read what was kept of a login at the provider: %w", err)
	}
	if given := query["state"]; len(given) != 1 || l.State == "" || subtle.ConstantTimeCompare([]byte(given[0]), []byte(l.State)) != 1 {
		return session.Identity{}, refuse("this login was not begun in this browser, or another was begun after it: log in again", errors.New("the state is not that of the browser"))
	}
	if query.Has("error") {
		return session.Identity{}, refused(query.Get("error"))
	}
	codes := query["code"]
	if len(codes) != 1 || codes[0] == "" {
		return session.Identity{}, refuse("the login provider sent no code: log in again", fmt.Errorf("%d codes", len(codes)))
	}
	found := p.found.Load()
	if found == nil {
		return session.Identity{}, later(notFound, p.Available(ctx))
	}
	select {
	case p.exchanging <- struct{}{}:
		defer func() { <-p.exchanging }()
	default:
		return session.Identity{}, later("many people are logging in now: log in again", fmt.Errorf("%d logins are being completed", maxExchanges))
	}
	ctx, cancel := context.WithTimeout(p.context(ctx), requestTimeout)
	defer cancel()
	token, err := p.exchange(ctx, found, codes[0], l)
	if err != nil {
		return session.Identity{}, err
	}
	return p.identify(token)
}

// exchange returns the id token for a code.
func (p *Provider) exchange(ctx context.Context, found *discovered, code string, l login) (*oidc.IDToken, error) {
	secret, err := p.secret()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	tokens, err := p.config(found, secret).Exchange(ctx, code, oauth2.VerifierOption(l.Verifier))
	if err != nil {
		return nil, exchangeError(err)
	}
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return nil, refuse(invalid, errors.New("the provider sent no id_token"))
	}
	token, err := found.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, refuse(invalid, short(err))
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(l.Nonce)) != 1 {
		return nil, refuse(invalid, errors.New("the nonce of the id token is not that of the browser"))
	}
	var party struct {
		Authorized string `json:"azp"`
	}
	if err := token.Claims(&party); err != nil {
		return nil, refuse(invalid, err)
	}
	if party.Authorized != "" && party.Authorized != p.settings.ClientID || party.Authorized == "" && len(token.Audience) > 1 {
		return nil, refuse(invalid, fmt.Errorf("the id token is for %.100q of %.200q", party.Authorized, token.Audience))
	}
	return token, nil
}

const invalid = "the login provider's answer is not valid: log in again"

// identify returns the person and the groups that give it a role.
func (p *Provider) identify(token *oidc.IDToken) (session.Identity, error) {
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return session.Identity{}, refuse(invalid, err)
	}
	name, err := p.name(token.Subject, claims)
	if err != nil {
		return session.Identity{}, err
	}
	groups, err := texts(claims[p.settings.GroupsClaim])
	if err != nil {
		return session.Identity{}, refuse("the login provider's groups cannot be read: ask the administrator", fmt.Errorf("the claim %s (OIDC_GROUPS_CLAIM) %w", p.settings.GroupsClaim, err))
	}
	relevant := p.roles.Relevant(groups)
	if len(relevant) == 0 {
		return session.Identity{}, refuse(fmt.Sprintf("%s is logged in at the provider, but none of its groups has a role here: ask the administrator", name),
			fmt.Errorf("none of %d groups in the claim %s (OIDC_GROUPS_CLAIM) is in OIDC_ROLES", len(groups), p.settings.GroupsClaim))
	}
	return session.Identity{Name: prefix + name, Subject: token.Subject, Groups: relevant}, nil
}

// name returns the claim with a person's name, or the subject if there is none. An
// address that the provider has not verified may be anyone's.
func (p *Provider) name(subject string, claims map[string]any) (string, error) {
	name, _ := claims[p.settings.NameClaim].(string)
	if verified, _ := claims["email_verified"].(bool); p.settings.NameClaim == "email" && !verified {
		name = ""
	}
	name = cmp.Or(name, subject)
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return "", refuse("the login provider's name for you cannot be used: ask the administrator", fmt.Errorf("the claim %s (OIDC_NAME_CLAIM) is %.200q, want 1 to %d printable bytes", p.settings.NameClaim, name, maxName))
	}
	return name, nil
}

// texts returns a claim that is absent, a text or a list of texts.
func texts(claim any) ([]string, error) {
	switch claim := claim.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{claim}, nil
	case []any:
		var all []string
		for _, one := range claim {
			text, ok := one.(string)
			if !ok {
				return nil, fmt.Errorf("has a %T among its texts", one)
			}
			all = append(all, text)
		}
		return all, nil
	default:
		return nil, fmt.Errorf("is a %T, want a text or a list of texts", claim)
	}
}

// refuse returns the error of a login that is not completed.
func refuse(reason string, cause error) error {
	return fmt.Errorf("%w: %w", &access.Refusal{Status: http.StatusForbidden, Reason: reason}, cause)
}

// later returns the error of a login that may succeed later.
func later(reason string, cause error) error {
	return fmt.Errorf("%w: %w", &access.Refusal{Status: http.StatusServiceUnavailable, Reason: reason, RetryAfter: 5 * time.Second}, cause)
}

// errorCode matches the codes of errors that the standards have.
var errorCode = regexp.MustCompile(`^[a-z_]{1,40}$`)

// refused returns the error of a person whom the provider sent back with an error.
// Anyone can write that address, so only a code of the standards' form is repeated.
func refused(code string) error {
	if !errorCode.MatchString(code) {
		code = "an unknown error"
	}
	cause := fmt.Errorf("the provider answered %s", code)
	if code == "temporarily_unavailable" || code == "server_error" {
		return later("the login provider cannot log anyone in now: try again later", cause)
	}
	return refuse("the login provider refused the login ("+code+")", cause)
}

// exchangeError returns the error of a code for which the provider gave no token.
func exchangeError(err error) error {
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok || answer.Response == nil {
		return later("the login provider is unavailable: log in again", short(err))
	}
	cause := fmt.Errorf("the provider's token endpoint answered %d %.40q", answer.Response.StatusCode, answer.ErrorCode)
	switch {
	case answer.ErrorCode == "invalid_grant":
		return refuse("the login provider does not take this login's code, which is valid once and for a short time: log in again", cause)
	case answer.Response.StatusCode >= http.StatusInternalServerError:
		return later("the login provider is unavailable: log in again", cause)
	default:
		return later("the login provider does not accept this application: ask the administrator", fmt.Errorf("%w: set OIDC_CLIENT_ID and the secret oidc-client-secret as they are at the provider, and permit the redirect address PUBLIC_URL/oidc/callback there", cause))
	}
}

// short returns an error without most of a response's body, which errors of the
// libraries contain.
func short(err error) error {
	const most = 300
	text := err.Error()
	if len(text) <= most {
		return err
	}
	return errors.New(strings.ToValidUTF8(text[:most], "") + "...")
}

// bounded is a transport that takes no redirect and no response without an end.
type bounded struct{ *http.Transport }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := redirect.Check(resp); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxResponse)
	return resp, nil
}

// Register starts a provider with the life of a process, which shows as a warning that
// the provider is unavailable.
func Register(p *process.Process, s Settings) *Provider {
	provider := Start(s, p.Secret("oidc-client-secret").Value, p.Log)
	p.OnClose("login provider", func(context.Context) error { provider.Close(); return nil })
	p.OnWarning("oidc", provider.Available)
	return provider
}
