package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"parkstream/shared/process"
)

// Guard decides on the requests of a process.
type Guard struct {
	settings    Settings
	log         *slog.Logger
	users       *usersFile
	tokens      []partToken
	identifiers []func(*http.Request) (Principal, bool, error)
	refused     []func(context.Context, Principal)
	proxies     proxies
	crossOrigin *http.CrossOriginProtection
	hashing     chan struct{} // holds one element for each hash that is being computed
}

// partToken is the token of another part of the system.
type partToken struct {
	principal Principal
	secret    func() (string, error)
}

// New returns the guard of a process. It answers nobody but health checks until there
// are users, and reports that as not ready.
func New(p *process.Process, s Settings) (*Guard, error) {
	users := p.Secret("users")
	if s.UsersFile != "" {
		users = process.NewSecret(filepath.Dir(s.UsersFile), filepath.Base(s.UsersFile))
	}
	g := &Guard{
		settings: s, log: p.Log, users: newUsersFile(users),
		crossOrigin: http.NewCrossOriginProtection(), hashing: make(chan struct{}, maxHashing),
	}
	for _, text := range s.TrustedProxies {
		if network, err := parseProxy(text); err == nil { // else Validate reports it
			g.proxies = append(g.proxies, network)
		}
	}
	if origin := s.origin(); origin != "" {
		if err := g.crossOrigin.AddTrustedOrigin(origin); err != nil {
			return g, fmt.Errorf("PUBLIC_URL: %w", err)
		}
	}
	if s.Access == open {
		if !p.Loopback() {
			return g, errors.New("ACCESS is open, which is for a process that listens on loopback only: make a users file (parkstream users add), or set LISTEN to 127.0.0.1")
		}
		return g, nil
	}
	p.OnReady("access", g.ready)
	p.OnWarning("users", func(context.Context) error { return g.users.broken() })
	return g, nil
}

// maxHashing is how many passwords are checked at a time: each takes a core for 50 ms.
const maxHashing = 2

// Open reports whether everyone may read and post.
func (g *Guard) Open() bool { return g.settings.Access == open }

// Token makes the guard take the token of another part of the system, which has these
// rights at all sites. The secret is asked for on each request; without its file there is
// no such token.
func (g *Guard) Token(name string, secret func() (string, error), rights ...Right) {
	g.tokens = append(g.tokens, partToken{principal: PartOf(name, rights...), secret: secret})
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

// Check returns the refusal of a request of anyone: access is not set up, or it is
// a write that a page of another site may have sent. Require checks that, too.
func (g *Guard) Check(r *http.Request, contentTypes ...string) error {
	return g.check(r, Read, contentTypes)
}

func (g *Guard) check(r *http.Request, right Right, contentTypes []string) error {
	if !g.setUp() {
		return errNotSetUp
	}
	return g.checkWrite(r, right, contentTypes)
}

func (g *Guard) decide(r *http.Request, right Right, contentTypes []string) (Principal, error) {
	if err := g.check(r, right, contentTypes); err != nil {
		return Principal{}, err
	}
	p, err := g.Identify(r)
	if err != nil {
		return Principal{}, err
	}
	if !p.May(right) {
		if p.Via == ViaOpen {
			return Principal{}, errNoLogin
		}
		return Principal{}, Forbidden(fmt.Sprintf("the role %s may not do this", p.Role))
	}
	return p, nil
}

// Identify returns who sends a request.
func (g *Guard) Identify(r *http.Request) (Principal, error) {
	if !g.setUp() {
		return Principal{}, errNotSetUp
	}
	p, err := g.identify(r)
	p.Address = g.Address(r)
	if err != nil {
		return Principal{}, err
	}
	return p, nil
}

// Address returns the address of a request's caller; see TRUSTED_PROXIES.
func (g *Guard) Address(r *http.Request) string {
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
			return g.Login(r.Context(), r, name, password)
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
	sum := sha256.Sum256([]byte(token))
	var failed error
	for _, t := range g.tokens {
		secret, err := t.secret()
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, process.ErrEmptySecret) {
			continue // there is no such token
		}
		if err != nil {
			failed = err
			continue
		}
		want := sha256.Sum256([]byte(secret))
		if secret != "" && subtle.ConstantTimeCompare(want[:], sum[:]) == 1 {
			return t.principal, nil
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

// Login returns the user of a name and password.
func (g *Guard) Login(ctx context.Context, r *http.Request, name, password string) (Principal, error) {
	users := g.users.current()
	user := users.Find(name)
	hash := users.decoy
	if user != nil && user.HasPassword() {
		hash = user.password
	}
	select {
	case g.hashing <- struct{}{}:
	case <-ctx.Done():
		return Principal{}, errUnidentified
	}
	err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
	<-g.hashing
	if err != nil || user == nil || !user.HasPassword() || len(password) > maxPassword {
		if user == nil {
			name = ""
		}
		g.tellRefused(r, name, ViaPassword)
		return Principal{}, errLogin
	}
	return user.Principal(ViaPassword), nil
}

func (g *Guard) tellRefused(r *http.Request, name, via string) {
	for _, told := range slices.Clone(g.refused) {
		told(r.Context(), Principal{Name: name, Via: via, Address: g.Address(r)})
	}
}
