package access

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"parkstream/shared/httpjson"
)

// Refusal is the error of a request that is not served.
type Refusal struct { //nolint:errname // it is the response, and an error on its way there
	Status     int
	Reason     string
	RetryAfter time.Duration // 0: none

	kind string // one of kinds; empty: by the status
}

// label returns the refusal's kind for the metrics.
func (r *Refusal) label() string {
	if r.kind != "" {
		return r.kind
	}
	switch r.Status {
	case http.StatusUnauthorized:
		return errLogin.kind
	case http.StatusTooManyRequests:
		return "limited"
	case http.StatusServiceUnavailable:
		return errUnidentified.kind
	default:
		return "forbidden"
	}
}

func (r *Refusal) Error() string { return r.Reason }

// Forbidden returns the refusal of a principal that lacks a right.
func Forbidden(reason string) error { return &Refusal{Status: http.StatusForbidden, Reason: reason} }

// ErrSite is the refusal of a site that the principal does not have, whether or not it
// exists.
var ErrSite = Forbidden("this login has no access to that site")

var (
	errNoLogin       = &Refusal{Status: http.StatusUnauthorized, Reason: "this needs a login: send Authorization: Bearer with a token, or a name and password", kind: "no_login"}
	errLogin         = &Refusal{Status: http.StatusUnauthorized, Reason: "the login is not valid", kind: "login"}
	errOrigin        = &Refusal{Status: http.StatusForbidden, Reason: "a page of another site sent this request", kind: "origin"}
	errHost          = &Refusal{Status: http.StatusMisdirectedRequest, Reason: "access is open, for callers of this machine at localhost or a loopback address only", kind: "origin"}
	errUnidentified  = &Refusal{Status: http.StatusServiceUnavailable, Reason: "the login cannot be checked now, try again", RetryAfter: 5 * time.Second, kind: "unavailable"}
	errNotSetUp      = &Refusal{Status: http.StatusServiceUnavailable, Reason: notSetUp, RetryAfter: retrySetUp, kind: "not_set_up"}
	errMistaken      = &Refusal{Status: http.StatusServiceUnavailable, Reason: mistaken, RetryAfter: retrySetUp, kind: "not_set_up"}
	errTooManyLogins = &Refusal{Status: http.StatusTooManyRequests, Reason: "too many logins are being checked, try again", RetryAfter: 2 * time.Second, kind: "throttled"}
)

// retrySetUp is a time in which a person may set access up.
const retrySetUp = 30 * time.Second

const notSetUp = "access is not set up: create the secret users (parkstream users add), or set OIDC_ISSUER"

// mistaken is for the same with a file that cannot be used.
const mistaken = "access is not set up: the secret users has mistakes, which the log names"

// Refuse responds to an error of a [Guard]. One that is no [Refusal] is logged, at most
// once a minute, and the caller learns that the login cannot be checked.
func (g *Guard) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok {
		g.failing.Do(func() { g.log.ErrorContext(r.Context(), "a caller cannot be identified", "error", err) })
		refusal = errUnidentified
	}
	g.metrics.refusals.WithLabelValues(refusal.label()).Inc()
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Authorization, Cookie")
	if refusal.Status == http.StatusUnauthorized {
		Challenge(w, r)
	}
	if refusal.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(refusal.RetryAfter.Seconds()))))
	}
	httpjson.Error(w, refusal.Status, refusal.Reason)
}

// Challenge writes the header of a response 401.
func Challenge(w http.ResponseWriter, r *http.Request) {
	challenges := []string{`Bearer realm="parkstream"`}
	if !browser(r) { // which would ask for a password in a dialog of its own
		challenges = append(challenges, `Basic realm="parkstream", charset="UTF-8"`)
	}
	w.Header()["Www-Authenticate"] = challenges
}

// browser reports whether a browser sends a request. One that is not at a site with TLS
// sends no Sec-Fetch-Site.
func browser(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Site") != "" || strings.HasPrefix(r.UserAgent(), "Mozilla/")
}
