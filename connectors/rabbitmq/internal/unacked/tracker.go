// Package unacked tracks the messages of an AMQP channel that are not acknowledged,
// and acknowledges them in as few frames as possible.
package unacked

import (
	"fmt"
	"sync"
	"time"
)

// Settlement is how a message was settled, as far as its queue is concerned. Of a
// message that went to several functions the largest one counts.
type Settlement uint8

const (
	unsettled    Settlement = iota
	Acked                   // its effect is done
	Retried                 // a copy waits in a retry queue
	DeadLettered            // a copy is in the queue of dead letters
)

// Channel is an AMQP channel with deliveries.
type Channel interface {
	Ack(tag uint64, multiple bool) error
	Nack(tag uint64, multiple, requeue bool) error
}

// Tracker tracks the unacknowledged messages of one channel. It acknowledges everything
// up to the first unsettled message in one frame. What is settled out of order, behind
// an unsettled message, is acknowledged by [Tracker.Flush], one frame each.
//
// After [Tracker.GiveBackAll] or [Tracker.Close] it ignores all calls: a late delivery
// tag cannot settle a message of the next channel. All methods may be called
// concurrently.
type Tracker struct {
	channel    Channel
	counts     *Counts
	outOfOrder chan struct{}

	mu      sync.Mutex
	closed  bool
	first   uint64 // delivery tag of entries[0]
	entries []entry
	waiting int // settled out of order, not acknowledged
}

// entry is one message. The first entry of a tracker is an unsettled one.
type entry struct {
	received   time.Time
	pending    int32      // functions that have not settled it
	settlement Settlement // the largest; it stands when pending is 0
	sent       bool       // acknowledged or given back on its own
}

func (e *entry) settled() bool { return e.pending == 0 }

// New returns a tracker for a channel without deliveries, which counts in counts.
func New(channel Channel, counts *Counts) *Tracker {
	t := &Tracker{channel: channel, counts: counts, outOfOrder: make(chan struct{}, 1), first: 1}
	counts.open(t)
	return t
}

// OutOfOrder returns a channel that receives when messages were settled that cannot be
// acknowledged together with all before them. [Tracker.Flush] acknowledges them.
func (t *Tracker) OutOfOrder() <-chan struct{} { return t.outOfOrder }

// Add takes in the delivery with the next tag; tags count from 1 without gaps. The
// message is settled when Settle was called for it pending times.
func (t *Tracker) Add(received time.Time, pending int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.entries = append(t.entries, entry{received: received, pending: int32(pending)})
	t.counts.receive()
}

// Settle notes that one function is through with messages, and acknowledges what can
// be. It cannot tell which: a function must be through with a message only once. It ignores
// the tags of messages that are settled. An error of the channel means
// that it is lost: the broker delivers the messages again.
func (t *Tracker) Settle(tags []uint64, s Settlement) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	var settled [DeadLettered + 1]int
	for _, tag := range tags {
		e := t.unsettledWith(tag)
		if e == nil {
			continue
		}
		e.settlement = max(e.settlement, s)
		if e.pending--; e.settled() {
			settled[e.settlement]++
			t.waiting++
		}
	}
	t.counts.settle(settled)
	err := t.advance()
	if t.waiting > 0 {
		select {
		case t.outOfOrder <- struct{}{}:
		default:
		}
	}
	return err
}

// unsettledWith returns the unsettled message with a tag, nil if there is none.
func (t *Tracker) unsettledWith(tag uint64) *entry {
	if tag < t.first || tag-t.first >= uint64(len(t.entries)) {
		return nil
	}
	if e := &t.entries[tag-t.first]; !e.settled() {
		return e
	}
	return nil
}

// advance acknowledges the messages before the first unsettled one.
func (t *Tracker) advance() error {
	n, unsent := 0, 0
	var last uint64 // of the unsent; RabbitMQ closes the channel for a tag that it has seen
	for n < len(t.entries) && t.entries[n].settled() {
		if !t.entries[n].sent {
			unsent++
			last = t.first + uint64(n)
		}
		n++
	}
	if n == 0 {
		return nil
	}
	t.first += uint64(n)
	t.entries = append(t.entries[:0], t.entries[n:]...)
	t.waiting -= unsent
	if unsent == 0 {
		return nil
	}
	if err := t.channel.Ack(last, unsent > 1); err != nil {
		return fmt.Errorf("acknowledge %d messages: %w", unsent, err)
	}
	return nil
}

// Flush acknowledges the messages that were settled out of order.
func (t *Tracker) Flush() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flush()
}

func (t *Tracker) flush() error {
	for i := range t.entries {
		if e := &t.entries[i]; e.settled() && !e.sent {
			e.sent = true
			t.waiting--
			if err := t.channel.Ack(t.first+uint64(i), false); err != nil {
				return err
			}
		}
	}
	return nil
}

// Oldest returns when the oldest unsettled message was received, zero if there is none.
func (t *Tracker) Oldest() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.entries) == 0 {
		return time.Time{}
	}
	return t.entries[0].received
}

// GiveBack gives unsettled messages back to their queue while others stay. It ignores
// the tags of messages that are settled.
func (t *Tracker) GiveBack(tags []uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	defer func() { t.counts.giveBack(n) }()
	for _, tag := range tags {
		e := t.unsettledWith(tag)
		if e == nil {
			continue
		}
		if err := t.channel.Nack(tag, false, true); err != nil {
			return err
		}
		e.pending, e.sent = 0, true
		n++
	}
	return t.advance()
}

// GiveBackAll acknowledges what is settled, then gives everything else back to the queue,
// also what the client has not handed over yet. Nothing is tracked afterwards.
//
// RabbitMQ 4.3 counts a failed delivery for each message that is unacknowledged when a
// channel is closed, but not for one that is given back.
func (t *Tracker) GiveBackAll() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	defer t.end()
	if err := t.flush(); err != nil {
		return err
	}
	return t.channel.Nack(0, true, true) // all that are left
}

// Close ends the tracking of a channel that is lost: the broker puts what is
// unacknowledged back into the queue.
func (t *Tracker) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.end()
	}
}

func (t *Tracker) end() {
	t.closed = true
	n := 0
	for i := range t.entries {
		if !t.entries[i].settled() {
			n++
		}
	}
	t.entries = nil
	t.counts.giveBack(n)
	t.counts.close(t)
}
