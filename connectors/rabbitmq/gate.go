package rabbitmq

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// gate decides when a function may be called: it holds the number of calls in
// flight below a limit that grows while calls succeed and shrinks when the
// function is throttled or slow (additive increase, multiplicative decrease),
// and it is the breaker that stops calls during an outage and lets single probes
// through, with growing delays.
type gate struct {
	min, max   int
	probeDelay time.Duration // before the first probe
	probeMax   time.Duration // between probes, at most
	slow       time.Duration // a call that takes longer shrinks the limit
	now        func() time.Time

	mu       sync.Mutex
	limit    float64
	inFlight int
	changed  chan struct{} // closed and replaced when something was released

	open    bool
	reason  string
	since   time.Time
	until   time.Time     // no probe before
	delay   time.Duration // the next one
	probing bool

	success time.Time // when a call was last answered
	done    time.Time // when an event was last done
}

func newGate(c gateConfig) *gate {
	return &gate{
		min: c.min, max: c.max, limit: float64(c.min), probeDelay: c.probeDelay, probeMax: c.probeMax, slow: c.slow,
		now: c.now, delay: c.probeDelay, changed: make(chan struct{}),
	}
}

type gateConfig struct {
	min, max             int
	probeDelay, probeMax time.Duration
	slow                 time.Duration
	now                  func() time.Time
}

// permit allows one call; it has to be released.
type permit struct {
	probe bool // the call finds out whether an outage is over: it should be small
	busy  bool // other calls were in flight
}

var errOpen = errors.New("the function's breaker is open")

// acquire waits until a call may be made. With patient false it returns errOpen
// instead of waiting for the end of an outage.
func (g *gate) acquire(ctx context.Context, patient bool) (permit, error) {
	for {
		p, ok, wait, changed := g.try()
		switch {
		case ok:
			return p, nil
		case wait > 0 && !patient:
			return permit{}, errOpen
		}
		timer := time.NewTimer(wait)
		if wait == 0 {
			timer.Stop()
		}
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return permit{}, ctx.Err()
		}
	}
}

// try takes a permit, or says how long to wait for the next probe and what else
// is worth a new try. wait is zero when there is nothing to wait for but changed.
func (g *gate) try() (p permit, ok bool, wait time.Duration, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	switch {
	case !g.open && g.inFlight < int(g.limit):
		p, ok = permit{busy: g.inFlight > 0}, true
	case g.open && !g.probing && !now.Before(g.until):
		g.probing = true
		p, ok = permit{probe: true}, true
	case g.open && g.probing:
		wait = g.delay
	case g.open:
		wait = g.until.Sub(now)
	}
	if ok {
		g.inFlight++
	}
	return p, ok, wait, g.changed
}

// release ends a permit. The outcome of its calls was told before.
func (g *gate) release(p permit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	if p.probe {
		g.probing = false
	}
	g.notify()
}

func (g *gate) notify() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// succeeded tells of a call that was answered: the function is alive. One that
// says that everything has to wait (useful is false) does not end an outage.
func (g *gate) succeeded(took time.Duration, useful bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.success = g.now()
	if !useful {
		return
	}
	if g.open {
		g.open, g.delay = false, g.probeDelay
		g.notify()
	}
	switch {
	case took > g.slow:
		g.shrink()
	case g.inFlight >= int(g.limit) && int(g.limit) < g.max:
		g.limit = min(float64(g.max), g.limit+1/g.limit)
	}
}

// progressed tells that an event was done: the function has what it needs.
func (g *gate) progressed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done = g.now()
}

// failed opens the breaker for at least after, which may be zero. Calls that
// were under way when it opened do not prolong it.
func (g *gate) failed(p permit, reason string, after time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if g.open && !p.probe {
		if until := now.Add(after); until.After(g.until) {
			g.until = until
		}
		return
	}
	if !g.open {
		g.since = now
	}
	g.open, g.reason = true, reason
	wait := g.delay/2 + rand.N(g.delay/2+1) // half of it is jitter
	g.until = now.Add(max(wait, after))
	g.delay = min(2*g.delay, g.probeMax)
	g.shrink()
	g.notify()
}

func (g *gate) shrink() { g.limit = max(float64(g.min), g.limit/2) }

// lastSuccess returns when the function last answered a call.
func (g *gate) lastSuccess() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.success
}

// lastDone returns when the function has last done an event.
func (g *gate) lastDone() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.done
}

// outage returns why and since when the breaker is open; "" where it is closed.
func (g *gate) outage() (reason string, since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.open {
		return "", time.Time{}
	}
	return g.reason, g.since
}

// load returns the figures for the metrics.
func (g *gate) load() (inFlight, limit, state int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.open && g.probing:
		state = breakerProbing
	case g.open:
		state = breakerOpen
	}
	return g.inFlight, int(g.limit), state
}

// The states of the breaker as the metric shows them.
const (
	breakerClosed = iota
	breakerOpen
	breakerProbing
)
