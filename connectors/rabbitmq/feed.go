package rabbitmq

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"parkstream/connectors/rabbitmq/internal/breaker"
)

// feed brings the messages of one queue into one function. Its goroutine waits
// for messages, then for the breaker, and only then cuts a batch, so that a batch
// has everything that came in while the function was busy.
type feed struct {
	target   *target
	consumer *consumer
	// shared says that other functions listen to the queue as well: this one must
	// not keep messages in hand during an outage, or the others would starve.
	shared bool

	mu      sync.Mutex
	batcher batcher
	// byEvent reports whether the last call told its events apart: some of them were
	// unavailable. Then a probe may be a whole batch.
	byEvent bool
	// failedProbes counts the consecutive probes that have not ended the outage.
	failedProbes int
	// turn is how many events were taken out of hand after the last of them.
	turn int
	wake chan struct{}
}

func newFeed(t *target, c *consumer, shared bool) *feed {
	return &feed{
		target: t, consumer: c, shared: shared, wake: make(chan struct{}, 1),
		batcher: batcher{maxCount: t.PerCall(), maxBytes: t.BatchBytes, linger: t.Linger},
	}
}

func (f *feed) add(it item, now time.Time) {
	f.mu.Lock()
	news := f.batcher.add(it, now)
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
		p, err := f.target.breaker.Acquire(ctx, !f.shared)
		if errors.Is(err, breaker.ErrOpen) {
			f.deferAll()
			continue
		}
		if err != nil {
			return
		}
		items := f.collect(ctx, p)
		if len(items) == 0 {
			f.target.breaker.Release(p)
			continue
		}
		if p.Fresh {
			// A connection kept from before the outage may lead to what is gone.
			f.consumer.gateway.CloseIdleConnections()
		}
		f.consumer.calls.Go(func() { f.serve(p, items) })
	}
}

// await waits until there is something to deliver.
func (f *feed) await(ctx context.Context) bool {
	for ctx.Err() == nil {
		f.mu.Lock()
		empty := f.batcher.empty()
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
func (f *feed) collect(ctx context.Context, p *breaker.Permit) []item {
	for {
		f.mu.Lock()
		now := time.Now()
		if p.Fresh {
			defer f.mu.Unlock()
			if f.byEvent {
				return f.batcher.take(now)
			}
			return f.batcher.takeProbe(now)
		}
		wait := f.batcher.wait(now, p.Busy)
		if wait == 0 {
			defer f.mu.Unlock()
			return f.batcher.take(now)
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
func (f *feed) serve(p *breaker.Permit, items []item) {
	ctx, cancel := context.WithCancel(f.consumer.callCtx)
	defer cancel()
	f.target.breaker.OnSilence(p, cancel)
	rulings := f.target.deliver(ctx, f.consumer.life, f.consumer.queue, p, items)
	f.mu.Lock()
	f.byEvent = slices.ContainsFunc(rulings, func(v ruling) bool { return v.fate == unavailable })
	f.mu.Unlock()
	f.target.breaker.Release(p)
	f.consumer.settle(f.recipient(), items, rulings, f.keep)
	if p.Probe {
		f.turnOver()
	}
}

// keep takes back items that stay in hand.
func (f *feed) keep(items []item) {
	f.mu.Lock()
	f.batcher.putBack(items, time.Now())
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
	reason, since := f.target.breaker.Outage()
	most := max(f.target.PerCall(), f.target.MaxInFlight)
	f.mu.Lock()
	if since.IsZero() {
		f.failedProbes, f.turn = 0, 0
	} else {
		f.failedProbes++
	}
	var some []item
	if f.failedProbes > patientProbes && !f.shared {
		f.turn = min(max(1, 2*f.turn), most)
		some = f.batcher.takeSome(f.turn)
	}
	f.mu.Unlock()
	r := f.recipient()
	r.away = 0 // how often that happens depends on the probes
	f.postpone(r, some, reason)
}

// deferAll has everything wait at the broker for the end of an outage.
func (f *feed) deferAll() {
	f.mu.Lock()
	items := f.batcher.takeAll()
	f.mu.Unlock()
	reason, _ := f.target.breaker.Outage()
	f.consumer.calls.Go(func() { f.postpone(f.recipient(), items, reason) })
}

// postpone has items wait at the broker, which costs them nothing.
func (f *feed) postpone(r recipient, items []item, reason string) {
	if len(items) == 0 {
		return
	}
	rulings := make([]ruling, len(items))
	for i := range rulings {
		rulings[i] = ruling{fate: postpone, reason: reason}
	}
	f.consumer.settle(r, items, rulings, f.keep)
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
	r := recipient{name: f.target.Name, maxAttempts: f.target.MaxAttempts, shared: f.shared}
	if _, since := f.target.breaker.Outage(); !since.IsZero() {
		r.away = time.Since(since)
	}
	return r
}
