package summary

import (
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
	"parkstream/shared/summary/page"
)

// route is one method of the API at one path. The answers to unknown paths, to
// other methods and to queries that a route does not take follow from the list
// of routes, and so does the test of every parameter's edges.
type route struct {
	method string // GET serves HEAD as well
	// path has a segment {name} for a text, or ends in {name...} for one that may
	// have slashes.
	path  string
	query []parameter
	// token: the request shows the secret.
	token bool
	// body is how many bytes the request's body may have.
	body int64
	// orPage: a person gets the page instead.
	orPage bool
	handle http.HandlerFunc
}

// parameter is a text that a route takes in its query. It is given once, and
// not empty, or left out.
type parameter struct {
	name     string
	kind     kind
	min, max int64    // of a wholeNumber
	choices  []string // of oneOf
	required bool
}

type kind int

const (
	freeText kind = iota
	wholeNumber
	oneOf
	instant
	siteName
	stayID
	plateText
	cursorText
)

// maxOffset bounds how far into the list of vehicles inside a site a page
// begins.
const maxOffset = 1_000_000

var (
	plateParam    = parameter{name: "plate", kind: plateText}
	siteParam     = parameter{name: "site", kind: siteName}
	idParam       = parameter{name: "id", kind: stayID}
	fromParam     = parameter{name: "from", kind: instant}
	toParam       = parameter{name: "to", kind: instant}
	cursorParam   = parameter{name: "cursor", kind: cursorText}
	versionParam  = parameter{name: "v", kind: freeText}
	limitParam    = parameter{name: "limit", kind: wholeNumber, min: 1, max: maxLimit}
	offsetParam   = parameter{name: "offset", kind: wholeNumber, max: maxOffset}
	offsetOfAll   = parameter{name: "offset", kind: wholeNumber, max: maxInsideAnywhere - 1}
	stepParam     = parameter{name: "step", kind: wholeNumber, min: 1, max: maxMinutes}
	statusParam   = parameter{name: "status", kind: oneOf, choices: []string{string(parking.Completed), string(parking.UnmatchedExit)}}
	formatParam   = parameter{name: "format", kind: oneOf, choices: []string{"json", "csv"}}
	bomParam      = parameter{name: "bom", kind: oneOf, choices: []string{"0", "1"}}
	afterParam    = parameter{name: "after", kind: siteName}
	listParams    = []parameter{plateParam, siteParam, statusParam, fromParam, toParam, limitParam, cursorParam, formatParam, bomParam}
	minutesParams = []parameter{siteParam, fromParam, toParam, stepParam}
)

func (p parameter) must() parameter {
	p.required = true
	return p
}

// routes lists the whole API.
func (h handler) routes(p *page.Page) []route {
	return []route{
		{method: "GET", path: "/", query: listParams, orPage: true, handle: h.list},
		{method: "POST", path: "/", token: true, body: math.MaxInt64, handle: h.receive},
		{method: "GET", path: "/page/{file...}", query: []parameter{versionParam}, handle: p.Asset},
		{method: "GET", path: "/stats", query: []parameter{siteParam, fromParam, toParam}, handle: h.query(h.stats)},
		{method: "GET", path: "/stays", query: []parameter{idParam.must(), siteParam}, handle: h.query(h.one)},
		{method: "GET", path: "/stays/{id...}", query: []parameter{siteParam}, handle: h.query(h.one)},
		{method: "GET", path: "/system", handle: h.system},
		{method: "GET", path: "/overview", handle: h.query(h.overview)},
		{method: "GET", path: "/minutes", query: minutesParams, handle: h.query(h.minutes)},
		{method: "GET", path: "/inside", query: []parameter{limitParam, offsetOfAll}, handle: h.query(h.insideAnywhere)},
		{method: "GET", path: "/sites", handle: h.query(h.sites)},
		{method: "GET", path: "/sites/{site}", handle: h.query(h.site)},
		{method: "GET", path: "/sites/{site}/inside", query: []parameter{limitParam, offsetParam}, handle: h.query(h.inside)},
		{method: "GET", path: "/sites/{site}/occupancy", handle: h.query(h.corrections)},
		{method: "POST", path: "/sites/{site}/occupancy", token: true, body: maxCorrection, handle: h.correct},
		{method: "DELETE", path: "/plates", query: []parameter{plateParam.must(), siteParam, afterParam}, token: true, handle: h.erase},
		{method: "DELETE", path: "/plates/{plate...}", query: []parameter{siteParam, afterParam}, token: true, handle: h.erase},
	}
}

// Endpoint is the summary endpoint. It finds the route of a request by itself:
// http.ServeMux cleans a path and redirects to what is left, which may be another
// plate's.
type Endpoint struct {
	handler
	page   *page.Page
	routes []route
}

// Admit decides about a request before its body is read: one that changes something
// shows the secret. It returns how many bytes the body may have; otherwise it has
// written the answer.
func (e *Endpoint) Admit(w http.ResponseWriter, r *http.Request) (maxBody int64, admitted bool) {
	found, _ := e.find(r)
	if found == nil {
		return 0, true // ServeHTTP says what is wrong
	}
	if found.token && !e.authorize(w, r) {
		return 0, false
	}
	return found.body, true
}

// ServeHTTP implements [http.Handler].
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store") // plates belong in no cache
	// URL.Query drops what it cannot read: an erasure at one site would become
	// one at all sites.
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

// find returns the route of a request and sets its path values, or returns the
// methods that its path takes.
func (e *Endpoint) find(r *http.Request) (found *route, allowed []string) {
	segments := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	for i := range segments {
		// A URL that could be parsed has no bad escape; a URL made otherwise matches nothing.
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

// match compares a route's path with the segments of another, each decoded by
// itself, and returns the text in it. No segment is taken away: a dot or an
// empty one is a text as any other.
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

// checkQuery reports the parameters that a route does not take, lacks, or has
// twice or empty: a typing mistake must not look like a result. The values are
// read by the handlers.
func checkQuery(query url.Values, known []parameter) error {
	names := make([]string, len(known))
	for i, p := range known {
		names[i] = p.name
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch given := query[name]; {
		case len(known) == 0:
			return parking.Invalid("unknown parameter %.40q: this path takes none", name)
		case !slices.Contains(names, name):
			return parking.Invalid("unknown parameter %.40q: want %s", name, strings.Join(names, ", "))
		case len(given) > 1:
			return parking.Invalid("parameter %q is given %d times, want once", name, len(given))
		case given[0] == "":
			return parking.Invalid("parameter %q is empty: give it a value or leave it out", name)
		}
	}
	for _, p := range known {
		if p.required && !query.Has(p.name) {
			return parking.Invalid("parameter %q is missing", p.name)
		}
	}
	return nil
}

// number reads a number, or returns another one where there is none.
func (p parameter) number(values url.Values, otherwise int64) (int64, error) {
	text := values.Get(p.name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strings.Trim(text, "0123456789") != "" || n < p.min || n > p.max {
		return otherwise, parking.Invalid("%s %.40q: want a number from %d to %d", p.name, text, p.min, p.max)
	}
	return n, nil
}

// choice reads one of the choices; it is empty where there is none.
func (p parameter) choice(values url.Values) (string, error) {
	text := values.Get(p.name)
	if text != "" && !slices.Contains(p.choices, text) {
		return "", parking.Invalid("%s %.40q: want %s", p.name, text, strings.Join(p.choices, " or "))
	}
	return text, nil
}

// plateOf normalises a plate that was asked for, in any spelling.
func plateOf(text string) (string, error) {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "", parking.Invalid("plate %.40q has characters that do not print", text)
	}
	if strings.Contains(text, "%") {
		return "", parking.Invalid("plate %.40q has a %%, as if it was percent-encoded twice: leave it out, a plate is found without it", text)
	}
	plate := parking.NormalizePlate(text)
	if plate == "" {
		return "", parking.Invalid("plate %.40q has no letter or digit", text)
	}
	if n := utf8.RuneCountInString(plate); n > parking.MaxPlateRunes {
		return "", parking.Invalid("plate has %d letters and digits, at most %d are possible", n, parking.MaxPlateRunes)
	}
	return plate, nil
}

// certainPlate refuses a plate in a path that something between the caller and
// this endpoint may have changed, or cut off from another: an erasure has to be
// of the plate that was meant.
func certainPlate(plate string) error {
	if plate == "." || plate == ".." || strings.ContainsAny(plate, `/\%`) {
		return parking.Invalid("plate %.40q may not be the one that was meant, since gateways change such a path: use DELETE /plates?plate=", plate)
	}
	return nil
}
