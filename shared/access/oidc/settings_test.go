package oidc

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"parkstream/shared/access"
)

func TestSettings(t *testing.T) {
	good := Settings{Issuer: "https://login.example/realms/a", ClientID: "parkstream", PublicURL: "https://parking.example/function/summary", Roles: "guards=viewer"}
	for _, tt := range []struct {
		change func(*Settings)
		want   []string
	}{
		{func(*Settings) {}, nil},
		{func(s *Settings) { *s = Settings{} }, nil},
		{func(s *Settings) { s.Issuer, s.PublicURL = "http://127.0.0.1:5556", "http://[::1]:8080" }, nil},
		{func(s *Settings) { s.Issuer, s.PublicURL = "http://localhost:5556/dex", "http://localhost:8080/" }, nil},
		{func(s *Settings) { s.Issuer = "" }, []string{"OIDC_ISSUER is missing: OIDC_CLIENT_ID and OIDC_ROLES are for a provider"}},
		{func(s *Settings) { s.Issuer, s.PublicURL = "login.example", "ftp://parking.example" }, nil},
		{func(s *Settings) { s.Issuer, s.PublicURL = "http://login.example:8080/a", "http://10.0.0.1" }, []string{
			"OIDC_ISSUER is at http://login.example:8080, want https://: a login by http can be read and changed on its way",
			"PUBLIC_URL is at http://10.0.0.1, want https://: a login by http can be read and changed on its way",
		}},
		{func(s *Settings) {
			s.Issuer, s.PublicURL = "https://login.example/?realm=a", "https://parking.example/#a"
		}, []string{
			"OIDC_ISSUER has a query or a fragment, want a URL without", "PUBLIC_URL has a query or a fragment, want a URL without",
		}},
		{func(s *Settings) { *s = Settings{Issuer: s.Issuer} }, []string{
			"OIDC_CLIENT_ID is missing: it is what the provider at OIDC_ISSUER calls this application",
			"PUBLIC_URL is missing: the provider at OIDC_ISSUER sends people back there; want the URL of the summary as browsers see it, such as https://parking.example/function/summary",
			"OIDC_ROLES is missing: without a role of a group no login at the provider is of use; want such as guards=viewer:north; managers=admin",
		}},
		{func(s *Settings) { s.Roles = "guards; =viewer; a=machine; b=viewer:; c=viewer:a b; d=admin; d=viewer" }, []string{
			`OIDC_ROLES has "guards", want group=role or group=role:site,site`,
			`OIDC_ROLES has "=viewer" without a group`,
			`OIDC_ROLES gives the group "a" the role "machine", want viewer, operator or admin`,
			`OIDC_ROLES, group "b": `, `OIDC_ROLES, group "c": `,
			`OIDC_ROLES has the group "d" twice`,
		}},
	} {
		s := good
		tt.change(&s)
		var got []string
		if err := s.Validate(); err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if !slices.EqualFunc(tt.want, got, func(want, got string) bool {
			return got == want || strings.HasSuffix(want, ": ") && strings.HasPrefix(got, want)
		}) {
			t.Errorf("mistakes of %+v:\n%s", s, cmp.Diff(tt.want, got))
		}
	}
}

func TestRoles(t *testing.T) {
	roles, err := ParseRoles(" guards = viewer : north , south ;cn=ops,ou=a:b=operator:east;; /managers=admin; west=operator:west; all=viewer ;")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		groups   []string
		want     string
		relevant []string
	}{
		{nil, "", nil},
		{[]string{"", "Guards", "managers"}, "", nil},
		{[]string{"guards"}, "viewer [north south]", []string{"guards"}},
		{[]string{"guards", "all"}, "viewer all", []string{"all", "guards"}},
		{[]string{"cn=ops,ou=a:b", "guards"}, "operator [east]", []string{"cn=ops,ou=a:b"}},
		{[]string{"cn=ops,ou=a:b", "west", "all"}, "operator [east west]", []string{"cn=ops,ou=a:b", "west"}},
		{[]string{"west", "/managers", "guards"}, "admin all", []string{"/managers"}},
	} {
		if got := granted(roles.Grant(tt.groups)); got != tt.want {
			t.Errorf("%q get %q, want %q", tt.groups, got, tt.want)
		}
		if diff := cmp.Diff(tt.relevant, roles.Relevant(tt.groups)); diff != "" {
			t.Errorf("what counts of %q (-want +got):\n%s", tt.groups, diff)
		}
	}
}

func granted(role access.Role, sites access.Sites, ok bool) string {
	switch {
	case !ok:
		return ""
	case sites.All():
		return string(role) + " all"
	default:
		return fmt.Sprint(role, " ", sites.Names())
	}
}

// No order or repetition of groups, and no group without a role, changes what they give;
// and a session needs the relevant ones only. No group gives a right at a site at which
// none of the groups gives it.
func TestRolesProperty(t *testing.T) {
	const text = "a=viewer:1; b=viewer; c=operator:1,2; d=operator:3; e=admin:2"
	roles, err := ParseRoles(text)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		groups := rapid.SliceOf(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "x", ""})).Draw(t, "groups")
		want := granted(roles.Grant(groups))
		if got := granted(roles.Grant(rapid.Permutation(append(groups, groups...)).Draw(t, "permutation"))); got != want {
			t.Errorf("%q twice give %q, once %q", groups, got, want)
		}
		if got := granted(roles.Grant(roles.Relevant(groups))); got != want {
			t.Errorf("the relevant ones of %q give %q, all %q", groups, got, want)
		}
		role, sites, ok := roles.Grant(groups)
		given := access.Principal{Role: role, Sites: sites}
		for _, site := range []string{"1", "2", "3", "4"} {
			for right := access.Read; right <= access.ReadMetrics && ok; right++ {
				if !given.May(right) || !sites.Has(site) || right == access.ReadMetrics {
					continue
				}
				if !slices.ContainsFunc(groups, func(g string) bool {
					role, sites, ok := roles.Grant([]string{g})
					return ok && sites.Has(site) && access.Principal{Role: role, Sites: sites}.May(right)
				}) {
					t.Errorf("%q have the right %s at site %s, which no one of them gives", groups, right, site)
				}
			}
		}
	})
}
