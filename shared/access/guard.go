package access

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"parkstream/shared/process"
)

// Guard decides on the requests of a process.
type Guard struct {
	settings    Settings
	log         *slog.Logger
	metrics     *metrics
	users       *usersFile
	tokens      []*partToken
	passwords   *passwords
	throttle    *throttle
	limits      *limits // of requests
	logins      *limits // of sessions that begin
	identifiers []func(*http.Request) (Principal, bool, error)
	refused     []func(context.Context, Principal)
	proxies     proxies
	crossOrigin *http.CrossOriginProtection
	failing     rate.Sometimes // logs
	proxied     sync.Once      // logs
	reminder    reminder
}

// New returns the guard of a process. Without users it answers only health checks, and
// the process is not ready.
func New(p *process.Process, s Settings) (*Guard, error) {
	users := p.Secret("users")
	if s.UsersFile != "" {
		users = process.NewSecret(filepath.Dir(s.UsersFile), filepath.Base(s.UsersFile))
	}
	g := &Guard{
		settings: s, log: p.Log, users: newUsersFile(users), passwords: newPasswords(), throttle: newThrottle(),
		limits:      newLimits(rate.Limit(s.RequestRate), burst*s.RequestRate, "this login makes too many requests (REQUESTS_PER_SECOND)"),
		logins:      newLimits(loginRate, loginBurst, "this user has logged in too often"),
		crossOrigin: http.NewCrossOriginProtection(), failing: rate.Sometimes{First: 1, Interval: time.Minute},
	}
	g.metrics = newMetrics(p.Registerer, g.setUp)
	for _, text := range s.TrustedProxies {
		if network, err := parseProxy(text); err == nil { // else Validate reports it
			g.proxies = append(g.proxies, network)
		}
	}
	if origin := s.origin(); origin != "" {
		if err := g.crossOrigin.AddTrustedOrigin(origin); err != nil {
			return g, fmt.Errorf("PUBLIC_URL is not the address of a site: %w", err)
		}
	}
	p.OnWarning("users", func(context.Context) error { return g.users.broken() })
	if !g.Open() {
		p.OnReady("access", g.ready)
	} else if !p.Loopback() {
		return g, errors.New("ACCESS is open, and the process does not listen on a loopback address: make a users file (parkstream users add), or listen on 127.0.0.1")
	}
	return g, nil
}

// Open reports whether everyone may read and post.
func (g *Guard) Open() bool { return g.settings.Access == open }

// Token makes the guard take the token of another part of the system, which has these
// rights at all sites. Without the secret's file there is no such token. An old token is
// taken for up to a second after a change.
func (g *Guard) Token(name string, secret func() (string, error), rights ...Right) {
	g.tokens = append(g.tokens, &partToken{principal: PartOf(name, rights...), secret: secret})
}

// AddIdentifier makes the guard ask identify who sends a request without a header
// Authorization. ok is false if the request has nothing that identify knows.
func (g *Guard) AddIdentifier(identify func(r *http.Request) (p Principal, ok bool, err error)) {
	g.identifiers = append(g.identifiers, identify)
}

// OnRefused makes the guard call told for each request with a login that is not valid,
// before it is answered. The principal has the way in and the address, and the name if
// the users file has it: people type passwords there.
func (g *Guard) OnRefused(told func(context.Context, Principal)) { g.refused = append(g.refused, told) }

// HasPasswords reports whether a user can log in with a password.
func (g *Guard) HasPasswords() bool { return g.users.current().passwords }

// User returns the user of a name as the users file has it now, or nil.
func (g *Guard) User(name string) *User { return g.users.current().Find(name) }

// Require returns the context of a request whose principal has a right. It has the
// principal, see [From]. If ok is false the request is refused and answered.
//
// A write needs JSON or CloudEvents as its content type, or one of contentTypes, and
// must not come from a page of another site.
func (g *Guard) Require(w http.ResponseWriter, r *http.Request, right Right, contentTypes ...string) (ctx context.Context, ok bool) {
	p, err := g.decide(r, right, contentTypes)
	if err != nil {
		g.Refuse(w, r, err)
		return nil, false
	}
	return NewContext(r.Context(), p), true
}

// CheckRequest returns the refusal of a request that needs no login: access is not set
// up, or it is a write that a page of another site may have sent.
func (g *Guard) CheckRequest(r *http.Request, contentTypes ...string) error {
	if err := g.checkSetUp(); err != nil {
		return err
	}
	if safe(r.Method) {
		return nil
	}
	return cmp.Or(g.CheckOrigin(r), checkContentType(r, contentTypes))
}

// CheckHost returns the refusal of a request for a host that is not this machine, if
// access is open: a name that a page of another site made to point to loopback after it
// was loaded (DNS rebinding).
func (g *Guard) CheckHost(r *http.Request) error {
	if g.Open() && !process.IsLoopback(process.HostOf(r.Host)) {
		return errHost
	}
	return nil
}

func (g *Guard) decide(r *http.Request, right Right, contentTypes []string) (Principal, error) {
	if err := g.checkSetUp(); err != nil {
		return Principal{}, err
	}
	write := !safe(r.Method)
	if write || right.changes() {
		if err := g.CheckOrigin(r); err != nil {
			return Principal{}, err
		}
	}
	p, err := g.Identify(r)
	if err != nil {
		return Principal{}, err
	}
	if write && p.Role != Part { // no page has its token, and the connector sends what others published
		if err := checkContentType(r, contentTypes); err != nil {
			return Principal{}, err
		}
	}
	switch {
	case p.May(right):
		return p, nil
	case p.Role == Open:
		return Principal{}, errNoLogin
	case right == ReadMetrics && !p.Sites.All():
		return Principal{}, Forbidden("the metrics are those of all sites, and this login has some")
	default:
		return Principal{}, Forbidden(fmt.Sprintf("the role %s does not have the right to do this", p.Role))
	}
}

// Identify returns who sends a request, and counts it as one of that principal. With
// the refusal of one too many it returns the principal as well.
func (g *Guard) Identify(r *http.Request) (Principal, error) {
	if err := g.checkSetUp(); err != nil {
		return Principal{}, err
	}
	p, err := g.identify(r)
	if err != nil {
		return Principal{}, err
	}
	p.Address = g.Address(r)
	return p, g.limits.check(p)
}

// Address returns the address of a request's caller; see TRUSTED_PROXIES.
func (g *Guard) Address(r *http.Request) string {
	if r.Header.Get("X-Forwarded-For") != "" && !g.proxies.trust(remote(r)) {
		g.proxied.Do(func() {
			g.log.Warn("requests come through a proxy that TRUSTED_PROXIES does not name: all its callers count as one address", "proxy", remote(r).String())
		})
	}
	if a := g.proxies.address(r); a.IsValid() {
		return a.String()
	}
	return ""
}

func (g *Guard) identify(r *http.Request) (Principal, error) {
	given := r.Header.Values("Authorization")
	if len(given) > 1 {
		return Principal{}, errLogin
	}
	if len(given) == 1 {
		scheme, credentials := cutScheme(given[0])
		switch {
		case strings.EqualFold(scheme, "Bearer"):
			return g.bearer(r, credentials)
		case strings.EqualFold(scheme, "Basic"):
			name, password, ok := r.BasicAuth()
			if !ok {
				return Principal{}, errLogin
			}
			return g.byPassword(r, name, password)
		default:
			return Principal{}, errLogin
		}
	}
	for _, identify := range g.identifiers {
		if p, ok, err := identify(r); ok || err != nil {
			return p, err
		}
	}
	if g.Open() {
		return Principal{Name: ViaOpen, Role: Open, Sites: AllSites(), Via: ViaOpen}, nil
	}
	return Principal{}, errNoLogin
}

// cutScheme returns the two parts of a header Authorization.
func cutScheme(text string) (scheme, credentials string) {
	const blanks = " \t"
	text = strings.Trim(text, blanks)
	end := strings.IndexAny(text, blanks)
	if end < 0 {
		return text, ""
	}
	return text[:end], strings.TrimLeft(text[end:], blanks)
}

func (g *Guard) bearer(r *http.Request, token string) (Principal, error) {
	sum := digest(sha256.Sum256([]byte(token)))
	now := time.Now()
	for _, t := range g.tokens {
		if t.fresh(sum, now) {
			return t.principal, nil
		}
	}
	var failed error
	for _, t := range g.tokens {
		switch ok, err := t.read(sum, now); {
		case ok:
			return t.principal, nil
		case err != nil:
			failed = err
		}
	}
	if user := g.users.current().byToken[sum]; user != nil {
		return user.Principal(ViaToken), nil
	}
	if failed != nil {
		return Principal{}, fmt.Errorf("check a token: %w", failed)
	}
	g.tellRefused(r, "", ViaToken)
	return Principal{}, errLogin
}

// Login returns the user of a name and password, for a session. Failures cost the name
// and the caller's address time. A user can begin some sessions in a minute: their
// entries in the audit displace others.
func (g *Guard) Login(r *http.Request, name, password string) (Principal, error) {
	p, err := g.byPassword(r, name, password)
	if err != nil {
		return Principal{}, err
	}
	return p, g.logins.check(p)
}

func (g *Guard) byPassword(r *http.Request, name, password string) (Principal, error) {
	users := g.users.current()
	user := users.Find(name)
	l := login{name: name, hash: users.decoy, password: password, cost: users.cost}
	if user != nil && user.HasPassword() {
		l.hash = user.password
	}
	right, err := g.check(r.Context(), l, g.proxies.address(r))
	if err != nil {
		return Principal{}, err
	}
	if !right || user == nil {
		if user == nil {
			name = ""
		}
		g.tellRefused(r, name, ViaPassword)
		return Principal{}, errLogin
	}
	p := user.Principal(ViaPassword)
	p.Address = g.Address(r)
	return p, nil
}

func (g *Guard) tellRefused(r *http.Request, name, via string) {
	for _, told := range g.refused {
		told(r.Context(), Principal{Name: name, Via: via, Address: g.Address(r)})
	}
}
