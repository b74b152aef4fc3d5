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

// feed brings the messages of one queue into one function. Its goroutine waits
// for messages, then for the breaker, and only then cuts a batch, so that a batch
// has everything that came in while the function was busy.
type feed struct {
	endpoint *endpoint
	invoker  *invoker
	consumer *consumer
	// shared says that other functions listen to the queue as well: this one must
	// not keep messages in hand during an outage, or the others would starve.
	shared bool

	mu      sync.Mutex
	batcher attempt.Batcher
	// byEvent reports whether the last call told its events apart: some of them were
	// unavailable. Then a probe may be a whole batch.
	byEvent bool
	// failedProbes counts the consecutive probes that have not ended the outage.
	failedProbes int
	// turn is how many events were taken out of hand after the last of them.
	turn int
	wake chan struct{}
}

func newFeed(e *endpoint, c *consumer, shared bool) *feed {
	fn := e.function
	return &feed{
		endpoint: e, consumer: c, shared: shared, wake: make(chan struct{}, 1),
		invoker: &invoker{function: fn, queue: c.queue, gateway: c.gateway, metrics: c.metrics, log: c.log, tracer: c.tracer},
		batcher: attempt.Batcher{MaxEvents: fn.PerCall(), MaxBytes: fn.BatchBytes, Linger: fn.Linger},
	}
}

func (f *feed) add(e attempt.Event, now time.Time) {
	f.mu.Lock()
	news := f.batcher.Add(e, now)
	f.mu.Unlock()
	if news {
		f.signal()
	}
}

func (f *feed) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run dispatches until ctx ends. What is left then goes back to the queue.
func (f *feed) run(ctx context.Context) {
	for f.await(ctx) {
		p, err := f.endpoint.breaker.Acquire(ctx, !f.shared)
		if errors.Is(err, breaker.ErrOpen) {
			f.deferAll()
			continue
		}
		if err != nil {
			return
		}
		events := f.collect(ctx, p)
		if len(events) == 0 {
			f.endpoint.breaker.Release(p)
			continue
		}
		if p.Fresh {
			// A connection kept from before the outage may lead to what is gone.
			f.consumer.gateway.CloseIdleConnections()
		}
		f.consumer.calls.Go(func() { f.serve(p, events) })
	}
}

// await waits until there is something to deliver.
func (f *feed) await(ctx context.Context) bool {
	for ctx.Err() == nil {
		f.mu.Lock()
		empty := f.batcher.Len() == 0
		f.mu.Unlock()
		if !empty {
			return true
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
		}
	}
	return false
}

// collect cuts a batch; where it pays, it lingers for more.
func (f *feed) collect(ctx context.Context, p *breaker.Permit) []attempt.Event {
	for {
		f.mu.Lock()
		now := time.Now()
		if p.Fresh {
			defer f.mu.Unlock()
			if f.byEvent {
				return f.batcher.Take(now)
			}
			return f.batcher.TakeProbe(now)
		}
		wait := f.batcher.Wait(now, p.Busy)
		if wait == 0 {
			defer f.mu.Unlock()
			return f.batcher.Take(now)
		}
		f.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-f.wake:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// serve delivers one batch and settles it.
func (f *feed) serve(p *breaker.Permit, events []attempt.Event) {
	ctx, cancel := context.WithCancel(f.consumer.callCtx)
	defer cancel()
	f.endpoint.breaker.OnSilence(p, cancel)
	function := attempt.Function{Invoker: f.invoker, Breaker: f.endpoint.breaker, Batched: f.endpoint.function.Batched()}
	decisions := attempt.Run(ctx, f.consumer.life.Done(), &function, p, events)
	f.mu.Lock()
	f.byEvent = slices.ContainsFunc(decisions, func(d attempt.Decision) bool { return d.Disposition == attempt.Unavailable })
	f.mu.Unlock()
	f.endpoint.breaker.Release(p)
	f.consumer.settle(f.recipient(), events, decisions, f.keep)
	if p.Probe {
		f.turnOver()
	}
}

// keep takes back events that stay unacknowledged.
func (f *feed) keep(events []attempt.Event) {
	f.mu.Lock()
	f.batcher.PutBack(events, time.Now())
	f.mu.Unlock()
	f.signal()
}

// patientProbes is how many consecutive probes may fail before a feed turns over. In a
// short outage it does not.
const patientProbes = 5

// turnOver makes room for other events after probes that have failed: those in hand may
// be the only ones that cannot be done. From the sixth failure on some of them go through
// a retry queue to the end of the queue: one at first, and twice as many after each
// further probe, up to the events that one round of calls takes and the bytes of a batch.
func (f *feed) turnOver() {
	reason, since := f.endpoint.breaker.Outage()
	most := max(f.endpoint.function.PerCall(), f.endpoint.function.MaxInFlight)
	f.mu.Lock()
	if since.IsZero() {
		f.failedProbes, f.turn = 0, 0
	} else {
		f.failedProbes++
	}
	var some []attempt.Event
	if f.failedProbes > patientProbes && !f.shared {
		f.turn = min(max(1, 2*f.turn), most)
		some = f.batcher.TakeSome(f.turn)
	}
	f.mu.Unlock()
	r := f.recipient()
	r.away = 0 // how often that happens depends on the probes
	f.postpone(r, some, reason)
}

// deferAll has everything wait at the broker for the end of an outage.
func (f *feed) deferAll() {
	f.mu.Lock()
	events := f.batcher.TakeAll()
	f.mu.Unlock()
	reason, _ := f.endpoint.breaker.Outage()
	f.consumer.calls.Go(func() { f.postpone(f.recipient(), events, reason) })
}

// postpone has events wait at the broker, which costs them nothing.
func (f *feed) postpone(r recipient, events []attempt.Event, reason string) {
	if len(events) == 0 {
		return
	}
	decisions := make([]attempt.Decision, len(events))
	for i := range decisions {
		decisions[i] = attempt.Decision{Disposition: attempt.Defer, Reason: reason}
	}
	f.consumer.settle(r, events, decisions, f.keep)
}

// recipient is a function in its role of having to get messages of one queue.
type recipient struct {
	name        string
	maxAttempts int
	shared      bool
	away        time.Duration // how long the function has been in an outage
	unknown     bool          // it does not listen to the queue
}

// unknownFunction is the label of those; no function can be called like this.
const unknownFunction = "(unknown)"

func (f *feed) recipient() recipient {
	r := recipient{name: f.endpoint.function.Name, maxAttempts: f.endpoint.function.MaxAttempts, shared: f.shared}
	if _, since := f.endpoint.breaker.Outage(); !since.IsZero() {
		r.away = time.Since(since)
	}
	return r
}
