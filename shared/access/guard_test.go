package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"parkstream/shared/process"
)

// guarded is a guard with its secrets.
type guarded struct {
	*Guard
	process *process.Process
	dir     string
	log     *strings.Builder
}

func newGuard(tb testing.TB, environ ...string) guarded {
	tb.Helper()
	g := guarded{dir: tb.TempDir(), log: new(strings.Builder)}
	p, err := process.New(process.Options{Name: "test", Environ: append(environ, "SECRETS_DIR="+g.dir, "LISTEN=127.0.0.1:0"), Log: g.log})
	if err != nil {
		tb.Fatal(err)
	}
	var s Settings
	if err := p.Settings(&s); err != nil {
		tb.Fatal(err)
	}
	if g.Guard, err = New(p, s); err != nil {
		tb.Fatal(err)
	}
	g.process = p
	return g
}

// write writes a secret, which is noticed at once.
func (g guarded) write(tb testing.TB, name, text string) {
	tb.Helper()
	path := filepath.Join(g.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		tb.Fatal(err)
	}
}

func (g guarded) ready(tb testing.TB) (ready bool, text string) {
	tb.Helper()
	w := httptest.NewRecorder()
	g.process.Ready(w, httptest.NewRequest(http.MethodGet, "/_/ready", http.NoBody))
	return w.Code == http.StatusOK, w.Body.String()
}

const gateToken, annaToken, connectorToken = "the token of the gate", "the token of anna", "the connector's token"

// someUsers has a user of each role, with cheap hashes.
func someUsers(tb testing.TB) string {
	tb.Helper()
	digestOf := func(token string) string {
		text, err := hashToken(token)
		if err != nil {
			tb.Fatal(err)
		}
		return text
	}
	return fmt.Sprintf(`# users
{"name":"anna","role":"operator","sites":["north"],"password":%q,"token":%q}
{"name":"vera","role":"viewer","password":%q}
{"name":"ada","role":"admin","password":%q}
{"name":"gate","role":"machine","sites":["north"],"token":%q}
`, hash(tb, "anna's"), digestOf(annaToken+" 20 bytes"), hash(tb, "vera's"), hash(tb, "ada's"), digestOf(gateToken+" 20 bytes"))
}

// request is one of a client that is no browser.
func request(method, credentials string) *http.Request {
	r := httptest.NewRequest(method, "/", http.NoBody)
	r.Header.Set("Authorization", credentials)
	if credentials == "" {
		r.Header.Del("Authorization")
	}
	return r
}

func basic(name, password string) string {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.SetBasicAuth(name, password)
	return r.Header.Get("Authorization")
}

// answer is what Require does with a request: 200 with the principal, or its refusal.
func answer(tb testing.TB, g *Guard, r *http.Request, right Right, contentTypes ...string) (int, string) {
	tb.Helper()
	w := httptest.NewRecorder()
	ctx, ok := g.Require(w, r, right, contentTypes...)
	if ok {
		if w.Body.Len() > 0 || len(w.Header()) > 0 {
			tb.Errorf("an admitted request is answered with %v %s", w.Header(), w.Body)
		}
		p := From(ctx)
		return http.StatusOK, fmt.Sprintf("%s %s via %s from %s at %v", p.Role, p.Name, p.Via, p.Address, p.Sites.Names())
	}
	var body map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body["error"] == "" || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Vary") != "Authorization, Cookie" {
		tb.Errorf("a refusal is %v %s", w.Header(), w.Body)
	}
	if challenged := len(w.Header()["Www-Authenticate"]) > 0; challenged != (w.Code == http.StatusUnauthorized) {
		tb.Errorf("a refusal %d has the challenges %v", w.Code, w.Header()["Www-Authenticate"])
	}
	return w.Code, body["error"]
}

// TestWaysIn has each form of credentials, right and wrong.
func TestWaysIn(t *testing.T) {
	g := newGuard(t)
	g.write(t, "users", someUsers(t))
	g.write(t, "connector-token", connectorToken+"\n")
	g.Token("connector", g.process.Secret("connector-token").Value, PostEvents)
	g.Token("none", g.process.Secret("no-such-token").Value, Administer)
	const pad = " 20 bytes"
	wrong := "the login is not valid"
	for _, tt := range []struct {
		credentials string
		right       Right
		status      int
		want        string
	}{
		{"", Read, 401, "this needs a login"},
		{"Bearer " + annaToken + pad, Read, 200, "operator anna via token from 192.0.2.1 at [north]"},
		{"bearer \t " + annaToken + pad + " ", Correct, 200, "operator anna"},
		{"Bearer " + annaToken + pad, Administer, 403, "the role operator does not have the right"},
		{"Bearer " + annaToken, Read, 401, wrong},
		{"Bearer", Read, 401, wrong},
		{"Bearer ", Read, 401, wrong},
		{"Bearer " + someToken, Read, 401, wrong},
		{"Bearer " + gateToken + pad, PostEvents, 200, "machine gate via token"},
		{"Bearer " + gateToken + pad, Read, 403, "the role machine"},
		{"Bearer " + gateToken + pad, PostStays, 403, "the role machine"},
		{"Bearer " + gateToken + pad, ReadMetrics, 403, "the metrics are those of all sites"},
		{"Bearer " + connectorToken, PostEvents, 200, "part connector via token from 192.0.2.1 at []"},
		{"Bearer " + connectorToken, Read, 403, "the role part"},
		{basic("anna", "anna's"), Correct, 200, "operator anna via password"},
		{strings.Replace(basic("anna", "anna's"), "Basic", "BASIC", 1), Correct, 200, "operator anna"},
		{basic("ada", "ada's"), ReadMetrics, 200, "admin ada"},
		{basic("vera", "vera's"), ReadPlates, 403, "the role viewer"},
		{basic("vera", "ada's"), Read, 401, wrong},
		{basic("vera", ""), Read, 401, wrong},
		{basic("", ""), Read, 401, wrong},
		{basic("Anna", "anna's"), Read, 401, wrong},
		{basic("gate", gateToken+pad), PostEvents, 401, wrong},
		{basic("gate", ""), PostEvents, 401, wrong},
		{basic("someone", "anna's"), Read, 401, wrong},
		{basic("vera", "vera's"+strings.Repeat("\x00", 80)), Read, 401, wrong},
		{basic("vera", strings.Repeat("v", 1000)), Read, 401, wrong},
		{"Basic !", Read, 401, wrong},
		{"Basic", Read, 401, wrong},
		{"Digest username=anna", Read, 401, wrong},
		{annaToken + pad, Read, 401, wrong},
	} {
		status, text := answer(t, g.Guard, request(http.MethodGet, tt.credentials), tt.right)
		if status != tt.status || !strings.HasPrefix(text, tt.want) {
			t.Errorf("%q for %s: %d %s, want %d %s", tt.credentials, tt.right, status, text, tt.status, tt.want)
		}
	}
	// bcrypt takes 72 bytes into account, and more must not count as these.
	long := strings.Repeat("p", maxPassword)
	g.write(t, "users", someUsers(t)+fmt.Sprintf(`{"name":"long","role":"viewer","password":%q}`, hash(t, long)))
	for password, want := range map[string]int{long: 200, long + "p": 401, long[1:]: 401} {
		if status, _ := answer(t, g.Guard, request(http.MethodGet, basic("long", password)), Read); status != want {
			t.Errorf("a password of %d bytes: %d, want %d", len(password), status, want)
		}
	}
	two := request(http.MethodGet, "Bearer "+annaToken+pad)
	two.Header.Add("Authorization", basic("ada", "ada's"))
	if status, _ := answer(t, g.Guard, two, Read); status != 401 {
		t.Errorf("two logins at once: %d", status)
	}
	if text := g.log.String(); strings.Contains(text, "token of") || strings.Contains(text, "anna's") {
		t.Errorf("the log has a secret:\n%s", text)
	}
}

// A browser is not made to ask for a password in a dialog of its own.
func TestChallenge(t *testing.T) {
	for _, tt := range []struct {
		site, agent string
		want        int
	}{
		{"", "", 2},
		{"", "curl/8.14.1", 2},
		{"", "Prometheus/3.7.0", 2},
		{"same-origin", "", 1},
		{"none", "curl/8.14.1", 1},
		{"cross-site", "", 1},
		{"", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", 1}, // without TLS
	} {
		r, w := request(http.MethodGet, ""), httptest.NewRecorder()
		r.Header.Set("Sec-Fetch-Site", tt.site)
		r.Header.Set("User-Agent", tt.agent)
		Challenge(w, r)
		Challenge(w, r)
		if got := w.Result().Header.Values("WWW-Authenticate"); len(got) != tt.want || !strings.HasPrefix(got[0], "Bearer") {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

// A matrix of all roles and rights: what Principal.May says is what Require does.
func TestRequireIsMay(t *testing.T) {
	g := newGuard(t)
	g.write(t, "users", someUsers(t))
	var as Principal
	g.AddIdentifier(func(*http.Request) (Principal, bool, error) { return as, true, nil })
	for role := range roleRights {
		for _, sites := range []Sites{AllSites(), SitesOf("north")} {
			for right := range Right(len(rightNames)) {
				as = Principal{Name: "x", Role: role, Sites: sites, Via: ViaSession}
				want := http.StatusForbidden
				if role == Open {
					want = http.StatusUnauthorized
				}
				if as.May(right) {
					want = http.StatusOK
				}
				for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS"} {
					if status, text := answer(t, g.Guard, request(method, ""), right); status != want {
						t.Errorf("%s %s with %s: %d %s, want %d", role, method, right, status, text, want)
					}
				}
			}
		}
	}
}

// Sessions are asked for if there is no header Authorization. An error is no wrong login.
func TestIdentifiers(t *testing.T) {
	g := newGuard(t)
	g.write(t, "users", someUsers(t))
	g.AddIdentifier(func(r *http.Request) (Principal, bool, error) { return Principal{}, false, nil })
	g.AddIdentifier(func(r *http.Request) (Principal, bool, error) {
		switch cookie, _ := r.Cookie("c"); {
		case cookie == nil:
			return Principal{}, false, nil
		case cookie.Value == "down":
			return Principal{}, false, errors.New("redis at 10.0.0.1 is down")
		case cookie.Value == "ended":
			return Principal{}, false, errLogin
		default:
			return Principal{Name: "vera", Role: Viewer, Via: ViaSession}, true, nil
		}
	})
	for _, tt := range []struct {
		cookie, credentials string
		status              int
		want                string
	}{
		{"", "", 401, "this needs a login"},
		{"good", "", 200, "viewer vera via session"},
		{"ended", "", 401, "the login is not valid"},
		{"down", "", 503, "the login cannot be checked now, try again"},
		{"down", basic("vera", "vera's"), 200, "viewer vera via password"},
		{"good", "Bearer wrong", 401, "the login is not valid"},
	} {
		r := request(http.MethodGet, tt.credentials)
		if tt.cookie != "" {
			r.AddCookie(&http.Cookie{Name: "c", Value: tt.cookie})
		}
		if status, text := answer(t, g.Guard, r, Read); status != tt.status || !strings.HasPrefix(text, tt.want) {
			t.Errorf("%+v: %d %s", tt, status, text)
		}
	}
	for range 10 {
		r := request(http.MethodGet, "")
		r.AddCookie(&http.Cookie{Name: "c", Value: "down"})
		answer(t, g.Guard, r, Read)
	}
	if n := strings.Count(g.log.String(), "redis at 10.0.0.1 is down"); n != 1 {
		t.Errorf("the log has the cause %d times:\n%s", n, g.log)
	}
}

// Open, everyone reads and posts as before; what changes or erases needs a login.
func TestOpen(t *testing.T) {
	g := newGuard(t, "ACCESS=open")
	for right, want := range map[Right]int{Read: 200, ReadPlates: 200, PostEvents: 200, Generate: 200, ReadMetrics: 200, Correct: 401, Administer: 401, PostStays: 401} {
		status, text := answer(t, g.Guard, request(http.MethodPost, ""), right)
		if status != want || status == 200 && !strings.HasPrefix(text, "open open via open") {
			t.Errorf("%s: %d %s", right, status, text)
		}
	}
	if status, _ := answer(t, g.Guard, request(http.MethodGet, "Bearer wrong"), Read); status != 401 {
		t.Errorf("a wrong login: %d", status)
	}
	if ready, text := g.ready(t); !ready {
		t.Error(text)
	}
	g.write(t, "users", someUsers(t))
	if status, text := answer(t, g.Guard, request(http.MethodPost, basic("ada", "ada's")), Administer); status != 200 {
		t.Errorf("a login: %d %s", status, text)
	}
	for _, listen := range []string{":8080", "0.0.0.0:8080", "192.0.2.1:8080", "[::]:8080", "parking.example:8080"} {
		p, err := process.New(process.Options{Environ: []string{"LISTEN=" + listen}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(p, Settings{Access: "open"}); err == nil || !strings.Contains(err.Error(), "ACCESS is open, and the process does not listen on a loopback address") {
			t.Errorf("open on %s: %v", listen, err)
		}
	}
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", "localhost:0", "127.1.2.3:1"} {
		p, _ := process.New(process.Options{Environ: []string{"LISTEN=" + listen}})
		if _, err := New(p, Settings{Access: "open"}); err != nil {
			t.Errorf("open on %s: %v", listen, err)
		}
	}
}

// Without users and without another way to log in nothing is served. The
// answer, the readiness and the log say what to do.
func TestNotSetUp(t *testing.T) {
	sentence := "access is not set up: create the secret users (parkstream users add), or set OIDC_ISSUER"
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t)
		g.write(t, "connector-token", connectorToken)
		g.Token("connector", g.process.Secret("connector-token").Value, PostEvents)
		for _, credentials := range []string{"", "Bearer " + connectorToken, basic("anna", "anna's")} {
			if status, text := answer(t, g.Guard, request(http.MethodPost, credentials), PostEvents); status != 503 || text != sentence {
				t.Errorf("%q: %d %s", credentials, status, text)
			}
			if err := g.CheckRequest(request(http.MethodGet, credentials)); err != errNotSetUp { //nolint:errorlint // it is never wrapped
				t.Errorf("a request without a right: %v", err)
			}
		}
		if _, err := g.Identify(request(http.MethodGet, "")); err != errNotSetUp { //nolint:errorlint // it is never wrapped
			t.Errorf("%v", err)
		}
		if ready, text := g.ready(t); ready || !strings.Contains(text, sentence) {
			t.Errorf("readiness: %s", text)
		}
		for range 3 * 60 { // each minute for three hours
			time.Sleep(time.Minute) // the bubble's
			g.ready(t)
		}
		if n := strings.Count(g.log.String(), sentence); n != 4 {
			t.Errorf("the log says it %d times in three hours:\n%s", n, g.log)
		}

		g.write(t, "users", someUsers(t))
		time.Sleep(time.Second)
		if status, text := answer(t, g.Guard, request(http.MethodPost, "Bearer "+connectorToken), PostEvents); status != 200 {
			t.Errorf("with users: %d %s", status, text)
		}
		if ready, text := g.ready(t); !ready {
			t.Errorf("with users: %s", text)
		}
	})
	oidc := newGuard(t, "OIDC_ISSUER=https://login.example")
	if status, _ := answer(t, oidc.Guard, request(http.MethodGet, ""), Read); status != 401 {
		t.Errorf("with OIDC alone: %d", status)
	}
	if ready, text := oidc.ready(t); !ready {
		t.Errorf("with OIDC alone: %s", text)
	}
}

// A changed file counts at once. One that cannot be used does not replace a good one,
// and is a warning; one that is gone takes its users with it.
func TestUsersFileChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t)
		is := func(what string, wantReady bool, want string, wantStatus map[string]int) {
			t.Helper()
			time.Sleep(time.Second) // the bubble's
			for name, status := range wantStatus {
				if got, text := answer(t, g.Guard, request(http.MethodGet, basic(name, name+"'s")), Read); got != status {
					t.Errorf("%s: %s gets %d %s, want %d", what, name, got, text, status)
				}
			}
			if ready, text := g.ready(t); ready != wantReady || !strings.Contains(text, want) || strings.Contains(text, "$2a") {
				t.Errorf("%s: ready %t, want %t with %s: %s", what, ready, wantReady, want, text)
			}
		}
		const warning = `"warnings":["users"]`
		g.write(t, "users", "anna:secret")
		is("broken at the start", false, "access is not set up: the secret users has mistakes, which the log names", map[string]int{"anna": 503})
		if text := g.log.String(); !strings.Contains(text, "users: line 1: this is not a JSON object") || strings.Contains(text, "secret\"") {
			t.Errorf("the log:\n%s", text)
		}
		line := func(name string) string {
			return fmt.Sprintf(`{"name":%q,"role":"viewer","password":%q}`+"\n", name, hash(t, name+"'s"))
		}
		anna, vera := line("anna"), line("vera")
		g.write(t, "users", anna+vera)
		is("good", true, `{"ready":true}`, map[string]int{"anna": 200, "vera": 200})
		for what, text := range map[string]string{
			"cut off": anna + vera[:20], "empty": "", "a line end": "\n", "another format": "anna:x", "too large": strings.Repeat("#", maxUsersBytes+1),
			"names twice": anna + anna,
		} {
			g.write(t, "users", text)
			is(what, true, warning, map[string]int{"anna": 200, "vera": 200})
		}
		g.write(t, "users", vera)
		is("without anna", true, `{"ready":true}`, map[string]int{"anna": 401, "vera": 200})
		g.write(t, "users", "# none\n")
		is("without anyone", false, notSetUp, map[string]int{"vera": 503})
		g.write(t, "users", anna)
		is("anna is back", true, `{"ready":true}`, map[string]int{"anna": 200, "vera": 401})
		if err := os.Remove(filepath.Join(g.dir, "users")); err != nil {
			t.Fatal(err)
		}
		is("no file", false, notSetUp, map[string]int{"anna": 503})
		if err := os.Mkdir(filepath.Join(g.dir, "users"), 0o700); err != nil {
			t.Fatal(err)
		}
		is("unreadable", false, "has mistakes", map[string]int{"anna": 503})
	})
}

// USERS_FILE replaces the secret.
func TestUsersFileElsewhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "people.jsonl")
	if err := os.WriteFile(path, []byte(someUsers(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGuard(t, "USERS_FILE="+path)
	if status, text := answer(t, g.Guard, request(http.MethodGet, basic("vera", "vera's")), Read); status != 200 {
		t.Errorf("%d %s", status, text)
	}
	if u := g.User("vera"); u == nil || u.Principal(ViaSession).Role != Viewer || g.User("someone") != nil || !g.HasPasswords() {
		t.Errorf("%+v", u)
	}
}

// An internal token that is changed counts from the next request; the old one for a
// second more. An unreadable one is an outage, and a missing one is none.
func TestTokenRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t)
		g.write(t, "users", someUsers(t))
		secret := func() (string, error) { return connectorToken, nil }
		g.Token("connector", func() (string, error) { return secret() }, PostEvents)
		status := func(token string) int {
			status, _ := answer(t, g.Guard, request(http.MethodPost, "Bearer "+token), PostEvents)
			return status
		}
		if got := status(connectorToken); got != 200 {
			t.Errorf("the token: %d", got)
		}
		secret = func() (string, error) { return "another token", nil }
		if got := status("another token"); got != 200 {
			t.Errorf("the new token at once: %d", got)
		}
		time.Sleep(readAgainAfter) // the bubble's
		if got := status(connectorToken); got != 401 {
			t.Errorf("the old token after a second: %d", got)
		}
		for what, tt := range map[string]struct {
			err  error
			want int
		}{
			"a missing secret":    {os.ErrNotExist, 401},
			"an empty secret":     {process.ErrEmptySecret, 401},
			"an empty text":       {nil, 401},
			"an unreadable one":   {os.ErrPermission, 503},
			"an unreadable one's": {fmt.Errorf("wrapped: %w", os.ErrPermission), 503},
		} {
			secret = func() (string, error) { return "", tt.err }
			time.Sleep(readAgainAfter)
			if got := status("another token"); got != tt.want {
				t.Errorf("%s: %d, want %d", what, got, tt.want)
			}
			if got := status(""); got != 401 && tt.want == 401 {
				t.Errorf("%s, an empty token: %d", what, got)
			}
			if got := status(gateToken + " 20 bytes"); got != 200 {
				t.Errorf("%s: a user's token: %d", what, got)
			}
		}
	})
}

// Who was refused is told once, without what he typed unless it is the name of a user.
func TestOnRefused(t *testing.T) {
	g := newGuard(t)
	g.write(t, "users", someUsers(t))
	var told []string
	g.OnRefused(func(_ context.Context, p Principal) {
		told = append(told, fmt.Sprintf("%q via %s from %s", p.Name, p.Via, p.Address))
	})
	for _, credentials := range []string{"", "Bearer wrong", basic("vera", "wrong"), basic("a password", ""), basic("gate", "x"), basic("vera", "vera's")} {
		answer(t, g.Guard, request(http.MethodGet, credentials), Read)
	}
	want := []string{`"" via token from 192.0.2.1`, `"vera" via password from 192.0.2.1`, `"" via password from 192.0.2.1`, `"gate" via password from 192.0.2.1`}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// Each reason has its series from the start, and there are no others.
func TestMetrics(t *testing.T) {
	g := newGuard(t)
	registry := g.process.Registerer.(*prometheus.Registry)
	if n, err := testutil.GatherAndCount(registry, "parkstream_access_refusals_total"); n != len(kinds) || err != nil {
		t.Errorf("%d series, %v", n, err)
	}
	answer(t, g.Guard, request(http.MethodGet, ""), Read)
	g.write(t, "users", someUsers(t))
	g.users.current()
	for _, tt := range []struct {
		credentials string
		right       Right
	}{{"", Read}, {"Bearer wrong", Read}, {"Bearer " + gateToken + " 20 bytes", Read}} {
		answer(t, g.Guard, request(http.MethodGet, tt.credentials), tt.right)
	}
	g.Refuse(httptest.NewRecorder(), request(http.MethodGet, ""), ErrSite)
	for _, status := range []int{401, 403, 404, 429, 503} { // of others
		g.Refuse(httptest.NewRecorder(), request(http.MethodGet, ""), &Refusal{Status: status, Reason: "x"})
	}
	for kind, want := range map[string]float64{"not_set_up": 1, "no_login": 1, "login": 2, "forbidden": 4, "limited": 1, "origin": 0, "unavailable": 1} {
		if got := testutil.ToFloat64(g.metrics.refusals.WithLabelValues(kind)); got != want {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
	}
	if n := testutil.CollectAndCount(g.metrics.refusals); n != len(kinds) {
		t.Errorf("%d series", n)
	}
}

func TestSettings(t *testing.T) {
	for _, tt := range []struct{ environ, want []string }{
		{nil, nil},
		{[]string{"ACCESS=open", "TRUSTED_PROXIES=10.62.0.0/16, 127.0.0.1,::1,fd00::/8", "PUBLIC_URL=https://parking.example/function/summary", "REQUESTS_PER_SECOND=0"}, nil},
		{[]string{"ACCESS=Open", "PUBLIC_URL=parking.example", "OIDC_ISSUER=login", "TRUSTED_PROXIES=10.62.0.1/16,proxy,::ffff:10.0.0.0/104", "REQUESTS_PER_SECOND=-1"}, []string{
			`PUBLIC_URL is not an http:// or https:// URL with a host`,
			`OIDC_ISSUER is not an http:// or https:// URL with a host`,
			`ACCESS is "Open", want closed or open`,
			`REQUESTS_PER_SECOND is -1, want 0 to 1000000`,
			`TRUSTED_PROXIES has "10.62.0.1/16", want addresses and networks such as 10.62.0.0/16`,
			`TRUSTED_PROXIES has "proxy", want addresses and networks such as 10.62.0.0/16`,
			`TRUSTED_PROXIES has "::ffff:10.0.0.0/104", want addresses and networks such as 10.62.0.0/16`,
		}},
	} {
		var s Settings
		err := process.Parse(&s, tt.environ)
		var got []string
		if err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q:\n got %q\nwant %q", tt.environ, got, tt.want)
		}
	}
}

// BenchmarkRequire is what the guard costs a call of the connector.
func BenchmarkRequire(b *testing.B) {
	g := newGuard(b)
	g.write(b, "users", someUsers(b))
	g.write(b, "connector-token", connectorToken)
	g.Token("metrics", g.process.Secret("metrics-token").Value, ReadMetrics)
	g.Token("summary", g.process.Secret("summary-token").Value, ReadMetrics)
	g.Token("connector", g.process.Secret("connector-token").Value, PostEvents)
	for name, credentials := range map[string]string{"part": "Bearer " + connectorToken, "machine": "Bearer " + gateToken + " 20 bytes", "password": basic("anna", "anna's")} {
		b.Run(name, func(b *testing.B) {
			r := request(http.MethodPost, credentials)
			r.Header.Set("Content-Type", "application/cloudevents-batch+json")
			r.Header.Set("X-Forwarded-For", "10.62.0.7:51234")
			r.ContentLength = 1000
			g.limits.perSecond = 0
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := g.Require(httptest.NewRecorder(), r, PostEvents); !ok {
					b.Fatal("refused")
				}
			}
		})
	}
}
