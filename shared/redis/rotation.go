package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// sourceEvery is the interval at which the URL is read while the client is used.
	sourceEvery = time.Second
	// tryTimeout bounds one try of a changed URL.
	tryTimeout = 2 * time.Second
	// A URL that fails is tried again after firstRetry, then after twice the time of
	// each previous wait, up to lastRetry. While Redis refuses the login of the current
	// client, firstRetry is the longest wait.
	firstRetry = time.Second
	lastRetry  = 10 * time.Second
)

// rotation holds the current client of go-redis and replaces it when the URL changes. A
// replaced client is closed when its last user has released it.
type rotation struct {
	source   func() (string, error)
	settings Settings
	log      *slog.Logger

	current atomic.Pointer[connection]
	next    atomic.Int64 // the next read of the source, in nanoseconds since 1970

	mu       sync.Mutex // held while the source is read
	closed   bool
	trying   *try                     // nil while no URL is tried
	failed   failure                  // of the URL that was tried last
	problem  error                    // the reason why the current value of the source is not used
	rejected string                   // that value
	retired  map[*connection]struct{} // replaced clients that are not closed yet
	running  sync.WaitGroup           // the try, and the closing of retired clients
}

// try is one try of a changed URL.
type try struct {
	url    string
	again  bool // the URL failed before
	cancel context.CancelFunc
	done   chan struct{} // closed at its end
}

// failure is the time of a URL's last failure and the delay until the next try. The
// zero value is no failure.
type failure struct {
	url  string
	at   time.Time
	wait time.Duration
}

// connection is a client of go-redis, which is a pool of connections.
type connection struct {
	redis.UniversalClient
	url string
	// users counts the users of the client: the rotation while the client is current,
	// and each command or call from its first try to its last. It never rises from 0.
	users atomic.Int64
}

// acquire reports whether a client may be used. The caller then calls
// [rotation.release].
func (c *connection) acquire() bool {
	for {
		n := c.users.Load()
		if n == 0 {
			return false
		}
		if c.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// holding is the context key of a client. Work with such a context is part of a command
// or call that holds this client, such as the login of a new connection, and belongs to
// no other client.
type holding struct{}

// context returns the context for a command or call that holds the client.
func (c *connection) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, holding{}, c)
}

// holds reports whether a context belongs to a command or call that holds the client.
func (c *connection) holds(ctx context.Context) bool { return ctx.Value(holding{}) == c }

// start makes the first client.
func (r *rotation) start() error {
	url, err := r.source()
	if err != nil {
		return err
	}
	c, err := r.open(url)
	if err != nil {
		return err
	}
	r.retired = make(map[*connection]struct{})
	r.current.Store(c)
	return nil
}

// open returns a client that has a user. Its hook of commands is the outermost: a late
// command is not affected by what is known of a replaced client's node.
func (r *rotation) open(url string) (*connection, error) {
	c := &connection{url: url}
	c.users.Store(1)
	var err error
	c.UniversalClient, err = open(url, r.settings, commands{r, c})
	return c, err
}

// Current returns the current client of go-redis, for commands other than scripts.
// Callers ask for it each time and never close it.
func (r *rotation) Current() redis.UniversalClient {
	if time.Now().UnixNano() >= r.next.Load() && r.mu.TryLock() { // concurrent callers do not wait
		r.look(false)
		r.mu.Unlock()
	}
	return r.current.Load().UniversalClient
}

// Problem returns the reason why a changed URL is not used, or nil. It waits for the
// first try of a URL. The error has a method Detail() string with a public text.
func (r *rotation) Problem(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.look(false); t != nil && !t.again {
		r.mu.Unlock()
		t.wait(ctx)
		r.mu.Lock()
	}
	return r.problem
}

// Close closes all connections.
func (r *rotation) Close() error {
	defer r.running.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.trying != nil {
		r.trying.cancel()
	}
	for c := range r.retired {
		_ = c.Close()
	}
	clear(r.retired)
	return r.current.Load().Close()
}

// use calls do with the current client and keeps the client open meanwhile. If Redis
// refuses the login and the URL has changed, it calls do once more with the client of
// the changed URL. Commands within do that use its context are not repeated with
// another client by themselves.
func (r *rotation) use(ctx context.Context, do func(context.Context, redis.UniversalClient) error) error {
	_ = r.Current()
	return r.with(ctx, r.current.Load(), func(ctx context.Context, c *connection) error { return do(ctx, c.UniversalClient) })
}

// with is use that begins with c, which may have been replaced.
func (r *rotation) with(ctx context.Context, c *connection, do func(context.Context, *connection) error) error {
	if c.acquire() {
		err := r.released(ctx, c, do)
		if !refused(err) || !r.replaced(ctx, c) {
			return err
		}
	}
	for {
		if c := r.current.Load(); c.acquire() {
			return r.released(ctx, c, do)
		}
	}
}

// released calls do with an acquired client and releases it.
func (r *rotation) released(ctx context.Context, c *connection, do func(context.Context, *connection) error) error {
	defer r.release(c)
	return do(c.context(ctx), c)
}

// release removes a user from a client. The last release of a replaced client closes
// it.
func (r *rotation) release(c *connection) {
	if c.users.Add(-1) > 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, open := r.retired[c]; open {
		delete(r.retired, c)
		r.running.Go(func() { _ = c.Close() }) // a hook of go-redis must not close its client
	}
}

// replaced reports whether a client whose login was refused has been replaced. It reads
// the URL and waits for the try of a changed one.
func (r *rotation) replaced(ctx context.Context, c *connection) bool {
	if r.current.Load() == c {
		r.mu.Lock()
		t := r.look(true)
		r.mu.Unlock()
		if t != nil {
			t.wait(ctx)
		}
	}
	return r.current.Load() != c
}

// look reads the URL and returns the try of a changed one, or nil. The caller holds mu.
func (r *rotation) look(refused bool) *try {
	r.next.Store(time.Now().Add(sourceEvery).UnixNano())
	if r.closed || r.trying != nil {
		return r.trying
	}
	url, err := r.source()
	switch {
	case err != nil:
		r.reject(err.Error(), unusableError{err, "it cannot be read"})
		return nil
	case url == r.current.Load().url:
		r.accept()
		return nil
	}
	again := r.failed.wait > 0 && url == r.failed.url
	if again {
		wait := r.failed.wait
		if refused {
			wait = firstRetry
		}
		if time.Since(r.failed.at) < wait {
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), tryTimeout)
	t := &try{url, again, cancel, make(chan struct{})}
	r.trying = t
	r.running.Go(func() { r.try(ctx, t) })
	return t
}

// wait returns when the try is over or ctx ends.
func (t *try) wait(ctx context.Context) {
	select {
	case <-t.done:
	case <-ctx.Done():
	}
}

// try replaces the current client if the changed URL works.
func (r *rotation) try(ctx context.Context, t *try) {
	defer close(t.done)
	defer t.cancel()
	c, err := r.connect(ctx, t.url)
	if former := r.tried(t, c, err); former != nil {
		r.release(former)
	}
}

// tried ends a try. It returns the replaced client, or nil.
func (r *rotation) tried(t *try, c *connection, err error) (former *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trying = nil
	switch {
	case r.closed && err == nil:
		_ = c.Close()
		return nil
	case r.closed:
		return nil
	case err != nil:
		wait := firstRetry
		if t.again {
			wait = min(2*r.failed.wait, lastRetry)
		}
		r.failed = failure{t.url, time.Now(), wait}
		r.reject(t.url, err)
		return nil
	}
	former = r.current.Swap(c)
	r.retired[former] = struct{}{}
	r.accept()
	r.log.Info("the changed URL of Redis is used")
	return former
}

// accept records that the current value of the source is used.
func (r *rotation) accept() { r.failed, r.problem = failure{}, nil }

// reject records the reason why the current value of the source is not used, and logs
// it once.
func (r *rotation) reject(what string, err error) {
	known := r.problem != nil && what == r.rejected
	r.problem, r.rejected = fmt.Errorf("use the changed URL of Redis: %w", err), what
	if !known {
		r.log.Warn("the changed URL of Redis cannot be used, the previous one stays in use and this one is tried again", "error", err)
	}
}

// connect returns a client for a changed URL if the URL works: Redis accepts the login,
// and neither the node nor the user's permissions forbid writes. Other failures of
// writes do not depend on the URL, such as a full memory or an unavailable shard of a
// cluster.
func (r *rotation) connect(ctx context.Context, url string) (*connection, error) {
	c, err := r.open(url)
	if err != nil {
		return nil, unusableError{err, "it is not the URL of a Redis"}
	}
	ctx = c.context(ctx)
	err = c.Ping(ctx).Err()
	if err == nil || hasPrefix(err, "NOPERM") { // a user without the permission to ping has logged in
		if err = write(ctx, c); !hasPrefix(err, "READONLY", "NOPERM", "MOVED") {
			return c, nil
		}
	}
	_ = c.Close()
	if answer, ok := errors.AsType[redis.Error](err); ok {
		return nil, unusableError{err, "Redis answers " + answerWord(answer)}
	}
	return nil, unusableError{err, "no connection can be made with it"}
}

// unusableError is the reason why a changed URL is not used.
type unusableError struct {
	error
	reason string // public
}

func (e unusableError) Unwrap() error { return e.error }

// Detail returns the public text.
func (e unusableError) Detail() string {
	return "redis-url was changed and cannot be used: " + e.reason + "; the previous one stays in use"
}

// commands is the hook around each command and pipeline of a client with all its tries,
// for a cluster with its redirections. It does the same as [rotation.use], for callers
// of [rotation.Current].
type commands struct {
	rotation *rotation
	client   *connection
}

func (commands) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if h.client.holds(ctx) {
			return next(ctx, cmd)
		}
		return h.rotation.with(ctx, h.client, func(ctx context.Context, c *connection) error {
			if c == h.client {
				return next(ctx, cmd)
			}
			return c.Process(ctx, cmd)
		})
	}
}

func (h commands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if h.client.holds(ctx) {
			return next(ctx, cmds)
		}
		return h.rotation.with(ctx, h.client, func(ctx context.Context, c *connection) error {
			if c == h.client {
				return next(ctx, cmds)
			}
			_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error { return p.BatchProcess(ctx, cmds...) })
			return err
		})
	}
}

// refused reports whether Redis refused a login, or a command for lack of permission.
func refused(err error) bool {
	return hasPrefix(err, "WRONGPASS", "NOAUTH", "NOPERM", "invalid password")
}
