package rabbitmq

import (
	"context"
	"log/slog"
	"time"

	"parkstream/shared/batch"
)

// target is one function as the connector calls it, from whatever queue.
type target struct {
	*Function
	gate    *gate
	invoker *invoker
	metrics *metrics
	log     *slog.Logger
}

// fate is what is to become of an item.
type fate uint8

const (
	hold   fate = iota // it stays in hand and costs nothing
	done               // acknowledge it
	retry              // it spends one attempt
	reject             // dead-letter it
)

type ruling struct {
	fate   fate
	reason string
	status int
}

const (
	// maxSamples is how many events are called alone to find out whether a
	// function that did not survive a batch is alive. Halving a batch of 500 down
	// to its last event would need a thousand calls to learn the same.
	maxSamples = 3
	// maxLonely is how often an event may fail alone in a row before it pays even
	// though nothing else has succeeded meanwhile. Without it an event that kills
	// the function would be held for ever where no other events come.
	maxLonely = 5
)

// round is the delivery of one batch with what it takes to find out whose fault
// a failure is: the function's, or that of one of the events.
type round struct {
	ctx    context.Context
	target *target
	queue  string
	permit permit

	items   []item
	rulings []ruling // of items; undecided ones are held
	decided []bool
	over    bool // the function cannot be called at present
}

// deliver calls the function with items until everything is decided or an outage
// is found, and tells the gate about it.
func (t *target) deliver(ctx context.Context, queue string, p permit, items []item) []ruling {
	r := &round{
		ctx: ctx, target: t, queue: queue, permit: p,
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
	lastSuccess := r.target.gate.lastSuccess()
	a := r.call(part)
	if len(part) > 1 && !a.cancelled && (a.verdict == batch.Crash || a.verdict == batch.Refused) {
		// A function that has to start again after such a call is away while it is
		// asked which event it was; the next calls have to get closer to it then.
		for _, i := range part {
			r.items[i].most = len(part) / 2
		}
	}
	switch {
	case a.cancelled:
		r.over = true
	case a.verdict == batch.Answered:
		r.accept(part, &a)
	case a.verdict == batch.Outage:
		r.stop(a.reason, a.retryAfter)
	case len(part) == 1 && a.verdict == batch.Refused:
		r.decide(part[0], ruling{reject, a.reason, a.status})
	case len(part) == 1:
		r.crashed(part[0], &a, lastSuccess)
	case a.verdict == batch.Refused: // alive, and at least one event is not to its taste
		r.halve(part)
	case r.alive(part):
		r.halve(part)
	default:
		r.stop(a.reason, 0)
	}
}

func (r *round) call(part []int) answer {
	items := make([]item, len(part))
	for j, i := range part {
		items[j] = r.items[i]
	}
	a := r.target.invoker.call(r.ctx, r.target.Function, r.queue, items)
	if a.cancelled {
		return a
	}
	r.target.metrics.call(r.target.Name, len(part), &a)
	level := slog.LevelDebug
	if a.verdict != batch.Answered {
		level = slog.LevelWarn
	}
	r.target.log.Log(r.ctx, level, "called", "function", r.target.Name, "queue", r.queue, "events", len(part),
		"verdict", verdictNames[a.verdict], "reason", a.reason, "took", a.took, "call_id", a.callID)
	return a
}

func (r *round) decide(i int, v ruling) {
	r.rulings[i] = v
	r.decided[i] = true
}

// fates of the outcomes of a batch's answer.
var fates = map[batch.Outcome]fate{batch.Done: done, batch.Retry: retry, batch.Reject: reject}

func (r *round) accept(part []int, a *answer) {
	useful := false
	for j, i := range part {
		res := &a.results[j]
		r.decide(i, ruling{fates[res.Outcome], res.Reason, a.status})
		useful = useful || res.Outcome != batch.Retry
	}
	r.target.gate.succeeded(a.took, useful)
	if !useful && (len(part) > 1 || r.permit.probe) {
		// What the function needs is away. The events spend an attempt, but no more
		// of them are fed to it for now.
		r.stop("every event has to wait: "+a.results[0].Reason, 0)
	}
}

// stop ends the round with an outage; what is undecided is held.
func (r *round) stop(reason string, after time.Duration) {
	r.over = true
	r.target.gate.failed(r.permit, reason, after)
}

// crashed notes that an event failed with nothing else in the call. The event is
// to blame, and spends an attempt, if the function has succeeded between its
// first failure and the start of this call, or if it has had the benefit of the
// doubt often enough.
func (r *round) crashed(i int, a *answer, lastSuccess time.Time) {
	it := &r.items[i]
	it.solo = true
	it.lonely++
	if it.firstFailed.IsZero() {
		if it.firstFailed = firstFailure(it.Headers); it.firstFailed.IsZero() {
			it.firstFailed = time.Now().Add(-a.took)
		}
	}
	guilty := it.lonely >= maxLonely || !r.permit.probe && lastSuccess.After(it.firstFailed)
	v := ruling{hold, a.reason, a.status}
	if guilty {
		v.fate = retry
	}
	r.decide(i, v)
	if len(r.items) == 1 && (r.permit.probe || !guilty) {
		r.stop(a.reason, 0)
	}
}

// alive calls single events of a part that failed as a whole until one of them
// is answered.
func (r *round) alive(part []int) bool {
	for _, i := range [maxSamples]int{part[0], part[len(part)-1], part[len(part)/2]} {
		if r.decided[i] { // a short part has fewer events to try
			continue
		}
		failed := r.items[i].lonely
		r.run([]int{i})
		switch {
		case r.over:
			return false
		case r.items[i].lonely == failed:
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
