package rabbitmq

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"parkstream/connectors/rabbitmq/internal/breaker"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
	"parkstream/shared/faas"
)

// target is one function as the connector calls it, from whatever queue.
type target struct {
	*openfaas.Function
	breaker *breaker.Breaker
	gateway *openfaas.Gateway
	metrics *metrics
	log     *slog.Logger
	tracer  trace.Tracer // nil where tracing is off
}

// fate is what is to become of an item.
type fate uint8

const (
	hold        fate = iota // it stays in hand and costs nothing
	postpone                // it waits at the broker and costs nothing
	unavailable             // likewise: what its function needs for it is unavailable
	done                    // acknowledge it
	retry                   // it spends one attempt
	reject                  // dead-letter it
)

type ruling struct {
	fate   fate
	reason string
	status int
	// call is the context of the call that it stems from, for the log; nil where
	// there was none.
	call context.Context
}

const (
	// maxSamples is how many events are called alone to find out whether a
	// function that did not survive a batch is alive. Halving a batch of 500 down
	// to its last event would need a thousand calls to learn the same.
	maxSamples = 3
)

// round is the delivery of one batch with what it takes to find out whose fault
// a failure is: the function's, or that of one of the events.
type round struct {
	ctx    context.Context // of the calls
	life   context.Context // while it is of use to begin another call
	target *target
	queue  string
	permit *breaker.Permit
	probe  bool // the calls find out whether an outage is over

	items   []item
	rulings []ruling // of items; undecided ones are held
	decided []bool
	over    bool // the function cannot be called at present
}

// deliver calls the function with items until everything is decided or an outage
// is found, and tells the breaker about it.
//
// No further call is begun once life has ended: the broker delivers the items
// again.
func (t *target) deliver(ctx, life context.Context, queue string, p *breaker.Permit, items []item) []ruling {
	r := &round{
		ctx: ctx, life: life, target: t, queue: queue, permit: p, probe: p.Probe,
		items: items, rulings: make([]ruling, len(items)), decided: make([]bool, len(items)),
	}
	all := make([]int, len(items))
	for i := range all {
		all[i] = i
	}
	r.run(all)
	return r.rulings
}

// run delivers a part of the batch, given as indices.
func (r *round) run(part []int) {
	if r.over || len(part) == 0 {
		return
	}
	if r.life.Err() != nil {
		r.over = true
		return
	}
	if len(part) == 1 && r.items[part[0]].history.FailedAlone >= message.MaxFailedAlone && r.target.Batched() && !r.aliveWithout() {
		return
	}
	// A crash is the event's fault if the function answers others. That it rejects
	// others does not say that it could do one, so an outage asks for more.
	lastSuccess, lastDone := r.target.breaker.Last()
	start := time.Now()
	a := r.call(part)
	if len(part) > 1 && !a.Cancelled && (a.Verdict == batch.Crash || a.Verdict == batch.Refused) {
		// A function that has to start again after such a call is away while it is
		// asked which event it was; the next calls have to get closer to it then.
		r.divide(part)
	}
	switch {
	case a.Cancelled:
		r.over = true
	case a.Results != nil:
		r.accept(part, &a)
	case a.Verdict == batch.Outage && len(part) == 1:
		r.outageAlone(part[0], &a, lastDone, start)
	case a.Verdict == batch.Outage:
		after := a.RetryAfter
		if r.suspicious(part, lastDone, start) {
			r.divide(part)
			after = a.throttled()
		}
		r.stop(a.Reason, after)
	case len(part) == 1 && a.Verdict == batch.Refused:
		r.decide(part[0], ruling{reject, a.Reason, a.Status, a.ctx})
	case len(part) == 1:
		r.crashed(part[0], &a, lastSuccess, start)
	case a.Verdict == batch.Refused: // alive, and at least one event is not to its taste
		r.halve(part)
	case r.alive(part):
		r.halve(part)
	default:
		r.stop(a.Reason, 0)
	}
}

// divide has the next calls with these items carry half as many.
func (r *round) divide(part []int) {
	for _, i := range part {
		r.items[i].history.Halve(len(part))
	}
}

// suspicious notes that a call with these items failed, and says whether one of
// them failed before while the function has succeeded with something since: the
// fault may be the items' then. What succeeded after the start of the call is no
// proof: of several calls at the start of an outage some are answered last.
func (r *round) suspicious(part []int, lastSuccess, start time.Time) bool {
	found := false
	for _, i := range part {
		found = r.items[i].history.CallFailed(start, lastSuccess) || found
	}
	return found && !r.probe
}

// answer is what a call came to, with the context of the call: it has its id and its span.
type answer struct {
	openfaas.Response
	ctx context.Context
}

func (r *round) call(part []int) answer {
	items := make([]*message.Delivery, len(part))
	for j, i := range part {
		items[j] = r.items[i].Delivery
	}
	callID := uuid.NewString()
	ctx, span := r.target.span(faas.ContextWithCallID(r.ctx, callID), r.queue, callID, items)
	start := time.Now()
	r.target.breaker.Begin(r.permit)
	buf := message.NewRequestBuffer()
	a := answer{r.target.gateway.Invoke(ctx, r.target.Function, buf.Request(r.target.Function, r.queue, callID, items)), ctx}
	buf.Release()
	a.Reason = clip(a.Reason)
	endSpan(span, &a)
	if a.Cancelled {
		return a
	}
	r.target.metrics.call(ctx, r.target.Name, items, start, &a)
	r.log(&a, len(part))
	return a
}

// log writes one line for each call, at debug where it was a single raw message
// that is done.
func (r *round) log(a *answer, events int) {
	level := slog.LevelInfo
	switch {
	case a.Verdict != batch.Answered:
		level = slog.LevelWarn
	case !r.target.Batched():
		level = slog.LevelDebug
	}
	if !r.target.log.Enabled(a.ctx, level) {
		return
	}
	attrs := []any{"function", r.target.Name, "queue", r.queue, "events", events, "verdict", verdictNames[a.Verdict], "took", a.Took}
	if a.Verdict == batch.Answered {
		outcomes := make(map[batch.Outcome]int, len(fates))
		for i := range a.Results {
			outcome := a.Results[i].Outcome
			if a.Results[i].Unavailable {
				outcome = "unavailable"
			}
			outcomes[outcome]++
		}
		attrs = append(attrs, "outcomes", outcomes)
	} else {
		attrs = append(attrs, "reason", a.Reason)
	}
	r.target.log.Log(a.ctx, level, "called", attrs...)
}

func (r *round) decide(i int, v ruling) {
	r.rulings[i] = v
	r.decided[i] = true
}

// fates of the outcomes of a batch's answer.
var fates = map[batch.Outcome]fate{batch.Done: done, batch.Retry: retry, batch.Reject: reject}

// accept decides items by the results of an answer.
func (r *round) accept(part []int, a *answer) {
	var finished, rejected, waiting int
	waitReason := a.Results[0].Reason // of the first that is unavailable, if one is
	for _, res := range a.Results {
		switch {
		case res.Outcome == batch.Done:
			finished++
		case res.Outcome == batch.Reject:
			rejected++
		case res.Unavailable:
			if waiting++; waiting == 1 {
				waitReason = res.Reason
			}
		}
	}
	// A rejection tells nothing of what others need.
	useful := finished > 0 || rejected > 0 && waiting == 0
	if useful {
		r.target.breaker.Succeeded(r.permit, a.Took, finished > 0)
	} else {
		r.target.breaker.Answered()
	}
	_, lastDone := r.target.breaker.Last()
	partial := false
	for j, i := range part {
		res := &a.Results[j]
		v := ruling{fates[res.Outcome], clip(res.Reason), a.Status, a.ctx}
		if res.Unavailable {
			v.fate = unavailable
			others := lastDone.After(r.items[i].Received)
			r.items[i].history.Wait(others)
			partial = others || partial
		}
		r.decide(i, v)
	}
	switch {
	case useful:
	case partial && !r.probe: // an outage of a part
	case waiting > 0 || len(part) > 1 || r.probe:
		// What the function needs is unavailable. No more events are fed to it for now.
		r.stop("every event has to wait: "+clip(waitReason), a.RetryAfter)
	}
}

// stop ends the round with an outage; what is undecided is held.
func (r *round) stop(reason string, after time.Duration) {
	r.over = true
	r.target.breaker.Failed(r.permit, reason, after)
}

// crashed notes that the function did not survive a call with nothing but one
// event in it. The event is to blame, and spends an attempt, when it is
// suspicious. Where a function takes single raw messages and cannot be asked
// without one, it also does when it has failed alone often enough.
func (r *round) crashed(i int, a *answer, lastSuccess, start time.Time) {
	tooOften := r.items[i].history.FailedOnItsOwn()
	guilty := r.suspicious([]int{i}, lastSuccess, start) || tooOften && !r.target.Batched()
	v := ruling{hold, a.Reason, a.Status, a.ctx}
	if guilty {
		v.fate = retry
	}
	r.decide(i, v)
	if lastSuccess, _ := r.target.breaker.Last(); len(r.items) == 1 && (r.probe || !guilty) && !lastSuccess.After(start) {
		r.stop(a.Reason, 0)
	}
}

// aliveWithout says whether the function answers a batch of no events. It is asked
// before an event that has failed alone often, and not after: one that kills the
// function leaves it unable to answer for a while.
func (r *round) aliveWithout() bool {
	a := r.call(nil)
	switch {
	case a.Cancelled:
		r.over = true
	case a.Verdict == batch.Answered, a.Verdict == batch.Refused: // a batch without events is not to every function's taste
		r.target.breaker.Succeeded(r.permit, a.Took, false)
		r.probe = false // the outage is over
		return true
	default:
		r.stop(a.Reason, a.RetryAfter)
	}
	return false
}

// outageAlone notes that a call with nothing but one event was answered as in an
// outage. Most often it is one, and costs the event nothing. But a function may
// say 404 or 503 to just this event: a suspicious one waits at the broker, so that
// it is in nobody's way, and pays each time that has happened often enough.
func (r *round) outageAlone(i int, a *answer, lastDone, start time.Time) {
	v := ruling{hold, a.Reason, a.Status, a.ctx}
	after := a.RetryAfter
	if r.suspicious([]int{i}, lastDone, start) {
		after = a.throttled()
		v.fate = postpone
		if r.items[i].history.FailedOnItsOwn() {
			v.fate = retry
		}
	}
	r.decide(i, v)
	if _, lastDone := r.target.breaker.Last(); a.Status == http.StatusTooManyRequests || after > 0 || !lastDone.After(start) {
		r.stop(a.Reason, after)
	}
}

// throttled returns how long the function wants to be left alone whatever event it
// was called with; what it asks for because of one event must not hold up others.
func (a *answer) throttled() time.Duration {
	if a.Status == http.StatusTooManyRequests {
		return a.RetryAfter
	}
	return 0
}

// alive calls single events of a part that failed as a whole until one of them
// is answered.
func (r *round) alive(part []int) bool {
	for _, i := range [maxSamples]int{part[0], part[len(part)-1], part[len(part)/2]} {
		if r.decided[i] { // a short part has fewer events to try
			continue
		}
		failed := r.items[i].history.FailedAlone
		r.run([]int{i})
		switch {
		case r.over:
			return false
		case r.items[i].history.FailedAlone == failed:
			return true
		}
	}
	return false
}

// halve delivers the undecided events of a part in two parts.
func (r *round) halve(part []int) {
	left := make([]int, 0, len(part))
	for _, i := range part {
		if !r.decided[i] {
			left = append(left, i)
		}
	}
	r.run(left[:len(left)/2])
	r.run(left[len(left)/2:])
}
