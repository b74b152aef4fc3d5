package summaryclient

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"parkstream/shared/failure"
)

const (
	// probeEvery bounds how often a failed probe is repeated, however many ask.
	probeEvery = 500 * time.Millisecond
	// reachedFor is how long a post that succeeded stands for the next ones.
	reachedFor = 10 * time.Second
	// reachGrace is how long the summary may be unreachable after it was reached, as
	// when it is deployed again, before that counts.
	reachGrace = 30 * time.Second
)

// reach is what a client knows of whether it can post.
type reach struct {
	reachedAt atomic.Int64 // UnixNano of the last post that succeeded; 0: none yet

	turn     chan struct{} // holds one value when no probe is under way
	failed   error
	failedAt time.Time
	now      func() time.Time
}

func newReach() *reach {
	r := &reach{turn: make(chan struct{}, 1), now: time.Now}
	r.turn <- struct{}{}
	return r
}

// reached notes that a post has succeeded.
func (r *reach) reached() { r.reachedAt.Store(r.now().UnixNano()) }

// reachedWithin reports whether a post has succeeded so lately.
func (r *reach) reachedWithin(d time.Duration) bool {
	at := r.reachedAt.Load()
	return at != 0 && r.now().Sub(time.Unix(0, at)) < d
}

// Reachable reports why stays cannot be posted: since the start of the process, or
// for longer than half a minute. To find out it posts an empty list, with the secret, unless
// a post has succeeded within the last ten seconds, and at most twice a second. The
// error has a method Detail() string with what everyone may read.
func (c *Client) Reachable(ctx context.Context) error {
	r := c.reach
	if r.reachedWithin(reachedFor) {
		return nil
	}
	select {
	case <-r.turn:
	case <-ctx.Done():
		return unreachableError{ctx.Err()}
	}
	defer func() { r.turn <- struct{}{} }()
	if r.reachedWithin(reachedFor) {
		return nil
	}
	if r.failed == nil || r.now().Sub(r.failedAt) >= probeEvery {
		r.failed = c.Post(ctx, nil)
		r.failedAt = r.now()
	}
	if r.failed == nil || r.reachedWithin(reachGrace) {
		return nil
	}
	return unreachableError{r.failed}
}

// unreachableError is the reason why stays cannot be posted.
type unreachableError struct{ error }

func (e unreachableError) Unwrap() error { return e.error }

// Detail tells what callers may know, and what to do about it.
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
