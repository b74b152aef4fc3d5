// Package generator generates vehicles that drive into car parks and out again, for
// demonstrations and load tests.
//
// The generator publishes an entry with a random plate and then adds the plate to the
// set of plates inside. In this order the entry of a plate in the set is always
// published: a crash between the two steps leaves a vehicle inside without a generated
// exit, but never an exit whose entry was not published.
//
// The generator takes the plate of an exit out of the set before it publishes the exit,
// because two exits must not get the same plate. It puts the plate back if the broker
// does not confirm the exit.
package generator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"parkstream/shared/audit"
	"parkstream/shared/broker"
	"parkstream/shared/failure"
	"parkstream/shared/parking"
	"parkstream/shared/schedule"
	"parkstream/shared/tracing"
)

const (
	// MaxCount bounds the events of one run.
	MaxCount = 100_000
	// maxDefaultCount bounds those of a call without parameters: strangers may make it.
	maxDefaultCount = 10_000
	// chunkSize is the number of events in one round trip to each of Redis and
	// RabbitMQ.
	chunkSize = 1000
	// chunksPerSecond is the number of chunks for the events of one second if there is
	// a rate.
	chunksPerSecond = 20
	declareTimeout  = 10 * time.Second
	// putBackTimeout bounds the return of plates to the set after the call itself has
	// ended.
	putBackTimeout = 5 * time.Second
)

// Publisher publishes events; [broker.Publisher] is one.
type Publisher interface {
	// DeclareQueue declares the queue unless it exists.
	DeclareQueue(ctx context.Context, queue string) (broker.Queue, error)
	// Publish returns nil if every message is confirmed. If only some are, its error
	// wraps a *broker.PublishError.
	Publish(ctx context.Context, msgs []broker.Message) error
}

// Config has the dependencies and defaults of the generators.
type Config struct {
	Publisher Publisher
	Inside    *Inside
	Ticks     *schedule.Ticks
	Audit     *audit.Log
	Metrics   *Metrics
	Log       *slog.Logger
	// EntryQueue and ExitQueue are the queues for the published events.
	EntryQueue, ExitQueue string
	// Count is the default number of events in a run.
	Count int
	// Above is the default threshold of a run of exits.
	Above int
	// Site is the default site of a run, and the only one of cron's calls.
	Site string
	// Now is the clock for ticks and times of observation.
	Now func() time.Time
}

// run has the parameters of one run.
type run struct {
	// byCron reports that the call had no parameters.
	byCron bool
	count  int
	// rate is in events a second; 0 is as fast as possible.
	rate float64
	// seed determines the plates and the decisions. The ids of the events are new in
	// each run: an event observed at another time is another event.
	seed  uint64
	above int
	site  string
	gate  string
}

// counts has the numbers of published events of a run.
type counts struct {
	published int // confirmed by the broker
	matched   int // of these, with a plate out of the set
}

// generator generates the events of one kind.
type generator struct {
	Config
	kind  parking.Kind
	queue string
}

// draft is an event before it is published.
type draft struct {
	vehicle
	matched bool
}

// generate executes a run until it is complete, a step fails or ctx ends. The counts
// are valid despite an error.
func (g *generator) generate(ctx context.Context, r run) (counts, error) {
	if err := g.declare(ctx); err != nil {
		return counts{}, err
	}
	runID := newRunID()
	random := mathrand.New(mathrand.NewPCG(r.seed, uint64(g.kind))) // entries and exits of one seed differ
	plates := newPlateSource(random, r.count)
	size, limiter := r.pace()
	var total counts
	for first := 0; first < r.count; first += size {
		n := min(size, r.count-first)
		if err := limiter.WaitN(ctx, n); err != nil {
			return total, failure.New("the call", "ended before all events were published", fmt.Errorf("keep to the rate of %g events a second: %w", r.rate, err))
		}
		drafts, err := g.draw(ctx, r, random, plates, n)
		if err != nil {
			return total, err
		}
		t, err := g.publish(ctx, r, drafts, runID+strconv.Itoa(first))
		total.published += t.published
		total.matched += t.matched
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// declare returns an error early if the broker is unavailable, because a person waits
// for the response.
func (g *generator) declare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, declareTimeout)
	defer cancel()
	if _, err := g.Publisher.DeclareQueue(ctx, g.queue); err != nil {
		return broker.Failure(fmt.Errorf("make sure that the queue %s exists: %w", g.queue, err))
	}
	return nil
}

// pace returns the size of a run's chunks, and the limiter for its rate.
func (r run) pace() (size int, limiter *rate.Limiter) {
	if r.rate == 0 {
		return chunkSize, rate.NewLimiter(rate.Inf, 0)
	}
	size = max(1, min(chunkSize, int(r.rate/chunksPerSecond)))
	return size, rate.NewLimiter(rate.Limit(r.rate), size)
}

// draw returns n events. For each exit it draws both a decision about a match and a
// random plate, so the vehicles in the set do not change the later draws of a seed.
func (g *generator) draw(ctx context.Context, r run, random *mathrand.Rand, plates *plateSource, n int) ([]draft, error) {
	drafts := make([]draft, n)
	wanted := 0
	for i := range drafts {
		if g.kind == parking.Exit && 1+random.IntN(100) > r.above {
			drafts[i].matched = true
			wanted++
		}
		drafts[i].plate = plates.next()
	}
	inside, err := g.Inside.take(ctx, r.site, wanted)
	if err != nil {
		return nil, err
	}
	for i := range drafts {
		if !drafts[i].matched {
			continue
		}
		if len(inside) == 0 {
			drafts[i].matched = false
			continue
		}
		drafts[i].vehicle, inside = inside[0], inside[1:]
	}
	return drafts, nil
}

// publish publishes events and updates the set with the confirmed ones.
func (g *generator) publish(ctx context.Context, r run, drafts []draft, idPrefix string) (counts, error) {
	msgs := make([]broker.Message, len(drafts))
	var now time.Time
	for i := range drafts {
		d := &drafts[i]
		now = later(g.Now().UTC(), now)
		if g.kind == parking.Entry {
			d.entered = now
		}
		id := idPrefix + "-" + strconv.Itoa(i)
		body, err := g.encode(id, d.plate, now, r)
		if err != nil {
			return counts{}, err
		}
		msgs[i] = broker.Message{Queue: g.queue, ID: id, Body: body, ContentType: "application/json"}
	}
	err := g.send(ctx, msgs)
	failed := failures(err)

	var t counts
	var entered, unsent []vehicle
	for i, d := range drafts {
		switch {
		case failed(i) && d.matched:
			unsent = append(unsent, d.vehicle)
		case failed(i):
		case g.kind == parking.Entry:
			t.published++
			entered = append(entered, d.vehicle)
		default:
			t.published++
			if d.matched {
				t.matched++
			}
		}
	}
	g.Metrics.published(g.kind, t, len(msgs)-t.published)
	if err != nil {
		err = broker.Failure(fmt.Errorf("publish to %s: %w", g.queue, err))
	}
	// The set is updated with confirmed entries and used plates even if the caller has
	// left.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), putBackTimeout)
	defer cancel()
	return t, errors.Join(err, g.Inside.add(ctx, r.site, append(entered, unsent...)))
}

// send publishes messages under one span, which is the parent in all of them.
func (g *generator) send(ctx context.Context, msgs []broker.Message) (err error) {
	ctx, span := tracing.Start(ctx, trace.SpanKindProducer, "send")
	defer func() { tracing.End(span, err) }()
	if span.IsRecording() {
		span.SetName("send " + g.queue)
		span.SetAttributes(semconv.MessagingSystemRabbitMQ, semconv.MessagingOperationName("send"), semconv.MessagingOperationTypeSend,
			semconv.MessagingDestinationName(g.queue), semconv.MessagingBatchMessageCount(len(msgs)))
	}
	if parent, state := tracing.Fields(ctx); parent != "" {
		headers := amqp.Table{tracing.FieldParent: parent}
		if state != "" {
			headers[tracing.FieldState] = state
		}
		for i := range msgs {
			msgs[i].Headers = headers
		}
	}
	return g.Publisher.Publish(ctx, msgs)
}

// later returns t in microseconds, or the microsecond after previous. The set keeps the
// order of entries only if no two times are equal.
func later(t, previous time.Time) time.Time {
	t = t.Truncate(time.Microsecond)
	if !t.After(previous) {
		return previous.Add(time.Microsecond)
	}
	return t
}

func (g *generator) encode(id, plate string, now time.Time, r run) ([]byte, error) {
	var event any = parking.EntryEvent{ID: id, VehiclePlate: plate, EntryTime: now, Site: r.site, Gate: r.gate}
	if g.kind == parking.Exit {
		event = parking.ExitEvent{ID: id, VehiclePlate: plate, ExitTime: now, Site: r.site, Gate: r.gate}
	}
	body, err := json.Marshal(event)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", g.kind, err)
	}
	return body, nil
}

// failures returns a function that reports whether a message is not confirmed.
func failures(err error) func(i int) bool {
	if some, ok := errors.AsType[*broker.PublishError](err); ok {
		return func(i int) bool { _, failed := some.Failed[i]; return failed }
	}
	return func(int) bool { return err != nil }
}

// newRunID returns the prefix of the ids of a run's events.
func newRunID() string {
	var id [9]byte
	_, _ = rand.Read(id[:]) // never fails
	return "gen-" + hex.EncodeToString(id[:]) + "-"
}
