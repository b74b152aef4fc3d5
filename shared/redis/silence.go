package redis

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// answerTimeout is how long a node gets for all that one command or pipeline
	// takes, with connecting and repeating, unless the URL has longer timeouts.
	answerTimeout = 3 * time.Second
	// topologyTimeout is how long a node of a cluster gets to tell who has which slot:
	// the others know it, too.
	topologyTimeout = time.Second
	// silentFor is how long a silent node is asked for nothing but one call.
	silentFor = 3 * time.Second
	// heardFor is how long after its last answer a node is asked to wait for replicas
	// without a ping before.
	heardFor = time.Second
)

// silence is the hook that bounds what a node costs that neither answers nor fails, as
// its host or its network is lost. There is one for each node.
type silence struct {
	timeout    time.Duration // 0: no bound
	replicas   time.Duration // added for a pipeline that waits for replicas
	lastAnswer atomic.Int64  // in nanoseconds since 1970
	refused    atomic.Pointer[refusal]
	waiting    atomic.Int64 // pipelines under way that wait for replicas
	// Until when the node is known to be silent, for calls and for what asks for the
	// topology, in nanoseconds since 1970, 0 if it is not. They are two, since a busy node
	// that gives no topology in its shorter time may do what it is called for.
	silentUntil, topologyUntil atomic.Int64
}

// silentError is the error of a command that a silent node did not answer. For go-redis
// it is the end of a context, which is not repeated.
type silentError struct{}

func (silentError) Error() string {
	return "Redis accepts no connection or gives no answer in time: look at the node's host and network"
}

func (silentError) Unwrap() error { return context.DeadlineExceeded }

// busyError is the error of a command that got no answer in time while pipelines waited
// for the node's replicas: they may have all connections of the pool, so that the node is
// not known to be silent.
type busyError struct{}

func (busyError) Error() string {
	return "Redis gives no answer in time while others wait for its replicas: look at the replicas and at the node, or raise pool_size in redis-url"
}

func (busyError) Unwrap() error { return context.DeadlineExceeded }

// newSilence returns the hook of a node for the timeouts of its URL.
func newSilence(given timeouts, s Settings) *silence {
	h := &silence{timeout: max(answerTimeout, given.dial, given.read)}
	if given.read < 0 {
		h.timeout = 0
	}
	if s.Replicas > 0 {
		h.replicas = 2 * s.ReplicasTimeout
	}
	return h
}

// refusal is why no connection was made, and when.
type refusal struct {
	err error
	at  time.Time
}

// DialHook notes that connections are refused: go-redis tries again until the time is
// up, so that a node that is not there would pass for a silent one.
func (h *silence) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if err != nil && !timedOut(err) && ctx.Err() == nil {
			h.refused.Store(&refusal{err, time.Now()})
		}
		return conn, err
	}
}

func (h *silence) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		timeout, until := h.timeout, &h.silentUntil
		if cmd.Name() == "cluster" {
			timeout, until = min(timeout, topologyTimeout), &h.topologyUntil
		}
		return h.bound(ctx, timeout, until, func(ctx context.Context) error { return next(ctx, cmd) })
	}
}

func (h *silence) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		timeout, ask := h.timeout, func(ctx context.Context) error { return next(ctx, cmds) }
		var err error
		if timeout > 0 && slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return cmd.Name() == "wait" }) {
			timeout += h.replicas
			// That wait takes long of a node that answers, too.
			if time.Since(time.Unix(0, h.lastAnswer.Load())) > heardFor {
				err = h.bound(ctx, h.timeout, &h.silentUntil, func(ctx context.Context) error {
					return next(ctx, []redis.Cmder{redis.NewStatusCmd(ctx, "ping")})
				})
			}
			ask = func(ctx context.Context) error {
				h.waiting.Add(1)
				defer h.waiting.Add(-1)
				return next(ctx, cmds)
			}
		}
		if !timedOut(err) {
			err = h.bound(ctx, timeout, &h.silentUntil, ask)
		}
		for _, cmd := range cmds {
			if timedOut(err) || err != nil && timedOut(cmd.Err()) {
				cmd.SetErr(err)
			}
		}
		return err
	}
}

// bound runs what a node is asked for. A node is silent if it answered nothing at all
// while a call waited for all its time; then all fails at once but one call in silentFor.
func (h *silence) bound(ctx context.Context, timeout time.Duration, silentUntil *atomic.Int64, ask func(context.Context) error) error {
	if timeout <= 0 || ctx.Value(asking{}) == h {
		return ask(ctx)
	}
	start := time.Now()
	if until := silentUntil.Load(); until != 0 &&
		(start.UnixNano() < until || !silentUntil.CompareAndSwap(until, start.Add(silentFor).UnixNano())) {
		return silentError{}
	}
	bounded, cancel := context.WithTimeout(context.WithValue(ctx, asking{}, h), timeout)
	defer cancel()
	err := ask(bounded)
	switch {
	case ctx.Err() != nil: // the caller did not wait for as long
	case !timedOut(err):
		if _, answered := errors.AsType[redis.Error](err); err == nil || answered {
			h.lastAnswer.Store(time.Now().UnixNano())
		}
		h.silentUntil.Store(0)
		h.topologyUntil.Store(0)
	case h.refusedSince(start) != nil:
		h.silentUntil.Store(0)
		h.topologyUntil.Store(0)
		return h.refusedSince(start)
	case h.waiting.Load() > 0:
		return busyError{}
	case h.lastAnswer.Load() < start.UnixNano():
		silentUntil.Store(time.Now().Add(silentFor).UnixNano())
		return silentError{}
	}
	return err
}

// refusedSince returns why a connection was refused after start, nil if none was.
func (h *silence) refusedSince(start time.Time) error {
	if r := h.refused.Load(); r != nil && r.at.After(start) {
		return r.err
	}
	return nil
}

// asking is the key of the hook that bounds a call already, in the context of the login
// of a new connection, which is a call of its own for go-redis.
type asking struct{}

// timedOut reports whether an error is that of an answer or a connection that was
// waited for in vain.
func timedOut(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && timeout.Timeout()
}
