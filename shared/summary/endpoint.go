package summary

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

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

// Admit decides about a request before its body is read. A request that changes
// something needs the secret. Admit returns the maximum number of bytes in the body. If
// admitted is false, it has written the response.
func (e *Endpoint) Admit(w http.ResponseWriter, r *http.Request) (ctx context.Context, maxBody int64, admitted bool) {
	found, _ := e.find(r)
	if found == nil {
		return r.Context(), 0, true // ServeHTTP writes the error
	}
	if found.token && !e.authorize(w, r) {
		return nil, 0, false
	}
	return r.Context(), found.body, true
}

// ServeHTTP implements [http.Handler].
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store") // plates must not be cached
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
		if found.token && !e.authorize(w, r) {
			return
		}
		if err := checkQuery(query, found.query); err != nil {
			e.fail(w, r, err)
			return
		}
		found.handle(w, r)
	}
	if found.orPage {
		serve = e.page.OrElse(serve)
	}
	serve(w, r)
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
		name, value, ok := one.match(segments)
		if !ok {
			continue
		}
		if one.method == r.Method || one.method == http.MethodGet && r.Method == http.MethodHead {
			r.SetPathValue(name, value)
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

// match compares a route's path with the segments of another, each decoded by itself,
// and returns the text in it. No segment is dropped: a dot and an empty segment are
// texts like any other.
func (o *route) match(segments []string) (name, value string, ok bool) {
	pattern := strings.Split(strings.TrimPrefix(o.path, "/"), "/")
	for i, part := range pattern {
		if i >= len(segments) {
			return "", "", false
		}
		if !strings.HasPrefix(part, "{") {
			if part != segments[i] {
				return "", "", false
			}
			continue
		}
		name = strings.Trim(part, "{.}")
		value = segments[i]
		if strings.HasSuffix(part, "...}") {
			value = strings.Join(segments[i:], "/")
			return name, value, value != ""
		}
		if value == "" {
			return "", "", false
		}
	}
	return name, value, len(pattern) == len(segments)
}
