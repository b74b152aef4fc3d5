// Package summary is the HTTP API of stays and sites; docs/summary-api.md describes it.
package summary

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"parkstream/shared/access"
	"parkstream/shared/audit"
	"parkstream/shared/camera/health"
	"parkstream/shared/httpjson"
	"parkstream/shared/image"
	"parkstream/shared/model"
	"parkstream/shared/monitor"
	"parkstream/shared/parking"
	"parkstream/shared/site"
	"parkstream/shared/stay"
	"parkstream/shared/summary/page"
	"parkstream/shared/timeline"
)

// Config has the dependencies of the summary endpoint.
type Config struct {
	// Stays and Sites are of one Redis.
	Stays *stay.Store
	Sites *timeline.Store
	// Images has the pictures of events; nil: there are none.
	Images *image.Store
	// Registry is the configuration of the sites.
	Registry *site.Registry
	// Models are those of the sites' near rule.
	Models *model.Store
	// Cameras reports how the cameras of the registry are.
	Cameras *health.Reader
	// Monitor reports the health of the other parts.
	Monitor *monitor.Monitor
	// Access identifies the callers.
	Access *access.Guard
	// Login is how people log in.
	Login Login
	// CursorKey returns a secret that all replicas have.
	CursorKey func() (string, error)
	// Audit records what is corrected, erased, searched for and downloaded.
	Audit   *audit.Log
	Metrics *Metrics
	Log     *slog.Logger

	bounds *bounds
}

// Sizes of responses and of requests.
const (
	defaultLimit = 100
	maxLimit     = 1000
	maxPosted    = 10_000
	// maxCorrection is enough for a count and its reason.
	maxCorrection = 64 << 10
)

// NewHandler serves the summary endpoint; docs/summary-api.md describes it.
func NewHandler(c Config) *Endpoint {
	c.bounds = newBounds()
	c.Login.refused = newRefused()
	h, p := handler{c}, page.New()
	return &Endpoint{handler: h, page: p, routes: h.routes(p)}
}

type handler struct{ Config }

// fail responds to an error. Client errors are returned verbatim; all others are logged
// and answered with 503.
func (h handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	ambiguous, isAmbiguous := errors.AsType[stay.AmbiguousError](err)
	_, isRefusal := errors.AsType[*access.Refusal](err)
	mistakes, isMistakes := errors.AsType[site.Mistakes](err)
	notRecorded, isNotRecorded := errors.AsType[*audit.NotRecordedError](err)
	noImages, isNoImages := errors.AsType[*image.UnavailableError](err)
	switch {
	case isRefusal:
		h.Access.Refuse(w, r, err)
	case isMistakes:
		httpjson.Write(w, http.StatusBadRequest, map[string]any{"error": mistakes.Error(), "mistakes": mistakes[:min(len(mistakes), site.MaxMistakes)]})
	case errors.Is(err, site.ErrVersion):
		httpjson.Error(w, http.StatusConflict, err.Error())
	case errors.Is(err, parking.ErrTooManySites) && !access.From(r.Context()).Sites.All():
		httpjson.Error(w, http.StatusBadRequest, parking.ErrTooManySites.Error()) // not how many there are
	case errors.Is(err, parking.ErrInvalid), errors.Is(err, stay.ErrCursor), errors.Is(err, audit.ErrCursor):
		httpjson.Error(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, stay.ErrNotFound), errors.Is(err, timeline.ErrNoEvent), errors.Is(err, image.ErrNotFound), errors.Is(err, model.ErrNotFound):
		httpjson.Error(w, http.StatusNotFound, err.Error())
	case isAmbiguous:
		httpjson.Write(w, http.StatusConflict, map[string]any{"error": ambiguous.Error(), "sites": ambiguous.Sites()})
	case isNotRecorded:
		h.Log.ErrorContext(r.Context(), "an act was refused, since it cannot be in the audit", "route", r.Pattern, "error", err)
		w.Header().Set("Retry-After", "5")
		httpjson.Error(w, http.StatusServiceUnavailable, notRecorded.Detail())
	case context.Cause(r.Context()) == errSlow: //nolint:errorlint // it is never wrapped
		h.Log.WarnContext(r.Context(), "query given up", "route", r.Pattern, "after", queryTimeout.String())
		w.Header().Set("Retry-After", "5")
		httpjson.Error(w, http.StatusServiceUnavailable, errSlow.Error())
	case isNoImages:
		h.Log.ErrorContext(r.Context(), "the store of pictures failed", "route", r.Pattern, "error", err)
		w.Header().Set("Retry-After", "5")
		httpjson.Error(w, http.StatusServiceUnavailable, noImages.Detail()+", try again")
	default:
		h.Log.ErrorContext(r.Context(), "summary failed", "route", r.Pattern, "error", err) // not the path: it may contain a plate
		w.Header().Set("Retry-After", "5")
		httpjson.Error(w, http.StatusServiceUnavailable, "the store of stays cannot be reached now, try again")
	}
}
