package rabbitmq

import (
	"sync"
	"time"
)

// ending is what became of a message as far as its queue is concerned.
type ending uint8

// A message that went to several functions has several endings; the largest is
// the one that counts.
const (
	pending ending = iota
	acked
	retried
	deadLettered
	returned // to its queue; the last of the kinds, since nothing else is to become of it
)

// window tracks the messages of one AMQP channel that are in hand, and
// acknowledges them in as few frames as possible: everything up to the first
// message that is still open in one frame, and what is stranded behind such a
// message one by one, but only after a while.
//
// It belongs to one channel: after close it ignores what late callers say, so
// that their delivery tags cannot settle messages of the next channel.
type window struct {
	ack   func(tag uint64, multiple bool) error
	stats *queueStats
	// stranded is signalled when messages are settled that cannot be acknowledged
	// together with all before them.
	stranded chan struct{}

	mu      sync.Mutex
	closed  bool
	first   uint64 // delivery tag of entries[0]
	entries []entry
	held    int // settled, not acknowledged
}

type entry struct {
	at     time.Time
	ending ending
	sent   bool // acknowledged on its own
}

func newWindow(ack func(tag uint64, multiple bool) error, stats *queueStats) *window {
	w := &window{ack: ack, stats: stats, stranded: make(chan struct{}, 1), first: 1}
	stats.open(w)
	return w
}

// add takes in the delivery with the next tag: they count from 1 without gaps.
func (w *window) add(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = append(w.entries, entry{at: now})
	w.stats.receive()
}

// settle ends messages and acknowledges what can be. Tags that are settled
// already are ignored.
func (w *window) settle(tags []uint64, endings []ending) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	var tally [deadLettered + 1]int
	for i, tag := range tags {
		if tag < w.first || tag-w.first >= uint64(len(w.entries)) {
			continue
		}
		e := &w.entries[tag-w.first]
		if e.ending != pending {
			continue
		}
		e.ending = endings[i]
		w.held++
		tally[e.ending]++
	}
	w.stats.settle(tally)
	err := w.advance()
	if w.held > 0 {
		select {
		case w.stranded <- struct{}{}:
		default:
		}
	}
	return err
}

// advance acknowledges the messages before the first open one.
func (w *window) advance() error {
	n, unsent := 0, 0
	var last uint64 // of the unsent; RabbitMQ closes the channel for a tag it has seen
	for n < len(w.entries) && w.entries[n].ending != pending {
		if !w.entries[n].sent {
			unsent++
			last = w.first + uint64(n)
		}
		n++
	}
	if n == 0 {
		return nil
	}
	w.first += uint64(n)
	w.entries = append(w.entries[:0], w.entries[n:]...)
	w.held -= unsent
	if unsent == 0 {
		return nil
	}
	return w.ack(last, unsent > 1)
}

// flush acknowledges the stranded messages.
func (w *window) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.entries {
		if e := &w.entries[i]; !w.closed && e.ending != pending && !e.sent {
			e.sent = true
			w.held--
			if err := w.ack(w.first+uint64(i), false); err != nil {
				return err
			}
		}
	}
	return nil
}

// oldest returns when the oldest open message came in; zero where none is open.
func (w *window) oldest() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.entries) == 0 {
		return time.Time{}
	}
	return w.entries[0].at // advance keeps the first entry an open one
}

// giveBackUntouched gives messages back to the queue that no function was called with,
// while others are still in calls.
func (w *window) giveBackUntouched(tags []uint64, nack func(tag uint64, multiple, requeue bool) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	defer func() { w.stats.giveBack(n) }()
	for _, tag := range tags {
		if w.closed || tag < w.first || tag-w.first >= uint64(len(w.entries)) || w.entries[tag-w.first].ending != pending {
			continue
		}
		if err := nack(tag, false, true); err != nil {
			return err
		}
		e := &w.entries[tag-w.first]
		e.ending, e.sent = returned, true
		n++
	}
	if w.closed {
		return nil
	}
	return w.advance()
}

// giveBack ends the window: it acknowledges what is settled and gives everything
// else back to the queue, also what the client has not handed over yet. It takes a
// frame for each run of messages of one kind. RabbitMQ 4.3 counts a failed delivery
// for each message that is in hand when a channel is closed, but not for one that is
// given back.
func (w *window) giveBack(nack func(tag uint64, multiple, requeue bool) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	defer w.end()
	var (
		last    uint64 // tag of the run
		settled bool   // what the run is
	)
	for i := range w.entries {
		e := &w.entries[i]
		if e.sent {
			continue
		}
		if is := e.ending != pending; last != 0 && is != settled {
			if err := w.release(last, settled, nack); err != nil {
				return err
			}
		}
		last, settled = w.first+uint64(i), e.ending != pending
	}
	if settled {
		if err := w.release(last, settled, nack); err != nil {
			return err
		}
	}
	return nack(0, true, true) // all that are left
}

// release ends a run, up to its last tag: all before it are released.
func (w *window) release(last uint64, settled bool, nack func(tag uint64, multiple, requeue bool) error) error {
	if settled {
		return w.ack(last, true)
	}
	return nack(last, true, true)
}

// close ends the window of a channel that is gone; what is open is on its way back
// to the queue.
func (w *window) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.end()
	}
}

func (w *window) end() {
	w.closed = true
	n := 0
	for i := range w.entries {
		if w.entries[i].ending == pending {
			n++
		}
	}
	w.entries = nil
	w.stats.giveBack(n)
	w.stats.close(w)
}
