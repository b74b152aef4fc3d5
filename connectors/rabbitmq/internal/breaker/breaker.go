// Package breaker decides when a function may be called: a limiter bounds the calls in
// flight, and a circuit breaker stops them during an outage.
package breaker

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Config are the limits of a [Breaker].
type Config struct {
	// Min and Max bound the number of calls in flight that is allowed at the same time.
	Min, Max int
	// ProbeDelay is the time before the first probe of an outage. It doubles with each
	// probe that fails, up to ProbeMaxDelay. Half of each delay is jitter.
	ProbeDelay, ProbeMaxDelay time.Duration
	// SlowAfter is the time after which a call counts as slow: there are too many then.
	SlowAfter time.Duration
}

// Breaker bounds the calls of one function that are in flight: to a limit that grows
// while calls succeed, and stops them during an outage but for single probes.
//
// A call whose function has lost its network gets neither an answer nor an error until
// its timeout. It must not keep others out for so long. When all calls in flight are
// silent for much longer than calls usually take, another one is let through. When that
// succeeds, the silent ones that began before it are written off: they go on, but
// neither they nor their outcome count any more. A silent call that was let through so
// is cancelled when the next one is. At most twice Config.Max and one calls are under
// way.
type Breaker struct {
	config Config

	mu         sync.Mutex
	limiter    limiter
	pace       pace
	inFlight   map[*Permit]struct{} // those that count
	writtenOff map[*Permit]struct{}
	changed    chan struct{} // closed and replaced when another call may be possible

	open   bool
	reason string
	since  time.Time
	until  time.Time     // no probe before
	delay  time.Duration // the next one
	fresh  *Permit       // the last fresh one, while it is under way

	answered time.Time // when a call was last answered
	done     time.Time // when an event was last done
}

// New returns a closed breaker.
func New(c Config) *Breaker {
	return &Breaker{
		config: c, limiter: newLimiter(c.Min, c.Max), delay: c.ProbeDelay, changed: make(chan struct{}),
		inFlight: make(map[*Permit]struct{}), writtenOff: make(map[*Permit]struct{}),
	}
}

// Permit allows calls, one after the other. It has to be released.
type Permit struct {
	// Probe reports that the calls find out whether an outage is over: the breaker was
	// open. The permit's owner clears it when it makes other calls after that.
	Probe bool
	// Fresh asks for a small call, over a new connection if possible, which finds out
	// whether the function answers. Each probe is fresh, and so is a call beside silent ones.
	Fresh bool
	// Busy reports that other calls were in flight.
	Busy bool

	began  time.Time          // the last call
	cancel context.CancelFunc // nil until it is known
}

// silentAfter is the least time after which a call counts as silent.
const silentAfter = 2 * time.Second

// ErrOpen is the error of a call that is not possible during an outage.
var ErrOpen = errors.New("the function's breaker is open")

// Acquire waits until a call may be made. During an outage it waits for the next probe,
// or returns ErrOpen if patient is false.
func (b *Breaker) Acquire(ctx context.Context, patient bool) (*Permit, error) {
	for {
		p, wait, changed := b.try()
		if p != nil {
			return p, nil
		}
		if reason, _ := b.Outage(); reason != "" && !patient {
			return nil, ErrOpen
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// try takes a permit, or returns how long to wait for the next probe and what else is
// worth another try.
func (b *Breaker) try() (p *Permit, wait time.Duration, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	switch {
	case !b.open && b.limiter.allows(len(b.inFlight)):
		return b.admit(&Permit{Busy: len(b.inFlight) > 0}, now), 0, nil
	case b.open && b.fresh == nil:
		wait = b.until.Sub(now)
	case b.open:
		wait = max(b.until.Sub(now), b.silence().Sub(now))
	default:
		wait = b.silence().Sub(now)
	}
	if wait > 0 {
		return nil, wait, b.changed
	}
	return b.admit(&Permit{Probe: b.open, Fresh: true}, now), 0, nil
}

func (b *Breaker) admit(p *Permit, now time.Time) *Permit {
	p.began = now
	b.inFlight[p] = struct{}{}
	if p.Fresh {
		if b.fresh != nil && b.fresh.cancel != nil {
			b.fresh.cancel()
		}
		b.fresh = p
	}
	return p
}

// silence returns when every call in flight will have been silent for too long; during
// an outage, when its probe will.
func (b *Breaker) silence() time.Time {
	var last time.Time
	if b.open && b.fresh != nil {
		last = b.fresh.began
	} else {
		for p := range b.inFlight {
			if p.began.After(last) {
				last = p.began
			}
		}
	}
	return last.Add(b.patience())
}

// patience returns how long a call is under way before it counts as silent. Before the
// first answer nothing is known of how long calls take.
func (b *Breaker) patience() time.Duration {
	if b.pace.usual == 0 {
		return max(silentAfter, b.config.SlowAfter)
	}
	return max(silentAfter, silentFactor*b.pace.usual)
}

// OnSilence sets what cancels the calls of a permit. A fresh one is cancelled if it gets
// no answer before the next fresh one is due.
func (b *Breaker) OnSilence(p *Permit, cancel context.CancelFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.cancel = cancel
}

// Begin notes that the next call of a permit begins.
func (b *Breaker) Begin(p *Permit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.began = time.Now()
}

// Release ends a permit. The outcomes of its calls were reported before.
func (b *Breaker) Release(p *Permit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.inFlight, p)
	delete(b.writtenOff, p)
	if p == b.fresh {
		b.fresh = nil
	}
	b.notify()
}

func (b *Breaker) notify() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Answered reports a call that was answered, but of whose events nothing came: the
// function is up, and an outage is not over.
func (b *Breaker) Answered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answered = time.Now()
}

// Succeeded reports a call that was answered, and its duration: the function is up, and an
// outage is over. done reports that one of its events was done, which proves that the
// function has what it needs.
func (b *Breaker) Succeeded(p *Permit, took time.Duration, done bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.answered = now
	if done {
		b.done = now
	}
	if _, off := b.writtenOff[p]; off {
		return
	}
	b.pace.observe(took, now)
	b.writeOff(p.began, now)
	if b.open {
		b.open, b.delay = false, b.config.ProbeDelay
		b.notify()
	}
	if took > b.config.SlowAfter {
		b.limiter.shrink()
	} else {
		b.limiter.grow(len(b.inFlight))
	}
}

// writeOff has the silent calls count no more that began before a call which has
// succeeded.
func (b *Breaker) writeOff(before, now time.Time) {
	silent := now.Add(-b.patience())
	for p := range b.inFlight {
		if len(b.writtenOff) >= b.config.Max {
			return
		}
		if p.began.Before(before) && p.began.Before(silent) {
			delete(b.inFlight, p)
			b.writtenOff[p] = struct{}{}
			b.notify()
		}
	}
}

// WrittenOff reports whether the calls of a permit count no more.
func (b *Breaker) WrittenOff(p *Permit) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, off := b.writtenOff[p]
	return off
}

// Failed reports an outage and its reason, which must not be empty. It opens the breaker
// until the next probe, but for no less than after, which may be zero. Calls that were
// under way when it opened prolong it only by what they ask for.
func (b *Breaker) Failed(p *Permit, reason string, after time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, off := b.writtenOff[p]; off {
		return
	}
	now := time.Now()
	if b.open && !p.Probe {
		if until := now.Add(after); until.After(b.until) {
			b.until = until
		}
		return
	}
	if !b.open {
		b.since = now
	}
	b.open, b.reason = true, reason
	wait := b.delay/2 + rand.N(b.delay/2+1) // half of it is jitter
	b.until = now.Add(max(wait, after))
	b.delay = min(2*b.delay, b.config.ProbeMaxDelay)
	b.limiter.shrink()
	b.notify()
}

// Last returns when a call was last answered, and when an event was last done; zero if
// that never happened.
func (b *Breaker) Last() (answered, done time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answered, b.done
}

// Outage returns why and since when the breaker is open; "" if it is closed.
func (b *Breaker) Outage() (reason string, since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return "", time.Time{}
	}
	return b.reason, b.since
}

// State is that of a circuit breaker, as the metric has it.
type State int

const (
	Closed State = iota
	Open
	Probing // open, with a probe under way
)

// Load returns how many calls are under way, how many may be, and the state.
func (b *Breaker) Load() (inFlight, limit int, s State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.open && b.fresh != nil:
		s = Probing
	case b.open:
		s = Open
	}
	return len(b.inFlight) + len(b.writtenOff), b.limiter.calls(), s
}
