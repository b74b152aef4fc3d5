package summary

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"parkstream/shared/access"
	"parkstream/shared/access/ended"
	"parkstream/shared/access/oidc"
	"parkstream/shared/access/oidc/providertest"
	"parkstream/shared/access/session"
	"parkstream/shared/audit"
	"parkstream/shared/eventually"
	"parkstream/shared/process"
)

const sessionKey = "0123456789abcdef0123456789abcdef"

// login is that of an endpoint without a provider.
func (e *endpoint) login(g *access.Guard) Login {
	s := session.New(session.Config{
		Keys: func() (string, error) { return sessionKey, nil }, User: g.User, Ended: ended.New(e.client), Log: slog.New(slog.DiscardHandler),
	})
	g.AddIdentifier(s.Identify)
	return Login{Sessions: s}
}

// lobby is a summary that people log in to, served below /function/summary as a gateway
// does.
type lobby struct {
	*endpoint
	t        *testing.T
	secrets  string
	server   *httptest.Server
	provider *providertest.Provider
}

const belowGateway = "/function/summary"

// passwordOf returns the password of a user of the lobby.
func passwordOf(name string) string { return "the password of " + name }

func line(t *testing.T, name, role, more string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(passwordOf(name)), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"name":%q,"role":%q%s,"password":%q}`, name, role, more, hash)
}

// manyGroups returns the names of more operators' groups than a cookie holds.
func manyGroups() (groups []string) {
	for i := range 100 {
		groups = append(groups, fmt.Sprintf("operators of a department with a long name, number %d", i))
	}
	return groups
}

// newLobby returns a lobby with users, and with a provider if change is not nil: it
// changes the provider before the summary starts.
func newLobby(t *testing.T, users string, change func(*providertest.State)) *lobby {
	t.Helper()
	l := &lobby{endpoint: newEndpoint(t), t: t, secrets: t.TempDir()}
	l.write("users", users)
	l.write("session-key", sessionKey)
	mux := http.NewServeMux()
	l.server = httptest.NewServer(mux)
	t.Cleanup(l.server.Close)
	settings := oidc.Settings{
		ClientID: providertest.ClientID, PublicURL: l.server.URL + belowGateway, Roles: "guards=viewer:north; managers=admin; " + strings.Join(manyGroups(), "=operator;") + "=operator",
		GroupsClaim: "groups", NameClaim: "preferred_username",
	}
	if change != nil {
		l.provider = providertest.Start(t)
		settings.Issuer = l.provider.URL
		l.provider.Set(func(s *providertest.State) {
			s.Redirect = settings.PublicURL + "/oidc/callback"
			change(s)
		})
	}
	p, err := process.New(process.Options{Name: "summary", Environ: []string{"SECRETS_DIR=" + l.secrets}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	guard, err := access.New(p, access.Settings{Access: "closed", OIDCIssuer: settings.Issuer, PublicURL: settings.PublicURL})
	if err != nil {
		t.Fatal(err)
	}
	c := l.config(guard)
	c.Login.Sessions.Keys = p.Secret("session-key").Value
	if l.provider != nil {
		client := oidc.Start(settings, func() (string, error) { return providertest.Secret, nil }, c.Log)
		t.Cleanup(client.Close)
		c.Login.Provider, c.Login.Sessions.Grant = client, client.Grant
	}
	mux.Handle(belowGateway+"/", http.StripPrefix(belowGateway, admitting{t, NewHandler(c)}))
	return l
}

func (l *lobby) write(name, text string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(l.secrets, name), []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// visitor is a browser, as far as cookies go.
type visitor struct {
	*http.Client
	l *lobby
}

func (l *lobby) visitor() visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return visitor{&http.Client{Jar: jar}, l}
}

type answer struct {
	status int
	header http.Header
	text   string
}

// do sends a request to a path of the summary, or to a whole URL.
func (v visitor) do(method, path, body string, header ...string) answer {
	v.l.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = v.l.server.URL + belowGateway + path
	}
	r, err := http.NewRequestWithContext(v.l.t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		v.l.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := v.Do(r)
	if err != nil {
		v.l.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		v.l.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (v visitor) login(name, password string, header ...string) answer {
	v.l.t.Helper()
	body, err := json.Marshal(map[string]string{"name": name, "password": password})
	if err != nil {
		v.l.t.Fatal(err)
	}
	return v.do("POST", "/login", string(body), header...)
}

// me returns what the summary knows of the visitor.
func (v visitor) me() (status int, me map[string]any) {
	v.l.t.Helper()
	a := v.do("GET", "/me", "")
	if err := json.Unmarshal([]byte(a.text), &me); err != nil {
		v.l.t.Fatalf("GET /me: %d %s", a.status, a.text)
	}
	return a.status, me
}

func (v visitor) expectMe(what string, status int, want map[string]any) {
	v.l.t.Helper()
	got, me := v.me()
	if reason, ok := me["error"].(string); ok && reason != "" {
		me["error"] = "..."
	}
	if diff := cmp.Diff(want, me); got != status || diff != "" {
		v.l.t.Errorf("%s: GET /me: %d, want %d (-want +got):\n%s", what, got, status, diff)
	}
}

// cookies returns what a browser sends to a path.
func (v visitor) cookies(path string) []*http.Cookie {
	at, err := url.Parse(v.l.server.URL + belowGateway + path)
	if err != nil {
		v.l.t.Fatal(err)
	}
	return v.Jar.Cookies(at)
}

// copy returns a visitor with copies of the cookies.
func (v visitor) copy() visitor {
	other := v.l.visitor()
	for _, path := range []string{"/", "/oidc/callback"} {
		at, err := url.Parse(v.l.server.URL + belowGateway + path)
		if err != nil {
			v.l.t.Fatal(err)
		}
		other.Jar.SetCookies(at, v.cookies(path))
	}
	return other
}

// recorded returns the entries of an action in the audit, oldest first.
func (l *lobby) recorded(a audit.Action) (entries []string) {
	l.t.Helper()
	page, err := l.audit.List(l.t.Context(), audit.Query{Action: a, Limit: 100})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, e := range page.Entries {
		entries = append([]string{strings.Join([]string{e.Who, e.Role, e.Via, e.Address, e.Object, string(e.Outcome)}, " ")}, entries...)
	}
	return entries
}

func texts(all ...any) []any { return append([]any{}, all...) }

var loggedOut = map[string]any{"error": "...", "open": false, "login": texts("password")}

func TestLoginByPassword(t *testing.T) {
	anna := line(t, "anna", "operator", `,"sites":["north","south"]`)
	l := newLobby(t, anna+"\n"+line(t, "ben", "viewer", ""), nil)
	v := l.visitor()
	v.expectMe("before the login", 401, loggedOut)
	if a := v.do("GET", "/me", ""); a.header.Get("WWW-Authenticate") == "" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("GET /me without a login has the header %v", a.header)
	}
	if a := v.do("GET", "/overview", ""); a.status != 401 {
		t.Errorf("GET /overview without a login: %d", a.status)
	}
	for _, tt := range []struct {
		what   string
		login  func() answer
		status int
	}{
		{"a wrong password", func() answer { return v.login("anna", "wrong") }, 401},
		{"no such user", func() answer { return v.login("carl", passwordOf("anna")) }, 401},
		{"another's password", func() answer { return v.login("anna", passwordOf("ben")) }, 401},
		{"no password", func() answer { return v.login("anna", "") }, 400},
		{"no JSON", func() answer { return v.do("POST", "/login", "name=anna") }, 400},
		{"another member", func() answer {
			return v.do("POST", "/login", `{"name":"anna","password":"x","return":"https://evil.example"}`)
		}, 400},
		{"a query", func() answer {
			return v.do("POST", "/login?return=https://evil.example", `{"name":"anna","password":"x"}`)
		}, 400},
		{"a form", func() answer { return v.login("anna", passwordOf("anna"), "Content-Type", "text/plain") }, 415},
		{"a page of another site", func() answer { return v.login("anna", passwordOf("anna"), "Origin", "https://evil.example") }, 403},
		{"a page of another site, newer browser", func() answer { return v.login("anna", passwordOf("anna"), "Sec-Fetch-Site", "cross-site") }, 403},
		{"a page of a neighbour", func() answer { return v.login("anna", passwordOf("anna"), "Sec-Fetch-Site", "same-site") }, 403},
	} {
		a := tt.login()
		if a.status != tt.status || len(v.cookies("/")) != 0 || strings.Contains(a.text, "password of") {
			t.Errorf("%s: %d %s, want %d; cookies %v", tt.what, a.status, a.text, tt.status, v.cookies("/"))
		}
	}
	if a := v.login("anna", passwordOf("anna"), "Sec-Fetch-Site", "same-origin"); a.status != 204 || a.text != "" {
		t.Fatalf("the login: %d %s", a.status, a.text)
	}
	v.expectMe("after the login", 200, map[string]any{
		"name": "anna", "role": "operator", "sites": texts("north", "south"), "plates": true, "open": false, "login": texts("password"),
		"rights": texts("read", "read_plates", "correct", "post_events", "generate"),
	})
	if a := v.do("GET", "/overview", ""); a.status != 200 {
		t.Errorf("GET /overview with a login: %d %s", a.status, a.text)
	}
	if len(v.cookies("/")) != 1 || len(v.cookies("/sites/north")) != 1 {
		t.Errorf("the cookie is sent to %v and %v", v.cookies("/"), v.cookies("/sites/north"))
	}
	if a := v.do("DELETE", "/plates?plate=KA01", ""); a.status != 403 {
		t.Errorf("an operator erases: %d", a.status)
	}
	if a := v.do("POST", "/sites/north/occupancy", `{"counted":1,"reason":"r"}`, "Sec-Fetch-Site", "cross-site"); a.status != 403 {
		t.Errorf("a page of another site corrects through a session: %d", a.status)
	}
	copied := v.copy()
	if a := v.do("POST", "/logout", "", "Sec-Fetch-Site", "cross-site"); a.status != 403 {
		t.Errorf("a page of another site logs out: %d", a.status)
	}
	copied.expectMe("a copy of the cookie", 200, map[string]any{
		"name": "anna", "role": "operator", "sites": texts("north", "south"), "plates": true, "open": false, "login": texts("password"),
		"rights": texts("read", "read_plates", "correct", "post_events", "generate"),
	})
	if a := v.do("POST", "/logout", ""); a.status != 204 || len(v.cookies("/")) != 0 {
		t.Errorf("the logout: %d %s, cookies %v", a.status, a.text, v.cookies("/"))
	}
	v.expectMe("after the logout", 401, loggedOut)
	copied.expectMe("a copy after the logout", 401, loggedOut)
	if a := v.do("POST", "/logout", ""); a.status != 204 {
		t.Errorf("another logout: %d", a.status)
	}

	// The administrator changes the file while people are logged in.
	v.login("anna", passwordOf("anna"))
	other := l.visitor()
	if a := other.login("ben", passwordOf("ben")); a.status != 204 {
		t.Fatalf("ben's login: %d", a.status)
	}
	other.expectMe("ben", 200, map[string]any{
		"name": "ben", "role": "viewer", "sites": nil, "plates": false, "open": false, "login": texts("password"), "rights": texts("read"),
	})
	l.write("users", strings.Replace(anna, "operator", "admin", 1))
	v.expectMe("with another role", 401, loggedOut)
	other.expectMe("a removed user", 401, loggedOut)

	if diff := cmp.Diff([]string{"anna operator password 127.0.0.1  done", "anna operator password 127.0.0.1  done", "ben viewer password 127.0.0.1  done"}, l.recorded(audit.Login)); diff != "" {
		t.Errorf("logins in the audit (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"anna operator session 127.0.0.1  done"}, l.recorded(audit.Logout)); diff != "" {
		t.Errorf("logouts in the audit (-want +got):\n%s", diff)
	}
	v.login("anna", passwordOf("anna"))
	copied = v.copy()
	if err := l.redis.Kill(); err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup // each takes the seconds in which Redis may come back
	both.Go(func() {
		if a := copied.do("GET", "/me", ""); a.status != 503 {
			t.Errorf("without Redis a session is answered %d %s", a.status, a.text)
		}
	})
	defer both.Wait()
	if a := v.do("POST", "/logout", ""); a.status != 503 || a.header.Get("Retry-After") == "" || len(v.cookies("/")) != 1 {
		t.Errorf("without Redis the logout is answered %d %s, cookies %v", a.status, a.text, v.cookies("/"))
	}
	if text := l.log.String(); strings.Contains(text, "password of") || strings.Contains(text, sessionKey) {
		t.Errorf("the log has a secret:\n%s", text)
	}
}

// Without a key there are no sessions, and the way in by a token is not affected.
func TestLoginWithoutSessionKey(t *testing.T) {
	l := newLobby(t, line(t, "anna", "viewer", ""), nil)
	if err := os.Remove(filepath.Join(l.secrets, "session-key")); err != nil {
		t.Fatal(err)
	}
	v := l.visitor()
	v.expectMe("without a key", 401, map[string]any{"error": "...", "open": false, "login": texts()})
	if a := v.login("anna", passwordOf("anna")); a.status != 503 || !strings.Contains(a.text, "session-key") || a.header.Get("Retry-After") == "" {
		t.Errorf("a login without a key: %d %s", a.status, a.text)
	}
	at, err := url.Parse(l.server.URL + belowGateway + "/")
	if err != nil {
		t.Fatal(err)
	}
	v.Jar.SetCookies(at, []*http.Cookie{{Name: "parkstream_session", Value: "of another system of this machine"}})
	v.expectMe("with another system's cookie", 401, map[string]any{"error": "...", "open": false, "login": texts()})
}

// Without users and without a provider nothing is served.
func TestLoginIsNotSetUp(t *testing.T) {
	l := newLobby(t, "# none yet", nil)
	v := l.visitor()
	for _, one := range l.api().routes {
		if path, _, _ := strings.Cut(one.path, "{"); one.open && !strings.HasPrefix(one.path, "/page/") {
			body := ""
			if one.method == "POST" {
				body = `{"name":"a","password":"b"}`
			}
			if a := v.do(one.method, path, body); a.status != 503 || !strings.Contains(a.text, "access is not set up") {
				t.Errorf("%s %s: %d %s", one.method, path, a.status, a.text)
			}
		}
	}
}

func TestLoginAtProvider(t *testing.T) {
	l := newLobby(t, "", func(s *providertest.State) { s.Down = true })
	v := l.visitor()
	v.expectMe("while the provider is down", 401, map[string]any{
		"error": "...", "open": false, "login": texts(),
		"unavailable": map[string]any{"oidc": "the login provider is unavailable; it is tried again every few seconds"},
	})
	if a := v.do("GET", "/oidc/login", "", "Accept", "text/html"); a.status != 503 || !strings.Contains(a.text, "the login provider is unavailable") || a.header.Get("Retry-After") == "" {
		t.Errorf("a login while the provider is down: %d %s", a.status, a.text)
	}
	l.provider.Set(func(s *providertest.State) { s.Down = false })
	eventually.True(t, "the provider to be found", func() bool {
		_, me := v.me()
		return cmp.Equal(me["login"], any(texts("oidc")))
	})
	v.expectMe("with the provider", 401, map[string]any{"error": "...", "open": false, "login": texts("oidc")})

	a := v.do("GET", "/oidc/login", "", "Accept", "text/html,*/*")
	if a.status != 200 || !strings.Contains(a.text, `<meta http-equiv="refresh" content="0; url=../">`) || a.header.Get("Referrer-Policy") != "no-referrer" ||
		!strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("the login: %d %s, header %v", a.status, a.text, a.header)
	}
	v.expectMe("after the login", 200, map[string]any{
		"name": "oidc:eve", "role": "viewer", "sites": texts("north"), "plates": false, "open": false, "login": texts("oidc"), "rights": texts("read"),
	})
	if names := cookieNames(v.cookies("/oidc/callback")); !slices.Equal(names, []string{"parkstream_session"}) {
		t.Errorf("after the login the browser has the cookies %q", names)
	}
	if text := l.log.String(); strings.Contains(text, "code=") {
		t.Errorf("the log of the login:\n%s", text)
	}
	if diff := cmp.Diff([]string{"oidc:eve viewer oidc 127.0.0.1 248289761001 done"}, l.recorded(audit.Login)); diff != "" {
		t.Errorf("logins in the audit (-want +got):\n%s", diff)
	}
	copied := v.copy()
	if a := v.do("POST", "/logout", ""); a.status != 204 || len(v.cookies("/")) != 0 {
		t.Errorf("the logout: %d %s, cookies %v", a.status, a.text, v.cookies("/"))
	}
	if status, _ := copied.me(); status != 401 {
		t.Errorf("a copy of the cookie after the logout: %d", status)
	}
	if a := v.do("GET", "/oidc/login", "", "Sec-Fetch-Site", "cross-site"); a.status != 403 {
		t.Errorf("a page of another site begins a login: %d", a.status)
	}
	for _, query := range []string{"?return=https://evil.example", "?next=/", "?state=x"} {
		if a := v.do("GET", "/oidc/login"+query, ""); a.status != 400 {
			t.Errorf("a login with %s: %d", query, a.status)
		}
	}
}

func cookieNames(cookies []*http.Cookie) (names []string) {
	for _, c := range cookies {
		names = append(names, c.Name)
	}
	return names
}

// Whatever the way back from the provider is, it logs in the browser that departed, once,
// and leads nowhere but to the page.
func TestWaysBack(t *testing.T) {
	l := newLobby(t, "", func(*providertest.State) {})
	eventually.True(t, "the provider to be found", func() bool {
		_, me := l.visitor().me()
		return me["unavailable"] == nil
	})
	// departed is a browser that is about to come back to an address.
	departed := func() (visitor, string) {
		t.Helper()
		v := l.visitor()
		v.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			if strings.HasPrefix(r.URL.Path, belowGateway) {
				return http.ErrUseLastResponse
			}
			return nil
		}
		a := v.do("GET", "/oidc/login", "")
		if a.status != 302 {
			t.Fatalf("the provider does not send the browser back: %d %s", a.status, a.text)
		}
		return v, a.header.Get("Location")
	}
	in := func(v visitor) bool {
		t.Helper()
		status, _ := v.me()
		return status == 200
	}
	for _, tt := range []struct {
		name   string
		change func(v visitor, back string) (visitor, string)
		status int
	}{
		{"as it was meant", func(v visitor, back string) (visitor, string) { return v, back }, 200},
		{"with a return address", func(v visitor, back string) (visitor, string) {
			return v, back + "&return=https://evil.example&next=//evil.example"
		}, 200},
		{"in another browser", func(_ visitor, back string) (visitor, string) { return l.visitor(), back }, 403},
		{"in a browser that departed, too", func(_ visitor, back string) (visitor, string) { v, _ := departed(); return v, back }, 403},
		{"after another departure of the same browser", func(v visitor, back string) (visitor, string) {
			v.do("GET", "/oidc/login", "")
			return v, back
		}, 403},
		{"after the way back", func(v visitor, back string) (visitor, string) {
			v.do("GET", back, "")
			v.do("POST", "/logout", "")
			return v, back
		}, 403},
		{"in a copy of the browser after the way back", func(v visitor, back string) (visitor, string) {
			copied := v.copy()
			v.do("GET", back, "")
			return copied, back
		}, 403},
		{"another state", func(v visitor, back string) (visitor, string) {
			return v, strings.Replace(back, "&state=", "&state=x", 1)
		}, 403},
		{"nothing", func(v visitor, back string) (visitor, string) {
			before, _, _ := strings.Cut(back, "?")
			return v, before
		}, 403},
	} {
		for _, lax := range []bool{false, true} {
			l.provider.Set(func(s *providertest.State) { s.Lax = lax })
			v, back := tt.change(departed())
			a := v.do("GET", back, "", "Accept", "text/html", "Sec-Fetch-Site", "cross-site")
			if a.status != tt.status || in(v) != (tt.status == 200) || strings.Contains(a.text, "evil") || a.header.Get("Location") != "" {
				t.Errorf("%s (lax provider: %t): %d %s, want %d; logged in: %t", tt.name, lax, a.status, a.text, tt.status, in(v))
			}
		}
	}

	// Other refusals are a page for a browser, and JSON for others.
	l.provider.Set(func(s *providertest.State) {
		s.Person = map[string]any{"sub": "1", "preferred_username": "<b>eve", "groups": "others"}
	})
	v, back := departed()
	if a := v.do("GET", back, "", "Accept", "text/html"); a.status != 403 || !strings.Contains(a.text, "<p>&lt;b&gt;eve is logged in at the provider, but none of its groups has a role here: ask the administrator.</p>") || in(v) {
		t.Errorf("without a role: %d %s", a.status, a.text)
	}
	v, back = departed()
	if a := v.do("GET", back, ""); a.status != 403 || !strings.HasPrefix(a.text, `{"error":`) || in(v) {
		t.Errorf("without a role, for a program: %d %s", a.status, a.text)
	}
	l.provider.Set(func(s *providertest.State) { s.Deny = "access_denied" })
	v, back = departed()
	if a := v.do("GET", back, "", "Accept", "text/html"); a.status != 403 || !strings.Contains(a.text, "access_denied") || strings.Contains(a.text, "script") || in(v) {
		t.Errorf("denied: %d %s", a.status, a.text)
	}
	l.provider.Set(func(s *providertest.State) { s.Deny, s.Person = "", map[string]any{"sub": "1", "groups": manyGroups()} })
	v, back = departed()
	if a := v.do("GET", back, ""); a.status != 403 || !strings.Contains(a.text, "too many of your groups have the same role here") || in(v) {
		t.Errorf("with more groups than a cookie holds: %d %s", a.status, a.text)
	}
	l.provider.Set(func(s *providertest.State) { s.TokenDown = true })
	v, back = departed()
	if a := v.do("GET", back, ""); a.status != 503 || a.header.Get("Retry-After") == "" || in(v) {
		t.Errorf("while the token endpoint is down: %d %s", a.status, a.text)
	}

	if entries := l.recorded(audit.LoginRefused); len(entries) == 0 || entries[0] != "(unknown)  oidc 127.0.0.1 1 in a minute refused" {
		t.Errorf("refused logins in the audit: %q", entries)
	}

	// Anyone can come back without having departed: the log stays small.
	before := strings.Count(l.log.String(), "refused")
	for range 100 {
		l.visitor().do("GET", "/oidc/callback?code=a&state=b", "")
	}
	if lines := strings.Count(l.log.String(), "refused") - before; lines > 20 {
		t.Errorf("100 strangers leave %d lines in the log", lines)
	}
}
