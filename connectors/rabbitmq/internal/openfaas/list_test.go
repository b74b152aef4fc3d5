package openfaas

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// A response that is not a list of functions is an error with a remedy, and without
// secrets.
func TestBadLists(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"credentials": {answer(401, ""), "does not accept the secrets basic-auth-user and basic-auth-password"},
		"another":     {answer(500, ""), "/system/functions answered 500"},
		"no JSON":     {answer(200, "<html>"), "is GATEWAY_URL an OpenFaaS gateway?"},
		"no list":     {answer(200, `{"name":"fn"}`), "is GATEWAY_URL an OpenFaaS gateway?"},
		"null":        {answer(200, "null"), "is GATEWAY_URL an OpenFaaS gateway?"},
		"nothing":     {answer(200, ""), "is GATEWAY_URL an OpenFaaS gateway?"},
		"cut short":   {answer(200, `[{"name":"fn"}`), "is GATEWAY_URL an OpenFaaS gateway?"},
	} {
		t.Run(name, func(t *testing.T) {
			g := serve(t, tt.answer)
			g.credential = func() (user, password string, err error) { return "admin", "hush", nil }
			functions, err := g.list(t.Context(), "")
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hush") || functions != nil {
				t.Errorf("%v, %v", functions, err)
			}
		})
	}
	if functions, err := serve(t, answer(200, "[]")).list(t.Context(), ""); err != nil || functions == nil {
		t.Errorf("a gateway without functions: %v, %v", functions, err)
	}
}

// The list is asked for with the password of the gateway's administrator, which no other
// host gets to know.
func TestNoRedirectIsFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s followed, Authorization %q", r.Method, r.URL, r.Header.Get("Authorization"))
		fmt.Fprint(w, "[]")
	}))
	defer other.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		g := serve(t, http.RedirectHandler(other.URL+"/login?from=hush", code).ServeHTTP)
		g.credential = func() (user, password string, err error) { return "admin", "hush", nil }
		if _, err := g.list(t.Context(), ""); err == nil || !strings.Contains(err.Error(), other.URL+",") || strings.Contains(err.Error(), "hush") {
			t.Errorf("%d: %v", code, err)
		}
		if r := g.Invoke(t.Context(), &Function{Name: "fn", Timeout: time.Minute}, Request{}); r.Status != code || strings.Contains(r.Reason, "hush") {
			t.Errorf("%d: a call: %+v", code, r)
		}
	}
}

// The functions of each namespace are asked for with the credential of the moment, and
// called with their namespace. A credential that cannot be read keeps the last list.
func TestNamespaces(t *testing.T) {
	var asked []string
	g := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		asked = append(asked, user+":"+password+" "+r.URL.RequestURI())
		fmt.Fprintf(w, `[{"name":"fn","annotations":{"topic":"q-%s"}}]`, r.URL.Query().Get("namespace"))
	})
	var unreadable error
	g.credential = func() (user, password string, err error) { return "admin", "hush", unreadable }
	d := NewDiscovery(DiscoveryConfig{Gateway: g, Namespaces: []string{"blue", "a b"}, Defaults: testDefaults, Interval: time.Hour, Log: slog.New(slog.DiscardHandler)})
	if p := d.Problems(); len(p) != 1 || !strings.Contains(p[0], "has not been asked yet") {
		t.Errorf("problems before the first list: %q", p)
	}
	if !d.refresh(t.Context()) {
		t.Fatalf("problems: %q", d.Problems())
	}
	if want := []string{"admin:hush /system/functions?namespace=blue", "admin:hush /system/functions?namespace=a+b"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q", asked)
	}
	routes, changed := d.Routes()
	if len(routes) != 2 || routes["q-blue"][0].Name != "fn.blue" || routes["q-a b"][0].Name != "fn.a b" {
		t.Errorf("routes %v", routes)
	}
	unreadable = errors.New("the secret is gone")
	if d.refresh(t.Context()) {
		t.Error("the list was read without a credential")
	}
	if p := d.Problems(); len(p) != 1 || !strings.Contains(p[0], "is used on: the secret is gone") {
		t.Errorf("problems: %q", p)
	}
	select {
	case <-changed:
		t.Error("the routes changed")
	default:
	}
}
