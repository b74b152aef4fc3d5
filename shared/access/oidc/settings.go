package oidc

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"parkstream/shared/access"
	"parkstream/shared/parking"
	"parkstream/shared/process"
)

// Settings of the provider. Without an issuer there is none.
type Settings struct {
	Issuer   string `env:"OIDC_ISSUER"`
	ClientID string `env:"OIDC_CLIENT_ID"`
	// PublicURL is the URL of the function as browsers see it.
	PublicURL string `env:"PUBLIC_URL"`
	// Roles are those that groups give: "group=role[:site,site]; ...".
	Roles string `env:"OIDC_ROLES"`
	// GroupsClaim and NameClaim are the claims of the id token with the groups and with
	// the name of a user.
	GroupsClaim string `env:"OIDC_GROUPS_CLAIM" envDefault:"groups"`
	NameClaim   string `env:"OIDC_NAME_CLAIM" envDefault:"preferred_username"`
	// Scopes are asked for beside openid.
	Scopes []string `env:"OIDC_SCOPES" envDefault:"profile,email"`
}

// ByHTTPS reports whether browsers reach the function by https only.
func (s *Settings) ByHTTPS() bool { return strings.HasPrefix(strings.ToLower(s.PublicURL), "https://") }

// Validate reports every mistake.
func (s *Settings) Validate() error {
	if s.Issuer == "" {
		if s.ClientID != "" || s.Roles != "" {
			return errors.New("OIDC_ISSUER is missing: OIDC_CLIENT_ID and OIDC_ROLES are for a provider")
		}
		return nil
	}
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if s.ClientID == "" {
		mistake("OIDC_CLIENT_ID is missing: it is what the provider at OIDC_ISSUER calls this application")
	}
	if s.PublicURL == "" {
		mistake("PUBLIC_URL is missing: the provider at OIDC_ISSUER sends people back there; want the URL of the summary as browsers see it, such as https://parking.example/function/summary")
	}
	for _, one := range []struct{ name, text string }{{"OIDC_ISSUER", s.Issuer}, {"PUBLIC_URL", s.PublicURL}} {
		if process.CheckURL(one.name, one.text) != nil {
			continue // package access reports it
		}
		errs = append(errs, checkSecure(one.name, one.text))
		if strings.ContainsAny(one.text, "?#") {
			mistake("%s has a query or a fragment, want a URL without", one.name)
		}
	}
	if s.Roles == "" {
		mistake("OIDC_ROLES is missing: without a role of a group no login at the provider is of use; want such as guards=viewer:north; managers=admin")
	}
	_, err := ParseRoles(s.Roles)
	return errors.Join(append(errs, err)...)
}

// checkSecure returns an error if a URL is not one that may carry logins: by https, or
// on this machine.
func checkSecure(name, text string) error {
	if err := process.CheckURL(name, text); text == "" || err != nil {
		return err
	}
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("%s is no URL", name)
	}
	host := u.Hostname()
	if address, err := netip.ParseAddr(host); u.Scheme == "http" && host != "localhost" && (err != nil || !address.Unmap().IsLoopback()) {
		return fmt.Errorf("%s is at http://%s, want https://: a login by http can be read and changed on its way", name, u.Host)
	}
	return nil
}

// Roles are what groups of the provider may do.
type Roles struct{ of map[string]grant }

type grant struct {
	role  access.Role
	sites access.Sites
}

// ranks are the roles that groups may give, the least first.
var ranks = []access.Role{access.Viewer, access.Operator, access.Admin}

// ParseRoles reads "group=role[:site,site]; ...". The last = ends the group, whose name
// may therefore have one, as a distinguished name does. Its error lists every mistake.
func ParseRoles(text string) (Roles, error) {
	roles := Roles{of: make(map[string]grant)}
	var errs []error
	for entry := range strings.SplitSeq(text, ";") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		end := strings.LastIndex(entry, "=")
		if end < 0 {
			errs = append(errs, fmt.Errorf("OIDC_ROLES has %q, want group=role or group=role:site,site", entry))
			continue
		}
		group := strings.TrimSpace(entry[:end])
		name, list, limited := strings.Cut(entry[end+1:], ":")
		one := grant{role: access.Role(strings.TrimSpace(name)), sites: access.AllSites()}
		if group == "" {
			errs = append(errs, fmt.Errorf("OIDC_ROLES has %q without a group", entry))
		}
		if !slices.Contains(ranks, one.role) {
			errs = append(errs, fmt.Errorf("OIDC_ROLES gives the group %q the role %q, want viewer, operator or admin", group, one.role))
		}
		if limited {
			sites, err := parseSites(list)
			if err != nil {
				errs = append(errs, fmt.Errorf("OIDC_ROLES, group %q: %w", group, err))
			}
			one.sites = sites
		}
		if _, twice := roles.of[group]; twice {
			errs = append(errs, fmt.Errorf("OIDC_ROLES has the group %q twice", group))
		}
		roles.of[group] = one
	}
	return roles, errors.Join(errs...)
}

func parseSites(list string) (access.Sites, error) {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if err := parking.CheckSite(name); err != nil {
			return access.Sites{}, err
		}
		names = append(names, name)
	}
	return access.SitesOf(names...), nil
}

// Grant returns the highest role of some groups. Its sites are those of the groups with
// that role: a lower role of another group gives none, for it would become a higher one
// there.
func (r Roles) Grant(groups []string) (role access.Role, sites access.Sites, ok bool) {
	var names []string
	all := false
	for _, group := range r.Relevant(groups) {
		one := r.of[group]
		role, all = one.role, all || one.sites.All()
		names = append(names, one.sites.Names()...)
	}
	if all {
		return role, access.AllSites(), true
	}
	return role, access.SitesOf(names...), role != ""
}

// Relevant returns those of some groups on which the result of Grant depends, in order.
func (r Roles) Relevant(groups []string) []string {
	highest := -1
	for _, group := range groups {
		highest = max(highest, slices.Index(ranks, r.of[group].role))
	}
	var relevant []string
	for _, group := range groups {
		if highest >= 0 && r.of[group].role == ranks[highest] {
			relevant = append(relevant, group)
		}
	}
	slices.Sort(relevant)
	return slices.Compact(relevant)
}
