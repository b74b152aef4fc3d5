package summary

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"parkstream/shared/access"
	"parkstream/shared/stay"
)

// registry lists the sites of which something is kept.
type registry interface {
	Sites(ctx context.Context) ([]string, error)
}

// sitesOf returns the sites of a query: the named one, or those of a registry that the
// principal sees if site is empty. It returns an error if they are too many.
func (h handler) sitesOf(ctx context.Context, site string, all registry) ([]string, error) {
	seen := access.From(ctx).Sites
	if site != "" {
		if !seen.Has(site) {
			return nil, access.ErrSite
		}
		return []string{site}, nil
	}
	sites, err := all.Sites(ctx)
	sites = slices.DeleteFunc(sites, func(site string) bool { return !seen.Has(site) })
	return sites, errors.Join(err, stay.CheckSites(len(sites)))
}

// covers reports whether a query covers several sites.
func covers(ctx context.Context, site string) (several bool) {
	seen := access.From(ctx).Sites
	return site == "" && (seen.All() || len(seen.Names()) > 1)
}

// checkSites returns [access.ErrSite] if the path or a parameter names a site that the
// principal does not see.
func checkSites(r *http.Request, query url.Values, params []parameter) error {
	seen := access.From(r.Context()).Sites
	named := []string{r.PathValue("site")}
	for _, p := range params {
		if p.kind == siteName {
			named = append(named, query[p.name]...)
		}
	}
	for _, site := range named {
		if site != "" && !seen.Has(site) {
			return access.ErrSite
		}
	}
	return nil
}
