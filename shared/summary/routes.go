package summary

import (
	"math"
	"net/http"

	"parkstream/shared/summary/page"
)

// route is one method of the API at one path. The list of routes determines the
// responses to unknown paths, to other methods and to unknown parameters, and the test
// of every parameter's edges.
type route struct {
	method string // GET serves HEAD as well
	// path may have a segment {name} for a text, or end in {name...} for a text with
	// slashes.
	path  string
	query []parameter
	// token: the request needs the secret.
	token bool
	// body is the maximum number of bytes in the request's body.
	body int64
	// orPage: a person gets the page instead.
	orPage bool
	handle http.HandlerFunc
}

// routes returns the routes of the whole API.
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
