package session

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"parkstream/shared/access"
)

// list is an Ended in memory.
type list struct {
	mu    sync.Mutex
	until map[string]time.Time
	err   error
}

func (l *list) End(_ context.Context, id string, until time.Time) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return false, l.err
	}
	if time.Now().Before(l.until[id]) {
		return false, nil
	}
	if l.until == nil {
		l.until = make(map[string]time.Time)
	}
	l.until[id] = until
	return true, nil
}

func (l *list) Has(_ context.Context, id string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.until[id]), l.err
}

// house is a function with sessions whose users, keys and groups a test changes.
type house struct {
	*Sessions
	ended   list
	keys    string
	keysErr error
	users   *access.Users
	roles   map[string]access.Role // of groups
}

func key(n int) string { return fmt.Sprintf("%064x", n) }

// hash is a bcrypt hash in form; no test logs in with a password here.
func hash(n int) string { return fmt.Sprintf("$2a$10$%053d", n) }

func newHouse(t testing.TB, users ...string) *house {
	t.Helper()
	h := &house{keys: key(1), roles: map[string]access.Role{"guards": access.Viewer}}
	h.setUsers(t, users...)
	h.Sessions = New(Config{
		Keys: func() (string, error) { return h.keys, h.keysErr },
		User: func(name string) *access.User { return h.users.Find(name) },
		Grant: func(groups []string) (access.Role, access.Sites, bool) {
			for _, g := range groups {
				if role, ok := h.roles[g]; ok {
					return role, access.SitesOf("north"), true
				}
			}
			return "", access.Sites{}, false
		},
		Ended: &h.ended, Log: slog.New(slog.DiscardHandler),
	})
	return h
}

func (h *house) setUsers(t testing.TB, lines ...string) {
	users, err := access.ParseUsers([]byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	h.users = users
}

func anna(role string, password int) string {
	return fmt.Sprintf(`{"name":"anna","role":%q,"sites":["north"],"password":%q}`, role, hash(password))
}

const ben = `{"name":"ben","role":"admin","password":"$2a$10$01234567890123456789012345678901234567890123456789012"}`

// browser is one with a single window or several: they share its cookies.
type browser struct {
	house   *house
	cookies map[string]*http.Cookie
	setup   func(*http.Request)
}

func (h *house) browser() *browser {
	return &browser{house: h, cookies: make(map[string]*http.Cookie)}
}

func (b *browser) request(method, path string) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	for _, c := range b.cookies {
		r.AddCookie(c)
	}
	if b.setup != nil {
		b.setup(r)
	}
	return r
}

func (b *browser) take(w *httptest.ResponseRecorder) {
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c
		}
	}
}

func (b *browser) login(t testing.TB, name string) {
	w := httptest.NewRecorder()
	if err := b.house.Begin(w, b.request("POST", "/login"), name); err != nil {
		t.Fatal(err)
	}
	b.take(w)
}

func (b *browser) logout() error {
	w := httptest.NewRecorder()
	err := b.house.End(w, b.request("POST", "/logout"))
	b.take(w)
	return err
}

// get makes a request as the function serves it, and returns its principal.
func (b *browser) get(path string) (access.Principal, bool, error) {
	r, w := b.request("GET", path), httptest.NewRecorder()
	p, ok, err := b.house.Identify(r)
	if ok {
		b.house.Renew(w, r.WithContext(access.NewContext(r.Context(), p)))
		b.take(w)
	}
	return p, ok, err
}

func (b *browser) in(t testing.TB, path string) bool {
	t.Helper()
	_, ok, err := b.get(path)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// copy returns a browser with the same cookies now.
func (b *browser) copy() *browser {
	c := b.house.browser()
	maps.Copy(c.cookies, b.cookies)
	return c
}

// A session has the name, role and sites of the user's line, and nothing of it in its
// cookie but the name and a fingerprint.
func TestPrincipal(t *testing.T) {
	h := newHouse(t, anna("operator", 7), ben)
	b := h.browser()
	if b.in(t, "/me") {
		t.Error("a browser without a login is logged in")
	}
	b.login(t, "anna")
	p, ok, err := b.get("/me")
	if err != nil || !ok || p.Name != "anna" || p.Role != access.Operator || p.Sites.All() || !p.Sites.Has("north") || p.Sites.Has("south") || p.Via != access.ViaSession {
		t.Errorf("anna's session is of %+v, %t, %v", p, ok, err)
	}
	b.login(t, "ben")
	if p, _, _ := b.get("/me"); p.Name != "ben" || !p.Sites.All() {
		t.Errorf("ben's session in the same browser is of %+v", p)
	}
	if err := h.Begin(httptest.NewRecorder(), b.request("POST", "/login"), "carl"); !errors.Is(err, errNoUser) {
		t.Errorf("a user that is not there logs in: %v", err)
	}
}

// A session ends 12 hours after its last request, and after 7 days at the latest. The
// cookie ends at the same time.
func TestSliding(t *testing.T) {
	for _, tt := range []struct {
		name  string
		steps []time.Duration
		in    []bool
	}{
		{"idle", []time.Duration{maxIdle - time.Second, time.Second}, []bool{true, true}},
		{"idle for too long", []time.Duration{maxIdle}, []bool{false}},
		{"it slides", []time.Duration{11 * time.Hour, 11 * time.Hour, 11 * time.Hour, maxIdle}, []bool{true, true, true, false}},
		{"a cookie of some minutes is not renewed", []time.Duration{renewAfter - time.Second, maxIdle - renewAfter}, []bool{true, true}},
		{"but then it ends by its age", []time.Duration{renewAfter - time.Second, maxIdle - renewAfter + time.Second}, []bool{true, false}},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newHouse(t, anna("viewer", 1)).browser()
			b.login(t, "anna")
			for i, step := range tt.steps {
				time.Sleep(step)
				if got := b.in(t, "/overview"); got != tt.in[i] {
					t.Errorf("%s: after step %d (%s) logged in: %t, want %t", tt.name, i, step, got, tt.in[i])
				}
			}
		})
	}
	for _, tt := range []struct {
		name string
		in   func(*house, *browser)
		most time.Duration
	}{
		{"a user of the file", func(_ *house, b *browser) { b.login(t, "anna") }, maxAge},
		{"a user of the provider", func(h *house, b *browser) {
			w := httptest.NewRecorder()
			if err := h.BeginByGroups(w, b.request("GET", "/oidc/callback"), Identity{Name: "oidc:eve", Groups: []string{"guards"}}, "/function/summary"); err != nil {
				t.Error(err)
			}
			b.take(w)
		}, maxAgeByGroups},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, anna("viewer", 1))
			b := h.browser()
			tt.in(h, b)
			end := time.Now().Add(tt.most)
			for time.Until(end) > time.Hour {
				time.Sleep(time.Hour)
				if !b.in(t, "/overview") {
					t.Fatalf("%s: logged out %s before the end", tt.name, time.Until(end))
				}
			}
			if left := b.cookies[sessionCookie].MaxAge; left > 24*3600 {
				t.Errorf("%s: the last cookie ends after %d s", tt.name, left)
			}
			time.Sleep(time.Until(end) - time.Second)
			if !b.in(t, "/overview") {
				t.Errorf("%s: logged out a second before the end", tt.name)
			}
			time.Sleep(time.Second)
			if b.in(t, "/overview") {
				t.Errorf("%s: still logged in after %s", tt.name, tt.most)
			}
		})
	}
}

// What the administrator or the user does ends a session at once.
func TestEndsAtOnce(t *testing.T) {
	lines := func(lines ...string) func(*house, *browser) {
		return func(h *house, _ *browser) { h.setUsers(t, lines...) }
	}
	for _, tt := range []struct {
		name   string
		change func(*house, *browser)
		in     bool
	}{
		{"nothing", func(*house, *browser) {}, true},
		{"another user changes", lines(anna("operator", 1)), true},
		{"the order of the file", lines(ben, anna("operator", 1)), true},
		{"the password", lines(anna("operator", 2), ben), false},
		{"the role", lines(anna("viewer", 1), ben), false},
		{"more sites", lines(strings.Replace(anna("operator", 1), `["north"]`, `["north","south"]`, 1)), false},
		{"other sites", lines(strings.Replace(anna("operator", 1), `["north"]`, `["south"]`, 1)), false},
		{"all sites", lines(strings.Replace(anna("operator", 1), `"sites":["north"],`, ``, 1)), false},
		{"a token", lines(strings.Replace(anna("operator", 1), `}`, `,"token":"sha256:`+strings.Repeat("a", 64)+`"}`, 1)), false},
		{"removed", lines(ben), false},
		{"no user at all", lines(), false},
		{"logout", func(_ *house, b *browser) { _ = b.copy().logout() }, false},
		{"another login in a copy of the browser", func(_ *house, b *browser) { b.copy().login(t, "ben") }, false},
		{"a new key before the old one", func(h *house, _ *browser) { h.keys = key(2) + "\n" + key(1) }, true},
		{"a new key after the old one", func(h *house, _ *browser) { h.keys = key(1) + "\r\n\n# old\n" + key(2) + "\n" }, true},
		{"a new key only", func(h *house, _ *browser) { h.keys = key(2) }, false},
		{"no secret", func(h *house, _ *browser) { h.keysErr = fmt.Errorf("secret session-key: %w", fs.ErrNotExist) }, false},
	} {
		h := newHouse(t, anna("operator", 1), ben)
		b := h.browser()
		b.login(t, "anna")
		tt.change(h, b)
		if got := b.in(t, "/me"); got != tt.in {
			t.Errorf("after %s logged in: %t, want %t", tt.name, got, tt.in)
		}
	}
}

// Groups of the provider give what they give now.
func TestGroups(t *testing.T) {
	h := newHouse(t, anna("viewer", 1))
	b, w := h.browser(), httptest.NewRecorder()
	if err := h.BeginByGroups(w, b.request("GET", "/oidc/callback"), Identity{Name: "oidc:anna", Groups: []string{"guards"}}, "/function/summary"); err != nil {
		t.Fatal(err)
	}
	if path := w.Result().Cookies()[0].Path; path != "/function/summary" {
		t.Errorf("the cookie of a response below the function has the path %q", path)
	}
	b.take(w)
	if p, ok, _ := b.get("/me"); !ok || p.Role != access.Viewer || p.Name != "oidc:anna" || p.Via != access.ViaSession {
		t.Errorf("the provider's anna is %+v", p)
	}
	h.roles["guards"] = access.Operator
	if p, ok, _ := b.get("/me"); !ok || p.Role != access.Operator {
		t.Errorf("with another role for the group the user is %+v", p)
	}
	delete(h.roles, "guards")
	if b.in(t, "/me") {
		t.Error("a group without a role keeps its session")
	}
	h.Grant = nil
	if b.in(t, "/me") {
		t.Error("a session of groups lives without a provider")
	}
}

// A logout ends the session in every copy of its cookie and in the other windows, for as
// long as a copy could be used; other sessions go on.
func TestLogout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, anna("viewer", 1))
		b, other := h.browser(), h.browser()
		b.login(t, "anna")
		other.login(t, "anna")
		old := b.copy()
		time.Sleep(time.Hour)
		if !b.in(t, "/me") || b.cookies[sessionCookie].Value == old.cookies[sessionCookie].Value {
			t.Fatal("the session is not renewed after an hour")
		}
		renewed := b.copy()
		late := old.request("GET", "/overview") // of another window, under way
		if err := b.logout(); err != nil {
			t.Fatal(err)
		}
		if len(b.cookies) != 0 {
			t.Error("the browser keeps its cookie")
		}
		// The other window's response may still bring a newer cookie.
		w := httptest.NewRecorder()
		time.Sleep(skew - time.Minute)
		h.Renew(w, late.WithContext(access.NewContext(late.Context(), access.Principal{Name: "anna", Via: access.ViaSession})))
		b.take(w)
		for until := time.Now().Add(maxIdle + time.Hour); time.Now().Before(until); time.Sleep(3 * time.Minute) {
			for i, copied := range []*browser{b, old, renewed} {
				if copied.in(t, "/me") {
					t.Errorf("copy %d is logged in after the logout, %s before the end of the test", i, time.Until(until))
				}
			}
			if !other.in(t, "/me") {
				t.Error("a logout ends another session of the user")
			}
		}
		if err := b.logout(); err != nil {
			t.Errorf("a logout without a session: %v", err)
		}
	})
}

// Without the list of ended sessions no session is taken, and none ends.
func TestWithoutTheList(t *testing.T) {
	h := newHouse(t, anna("viewer", 1))
	b := h.browser()
	b.login(t, "anna")
	h.ended.err = errors.New("Redis is unavailable")
	if _, ok, err := b.get("/me"); ok || !errors.Is(err, h.ended.err) {
		t.Errorf("the session counts: %t, error %v", ok, err)
	}
	if err := b.logout(); !errors.Is(err, h.ended.err) || len(b.cookies) != 1 {
		t.Errorf("the logout: error %v, cookies %v", err, b.cookies)
	}
	if _, ok, err := h.browser().get("/me"); ok || err != nil {
		t.Errorf("a request without a session: %t, %v", ok, err)
	}
	h.ended.err = nil
	if !b.in(t, "/me") {
		t.Error("the session has ended")
	}
	h.keys = "short"
	if _, ok, err := b.get("/me"); ok || err == nil {
		t.Errorf("without a usable key the session counts: %t, %v", ok, err)
	}
}

// A cookie that is not exactly as it was made is not taken, unless it says the same.
func TestTampering(t *testing.T) {
	h := newHouse(t, anna("admin", 1), ben)
	b := h.browser()
	b.login(t, "anna")
	value := b.cookies[sessionCookie].Value
	r := b.request("GET", "/me")
	found, _, _, err := h.find(r)
	if err != nil {
		t.Fatal(err)
	}
	tried := func(name, value string) (*state, bool) {
		r := httptest.NewRequest("GET", "/me", nil)
		r.Header.Set("Cookie", name+"="+value)
		s, _, ok, err := h.find(r)
		if err != nil {
			t.Fatal(err)
		}
		return s, ok
	}
	rapid.Check(t, func(t *rapid.T) {
		changed := []byte(value)
		switch at := rapid.IntRange(0, len(changed)-1).Draw(t, "at"); rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			changed[at] = rapid.SampledFrom([]byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=|.")).Draw(t, "byte")
		case 1:
			changed = changed[:at]
		case 2:
			changed = append(changed[:at:at], value[rapid.IntRange(0, len(value)-1).Draw(t, "from"):]...)
		}
		if s, ok := tried(sessionCookie, string(changed)); ok && !cmp.Equal(s, found) {
			t.Fatalf("%q is taken for %+v", changed, s)
		}
	})
	// What is signed for one purpose is not taken for another.
	w := httptest.NewRecorder()
	if err := h.Depart(w, r, `{}`); err != nil {
		t.Fatal(err)
	}
	if _, ok := tried(sessionCookie, w.Result().Cookies()[0].Value); ok {
		t.Error("the cookie of a login at the provider is a session")
	}
	r = httptest.NewRequest("GET", "/oidc/callback", nil)
	r.AddCookie(&http.Cookie{Name: flowCookie, Value: value})
	if _, _, ok, _ := h.Return(httptest.NewRecorder(), r); ok {
		t.Error("a session is the cookie of a login at the provider")
	}
	// A cookie of another path, put there by another page of the host, hides none.
	r = httptest.NewRequest("GET", "/me", nil)
	r.Header.Set("Cookie", sessionCookie+"=x; "+sessionCookie+"="+value)
	if _, ok, _ := h.Identify(r); !ok {
		t.Error("a wrong cookie hides the right one")
	}
	r.Header.Set("Cookie", strings.Repeat(sessionCookie+"=x; ", maxCookies)+sessionCookie+"="+value)
	if _, ok, _ := h.Identify(r); ok {
		t.Error("any number of cookies is verified")
	}
}

// Cookies are HttpOnly and Strict, or Lax for the way to the provider and back. They are
// Secure if the browser uses https.
func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		name   string
		setup  func(*http.Request)
		https  bool
		secure bool
	}{
		{"http", nil, false, false},
		{"TLS", func(r *http.Request) { r.TLS = new(tls.ConnectionState) }, false, true},
		{"behind a proxy with TLS", func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") }, false, true},
		{"behind two proxies", func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", " HTTPS , http") }, false, true},
		{"behind a proxy without TLS", func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "http, https") }, false, false},
		{"PUBLIC_URL", nil, true, true},
	} {
		h := newHouse(t, anna("viewer", 1))
		h.HTTPS = tt.https
		b := h.browser()
		b.setup = tt.setup
		check := func(what string, mode http.SameSite, write func(http.ResponseWriter) error) {
			t.Helper()
			w := httptest.NewRecorder()
			if err := write(w); err != nil {
				t.Fatal(err)
			}
			b.take(w)
			all := w.Result().Cookies()
			if len(all) != 1 || !all[0].HttpOnly || all[0].SameSite != mode || all[0].Secure != tt.secure || all[0].Path != "" || all[0].Domain != "" {
				t.Errorf("%s: %s writes the cookies %v", tt.name, what, all)
			}
		}
		check("a login", http.SameSiteStrictMode, func(w http.ResponseWriter) error { return h.Begin(w, b.request("POST", "/login"), "anna") })
		check("a login at the provider", http.SameSiteLaxMode, func(w http.ResponseWriter) error { return h.Depart(w, b.request("GET", "/oidc/login"), "x") })
		check("the way back", http.SameSiteLaxMode, func(w http.ResponseWriter) error {
			if _, login, ok, err := h.Return(w, b.request("GET", "/oidc/callback")); !ok || login != "x" {
				t.Errorf("%s: back from the provider: %q, %t, %v", tt.name, login, ok, err)
			}
			return nil
		})
		check("a logout", http.SameSiteStrictMode, func(w http.ResponseWriter) error { return h.End(w, b.request("POST", "/logout")) })
	}
}

// Only a response to a path in the folder of the function renews the cookie: a browser
// would keep another one for another folder.
func TestRenewalByPath(t *testing.T) {
	for path, renewed := range map[string]bool{
		"/me": true, "/overview": true, "/": false, "/sites/north": false, "/sites/a%2Fb": false, "/a%2Fb": true, "/stays/": false,
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newHouse(t, anna("viewer", 1)).browser()
			b.login(t, "anna")
			before := b.cookies[sessionCookie].Value
			time.Sleep(time.Hour)
			if !b.in(t, path) || (b.cookies[sessionCookie].Value != before) != renewed {
				t.Errorf("%s renews the cookie: %t, want %t", path, !renewed, renewed)
			}
		})
	}
	var none *Sessions
	none.Renew(httptest.NewRecorder(), httptest.NewRequest("GET", "/me", nil))
}

// A login at the provider is completed once, within its time.
func TestFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		b := h.browser()
		depart := func(login string) {
			t.Helper()
			w := httptest.NewRecorder()
			if err := h.Depart(w, b.request("GET", "/oidc/login"), login); err != nil {
				t.Fatal(err)
			}
			b.take(w)
		}
		comes := func(b *browser) (string, string, bool) {
			t.Helper()
			w := httptest.NewRecorder()
			id, login, ok, err := h.Return(w, b.request("GET", "/oidc/callback"))
			if err != nil {
				t.Fatal(err)
			}
			b.take(w)
			return id, login, ok
		}
		if _, _, ok := comes(b); ok {
			t.Error("a browser comes back that did not depart")
		}
		depart("one")
		depart("two") // in another window
		copied := b.copy()
		id, login, ok := comes(b)
		if !ok || login != "two" {
			t.Errorf("came back with %q, %t", login, ok)
		}
		if _, _, ok := comes(b); ok {
			t.Error("a browser comes back twice")
		}
		again, _, _ := comes(copied)
		for i, id := range []string{id, again} {
			if first, err := h.Once(t.Context(), id); err != nil || first != (i == 0) {
				t.Errorf("completing login %d: first %t, %v", i, first, err)
			}
		}
		depart("three")
		time.Sleep(FlowTimeout)
		if _, _, ok := comes(b); ok {
			t.Errorf("a browser comes back after %s", FlowTimeout)
		}
	})
}

// A cookie has at most the size that browsers keep. Sites are not in it.
func TestSize(t *testing.T) {
	sites := make([]string, 1000)
	for i := range sites {
		sites[i] = fmt.Sprintf("%q", fmt.Sprintf("site-%056d", i))
	}
	h := newHouse(t, strings.Replace(anna("viewer", 1), `["north"]`, "["+strings.Join(sites, ",")+"]", 1))
	b := h.browser()
	b.login(t, "anna")
	if n := len(b.cookies[sessionCookie].Value); n > 512 {
		t.Errorf("the cookie of a user of 1000 sites has %d bytes", n)
	}
	if p, ok, _ := b.get("/me"); !ok || len(p.Sites.Names()) != 1000 {
		t.Errorf("a user of 1000 sites sees %d", len(p.Sites.Names()))
	}
	most := 0
	for n := 1; n <= 1024; n *= 2 {
		groups := make([]string, n)
		for i := range groups {
			groups[i] = fmt.Sprintf("%08x-0000-4000-8000-000000000000", i) // as some providers name them
		}
		w := httptest.NewRecorder()
		err := h.BeginByGroups(w, b.request("GET", "/oidc/callback"), Identity{Name: "oidc:" + strings.Repeat("n", 128), Groups: groups}, "")
		if err != nil {
			if !errors.Is(err, ErrTooLarge) || len(w.Result().Cookies()) != 0 {
				t.Errorf("%d groups: %v", n, err)
			}
			break
		}
		if size := len(w.Result().Cookies()[0].String()); size > 4096 {
			t.Errorf("the cookie of %d groups has %d bytes", n, size)
		}
		most = n
	}
	if most < 32 || most > 64 {
		t.Errorf("%d groups fit", most)
	}
}

// Each mistake of the secret is named with its line, and no key is.
func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		secret string
		keys   int
		want   string
	}{
		{key(1), 1, ""},
		{"# newest first\n" + key(2) + "\r\n\n  " + key(1) + "  \n", 2, ""},
		{strings.Repeat("k", 31), 0, "secret session-key: line 1 has 31 characters, want at least 32 random ones (parkstream secrets rotate session-key)"},
		{key(1) + "\n\nabc\n", 0, "secret session-key: line 3 has 3 characters, want at least 32 random ones (parkstream secrets rotate session-key)"},
		{"# none\n", 0, "secret session-key has no key: want one a line, the first signs"},
		{strings.Repeat(key(1)+"\n", 11), 0, "secret session-key has 11 keys, want at most 10: remove the last ones"},
	} {
		h := newHouse(t)
		h.keys = tt.secret
		all, err := h.codecs()
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != tt.want || len(all) != tt.keys {
			t.Errorf("%q has %d keys and the error %q, want %d and %q", tt.secret, len(all), text, tt.keys, tt.want)
		}
		if (h.Available(t.Context()) != nil) != (tt.want != "") {
			t.Errorf("%q: available: %v", tt.secret, h.Available(t.Context()))
		}
	}
}

// step is what a browser, a user or an administrator does.
type step struct {
	What    string
	Browser int
	Number  int
}

// model is what a browser's session has to be.
type model struct {
	name          string
	version       int // of the user's line
	key           int
	started, seen time.Time
	ended         *bool // of all copies
}

// signed reports whether the session's cookie is still one.
func (m *model) signed(keys []int) bool {
	return m.name != "" && slices.Contains(keys, m.key) && time.Since(m.seen) < maxIdle && time.Since(m.started) < maxAge
}

// play makes steps and returns the first difference between a browser and its model.
func play(t *testing.T, steps []step) (difference string) {
	h := newHouse(t, anna("viewer", 0), ben)
	version, keys := 0, []int{1}
	browsers, models := []*browser{h.browser(), h.browser()}, make([]model, 2)
	for i, s := range steps {
		b, m := browsers[s.Browser], &models[s.Browser]
		end := func() {
			if m.signed(keys) {
				*m.ended = true
			}
		}
		switch s.What {
		case "wait":
			time.Sleep(time.Duration(s.Number) * time.Second)
		case "login":
			end()
			*m = model{name: "ben", key: keys[0], started: time.Now(), seen: time.Now(), ended: new(bool)}
			if s.Number%2 == 0 {
				m.name, m.version = "anna", version
			}
			b.login(t, m.name)
		case "logout":
			end()
			*m = model{}
			if err := b.logout(); err != nil {
				t.Fatal(err)
			}
		case "copy":
			browsers[1-s.Browser], models[1-s.Browser] = b.copy(), *m
		case "change anna":
			version++
			h.setUsers(t, anna("viewer", version), ben)
		case "rotate":
			keys = append([]int{keys[0] + 1}, keys...)
			keys = keys[:min(len(keys), 1+s.Number%3)]
			var lines []string
			for _, k := range keys {
				lines = append(lines, key(k))
			}
			h.keys = strings.Join(lines, "\n")
		case "request":
			_, got, err := b.get("/me")
			want := m.signed(keys) && !*m.ended && (m.name == "ben" || m.version == version)
			if err != nil || got != want {
				return fmt.Sprintf("step %d of %+v: logged in: %t (%v), want %t", i, steps, got, err, want)
			}
			if got && time.Since(m.seen) >= renewAfter {
				m.seen, m.key = time.Now(), keys[0]
			}
		}
	}
	return ""
}

// Whatever is done in whatever order, a browser is logged in exactly if its session was
// begun, is not too old, was not ended in any copy, and its user and key are as they were.
func TestSessionsAgainstAModel(t *testing.T) {
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			What:    rapid.SampledFrom([]string{"request", "request", "request", "login", "wait", "wait", "logout", "copy", "change anna", "rotate"}).Draw(t, "what"),
			Browser: rapid.IntRange(0, 1).Draw(t, "browser"), Number: rapid.IntRange(0, 13*3600).Draw(t, "number"),
		}
	}), 1, 60)
	rapid.Check(t, func(r *rapid.T) {
		drawn := steps.Draw(r, "steps")
		var difference string
		synctest.Test(t, func(t *testing.T) { difference = play(t, drawn) })
		if difference != "" {
			r.Fatal(difference)
		}
	})
}

// FuzzCookie checks that no text but a signed one is a session or a login under way,
// whatever it looks like.
func FuzzCookie(f *testing.F) {
	h := newHouse(f, anna("viewer", 1))
	h.keys = rand.Text() + rand.Text() // the seeds of the process that fuzzes are signed by another
	b := h.browser()
	b.login(f, "anna")
	w := httptest.NewRecorder()
	if err := h.Depart(w, b.request("GET", "/oidc/login"), "login"); err != nil {
		f.Fatal(err)
	}
	signed, departed := b.cookies[sessionCookie].Value, w.Result().Cookies()[0].Value
	for _, seed := range []string{signed, departed, signed[1:], signed[:40], "", "|", "MTc5NTc2Mzkw|e30=|", strings.Repeat("A", 5000)} {
		f.Add(seed)
	}
	all, err := h.codecs()
	if err != nil {
		f.Fatal(err)
	}
	raw := func(text string) string {
		decoded, _ := base64.URLEncoding.DecodeString(text)
		return string(decoded)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s state
		if all.decode(sessionCookie, text, &s) && raw(text) != raw(signed) {
			t.Errorf("%q is a session: %+v", text, s)
		}
		var l flow
		if all.decode(flowCookie, text, &l) && raw(text) != raw(departed) {
			t.Errorf("%q is a login under way: %+v", text, l)
		}
	})
}
