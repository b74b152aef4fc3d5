package message

import (
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker"
)

// History is what became of earlier calls with an event. It travels in headers while the
// event waits at the broker.
//
// While an event is unacknowledged, calls change it:
//
//	CallFailed      a call with the event failed: Last
//	FailedOnItsOwn  nothing else was in that call: FailedAlone grows
//	Halve           the call was not small enough: MaxBatch
//	Wait            what the function needs for the event is unavailable: Waits grows
//
// When the event leaves, what its copy begins with depends on what became of it:
//
//	retry        Spend: one more attempt; FailedAlone and Waits begin at zero
//	unavailable  Answered: FailedAlone begins at zero, an answer is no failure
//	deferred     as it is: an outage is not the event's fault
//	dead letter  Spend, without MaxBatch
//
// A copy that [Replay] makes begins with a zero History.
type History struct {
	// Attempts is how many attempts the event has spent.
	Attempts int
	// FailedAlone counts the consecutive calls that failed with nothing but the event in
	// them, and did not cost it an attempt. An event that has failed alone is isolated:
	// it is called alone.
	FailedAlone int
	// Waits counts the consecutive times that what its function needs for the event was
	// unavailable while others were done.
	Waits int
	// MaxBatch is how many events a call with this one may have: half of those of the
	// last call that did not go well, 0 for as many as the function takes.
	MaxBatch int
	// First and Last are when the first and the last call that failed began, zero if
	// none did. First may be zero while Last is not: it is the same then.
	First, Last time.Time
}

const (
	// MaxFailedAlone is how many consecutive times an event may fail in a call of its own
	// before the function's health is checked without it. Without that an event that
	// kills the function would be kept without end if no other events came.
	MaxFailedAlone = 5
	// MaxWaits bounds History.Waits: from then on no delay is longer, since no queue may
	// have more retry queues.
	MaxWaits = 10
)

// Isolated reports whether the event has to be called alone.
func (h *History) Isolated() bool { return h.FailedAlone > 0 }

// Failures returns how many times the event has come back, or failed alone: how long it
// waits before the next call depends on that.
func (h *History) Failures() int { return h.Attempts + h.FailedAlone + h.Waits }

// CallFailed notes that a call with the event failed, and when it began. succeeded is when
// the function had last succeeded with something before the call. It reports whether that
// was after the event's previous failure: the fault may be the event's then.
func (h *History) CallFailed(began, succeeded time.Time) (suspect bool) {
	suspect = !h.Last.IsZero() && succeeded.After(h.Last)
	h.Last = began
	return suspect
}

// FailedOnItsOwn notes that nothing but the event was in a call that failed. It reports
// whether that has happened too often.
func (h *History) FailedOnItsOwn() (tooOften bool) {
	h.FailedAlone++
	return h.FailedAlone >= MaxFailedAlone
}

// Halve has the next call with the event carry half of n events.
func (h *History) Halve(n int) { h.MaxBatch = n / 2 }

// Wait notes that what the function needs for the event is unavailable; partial, that
// others were done while the event was unacknowledged. Only then does it wait longer than
// before: what waits in an outage of all is back soon after its end.
func (h *History) Wait(partial bool) {
	if h.Waits == 0 || partial {
		h.Waits = min(h.Waits+1, MaxWaits)
	}
}

// Spend returns the history of an event that has spent one more attempt.
func (h History) Spend(now time.Time) History {
	h.Attempts++
	h.FailedAlone, h.Waits = 0, 0
	h.Last = now
	return h
}

// Answered returns the history of an event that waits although the function has answered
// for it: that is no call that failed.
func (h History) Answered() History {
	h.FailedAlone = 0
	return h
}

// fromRetryQueue reports whether a message comes from a retry queue of queue: the
// newest entry of the broker's record, which is the first one, says that it expired
// there. If it was published by us, that entry is the only one.
//
// What became of earlier calls counts only then; a dead letter that an operator moves
// back by other means than replay begins with its attempts at zero. The record can be
// forged, too, so everything is within bounds in any case, and each message ends after a
// bounded number of attempts. It waits without spending any only as long as a function
// says that what it needs is unavailable.
func fromRetryQueue(h amqp.Table, queue string) bool {
	deaths, _ := h[headerDeath].([]any)
	if len(deaths) == 0 {
		return false
	}
	newest, _ := deaths[0].(amqp.Table)
	name, _ := newest["queue"].(string)
	reason, _ := newest["reason"].(string)
	return reason == "expired" && strings.HasPrefix(name, retryPrefix(queue))
}

// retryPrefix is what the names of the retry queues of queue begin with.
func retryPrefix(queue string) string { return strings.TrimSuffix(broker.RetryQueue(queue, 0), "0") }

// failureTimes returns when the first and the last call with a message failed: not in the
// future, and not before the message was published.
func failureTimes(d *amqp.Delivery, now time.Time) (first, last time.Time) {
	first, last = instant(d.Headers, HeaderFirstTime), instant(d.Headers, HeaderLastTime)
	if last.IsZero() {
		return time.Time{}, time.Time{}
	}
	earliest := published(d)
	if earliest.IsZero() {
		earliest = time.Unix(firstYear, 0)
	}
	if last.Before(earliest) {
		last = earliest
	}
	if last.After(now) {
		last = now
	}
	if first.Before(earliest) {
		first = earliest
	}
	if first.After(last) {
		first = last
	}
	return first, last
}
