package summaryclient

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"parkstream/shared/failure"
)

const (
	// probeEvery is the least time between two probes, for any number of callers.
	probeEvery = 500 * time.Millisecond
	// reachedFor is the time for which a successful post replaces a probe.
	reachedFor = 10 * time.Second
	// reachGrace is the time for which a summary that was reached before may be
	// unreachable, for example during a deployment.
	reachGrace = 30 * time.Second
)

// Reachable returns the reason why stays cannot be posted, or nil. A failure counts if
// it has lasted since the start of the process, or for longer than half a minute. The
// probe is a post of an empty list, with the secret. It is omitted if a post has
// succeeded within the last ten seconds, and runs at most twice a second. The error has
// a method Detail() string with a public text.
func (c *Client) Reachable(ctx context.Context) error {
	if c.reachedWithin(reachedFor) {
		return nil
	}
	if _, err := c.reach.Result(ctx); err != nil && !c.reachedWithin(reachGrace) {
		return unreachableError{err}
	}
	return nil
}

func (c *Client) tryEmpty(ctx context.Context) (struct{}, error) {
	if c.reachedWithin(reachedFor) { // by another post meanwhile
		return struct{}{}, nil
	}
	return struct{}{}, c.Post(ctx, nil)
}

// reachedWithin reports whether a post has succeeded within d.
func (c *Client) reachedWithin(d time.Duration) bool {
	at := c.reachedAt.Load()
	return at != 0 && time.Since(time.Unix(0, at)) < d
}

// unreachableError is the reason why stays cannot be posted.
type unreachableError struct{ error }

func (e unreachableError) Unwrap() error { return e.error }

// Detail returns the public text and what to do.
func (e unreachableError) Detail() string {
	if known, ok := errors.AsType[interface {
		error
		Detail() string
	}](e.error); ok {
		return known.Detail()
	}
	told := failure.Told(e.error)
	if status, ok := errors.AsType[*StatusError](e.error); ok {
		switch status.Code {
		case http.StatusNotFound:
			told += ": is it deployed, and does GATEWAY_URL or SUMMARY_URL lead there?"
		case http.StatusUnauthorized:
			told += ": its secret summary-token is another one than this function's"
		case http.StatusForbidden:
			told += ": this function's secret summary-token is one that may not post stays"
		case http.StatusServiceUnavailable:
			if strings.HasSuffix(told, notSetUp) {
				told += ": create its secret users, or set its OIDC_ISSUER"
			}
		}
	}
	return told
}
