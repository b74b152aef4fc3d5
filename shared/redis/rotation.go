package redis

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// sourceEvery is how often the URL is asked for while the client is used.
	sourceEvery = time.Second
	// tryTimeout bounds how long a changed URL is tried; one call waits for that.
	tryTimeout = 2 * time.Second
	// retireEvery is how often a replaced client is asked whether its calls are over,
	// retireAfter is when it is closed in any case: no call of a function is longer.
	retireEvery = time.Second
	retireAfter = time.Minute
)

// rotation holds the client of go-redis that is used, and replaces it when the URL
// changes. There are never more than two: a replaced one is closed when its calls
// are over, or another replaces the next.
type rotation struct {
	source   func() (string, error)
	settings Settings
	log      *slog.Logger

	current atomic.Pointer[connection]
	next    atomic.Int64 // when the source is asked again, in nanoseconds since 1970

	mu      sync.Mutex // held while the source is asked
	closed  bool
	old     *connection
	timer   *time.Timer // closes old
	problem error       // why what the source returned last is not used
	warned  string      // what was logged last of it
}

// connection is a client of go-redis, which is a pool of connections.
type connection struct {
	redis.UniversalClient
	url  string
	busy atomic.Int64 // calls under way
}

// Current returns the client of go-redis, for commands that are no scripts. It is
// to be asked for each time, and never closed.
func (r *rotation) Current() redis.UniversalClient {
	if time.Now().UnixNano() >= r.next.Load() && r.mu.TryLock() { // others go on meanwhile
		r.refresh()
		r.mu.Unlock()
	}
	return r.current.Load().UniversalClient
}

// Problem reports why a changed URL is not used. The error has a method
// Detail() string with what everyone may read.
func (r *rotation) Problem(context.Context) error {
	_ = r.Current()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.problem
}

// Close closes all connections.
func (r *rotation) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.closeOld()
	return r.current.Load().Close()
}

// refresh asks for the URL and replaces the client if it has changed.
func (r *rotation) refresh() {
	r.next.Store(time.Now().Add(sourceEvery).UnixNano())
	if r.closed {
		return
	}
	url, err := r.source()
	what := url
	switch {
	case err != nil:
		what = err.Error()
	case url == r.current.Load().url:
		r.problem, r.warned = nil, ""
		return
	default:
		err = r.replace(url)
	}
	if err == nil {
		r.problem, r.warned = nil, ""
		r.log.Info("Redis is used with its changed URL")
		return
	}
	r.problem = unusableError{fmt.Errorf("use the changed URL of Redis: %w", err)}
	if r.warned != what {
		r.warned = what
		r.log.Warn("the changed URL of Redis cannot be used, the former one is used until it can", "error", err)
	}
}

func (r *rotation) replace(url string) error {
	opened, err := open(url, r.settings)
	if err != nil {
		return err
	}
	c := r.connection(url, opened)
	ctx, cancel := context.WithTimeout(context.Background(), tryTimeout)
	defer cancel()
	// Who may not ping has logged in.
	if err := opened.Ping(ctx).Err(); err != nil && !redis.HasErrorPrefix(err, "NOPERM") {
		_ = opened.Close()
		return err
	}
	r.closeOld()
	r.old = r.current.Load()
	r.current.Store(c)
	old, since := r.old, time.Now()
	r.timer = time.AfterFunc(retireEvery, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.old != old { // closed meanwhile
			return
		}
		if old.busy.Load() > 0 && time.Since(since) < retireAfter {
			r.timer.Reset(retireEvery)
			return
		}
		r.closeOld()
	})
	return nil
}

// connection is made before the client makes connections: those have its hooks.
func (r *rotation) connection(url string, opened redis.UniversalClient) *connection {
	c := &connection{UniversalClient: opened, url: url}
	addHooks(opened, traced{}, calls{c, r})
	return c
}

func (r *rotation) closeOld() {
	if r.old == nil {
		return
	}
	r.timer.Stop()
	_ = r.old.Close()
	r.old = nil
}

// unusableError is why a changed URL is not used.
type unusableError struct{ error }

func (e unusableError) Unwrap() error { return e.error }

// Detail tells everyone what is wrong.
func (unusableError) Detail() string {
	return "the secret was changed, and no connection can be made with what it holds; the former one is used"
}

// calls counts the calls under way of a connection, and has the URL asked for again
// when a login is refused.
type calls struct {
	connection *connection
	rotation   *rotation
}

func (h calls) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h calls) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.connection.busy.Add(1)
		defer h.connection.busy.Add(-1)
		return h.ended(next(ctx, cmd))
	}
}

func (h calls) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.connection.busy.Add(1)
		defer h.connection.busy.Add(-1)
		return h.ended(next(ctx, cmds))
	}
}

func (h calls) ended(err error) error {
	if refused(err) && h.rotation.current.Load() == h.connection {
		h.rotation.next.Store(0)
	}
	return err
}

// refused reports whether Redis refused a login.
func refused(err error) bool {
	return slices.ContainsFunc([]string{"WRONGPASS", "NOAUTH", "NOPERM", "invalid password"},
		func(prefix string) bool { return redis.HasErrorPrefix(err, prefix) })
}
