package unacked

import (
	"sync"
	"time"
)

// Counts counts the messages of one queue over all of its trackers, one after the other
// or at the same time. The zero value is ready to use.
type Counts struct {
	mu       sync.Mutex
	totals   Totals
	trackers map[*Tracker]struct{} // that are not closed
}

// Totals are the counts at one moment:
//
//	Received = Acked + Retried + DeadLettered + Returned + Unacked
type Totals struct {
	Received     int
	Acked        int
	Retried      int
	DeadLettered int
	Returned     int // to their queue, or lost with their channel
	Unacked      int // not settled
}

// Totals returns the counts of this moment.
func (c *Counts) Totals() Totals {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.totals
}

// Oldest returns when the oldest unsettled message was received, zero if there is none.
func (c *Counts) Oldest() time.Time {
	c.mu.Lock()
	trackers := make([]*Tracker, 0, len(c.trackers))
	for t := range c.trackers {
		trackers = append(trackers, t)
	}
	c.mu.Unlock() // a tracker counts with its own lock held
	var oldest time.Time
	for _, t := range trackers {
		if at := t.Oldest(); !at.IsZero() && (oldest.IsZero() || at.Before(oldest)) {
			oldest = at
		}
	}
	return oldest
}

func (c *Counts) open(t *Tracker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trackers == nil {
		c.trackers = make(map[*Tracker]struct{})
	}
	c.trackers[t] = struct{}{}
}

func (c *Counts) close(t *Tracker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.trackers, t)
}

func (c *Counts) receive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.totals.Received++
	c.totals.Unacked++
}

func (c *Counts) settle(n [DeadLettered + 1]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.totals.Acked += n[Acked]
	c.totals.Retried += n[Retried]
	c.totals.DeadLettered += n[DeadLettered]
	c.totals.Unacked -= n[Acked] + n[Retried] + n[DeadLettered]
}

func (c *Counts) giveBack(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.totals.Returned += n
	c.totals.Unacked -= n
}
