package rabbitmq

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// gate decides when a function may be called: it holds the number of calls in
// flight below a limit that grows while calls succeed and shrinks when the
// function is throttled or slow (additive increase, multiplicative decrease),
// and it is the breaker that stops calls during an outage and lets single probes
// through, with growing delays.
//
// A call whose function has lost its network gets neither an answer nor an error
// until its timeout. It must not keep others out for so long: once all calls in
// flight are silent for much longer than calls usually take, another one is let
// through, and those that began before a later one succeeded are written off: they go
// on, but neither they nor their outcome count any more. A silent one that was let
// through so is cancelled when the next one is. At most twice the maximum and one call
// are under way.
type gate struct {
	min, max   int
	probeDelay time.Duration // before the first probe
	probeMax   time.Duration // between probes, at most
	slow       time.Duration // a call that takes longer shrinks the limit
	now        func() time.Time

	mu         sync.Mutex
	limit      float64
	inFlight   map[*call]struct{} // those that count
	writtenOff map[*call]struct{}
	usual      time.Duration // how long calls take: the longest of late; 0: none was answered yet
	usualAt    time.Time
	changed    chan struct{} // closed and replaced when something was released

	open   bool
	reason string
	since  time.Time
	until  time.Time     // no probe before
	delay  time.Duration // the next one
	probe  *call         // the last fresh one, while it is under way

	success time.Time // when a call was last answered
	done    time.Time // when an event was last done
}

func newGate(c gateConfig) *gate {
	return &gate{
		min: c.min, max: c.max, limit: float64(c.min), probeDelay: c.probeDelay, probeMax: c.probeMax, slow: c.slow,
		now: c.now, delay: c.probeDelay, changed: make(chan struct{}),
		inFlight: make(map[*call]struct{}), writtenOff: make(map[*call]struct{}),
	}
}

type gateConfig struct {
	min, max             int
	probeDelay, probeMax time.Duration
	slow                 time.Duration
	now                  func() time.Time
}

// permit allows one call at a time; it has to be released.
type permit struct {
	probe bool // the breaker is open: the call finds out whether the outage is over
	// fresh asks for a small call over a new connection, as it finds out whether the
	// function answers. Each probe is fresh, and so are calls beside silent ones.
	fresh bool
	busy  bool // other calls were in flight
	call  *call
}

// call is one that is under way.
type call struct {
	began  time.Time
	cancel context.CancelFunc // nil until it is known
}

const (
	// silentAfter is how long a call is under way at least before it counts as
	// silent.
	silentAfter = 2 * time.Second
	// silentFactor is how many times longer than usual it has to take, too.
	silentFactor = 4
	// usualHalf is the time after which the longest call counts for half.
	usualHalf = time.Minute
)

var errOpen = errors.New("the function's breaker is open")

// acquire waits until a call may be made. With patient false it returns errOpen
// instead of waiting for the end of an outage.
func (g *gate) acquire(ctx context.Context, patient bool) (permit, error) {
	for {
		p, ok, wait, changed := g.try()
		if ok {
			return p, nil
		}
		if reason, _ := g.outage(); reason != "" && !patient {
			return permit{}, errOpen
		}
		timer := time.NewTimer(wait)
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

// try takes a permit, or returns how long to wait for the next probe and what else
// is worth a new try.
func (g *gate) try() (p permit, ok bool, wait time.Duration, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	switch {
	case !g.open && len(g.inFlight) < int(g.limit):
		return g.admit(permit{busy: len(g.inFlight) > 0}, now), true, 0, g.changed
	case g.open && g.probe == nil:
		wait = g.until.Sub(now)
	case g.open:
		wait = max(g.until.Sub(now), g.silence().Sub(now))
	default:
		wait = g.silence().Sub(now)
	}
	if wait > 0 {
		return permit{}, false, wait, g.changed
	}
	return g.admit(permit{probe: g.open, fresh: true}, now), true, 0, g.changed
}

func (g *gate) admit(p permit, now time.Time) permit {
	p.call = &call{began: now}
	g.inFlight[p.call] = struct{}{}
	if p.fresh {
		if g.probe != nil && g.probe.cancel != nil {
			g.probe.cancel()
		}
		g.probe = p.call
	}
	return p
}

// cancellable tells how to cancel a permit's calls. One that is fresh is cancelled if it
// gets no answer before the next one is due.
func (g *gate) cancellable(p permit, cancel context.CancelFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.call.cancel = cancel
}

// silence returns when every call in flight will have been silent for too long; of
// an outage, when its probe will.
func (g *gate) silence() time.Time {
	var last time.Time
	if g.open && g.probe != nil {
		last = g.probe.began
	} else {
		for c := range g.inFlight {
			if c.began.After(last) {
				last = c.began
			}
		}
	}
	return last.Add(g.patience())
}

// patience returns how long a call is under way before it counts as silent. How long
// calls take is not known before the first answer.
func (g *gate) patience() time.Duration {
	if g.usual == 0 {
		return max(silentAfter, g.slow)
	}
	return max(silentAfter, silentFactor*g.usual)
}

// begin notes that a permit's next call begins. A round makes several.
func (g *gate) begin(p permit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.call.began = g.now()
}

// release ends a permit. The outcome of its calls was told before.
func (g *gate) release(p permit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.inFlight, p.call)
	delete(g.writtenOff, p.call)
	if p.call == g.probe {
		g.probe = nil
	}
	g.notify()
}

func (g *gate) notify() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// succeeded tells of a call that was answered: the function is alive. One that
// says that everything has to wait (useful is false) does not end an outage.
func (g *gate) succeeded(p permit, took time.Duration, useful bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.success = g.now()
	if _, off := g.writtenOff[p.call]; off || !useful {
		return
	}
	faded := float64(g.usual) * math.Exp2(-float64(g.success.Sub(g.usualAt))/float64(usualHalf))
	g.usual, g.usualAt = max(took, time.Duration(faded), 1), g.success
	g.writeOff(p.call.began)
	if g.open {
		g.open, g.delay = false, g.probeDelay
		g.notify()
	}
	switch {
	case took > g.slow:
		g.shrink()
	case len(g.inFlight) >= int(g.limit) && int(g.limit) < g.max:
		g.limit = min(float64(g.max), g.limit+1/g.limit)
	}
}

// writeOff has the silent calls that began before a call which has succeeded count
// no more.
func (g *gate) writeOff(before time.Time) {
	silent := g.now().Add(-g.patience())
	for c := range g.inFlight {
		if len(g.writtenOff) >= g.max {
			return
		}
		if c.began.Before(before) && c.began.Before(silent) {
			delete(g.inFlight, c)
			g.writtenOff[c] = struct{}{}
			g.notify()
		}
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
	if _, off := g.writtenOff[p.call]; off {
		return
	}
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
	case g.open && g.probe != nil:
		state = breakerProbing
	case g.open:
		state = breakerOpen
	}
	return len(g.inFlight) + len(g.writtenOff), int(g.limit), state
}

// The states of the breaker as the metric shows them.
const (
	breakerClosed = iota
	breakerOpen
	breakerProbing
)
