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
	// answerTimeout bounds one command or pipeline at a node, with connecting and
	// repeating. Longer timeouts in the URL replace it.
	answerTimeout = 3 * time.Second
	// topologyTimeout bounds the request for a cluster's topology at one node: the
	// other nodes know it, too.
	topologyTimeout = time.Second
	// silentFor is the time in which a silent node gets only one call.
	silentFor = 3 * time.Second
	// heardFor is the age of a node's last answer up to which it is asked to wait for
	// replicas without a ping first.
	heardFor = time.Second
)

// silence is the hook that bounds the cost of a node that neither answers nor fails,
// for example after the loss of its host or network. Each node has its own.
type silence struct {
	timeout    time.Duration // 0: no bound
	replicas   time.Duration // added for a pipeline that waits for replicas
	lastAnswer atomic.Int64  // in nanoseconds since 1970
	refused    atomic.Pointer[refusal]
	waiting    atomic.Int64 // pipelines under way that wait for replicas
	// Until when the node counts as silent, for calls and for requests for the
	// topology, in nanoseconds since 1970; 0 if it is not silent. They are separate: a
	// busy node that misses the shorter timeout of a topology request may still answer
	// calls.
	silentUntil, topologyUntil atomic.Int64
}

// silentError is the error of a command that a silent node did not answer. go-redis
// takes it for the end of a context and does not repeat the command.
type silentError struct{}

func (silentError) Error() string {
	return "Redis accepts no connection or gives no answer in time: look at the node's host and network"
}

func (silentError) Unwrap() error { return context.DeadlineExceeded }

// busyError is the error of a command that timed out while pipelines waited for the
// node's replicas. They may occupy the whole connection pool, so it does not prove that
// the node is silent.
type busyError struct{}

func (busyError) Error() string {
	return "Redis gives no answer in time while others wait for its replicas: look at the replicas and at the node, or raise pool_size in redis-url"
}

func (busyError) Unwrap() error { return context.DeadlineExceeded }

// newSilence returns the hook of a node. given are the timeouts of its URL.
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

// refusal is the reason and the time of a refused connection.
type refusal struct {
	err error
	at  time.Time
}

// DialHook records refused connections. go-redis dials again until the time is up, so a
// node that is down would otherwise count as silent.
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
			// That wait can take long at a node that answers, too.
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

// bound runs a request to a node. A node is silent if it answered nothing while a call
// waited for its whole timeout. From then on all calls fail at once, except one in each
// silentFor.
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
	case ctx.Err() != nil: // the caller's own time was shorter
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

// refusedSince returns the reason of a connection refused after start, or nil.
func (h *silence) refusedSince(start time.Time) error {
	if r := h.refused.Load(); r != nil && r.at.After(start) {
		return r.err
	}
	return nil
}

// asking is the context key of a call that the hook bounds already. The login of a new
// connection has it: for go-redis that is a call of its own.
type asking struct{}

// timedOut reports whether an error is a timeout of an answer or of a connection.
func timedOut(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && timeout.Timeout()
}
