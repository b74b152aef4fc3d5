package summary

import (
	"math"
	"net/http"

	"parkstream/shared/access"
	"parkstream/shared/parking"
	"parkstream/shared/site"
	"parkstream/shared/summary/page"
)

// route is one method of the API at one path. The list of routes determines the
// responses to unknown paths, to other methods and to unknown parameters, and the test
// of every parameter's edges.
type route struct {
	method string // GET serves HEAD as well
	// path may have segments {name} for texts, and end in {name...} for a text with
	// slashes.
	path  string
	query []parameter
	// anyQuery: the parameters are not ours to know.
	anyQuery bool
	// right is what the principal needs.
	right access.Right
	// allSites: the principal needs the right at all sites.
	allSites bool
	// open: strangers are served, too, without a right.
	open bool
	// body is the maximum number of bytes in the request's body.
	body int64
	// orPage: a person gets the page instead, which strangers may have: it logs in.
	orPage bool
	handle http.HandlerFunc
}

// routes returns the routes of the whole API.
func (h handler) routes(p *page.Page) []route {
	return []route{
		{method: "GET", path: "/", right: access.Read, query: listParams, orPage: true, handle: h.list},
		{method: "POST", path: "/", right: access.PostStays, body: math.MaxInt64, handle: h.receive},
		{method: "POST", path: "/search", right: access.Read, body: maxSearch, handle: h.search},
		{method: "GET", path: "/page/{file...}", open: true, query: []parameter{versionParam}, handle: p.Asset},
		{method: "GET", path: "/api/{file}", open: true, handle: h.document},
		{method: "POST", path: "/login", open: true, body: maxLogin, handle: h.login},
		{method: "POST", path: "/logout", open: true, handle: h.logout},
		{method: "GET", path: "/me", open: true, handle: h.me},
		{method: "GET", path: "/oidc/login", open: true, handle: h.depart},
		{method: "GET", path: "/oidc/callback", open: true, anyQuery: true, handle: h.arrive},
		{method: "GET", path: "/stats", right: access.Read, query: []parameter{siteParam, fromParam, toParam}, handle: h.query(h.stats)},
		{method: "GET", path: "/stays", right: access.Read, query: []parameter{idParam.must(), siteParam}, handle: h.query(h.one)},
		{method: "GET", path: "/stays/{id...}", right: access.Read, query: []parameter{siteParam}, handle: h.query(h.one)},
		{method: "GET", path: "/system", right: access.Read, allSites: true, handle: h.system},
		{method: "GET", path: "/overview", right: access.Read, handle: h.query(h.overview)},
		{method: "GET", path: "/minutes", right: access.Read, query: minutesParams, handle: h.query(h.minutes)},
		{method: "GET", path: "/inside", right: access.Read, query: []parameter{limitParam, offsetOfAll}, handle: h.query(h.insideAnywhere)},
		{method: "GET", path: "/cameras", right: access.Read, query: []parameter{siteParam}, handle: h.query(h.cameras)},
		{method: "GET", path: "/sites", right: access.Read, handle: h.query(h.sites)},
		{method: "GET", path: "/sites/{site}", right: access.Read, handle: h.query(h.site)},
		{method: "PUT", path: "/sites/{site}", right: access.Administer, body: site.MaxJSON, handle: h.configureSite},
		{method: "DELETE", path: "/sites/{site}", right: access.Administer, handle: h.removeConfiguration},
		{method: "GET", path: "/configuration", right: access.Read, handle: h.query(h.configuration)},
		{method: "PUT", path: "/configuration", right: access.Administer, query: []parameter{dryRunParam, pruneParam, changeParam}, body: site.MaxJSON, handle: h.configure},
		{method: "GET", path: "/sites/{site}/models", right: access.Administer, handle: h.query(h.models)},
		{method: "POST", path: "/sites/{site}/models", right: access.Administer, query: []parameter{dryRunParam}, body: maxActivation, handle: h.activateModel},
		{method: "GET", path: "/sites/{site}/models/{version}", right: access.Administer, handle: h.query(h.model)},
		{method: "PUT", path: "/sites/{site}/models/{version}", right: access.Administer, body: parking.MaxModel, handle: h.keepModel},
		{method: "DELETE", path: "/sites/{site}/models/{version}", right: access.Administer, handle: h.dropModel},
		{method: "GET", path: "/sites/{site}/inside", right: access.Read, query: []parameter{limitParam, offsetParam}, handle: h.query(h.inside)},
		{method: "GET", path: "/sites/{site}/events", right: access.Read, query: []parameter{idParam.must()}, handle: h.query(h.event)},
		{method: "GET", path: "/sites/{site}/events/{id...}", right: access.Read, handle: h.query(h.event)},
		{method: "GET", path: "/sites/{site}/no-plates", right: access.Read, query: []parameter{limitParam, eventParam}, handle: h.query(h.noPlates)},
		{method: "GET", path: "/sites/{site}/occupancy", right: access.Read, handle: h.query(h.corrections)},
		{method: "POST", path: "/sites/{site}/occupancy", right: access.Correct, body: maxCorrection, handle: h.correct},
		{method: "GET", path: "/sites/{site}/review", right: access.ReadPlates, query: reviewParams, handle: h.query(h.review)},
		{method: "GET", path: "/sites/{site}/suggestions", right: access.ReadPlates, query: []parameter{idParam.must()}, handle: h.query(h.suggestions)},
		{method: "GET", path: "/sites/{site}/suggestions/{id...}", right: access.ReadPlates, handle: h.query(h.suggestions)},
		{method: "POST", path: "/sites/{site}/decisions", right: access.Correct, body: maxDecision, handle: h.decide},
		{method: "GET", path: "/images/{site}/{day}/{name...}", right: access.ReadPlates, handle: h.image},
		{method: "GET", path: "/audit", right: access.Administer, query: auditParams, handle: h.audit},
		{method: "DELETE", path: "/plates", right: access.Administer, query: []parameter{plateParam.must(), siteParam, afterParam}, handle: h.erase},
		{method: "DELETE", path: "/plates/{plate...}", right: access.Administer, query: []parameter{siteParam, afterParam}, handle: h.erase},
	}
}
