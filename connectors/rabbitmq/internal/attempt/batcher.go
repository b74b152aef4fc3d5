package attempt

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Batcher cuts what has been collected into batches. It is a plain value: no goroutine,
// no clock; its user holds a lock and tells it the time.
type Batcher struct {
	MaxEvents int           // in a batch
	MaxBytes  int           // of a batch; a larger event goes alone
	Linger    time.Duration // how long a batch waits for more events while others are in flight

	events   []Event // oldest first
	bytes    int     // of events
	since    time.Time
	isolated []Event // to be called alone: each was alone in a call that failed
}

// Add takes one more event. It reports whether the batcher's user should have a look:
// there was nothing before, or a batch is full now.
func (b *Batcher) Add(e Event, now time.Time) (news bool) {
	if e.History.Isolated() {
		b.isolated = append(b.isolated, e)
		return true
	}
	if len(b.events) == 0 {
		b.since = now
	}
	wasFull := b.full()
	b.events = append(b.events, e)
	b.bytes += e.size()
	return len(b.events) == 1 || b.full() && !wasFull
}

// PutBack takes events back that are kept for another attempt, as the oldest.
func (b *Batcher) PutBack(events []Event, now time.Time) {
	kept := make([]Event, 0, len(events)+len(b.events))
	for _, e := range events {
		if e.History.Isolated() {
			b.isolated = append(b.isolated, e)
			continue
		}
		kept = append(kept, e)
		b.bytes += e.size()
	}
	if len(b.events) == 0 {
		b.since = now
	}
	b.events = append(kept, b.events...)
}

// Len returns how many events there are.
func (b *Batcher) Len() int { return len(b.events) + len(b.isolated) }

func (b *Batcher) full() bool { return len(b.events) >= b.MaxEvents || b.bytes >= b.MaxBytes }

// Wait returns how long a batch should linger for more events: not at all while nothing
// else is in flight (busy is false), so that a single event is never held up.
func (b *Batcher) Wait(now time.Time, busy bool) time.Duration {
	if !busy || len(b.isolated) > 0 || b.full() {
		return 0
	}
	return max(0, b.Linger-now.Sub(b.since))
}

// Take cuts the next batch: an isolated event, or the oldest events within the limits of
// the batcher and of their histories. It returns nil if there is none.
func (b *Batcher) Take(now time.Time) []Event {
	if len(b.isolated) > 0 {
		return b.takeIsolated()
	}
	n, bytes, most := 0, 0, b.MaxEvents
	for n < len(b.events) && n < most {
		e := &b.events[n]
		if limit := e.History.MaxBatch; limit > 0 {
			most = min(most, limit)
		}
		if n > 0 && (n >= most || bytes+e.size() > b.MaxBytes) {
			break
		}
		bytes += e.size()
		n++
	}
	return b.cut(n, bytes, now)
}

// TakeProbe cuts a batch of one, of any event that is not isolated if there is one: those
// that cannot be done may all be the oldest.
func (b *Batcher) TakeProbe(now time.Time) []Event {
	if len(b.events) == 0 && len(b.isolated) > 0 {
		return b.takeIsolated()
	}
	if len(b.events) == 0 {
		return nil
	}
	i := rand.IntN(len(b.events))
	b.events[0], b.events[i] = b.events[i], b.events[0]
	return b.cut(1, b.events[0].size(), now)
}

func (b *Batcher) takeIsolated() []Event {
	batch := []Event{b.isolated[0]}
	b.isolated = slices.Delete(b.isolated, 0, 1)
	return batch
}

func (b *Batcher) cut(n, bytes int, now time.Time) []Event {
	if n == 0 {
		return nil
	}
	batch := append(make([]Event, 0, n), b.events[:n]...)
	b.events = slices.Delete(b.events, 0, n)
	b.bytes -= bytes
	b.since = now
	return batch
}

// TakeSome takes up to n events, as many bytes as one batch may have, those first that
// are not isolated.
func (b *Batcher) TakeSome(n int) []Event {
	count, bytes := 0, 0
	for count < min(n, len(b.events)) && (count == 0 || bytes+b.events[count].size() <= b.MaxBytes) {
		bytes += b.events[count].size()
		count++
	}
	some := b.cut(count, bytes, b.since)
	for len(some) < n && len(b.events) == 0 && len(b.isolated) > 0 && (len(some) == 0 || bytes+b.isolated[0].size() <= b.MaxBytes) {
		bytes += b.isolated[0].size()
		some = append(some, b.takeIsolated()...)
	}
	return some
}

// TakeAll empties the batcher.
func (b *Batcher) TakeAll() []Event {
	all := slices.Concat(b.events, b.isolated)
	b.events, b.isolated, b.bytes = nil, nil, 0
	return all
}
