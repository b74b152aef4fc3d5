package rabbitmq

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"parkstream/connectors/rabbitmq/internal/attempt"
	"parkstream/connectors/rabbitmq/internal/breaker"
)

// dispatcher brings the events of one queue into one function. Its goroutine waits for
// events, then for the breaker, and only then cuts a batch, so that a batch has everything
// that came in while the function was busy.
type dispatcher struct {
	endpoint *endpoint
	callee   attempt.Callee // the endpoint, as it is called with the events of this queue
	settler  *settler
	// shared reports that other functions listen to the queue as well: this one must not
	// keep events unacknowledged during an outage, or the others would starve.
	shared bool
	// freshen closes idle connections, so that the next call most often goes over a new
	// one: one that was kept from before an outage may lead to what is gone.
	freshen func()
	wake    chan struct{}

	mu      sync.Mutex
	batcher attempt.Batcher
	// byEvent reports whether the last call told its events apart: some of them were
	// unavailable. Then a probe may be a whole batch.
	byEvent  bool
	turnover turnover
}

func newDispatcher(e *endpoint, i attempt.Invoker, s *settler, shared bool, freshen func()) *dispatcher {
	f := e.function
	return &dispatcher{
		endpoint: e, callee: attempt.Callee{Invoker: i, Breaker: e.breaker, Batched: f.Batched()},
		settler: s, shared: shared, freshen: freshen, wake: make(chan struct{}, 1),
		batcher: attempt.Batcher{MaxEvents: f.PerCall(), MaxBytes: f.BatchBytes, Linger: f.Linger},
	}
}

// add takes one more event.
func (d *dispatcher) add(e attempt.Event, now time.Time) {
	d.mu.Lock()
	news := d.batcher.Add(e, now)
	d.mu.Unlock()
	if news {
		d.signal()
	}
}

// keep takes back events that stay unacknowledged.
func (d *dispatcher) keep(events []attempt.Event) {
	d.mu.Lock()
	d.batcher.PutBack(events, time.Now())
	d.mu.Unlock()
	d.signal()
}

// takeAll returns the events that no call has.
func (d *dispatcher) takeAll() []attempt.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.batcher.TakeAll()
}

func (d *dispatcher) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run makes calls until taking ends. Calls, and what they settle, run in a group; they
// end with the context of calls at the latest. What is left goes back to the queue.
func (d *dispatcher) run(taking, calls context.Context, group *sync.WaitGroup) {
	for d.await(taking) {
		p, err := d.endpoint.breaker.Acquire(taking, !d.shared)
		if errors.Is(err, breaker.ErrOpen) {
			events := d.takeAll()
			reason, _ := d.endpoint.breaker.Outage()
			group.Go(func() { d.deferEvents(taking, d.recipient(), events, reason) })
			continue
		}
		if err != nil {
			return
		}
		events := d.collect(taking, p)
		if len(events) == 0 {
			d.endpoint.breaker.Release(p)
			continue
		}
		if p.Fresh {
			d.freshen()
		}
		group.Go(func() { d.attempt(taking, calls, p, events) })
	}
}

// await waits until there are events. It reports false when taking has ended.
func (d *dispatcher) await(taking context.Context) bool {
	for taking.Err() == nil {
		d.mu.Lock()
		n := d.batcher.Len()
		d.mu.Unlock()
		if n > 0 {
			return true
		}
		select {
		case <-d.wake:
		case <-taking.Done():
		}
	}
	return false
}

// collect cuts a batch; it lingers for more events if that pays.
func (d *dispatcher) collect(taking context.Context, p *breaker.Permit) []attempt.Event {
	for {
		events, wait := d.cut(p)
		if wait == 0 {
			return events
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-d.wake:
		case <-taking.Done():
		}
		timer.Stop()
		if taking.Err() != nil {
			return nil
		}
	}
}

// cut cuts a batch, or returns how long to wait for more events.
func (d *dispatcher) cut(p *breaker.Permit) (events []attempt.Event, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if p.Fresh && !d.byEvent {
		return d.batcher.TakeProbe(now), 0
	}
	if !p.Fresh {
		if wait := d.batcher.Wait(now, p.Busy); wait > 0 {
			return nil, wait
		}
	}
	return d.batcher.Take(now), 0
}

// attempt brings a batch into the function and settles it.
func (d *dispatcher) attempt(taking, calls context.Context, p *breaker.Permit, events []attempt.Event) {
	ctx, cancel := context.WithCancel(calls)
	defer cancel()
	d.endpoint.breaker.OnSilence(p, cancel)
	probe := p.Probe // Run may clear it
	decisions := attempt.Run(ctx, d.settler.settling.Done(), &d.callee, p, events)
	d.mu.Lock()
	d.byEvent = slices.ContainsFunc(decisions, func(one attempt.Decision) bool { return one.Disposition == attempt.Unavailable })
	d.mu.Unlock()
	d.endpoint.breaker.Release(p)
	d.settler.settle(taking, d.recipient(), events, decisions, d.keep)
	if probe {
		d.turnOver(taking)
	}
}

// turnOver makes room for other events after a probe, if the outage goes on.
func (d *dispatcher) turnOver(taking context.Context) {
	f := d.endpoint.function
	reason, since := d.endpoint.breaker.Outage()
	d.mu.Lock()
	n := d.turnover.probed(!since.IsZero(), max(f.PerCall(), f.MaxInFlight))
	var events []attempt.Event
	if n > 0 && !d.shared {
		events = d.batcher.TakeSome(n)
	}
	d.mu.Unlock()
	r := d.recipient()
	r.outage = 0 // how often that happens depends on the probes
	d.deferEvents(taking, r, events, reason)
}

// deferEvents has events wait at the broker, at no cost.
func (d *dispatcher) deferEvents(taking context.Context, r recipient, events []attempt.Event, reason string) {
	if len(events) == 0 {
		return
	}
	decisions := make([]attempt.Decision, len(events))
	for i := range decisions {
		decisions[i] = attempt.Decision{Disposition: attempt.Defer, Reason: reason}
	}
	d.settler.settle(taking, r, events, decisions, d.keep)
}

func (d *dispatcher) recipient() recipient {
	f := d.endpoint.function
	r := recipient{name: f.Name, maxAttempts: f.MaxAttempts, shared: d.shared}
	if _, since := d.endpoint.breaker.Outage(); !since.IsZero() {
		r.outage = time.Since(since)
	}
	return r
}

// patientProbes is how many consecutive probes may fail before room is made for other
// events. In a short outage none is.
const patientProbes = 5

// turnover is how many events make room for others in a long outage: those that are
// unacknowledged may be the only ones that cannot be done. From the sixth failed probe on
// some of them go through a retry queue to the end of the queue: one at first, and twice as
// many after each further probe.
type turnover struct {
	failed int // consecutive probes that have not ended the outage
	events int // after the last of them
}

// probed notes a probe, and whether the outage goes on. It returns how many events make
// room, at most most: one batch, or as many single messages as may be in flight.
func (t *turnover) probed(outage bool, most int) int {
	if !outage {
		*t = turnover{}
		return 0
	}
	if t.failed++; t.failed > patientProbes {
		t.events = min(max(1, 2*t.events), most)
	}
	return t.events
}
