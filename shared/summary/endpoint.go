package summary

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"parkstream/shared/access"
	"parkstream/shared/httpjson"
	"parkstream/shared/summary/page"
)

// Endpoint is the summary endpoint. It matches routes itself: http.ServeMux cleans a
// path and redirects to the result, which may name another plate.
type Endpoint struct {
	handler
	page   *page.Page
	routes []route
}

// Admit decides about a request before its body is read. It returns the request's
// context with the principal, and the maximum number of bytes in the body. If admitted
// is false, it has written the response.
func (e *Endpoint) Admit(w http.ResponseWriter, r *http.Request) (ctx context.Context, maxBody int64, admitted bool) {
	setHeader(w.Header())
	found, _ := e.find(r)
	switch {
	case found == nil:
		ctx, err := e.unrouted(r)
		if err != nil {
			e.Access.Refuse(w, r, err)
		}
		return ctx, 0, err == nil
	case e.forStrangers(found, r):
		if err := e.Access.CheckRequest(r); err != nil {
			e.Access.Refuse(w, r, err)
			return nil, 0, false
		}
		return r.Context(), found.body, true
	}
	ctx, admitted = e.Access.Require(w, r, found.right)
	return ctx, found.body, admitted
}

// unrouted returns the context of a request that has no route, or the refusal that one
// with a route would get: a stranger does not learn which routes there are.
func (e *Endpoint) unrouted(r *http.Request) (context.Context, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions {
		if err := e.Access.CheckOrigin(r); err != nil {
			return nil, err
		}
	}
	p, err := e.Access.Identify(r)
	return access.NewContext(r.Context(), p), err
}

// forStrangers reports whether a request is served without a login.
func (e *Endpoint) forStrangers(found *route, r *http.Request) bool {
	return found.open || found.orPage && e.page.Wanted(r)
}

// setHeader sets what every response has whose content depends on the principal. A cache
// must not keep it, and one that does must not give it to others.
func setHeader(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Authorization, Cookie")
}

// ServeHTTP implements [http.Handler].
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeader(w.Header())
	// URL.Query drops malformed parts: an erasure at one site would become one at all
	// sites.
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		httpjson.Error(w, http.StatusBadRequest, "read the query: "+err.Error())
		return
	}
	found, allowed := e.find(r)
	switch {
	case found != nil:
	case len(allowed) == 0:
		httpjson.Error(w, http.StatusNotFound, "the API has no such path; docs/summary-api.md lists all")
		return
	default:
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		httpjson.Error(w, http.StatusMethodNotAllowed, "this path takes "+strings.Join(allowed, ", "))
		return
	}
	r.Pattern = found.method + " " + found.path
	serve := func(w http.ResponseWriter, r *http.Request) {
		err := e.permit(found, r, query)
		if !found.anyQuery {
			err = errors.Join(err, checkQuery(query, found.query))
		}
		if err != nil {
			e.fail(w, r, err)
			return
		}
		e.Login.Sessions.Renew(w, r)
		found.handle(w, r)
	}
	if found.orPage {
		serve = e.page.OrElse(serve)
	}
	serve(w, r)
}

// permit returns the refusal of a request whose principal lacks the route's right, or
// does not see a site that it needs.
func (e *Endpoint) permit(found *route, r *http.Request, query url.Values) error {
	if found.open {
		return nil
	}
	switch p := access.From(r.Context()); {
	case !p.May(found.right):
		return access.Forbidden("this login may not do this") // also for a request that Admit has not seen
	case found.allSites && !p.Sites.All():
		return access.Forbidden("this needs a login for all sites")
	}
	return checkSites(r, query, found.query)
}

// find returns the route of a request and sets its path values. If the method does not
// match, it returns the methods of the path.
func (e *Endpoint) find(r *http.Request) (found *route, allowed []string) {
	segments := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	for i := range segments {
		// A parsed URL has no bad escape. A URL built otherwise matches nothing.
		segment, err := url.PathUnescape(segments[i])
		if err != nil {
			return nil, nil
		}
		segments[i] = segment
	}
	for i := range e.routes {
		one := &e.routes[i]
		values, ok := one.match(segments)
		if !ok {
			continue
		}
		if one.method == r.Method || one.method == http.MethodGet && r.Method == http.MethodHead {
			for _, v := range values {
				r.SetPathValue(v.name, v.text)
			}
			return one, nil
		}
		allowed = append(allowed, one.method)
		if one.method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	return nil, allowed
}

// pathValue is a text in a path.
type pathValue struct{ name, text string }

// match compares a route's path with the segments of another, each decoded by itself,
// and returns the texts in it. No segment is dropped: a dot and an empty segment are
// texts like any other.
func (o *route) match(segments []string) (values []pathValue, ok bool) {
	pattern := strings.Split(strings.TrimPrefix(o.path, "/"), "/")
	for i, part := range pattern {
		switch {
		case i >= len(segments):
			return nil, false
		case !strings.HasPrefix(part, "{"):
			if part != segments[i] {
				return nil, false
			}
			continue
		}
		text, rest := segments[i], strings.HasSuffix(part, "...}")
		if rest {
			text = strings.Join(segments[i:], "/")
		}
		if text == "" {
			return nil, false
		}
		values = append(values, pathValue{strings.Trim(part, "{.}"), text})
		if rest {
			return values, true
		}
	}
	return values, len(pattern) == len(segments)
}
