package attempt

import (
	"net/http"
	"time"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/shared/batch"
)

// conclusion is what is concluded from a call, for the attempt and for the breaker.
type conclusion struct {
	finding  finding
	answered bool // the function has answered
	useful   bool // and not only to say that everything has to wait: how long that takes tells nothing of the pace
	done     bool // and an event was done
	took     time.Duration
	reason   string        // of an outage
	after    time.Duration // how long the function wants to be left alone in an outage
}

func outage(reason string, after time.Duration) conclusion {
	return conclusion{finding: down, reason: reason, after: after}
}

// judge decides what a call with a part tells of its events.
func (r *run) judge(part []int, c *call) conclusion {
	alone := len(part) == 1
	if !alone && !c.Cancelled && (c.Verdict == batch.Crash || c.Verdict == batch.Refused) {
		// A function that has to start again after such a call is unavailable while it is
		// asked which event it was; the next calls have to get closer to it then.
		r.halve(part)
	}
	switch {
	case c.Cancelled:
		return conclusion{finding: stopped}
	case c.Setup:
		return outage(c.Reason, c.RetryAfter)
	case c.Results != nil:
		return r.accept(part, c)
	case c.Verdict == batch.Outage && alone:
		return r.outageAlone(part[0], c)
	case c.Verdict == batch.Outage:
		after := c.RetryAfter
		if r.suspect(part, c.began, c.before.done) {
			r.halve(part)
			after = c.throttled()
		}
		return outage(c.Reason, after)
	case c.Verdict == batch.Refused && alone:
		r.decide(part[0], Reject, c)
		return conclusion{finding: up}
	case c.Verdict == batch.Refused:
		return conclusion{finding: refused}
	case alone:
		return r.crashedAlone(part[0], c)
	default:
		return conclusion{finding: crashed}
	}
}

func (r *run) decide(i int, d Disposition, c *call) {
	r.decisions[i] = Decision{d, c.Reason, c.Status, c.id}
}

// halve has the next calls with these events carry half as many.
func (r *run) halve(part []int) {
	for _, i := range part {
		r.events[i].History.Halve(len(part))
	}
}

// suspect notes that a call with these events failed, and reports whether the fault may
// be that of one of them: it failed before, and the function has succeeded with something
// between that and this call. What succeeded after the beginning of the call is no proof:
// of several calls at the beginning of an outage some are answered last.
func (r *run) suspect(part []int, began, succeeded time.Time) bool {
	suspected := false
	for _, i := range part {
		suspected = r.events[i].History.CallFailed(began, succeeded) || suspected
	}
	return suspected && !r.permit.Probe // a probe casts no suspicion
}

// dispositions of the outcomes of a batch's response.
var dispositions = map[batch.Outcome]Disposition{batch.Done: Done, batch.Retry: Retry, batch.Reject: Reject}

// accept decides events by the results of a response.
func (r *run) accept(part []int, c *call) conclusion {
	var done, rejected, waiting int
	waitReason := c.Results[0].Reason // of the first that is unavailable, if one is
	for _, res := range c.Results {
		switch {
		case res.Outcome == batch.Done:
			done++
		case res.Outcome == batch.Reject:
			rejected++
		case res.Unavailable:
			if waiting++; waiting == 1 {
				waitReason = res.Reason
			}
		}
	}
	partial := false // an outage of a part of what the function needs
	for j, i := range part {
		res, e := &c.Results[j], &r.events[i]
		d := Decision{dispositions[res.Outcome], message.Clip(res.Reason, message.MaxReason), c.Status, c.id}
		if res.Unavailable {
			d.Disposition = Unavailable
			others := done > 0 || c.after.done.After(e.Message.Received)
			e.History.Wait(others)
			partial = partial || others
		}
		r.decisions[i] = d
	}
	// A rejection tells nothing of what others need.
	concluded := conclusion{answered: true, useful: done > 0 || rejected > 0 && waiting == 0, done: done > 0, took: c.Took}
	switch {
	case concluded.useful:
	case partial && !r.permit.Probe:
	case waiting > 0 || len(part) > 1 || r.permit.Probe:
		// What the function needs is unavailable. No more events are called for now.
		concluded.finding, concluded.reason, concluded.after = down, "every event has to wait: "+message.Clip(waitReason, message.MaxReason), c.RetryAfter
	}
	return concluded
}

// crashedAlone decides an event that the function did not survive in a call of its own.
// The event is to blame, and spends an attempt, if it is suspect. If the function takes
// single messages and cannot be asked without one, the event also is when it has failed
// alone often enough.
func (r *run) crashedAlone(i int, c *call) conclusion {
	tooOften := r.events[i].History.FailedOnItsOwn()
	// A crash is the event's fault if the function answers others.
	guilty := r.suspect([]int{i}, c.began, c.before.answered) || tooOften && !r.callee.Batched
	if guilty {
		r.decide(i, Retry, c)
	} else {
		r.decide(i, Keep, c)
	}
	if len(r.events) == 1 && (r.permit.Probe || !guilty) && !c.after.answered.After(c.began) {
		return outage(c.Reason, 0)
	}
	return conclusion{finding: failedAlone}
}

// outageAlone decides an event that was answered as in an outage in a call of its own.
// Most often it is one, and costs the event nothing. But a function may say 404 or 503 to
// just this event: a suspect is parked in a retry queue, and spends an attempt each time
// that has happened often enough.
func (r *run) outageAlone(i int, c *call) conclusion {
	// That the function rejects others does not prove that it could do one.
	suspect, after := r.suspect([]int{i}, c.began, c.before.done), c.RetryAfter
	switch {
	case !suspect:
		r.decide(i, Keep, c)
	case r.events[i].History.FailedOnItsOwn():
		r.decide(i, Retry, c)
	default:
		r.decide(i, Defer, c)
	}
	if suspect {
		after = c.throttled()
	}
	switch {
	case c.Status == http.StatusTooManyRequests || after > 0 || !c.after.done.After(c.began):
		return outage(c.Reason, after)
	case suspect:
		return conclusion{finding: failedAlone}
	default:
		return conclusion{finding: up}
	}
}

// throttled returns how long the function wants to be left alone whatever event it was
// called with; what it asks for because of one event must not hold up others.
func (c *call) throttled() time.Duration {
	if c.Status == http.StatusTooManyRequests {
		return c.RetryAfter
	}
	return 0
}
