// Package pipeline is the work of the two processor functions: parse events, store or
// retrieve them, calculate the summary and post it. Its dependencies on the outside
// world are injected.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"parkstream/shared/batch"
	"parkstream/shared/failure"
	"parkstream/shared/parking"
	"parkstream/shared/tracing"
)

// DataStore keeps the timelines of vehicles. Record adds events to them and returns,
// per event in order, the current state of every stay the event affects. It is
// idempotent. shared/timeline implements it on Redis.
type DataStore interface {
	Record(ctx context.Context, events []parking.Event) []parking.Recorded
}

// SummaryPoster posts stays to the summary endpoint. If Post returns nil, all of them
// are durable there. Post is idempotent, and the highest revision of a stay wins. An
// error that is a [Refusal] concerns the stays. Any other error means that the endpoint
// is unavailable. shared/summary/summaryclient implements it over HTTP.
type SummaryPoster interface {
	Post(ctx context.Context, stays []parking.Stay) error
}

// Refusal is an error of a SummaryPoster. Refused reports whether the endpoint will
// never accept at least one of the stays.
type Refusal interface {
	error
	Refused() bool
}

// Caller is what the caller of a call may do.
type Caller struct {
	// CheckSite returns why the caller may not post events of a site, or nil.
	CheckSite func(site string) error
	// MayRead reports whether the caller may see stays.
	MayRead bool
}

// Result is the result of one event.
type Result struct {
	// Result has the id of the batch.Event, which is the id in the transport.
	batch.Result
	// EventID is the id in the event itself, or "" if it is unreadable.
	EventID string
	// Stays are the stays posted for the event; nil if the caller may not see them.
	Stays []parking.Stay
	// Forbidden reports, of a Reject, that the caller may not post events of its site.
	Forbidden bool
	// Unexplained reports, of a Retry, that the store recorded no event of the call and
	// that one of the events may be the cause as well as the store.
	Unexplained bool
}

// Handler processes events and returns one result per event, in the order of events. An
// event is Done only when its effect is durable and its stays are posted. Handlers are
// safe for concurrent use.
type Handler interface {
	ProcessMessages(ctx context.Context, events []batch.Event) []Result
}

// Done is an event that is done, with the stays that it affects.
type Done struct {
	Event *parking.Event
	Stays []parking.Stay
}

// Config has the dependencies of a processor. All fields but Done and Now are required.
type Config struct {
	Store     DataStore
	Summaries SummaryPoster
	// Caller returns who makes the call of a context.
	Caller  func(context.Context) Caller
	Limits  parking.Limits
	Metrics *Metrics
	Log     *slog.Logger
	// Done, if set, is called once a call with what was done in it. It does not wait.
	Done func(context.Context, []Done)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// ShowPlates logs plates in full instead of masked; see [parking.MaskPlate].
	ShowPlates bool
}

// EntryEventProcessor is the Handler for entries.
type EntryEventProcessor struct{ processor }

// NewEntryEventProcessor returns a processor of entries.
func NewEntryEventProcessor(c Config) *EntryEventProcessor {
	return &EntryEventProcessor{newProcessor(c, parking.Entry)}
}

// ProcessMessages implements [Handler]. It posts stays for entries, too: a late entry
// can complete, move or split a stay.
func (p *EntryEventProcessor) ProcessMessages(ctx context.Context, events []batch.Event) []Result {
	return p.process(ctx, events)
}

// ExitEventProcessor is the Handler for exits.
type ExitEventProcessor struct{ processor }

// NewExitEventProcessor returns a processor of exits.
func NewExitEventProcessor(c Config) *ExitEventProcessor {
	return &ExitEventProcessor{newProcessor(c, parking.Exit)}
}

// ProcessMessages implements [Handler]. An exit without an entry is an expected
// outcome. It is Done, logged at level info and counted as "unmatched_exit".
func (p *ExitEventProcessor) ProcessMessages(ctx context.Context, events []batch.Event) []Result {
	return p.process(ctx, events)
}

// processor is the common part of both processors: all but the wire form.
type processor struct {
	Config
	kind parking.Kind
}

func newProcessor(c Config, kind parking.Kind) processor {
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Metrics.expect(kind)
	return processor{Config: c, kind: kind}
}

func (p *processor) process(ctx context.Context, msgs []batch.Event) []Result {
	start := p.Now()
	caller := p.Caller(ctx)
	work := p.parse(ctx, msgs, caller)
	p.record(ctx, work)
	p.post(ctx, work, p.summarise(ctx, work))
	return p.results(ctx, msgs, work, caller, start)
}

// unavailable is the error of an event during an outage; see batch.Result.
type unavailable struct{ error }

func (u unavailable) Unwrap() error { return u.error }

// unexplained is the error of an event if the store recorded no event of the call and
// there is no outage; see [Result].
type unexplained struct{ error }

func (u unexplained) Unwrap() error { return u.error }

// forbidden is the error of an event of a site that the caller does not have.
type forbidden struct{ error }

func (f forbidden) Unwrap() error { return f.error }

// Is makes it a rejection: it is the event that names the site.
func (f forbidden) Is(target error) bool { return target == parking.ErrInvalid }

// item is one event on its way through the steps. An err ends the way.
type item struct {
	event    parking.Event
	recorded parking.Recorded
	err      error
}

// stage starts the span and the timer of a step. end ends both.
func (p *processor) stage(ctx context.Context, name string) (_ context.Context, end func()) {
	ctx, span := tracing.Start(ctx, trace.SpanKindInternal, name)
	stop := p.Metrics.stage(ctx, name)
	return ctx, func() {
		stop()
		span.End()
	}
}

func (p *processor) parse(ctx context.Context, msgs []batch.Event, caller Caller) []item {
	_, end := p.stage(ctx, stageParse)
	defer end()
	now, failed := p.Now(), 0
	work := make([]item, len(msgs))
	for i := range msgs {
		it := &work[i]
		switch it.event, it.err = ParseEvent(p.kind, msgs[i].Data); {
		case msgs[i].DataErr != nil:
			it.err = parking.Invalid("%v", msgs[i].DataErr)
		case it.err == nil:
			if err := caller.CheckSite(it.event.Site); err != nil {
				it.err = forbidden{err}
			} else {
				it.err = p.Limits.Check(it.event, now)
			}
		}
		if it.err != nil {
			failed++
		}
	}
	p.Metrics.passed(p.kind, stageParse, len(work)-failed, failed)
	return work
}

func (p *processor) record(ctx context.Context, work []item) {
	ctx, end := p.stage(ctx, stageStore)
	defer end()
	events := make([]parking.Event, 0, len(work))
	index := make([]int, 0, len(work))
	for i := range work {
		if work[i].err == nil {
			events = append(events, work[i].event)
			index = append(index, i)
		}
	}
	if len(events) == 0 {
		return
	}
	recorded := p.Store.Record(ctx, events)
	failed, reached := 0, false
	for j, i := range index {
		it := &work[i]
		switch {
		case len(recorded) != len(events): // the answers cannot be assigned to events
			it.err = failure.Odd("the store", fmt.Errorf("record events: %d answers for %d events", len(recorded), len(events)))
		case recorded[j].Err == nil && len(recorded[j].Stays) == 0 && hasStay(&it.event, &recorded[j]):
			it.err = failure.Odd("the store", errors.New("record events: the answer lacks the stay of an exit"))
		default:
			it.recorded, it.err = recorded[j], recorded[j].Err
		}
		if it.err != nil {
			failed++
			if !errors.Is(it.err, parking.ErrInvalid) {
				it.err = failure.In("the store", it.err)
			}
		}
		// ErrTooManySites does not count: it is returned before the store is written
		// to.
		reached = reached || it.err == nil || errors.Is(it.err, parking.ErrInvalid) && !errors.Is(it.err, parking.ErrTooManySites)
	}
	for _, i := range index {
		it := &work[i]
		switch {
		case it.err == nil || errors.Is(it.err, parking.ErrInvalid):
		case failure.Outage(it.err):
			it.err = unavailable{it.err}
		case !reached:
			it.err = unexplained{it.err}
		}
	}
	p.Metrics.passed(p.kind, stageStore, len(events)-failed, failed)
}

// hasStay reports whether a recorded event is an exit that has a stay.
func hasStay(e *parking.Event, r *parking.Recorded) bool {
	return e.Kind == parking.Exit && !e.Void && !e.NoPlate && !r.Superseded
}

// summarise returns every changed stay once, at its latest revision.
func (p *processor) summarise(ctx context.Context, work []item) []parking.Stay {
	_, end := p.stage(ctx, stageSummarise)
	defer end()
	var stays []parking.Stay
	for i := range work {
		stays = append(stays, work[i].recorded.Stays...)
	}
	return parking.Latest(stays)
}

// post posts stays. It sets the error of the events that affect a stay which could not
// be posted. Events without stays are done.
func (p *processor) post(ctx context.Context, work []item, stays []parking.Stay) {
	if len(stays) == 0 {
		return
	}
	ctx, end := p.stage(ctx, stagePost)
	defer end()
	failed := p.postParts(ctx, stays)
	p.Metrics.passed(p.kind, stagePost, len(stays)-len(failed), len(failed))
	if len(failed) == 0 {
		return
	}
	for i := range work {
		it := &work[i]
		for _, stay := range it.recorded.Stays {
			err := failed[stayKey{stay.Site, stay.ID}]
			if err == nil || it.err != nil {
				continue
			}
			if it.err = err; !refused(err) {
				it.err = unavailable{err}
			}
		}
	}
}

type stayKey struct{ site, id string }

// maxPosts bounds the calls that search for the stays that the summary refuses. After
// so many calls no part is halved. Some twenty calls find one stay among 500.
const maxPosts = 50

// postParts posts stays in one call. If the summary refuses some, it posts the others
// in halves. It returns the error of each stay that is not posted.
func (p *processor) postParts(ctx context.Context, stays []parking.Stay) map[stayKey]error {
	failed := make(map[stayKey]error)
	parts := [][]parking.Stay{stays}
	for calls := 1; len(parts) > 0; calls++ {
		part := parts[0]
		parts = parts[1:]
		err := p.Summaries.Post(ctx, part)
		switch {
		case err == nil:
			continue
		case !refused(err): // the other parts would fail in the same way
			part = slices.Concat(append(parts, part)...)
			parts = nil
		case len(part) > 1 && calls < maxPosts:
			parts = append(parts, part[:len(part)/2], part[len(part)/2:])
			continue
		}
		err = failure.In("the summary", fmt.Errorf("post %d stays to the summary: %w", len(part), err))
		for _, stay := range part {
			failed[stayKey{stay.Site, stay.ID}] = err
		}
	}
	return failed
}

func refused(err error) bool {
	r, ok := errors.AsType[Refusal](err)
	return ok && r.Refused()
}

// results returns the results of the events. It is the only place that decides between
// retry and reject and that counts and logs the outcomes.
func (p *processor) results(ctx context.Context, msgs []batch.Event, work []item, caller Caller, start time.Time) []Result {
	results := make([]Result, len(work))
	retried := make(map[string]error) // by the reason in the result; there are few reasons
	counts := make(map[string]int, 4)
	published := make([]time.Time, 0, len(work))
	seen := make(map[sighting]int)
	done := make([]Done, 0, len(work))
	var completed []time.Duration
	for i := range work {
		it, r := &work[i], &results[i]
		r.ID, r.EventID = msgs[i].ID, it.event.ID
		var outcome string
		switch {
		case it.err == nil:
			r.Outcome = batch.Done
			if r.Stays = it.recorded.Stays; r.Stays == nil {
				r.Stays = []parking.Stay{}
			}
			if !caller.MayRead {
				r.Stays = nil
			}
			outcome = p.doneAs(ctx, it)
			done = append(done, Done{&it.event, it.recorded.Stays})
			if !msgs[i].Time.IsZero() {
				published = append(published, msgs[i].Time)
			}
			if !it.recorded.Duplicate && outcome != outcomeSuperseded && outcome != outcomeVoid {
				seen[sighting{gate{it.event.Site, it.event.Gate}, outcome}]++
				completed = appendCompleted(completed, it.recorded.Stays)
			}
		case errors.Is(it.err, parking.ErrInvalid):
			r.Outcome, r.Reason = batch.Reject, clip(it.err.Error(), maxReason)
			outcome = outcomeReject
			_, r.Forbidden = errors.AsType[forbidden](it.err)
			if errors.Is(it.err, parking.ErrTooManySites) {
				p.Metrics.sites.WithLabelValues(p.kind.String()).Inc()
			}
			p.Log.WarnContext(ctx, "event rejected", "event_type", p.kind.String(), "id", p.logged(it, it.event.ID, maxLoggedID), "reason", p.logged(it, r.Reason, maxReason))
		default:
			r.Outcome, r.Reason = batch.Retry, failure.Told(it.err)
			_, r.Unavailable = errors.AsType[unavailable](it.err)
			_, r.Unexplained = errors.AsType[unexplained](it.err)
			outcome = outcomeRetry
			retried[r.Reason] = it.err
		}
		counts[outcome]++
	}
	for reason, err := range retried {
		p.Log.ErrorContext(ctx, "events not processed", "event_type", p.kind.String(), "events", counts[outcomeRetry], "reason", reason, "error", err)
	}
	if p.Done != nil {
		p.Done(ctx, done)
	}
	now := p.Now()
	p.Metrics.answered(ctx, p.kind, counts, now.Sub(start))
	p.Metrics.arrived(ctx, p.kind, published, now)
	p.Metrics.seen(p.kind, seen, completed)
	p.Log.InfoContext(ctx, "batch processed", "event_type", p.kind.String(), "events", len(work), "outcomes", counts, "took", now.Sub(start))
	return results
}

const (
	// maxLoggedID bounds an id in a log line.
	maxLoggedID = 128
	// maxReason bounds a reason in a result and in a log line, because it may quote the
	// event.
	maxReason = 1000
)

// clip returns at most n bytes of text, without splitting a character.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}

// logged returns at most n bytes of a text about an event for a log line: cameras make ids
// of plates.
func (p *processor) logged(it *item, text string, n int) string {
	if !p.ShowPlates {
		text = it.event.MaskPlatesIn(clip(text, maxReason)) // an id that is refused may be long
	}
	return clip(text, n)
}

// appendCompleted appends the durations of completed stays.
func appendCompleted(to []time.Duration, stays []parking.Stay) []time.Duration {
	for i := range stays {
		if d, ok := stays[i].Duration(); ok {
			to = append(to, d)
		}
	}
	return to
}

// doneAs returns the outcome of an event that is done.
func (p *processor) doneAs(ctx context.Context, it *item) string {
	var status parking.Status
	if hasStay(&it.event, &it.recorded) {
		status = it.recorded.Stays[0].Status()
	}
	switch {
	case it.recorded.Superseded:
		return outcomeSuperseded
	// These precede the check for duplicates: an event is also a duplicate if its stays
	// could not be posted the first time.
	case it.event.Void:
		return outcomeVoid
	case it.event.NoPlate:
		return outcomeNoPlate
	case status == parking.Repeated:
		return outcomeRepeat
	case status == parking.UnmatchedExit:
		plate := it.event.Plate
		if !p.ShowPlates {
			plate = parking.MaskPlate(plate)
		}
		p.Log.InfoContext(ctx, "exit without entry", "id", p.logged(it, it.event.ID, maxLoggedID), "site", it.event.Site, "gate", it.event.Gate, "plate", plate)
		return outcomeUnmatchedExit
	case it.recorded.Duplicate:
		return outcomeDuplicate
	default:
		return outcomeDone
	}
}
