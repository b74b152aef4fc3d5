package summaryclient

import (
	"context"
	"errors"
	"net/http"
	"time"

	"parkstream/shared/failure"
)

const (
	// probeEvery is the least time between two probes, however many ask.
	probeEvery = 500 * time.Millisecond
	// reachedFor is how long a post that succeeded stands for the next ones.
	reachedFor = 10 * time.Second
	// reachGrace is how long the summary may be unreachable after it was reached, as
	// when it is deployed again, before that counts.
	reachGrace = 30 * time.Second
)

// Reachable returns why stays cannot be posted: since the start of the process, or
// for longer than half a minute. To find out it posts an empty list, with the secret,
// unless a post has succeeded within the last ten seconds, and at most twice a second.
// The error has a method Detail() string with what everyone may read.
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
	if c.reachedWithin(reachedFor) { // meanwhile
		return struct{}{}, nil
	}
	return struct{}{}, c.Post(ctx, nil)
}

// reachedWithin reports whether a post has succeeded so lately.
func (c *Client) reachedWithin(d time.Duration) bool {
	at := c.reachedAt.Load()
	return at != 0 && time.Since(time.Unix(0, at)) < d
}

// unreachableError is the reason why stays cannot be posted.
type unreachableError struct{ error }

func (e unreachableError) Unwrap() error { return e.error }

// Detail returns what callers may know, and what to do about it.
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
		}
	}
	return told
}
