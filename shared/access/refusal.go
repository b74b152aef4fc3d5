package access

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"parkstream/shared/httpjson"
)

// Refusal is the error of a request that is not served.
type Refusal struct {
	Status     int
	Reason     string
	RetryAfter time.Duration // 0: none
}

func (r *Refusal) Error() string { return r.Reason }

// Forbidden returns the refusal of a principal that lacks a right or a site.
func Forbidden(reason string) error { return &Refusal{Status: http.StatusForbidden, Reason: reason} }

// ErrSite is the refusal of a site that the principal does not have, whether or not it
// exists.
var ErrSite = Forbidden("this login has no access to that site")

var (
	errNoLogin      = &Refusal{Status: http.StatusUnauthorized, Reason: "this needs a login: send Authorization: Bearer with a token, or a name and password"}
	errLogin        = &Refusal{Status: http.StatusUnauthorized, Reason: "the login is not valid"}
	errNotSetUp     = &Refusal{Status: http.StatusServiceUnavailable, Reason: notSetUp, RetryAfter: 30 * time.Second}
	errUnidentified = &Refusal{Status: http.StatusServiceUnavailable, Reason: "the login cannot be checked now, try again", RetryAfter: 5 * time.Second}
)

const notSetUp = "access is not set up: create the secret users (parkstream users add), or set OIDC_ISSUER"

// Refuse responds to an error of a [Guard]. One that is no [Refusal] is logged, and the
// caller learns that the login cannot be checked.
func (g *Guard) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok {
		g.log.ErrorContext(r.Context(), "a caller cannot be identified", "error", err)
		refusal = errUnidentified
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
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
	if r.Header.Get("Sec-Fetch-Site") == "" { // else a browser would ask for a password in a dialog of its own
		challenges = append(challenges, `Basic realm="parkstream", charset="UTF-8"`)
	}
	w.Header()["Www-Authenticate"] = challenges
}
