package attempt

import (
	"context"
	"time"

	"parkstream/connectors/rabbitmq/internal/breaker"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
)

// Callee is a function as an attempt calls it.
type Callee struct {
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
	// the function answers. The response's reason has at most [message.MaxReason] bytes;
	// those of its results may be longer. call identifies the call.
	Invoke(ctx context.Context, ms []*message.Delivery) (r openfaas.Response, call *Call)
}

// maxSamples is how many events are called alone to find out whether a function that did
// not survive a batch is up. Halving a batch of 500 down to its last event would need a
// thousand calls to learn the same.
const maxSamples = 3

// Run calls the function with events until each is decided, an outage is found, or ended
// is closed: nothing can be settled then, and the broker delivers the events again. It
// returns one decision for each event, and updates the events' histories. What is not
// decided is kept. ctx bounds the calls. The permit is a probe no more when a check without
// events has ended the outage.
func Run(ctx context.Context, ended <-chan struct{}, c *Callee, p *breaker.Permit, events []Event) []Decision {
	r := &run{callee: c, permit: p, ended: ended, events: events, decisions: make([]Decision, len(events))}
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
	callee    *Callee
	permit    *breaker.Permit
	ended     <-chan struct{}
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
	c := r.callWith(ctx, part)
	concluded := r.judge(part, c)
	r.report(concluded)
	switch concluded.finding {
	case refused:
		return r.bisect(ctx, part)
	case crashed:
		if r.callee.Breaker.WrittenOff(r.permit) {
			// Further calls in its place would count as little, and keep others from being
			// written off.
			return stopped
		}
		return r.findCulprit(ctx, part, c)
	default:
		return concluded.finding
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
	before lasts // what the function had done before the call
	after  lasts // and after it, with what other calls did meanwhile
}

// lasts are when the function last answered a call, and when it last did an event.
type lasts struct{ answered, done time.Time }

func (r *run) lasts() (l lasts) {
	l.answered, l.done = r.callee.Breaker.Last()
	return l
}

func (r *run) callWith(ctx context.Context, part []int) *call {
	ms := make([]*message.Delivery, len(part))
	for j, i := range part {
		ms[j] = r.events[i].Message
	}
	c := &call{before: r.lasts(), began: time.Now()}
	r.callee.Breaker.Begin(r.permit)
	c.Response, c.id = r.callee.Invoker.Invoke(ctx, ms)
	c.after = r.lasts()
	return c
}

// report tells the breaker what a call showed. Nothing else does.
func (r *run) report(c conclusion) {
	switch {
	case c.useful:
		r.callee.Breaker.Succeeded(r.permit, c.took, c.done)
	case c.answered:
		r.callee.Breaker.Answered()
	}
	if c.finding == down {
		r.callee.Breaker.Failed(r.permit, c.reason, c.after)
	}
}

// checksFirst reports whether the function is asked without events before the batch is
// tried: its only event has failed alone often. It is not asked after the next failure:
// an event that kills the function leaves it unable to answer for a while.
func (r *run) checksFirst() bool {
	return r.callee.Batched && len(r.events) == 1 && r.events[0].History.FailedAlone >= message.MaxFailedAlone
}

// isUp reports whether the function answers a batch of no events. An outage is over then.
func (r *run) isUp(ctx context.Context) bool {
	select {
	case <-r.ended:
		return false
	default:
	}
	c := r.callWith(ctx, nil)
	switch {
	case c.Cancelled:
		return false
	case c.Verdict == batch.Answered, c.Verdict == batch.Refused: // it need not take a batch without events
		r.report(conclusion{answered: true, useful: true, took: c.Took})
		r.permit.Probe = false
		return true
	default:
		r.report(outage(c.Reason, c.RetryAfter))
		return false
	}
}
