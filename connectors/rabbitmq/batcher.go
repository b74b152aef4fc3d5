package rabbitmq

import (
	"math/rand/v2"
	"slices"
	"time"
)

// batcher cuts what has been collected into batches. It is a plain value: no
// goroutine, no clock; its user holds a lock and says what time it is.
type batcher struct {
	maxCount int
	maxBytes int
	linger   time.Duration

	items []item // oldest first
	bytes int    // of items
	since time.Time
	solo  []item // to be called alone: each was alone in a call that failed
}

// add takes one more item and says whether a caller should have a look: there
// was nothing before, or a batch is full now.
func (b *batcher) add(it item, now time.Time) (news bool) {
	if it.history.Isolated() {
		b.solo = append(b.solo, it)
		return true
	}
	if len(b.items) == 0 {
		b.since = now
	}
	wasFull := b.full()
	b.items = append(b.items, it)
	b.bytes += it.size()
	return len(b.items) == 1 || b.full() && !wasFull
}

// putBack returns items of a call that did not take place, as the oldest.
func (b *batcher) putBack(items []item, now time.Time) {
	kept := make([]item, 0, len(items)+len(b.items))
	for _, it := range items {
		if it.history.Isolated() {
			b.solo = append(b.solo, it)
			continue
		}
		kept = append(kept, it)
		b.bytes += it.size()
	}
	if len(b.items) == 0 {
		b.since = now
	}
	b.items = append(kept, b.items...)
}

func (b *batcher) empty() bool { return len(b.items) == 0 && len(b.solo) == 0 }

func (b *batcher) full() bool { return len(b.items) >= b.maxCount || b.bytes >= b.maxBytes }

// wait says how long a batch should linger for more. It does not while nothing
// else is in flight (busy), so that a lonely event is never held up.
func (b *batcher) wait(now time.Time, busy bool) time.Duration {
	if !busy || len(b.solo) > 0 || b.full() {
		return 0
	}
	return max(0, b.linger-now.Sub(b.since))
}

// take cuts the next batch: an item that has to be alone, or the oldest items
// within the limits and those that they bring. An item that is larger than the
// limit of bytes goes alone.
func (b *batcher) take(now time.Time) []item {
	if len(b.solo) > 0 {
		return b.takeSolo()
	}
	n, bytes, most := 0, 0, b.maxCount
	for n < len(b.items) && n < most {
		it := &b.items[n]
		if n := it.history.MaxBatch; n > 0 {
			most = min(most, n)
		}
		if n > 0 && (n >= most || bytes+it.size() > b.maxBytes) {
			break
		}
		bytes += it.size()
		n++
	}
	return b.cut(n, bytes, now)
}

// takeProbe cuts a batch of one, of any item that has not failed alone if there is
// one: those that cannot be done may all be the oldest.
func (b *batcher) takeProbe(now time.Time) []item {
	if len(b.items) == 0 && len(b.solo) > 0 {
		return b.takeSolo()
	}
	if len(b.items) == 0 {
		return nil
	}
	i := rand.IntN(len(b.items))
	b.items[0], b.items[i] = b.items[i], b.items[0]
	return b.cut(1, b.items[0].size(), now)
}

func (b *batcher) takeSolo() []item {
	batch := []item{b.solo[0]}
	b.solo = append(b.solo[:0], b.solo[1:]...)
	return batch
}

func (b *batcher) cut(n, bytes int, now time.Time) []item {
	if n == 0 {
		return nil
	}
	batch := append(make([]item, 0, n), b.items[:n]...)
	left := copy(b.items, b.items[n:])
	clear(b.items[left:])
	b.items = b.items[:left]
	b.bytes -= bytes
	b.since = now
	return batch
}

// takeSome takes up to n items, as many bytes as one batch may have, those first that
// need not be alone.
func (b *batcher) takeSome(n int) []item {
	count, bytes := 0, 0
	for count < min(n, len(b.items)) && (count == 0 || bytes+b.items[count].size() <= b.maxBytes) {
		bytes += b.items[count].size()
		count++
	}
	some := b.cut(count, bytes, b.since)
	for len(some) < n && len(b.items) == 0 && len(b.solo) > 0 && (len(some) == 0 || bytes+b.solo[0].size() <= b.maxBytes) {
		bytes += b.solo[0].size()
		some = append(some, b.takeSolo()...)
	}
	return some
}

// takeAll empties the batcher.
func (b *batcher) takeAll() []item {
	all := slices.Concat(b.items, b.solo)
	b.items, b.solo, b.bytes = nil, nil, 0
	return all
}
