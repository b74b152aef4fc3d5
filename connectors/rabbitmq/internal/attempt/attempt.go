package attempt

import (
	"context"
	"net/http"
	"time"

	"parkstream/connectors/rabbitmq/internal/breaker"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
)

// Function is a function as an attempt calls it.
type Function struct {
	Invoker Invoker
	// Breaker is told what each call showed of the function.
	Breaker *breaker.Breaker
	// Batched reports that the function speaks the batch contract. One that does not gets
	// single messages, and cannot be asked whether it answers.
	Batched bool
}

// Invoker calls a function with messages of one queue.
type Invoker interface {
	// Invoke makes one call and waits for its response. Without messages it asks whether
	// the function answers. call identifies it.
	Invoke(ctx context.Context, ms []*message.Delivery) (r openfaas.Response, call *Call)
}

// maxSamples is how many events are called alone to find out whether a function that did
// not survive a batch is up. Halving a batch of 500 down to its last event would need a
// thousand calls to learn the same.
const maxSamples = 3

// Run calls the function with events until each is decided, an outage is found, or ended
// is closed: nothing can be settled then, and the broker delivers the events again. It
// returns one decision for each event, and updates the events' histories. What is not
// decided is kept. ctx bounds the calls.
func Run(ctx context.Context, ended <-chan struct{}, f *Function, p *breaker.Permit, events []Event) []Decision {
	r := &run{function: f, permit: p, ended: ended, probe: p.Probe, events: events, decisions: make([]Decision, len(events))}
	all := make([]int, len(events))
	for i := range all {
		all[i] = i
	}
	if !r.checksFirst() || r.isUp(ctx) {
		r.attempt(ctx, all)
	}
	for i := range r.decisions {
		if d := &r.decisions[i]; d.Disposition == undecided {
			d.Disposition = Keep
		}
	}
	return r.decisions
}

// run is what the calls of one Run share. A part of the batch is given as indices.
type run struct {
	function  *Function
	permit    *breaker.Permit
	ended     <-chan struct{}
	probe     bool // the calls find out whether an outage is over, which casts no suspicion on an event
	events    []Event
	decisions []Decision // of events
}

// finding is what a call showed, or several calls with a part of the batch.
type finding uint8

const (
	// up: the function answers, or did for others meanwhile. All of the part is decided.
	up finding = iota
	// failedAlone: an event failed in a call of its own, which tells nothing of the
	// function. The event is decided.
	failedAlone
	// refused: the function is up, and refuses at least one event of several.
	refused
	// crashed: the function did not survive the call. It is down, or one of several
	// events is to blame.
	crashed
	// down: the function cannot be called at present.
	down
	// stopped: the connector gave up the call, or there is nothing to be gained by another.
	stopped
)

// over reports that no further call is of use.
func (f finding) over() bool { return f == down || f == stopped }

// attempt makes the calls that it takes to decide a part of the batch.
func (r *run) attempt(ctx context.Context, part []int) finding {
	if len(part) == 0 {
		return up
	}
	select {
	case <-r.ended:
		return stopped
	default:
	}
	c := r.call(ctx, part)
	found := r.judge(part, c)
	r.report(found)
	switch found.finding {
	case refused:
		return r.bisect(ctx, part)
	case crashed:
		if r.function.Breaker.WrittenOff(r.permit) {
			// Further calls in its place would count as little, and keep others from being
			// written off.
			return stopped
		}
		return r.findCulprit(ctx, part, c)
	default:
		return found.finding
	}
}

// findCulprit decides a part that the function did not survive: if it answers single
// events of it, one of the others is to blame. If it answers none, it is down.
func (r *run) findCulprit(ctx context.Context, part []int, c *call) finding {
	switch found := r.sample(ctx, part); found {
	case up:
		return r.bisect(ctx, part)
	case failedAlone:
		r.report(outage(c.Reason, 0))
		return down
	default:
		return found
	}
}

// sample calls single events of a part until one of them is answered, or no further call
// is of use.
func (r *run) sample(ctx context.Context, part []int) finding {
	for _, i := range [maxSamples]int{part[0], part[len(part)-1], part[len(part)/2]} {
		if r.decisions[i].Disposition != undecided { // a short part has fewer events to try
			continue
		}
		if found := r.attempt(ctx, []int{i}); found != failedAlone {
			return found
		}
	}
	return failedAlone
}

// bisect decides the undecided events of a part in two parts.
func (r *run) bisect(ctx context.Context, part []int) finding {
	left := make([]int, 0, len(part))
	for _, i := range part {
		if r.decisions[i].Disposition == undecided {
			left = append(left, i)
		}
	}
	if found := r.attempt(ctx, left[:len(left)/2]); found.over() {
		return found
	}
	return r.attempt(ctx, left[len(left)/2:])
}

// call is a call that was made.
type call struct {
	openfaas.Response
	id     *Call
	began  time.Time
	before last // what the function had done before the call
	after  last // and after it, with what other calls did meanwhile
}

// last is when the function last answered a call, and when it last did an event.
type last struct{ answered, done time.Time }

func (r *run) last() (l last) {
	l.answered, l.done = r.function.Breaker.Last()
	return l
}

func (r *run) call(ctx context.Context, part []int) *call {
	ms := make([]*message.Delivery, len(part))
	for j, i := range part {
		ms[j] = r.events[i].Message
	}
	c := &call{before: r.last(), began: time.Now()}
	r.function.Breaker.Begin(r.permit)
	c.Response, c.id = r.function.Invoker.Invoke(ctx, ms)
	c.Reason = message.Clip(c.Reason, message.MaxReason)
	c.after = r.last()
	return c
}

// conclusion is what is concluded from a call, for the attempt and for the breaker.
type conclusion struct {
	finding  finding
	answered bool // the function has answered
	useful   bool // and not only to say that everything has to wait, which takes a time
	done     bool // and an event was done
	took     time.Duration
	reason   string        // of an outage
	after    time.Duration // how long the function wants to be left alone in an outage
}

func outage(reason string, after time.Duration) conclusion {
	return conclusion{finding: down, reason: reason, after: after}
}

// report tells the breaker what a call showed. Nothing else does.
func (r *run) report(c conclusion) {
	switch {
	case c.useful:
		r.function.Breaker.Succeeded(r.permit, c.took, c.done)
	case c.answered:
		r.function.Breaker.Answered()
	}
	if c.finding == down {
		r.function.Breaker.Failed(r.permit, c.reason, c.after)
	}
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
	found := false
	for _, i := range part {
		found = r.events[i].History.CallFailed(began, succeeded) || found
	}
	return found && !r.probe
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
	found := conclusion{answered: true, useful: done > 0 || rejected > 0 && waiting == 0, done: done > 0, took: c.Took}
	switch {
	case found.useful:
	case partial && !r.probe:
	case waiting > 0 || len(part) > 1 || r.probe:
		// What the function needs is unavailable. No more events are called for now.
		found.finding, found.reason, found.after = down, "every event has to wait: "+message.Clip(waitReason, message.MaxReason), c.RetryAfter
	}
	return found
}

// crashedAlone decides an event that the function did not survive in a call of its own.
// The event is to blame, and spends an attempt, if it is suspect. If the function takes
// single messages and cannot be asked without one, the event also is when it has failed
// alone often enough.
func (r *run) crashedAlone(i int, c *call) conclusion {
	tooOften := r.events[i].History.FailedOnItsOwn()
	// A crash is the event's fault if the function answers others.
	guilty := r.suspect([]int{i}, c.began, c.before.answered) || tooOften && !r.function.Batched
	if guilty {
		r.decide(i, Retry, c)
	} else {
		r.decide(i, Keep, c)
	}
	if len(r.events) == 1 && (r.probe || !guilty) && !c.after.answered.After(c.began) {
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

// checksFirst reports whether the function is asked without events before the batch is
// tried: its only event has failed alone often. It is not asked after the next failure:
// an event that kills the function leaves it unable to answer for a while.
func (r *run) checksFirst() bool {
	return r.function.Batched && len(r.events) == 1 && r.events[0].History.FailedAlone >= message.MaxFailedAlone
}

// isUp reports whether the function answers a batch of no events. An outage is over then.
func (r *run) isUp(ctx context.Context) bool {
	select {
	case <-r.ended:
		return false
	default:
	}
	c := r.call(ctx, nil)
	switch {
	case c.Cancelled:
		return false
	case c.Verdict == batch.Answered, c.Verdict == batch.Refused: // it need not take a batch without events
		r.report(conclusion{answered: true, useful: true, took: c.Took})
		r.probe = false
		return true
	default:
		r.report(outage(c.Reason, c.RetryAfter))
		return false
	}
}
