package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"parkstream/cmd/internal/eventfile"
	"parkstream/shared/broker"
	"parkstream/shared/parking"
)

// Workload is the kind of events that wait.
type Workload string

const (
	// Entries of vehicles that are not known.
	Entries Workload = "entries"
	// Exits of vehicles whose entries are known: each makes a stay.
	Exits Workload = "exits"
	// Mix is half entries and half exits of the same vehicles, each queue in its own
	// random order.
	Mix Workload = "mix"
)

// Workloads are all of them.
var Workloads = []Workload{Entries, Exits, Mix}

// load is what a contestant has to work off.
type load struct {
	Workload
	fleet
	entries, exits int
}

func (l load) events() int { return l.entries + l.exits }

// fleet is made-up vehicles: number i enters and leaves an hour later.
type fleet struct {
	tag  string // of the ids
	from time.Time
}

const (
	// headway is the time between two vehicles.
	headway = time.Millisecond
	// stayed is how long each of them stays.
	stayed = time.Hour
)

// newFleet makes vehicles whose ids were not used before.
func (b *bench) newFleet() fleet {
	b.fleets++
	return fleet{tag: fmt.Sprintf("bench-%04d-", b.fleets), from: time.Now().Add(-6 * time.Hour).Truncate(time.Second).UTC()}
}

func (f fleet) id(kind parking.Kind, i int) string {
	return f.tag + kind.String()[:2] + fmt.Sprintf("%08d", i)
}

func plate(i int) string { return fmt.Sprintf("KA%08d", i) }

func (f fleet) time(kind parking.Kind, i int) time.Time {
	t := f.from.Add(time.Duration(i) * headway)
	if kind == parking.Exit {
		t = t.Add(stayed)
	}
	return t
}

// event i in the domain's own form.
func (f fleet) event(kind parking.Kind, i int) parking.Event {
	return parking.Event{
		Version: 1,
		ID:      f.id(kind, i), Kind: kind, Site: parking.DefaultSite, RawPlate: plate(i), Plate: plate(i), Time: f.time(kind, i),
	}
}

// message i as a camera sends it.
func (f fleet) message(kind parking.Kind, i int) broker.Message {
	queue := eventfile.Entries
	if kind == parking.Exit {
		queue = eventfile.Exits
	}
	id := f.id(kind, i)
	body := fmt.Appendf(nil, `{"id":%q,"vehicle_plate":%q,"%s_date_time":%q}`, id, plate(i), kind, f.time(kind, i).Format(time.RFC3339Nano))
	return broker.Message{Queue: queue, ID: id, Body: body, ContentType: "application/json"}
}

const (
	// batchSize is that of stack.yml.
	batchSize = 500
	// inFlight is the connector's default number of calls in flight.
	inFlight = 4
	// publishChunk is how many messages are made at a time.
	publishChunk = 5000
)

// fresh empties Redis and the queues and makes a load. Entries that have to be
// known are recorded. With publish the load waits in the queues.
func (b *bench) fresh(ctx context.Context, w Workload, n int, publish bool) (load, error) {
	l := load{Workload: w, fleet: b.newFleet()}
	switch w {
	case Entries:
		l.entries = n
	case Exits:
		l.exits = n
	default:
		l.entries, l.exits = n/2, n/2
	}
	if err := b.empty(ctx); err != nil {
		return l, err
	}
	if w == Exits {
		if err := b.record(ctx, l.fleet, parking.Entry, n); err != nil {
			return l, err
		}
	}
	if !publish {
		return l, nil
	}
	var wg sync.WaitGroup
	var err1, err2 error
	wg.Go(func() { err1 = b.publish(ctx, l, parking.Entry, l.entries) })
	wg.Go(func() { err2 = b.publish(ctx, l, parking.Exit, l.exits) })
	wg.Wait()
	if err := errors.Join(err1, err2); err != nil {
		return l, err
	}
	waiting, err := b.waiting()
	if err == nil && waiting != n {
		err = fmt.Errorf("%d messages wait after %d were confirmed", waiting, n)
	}
	return l, err
}

// publish returns when all are confirmed.
func (b *bench) publish(ctx context.Context, l load, kind parking.Kind, n int) error {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	if l.Workload == Mix {
		rand.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	msgs := make([]broker.Message, 0, publishChunk)
	for part := range slices.Chunk(order, publishChunk) {
		msgs = msgs[:0]
		for _, i := range part {
			msgs = append(msgs, l.message(kind, i))
		}
		if err := b.publisher.Publish(ctx, msgs); err != nil {
			return fmt.Errorf("fill the queues: %w", err)
		}
	}
	return nil
}

// record takes the events of a fleet in with the scripts of the processors alone.
func (b *bench) record(ctx context.Context, f fleet, kind parking.Kind, n int) error {
	return inParallel(inFlight, func(worker int) error {
		events := make([]parking.Event, 0, batchSize)
		for from := worker * batchSize; from < n; from += inFlight * batchSize {
			events = events[:0]
			for i := from; i < min(from+batchSize, n); i++ {
				events = append(events, f.event(kind, i))
			}
			var stays []parking.Stay
			for _, r := range b.events.Record(ctx, events) {
				if r.Err != nil {
					return r.Err
				}
				stays = append(stays, r.Stays...)
			}
			if len(stays) == 0 {
				continue
			}
			if _, err := b.stays.Upsert(ctx, stays); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

func inParallel(n int, do func(worker int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// empty purges the queues and leaves Redis as it was when it was new: without
// data and with an append-only file that was just rewritten.
func (b *bench) empty(ctx context.Context) error {
	ch, err := b.conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	defer ch.Close()
	for _, queue := range queues {
		for _, name := range []string{queue, broker.DeadQueue(queue)} {
			if _, err := ch.QueuePurge(name, false); err != nil {
				return fmt.Errorf("purge %s: %w", name, err)
			}
		}
	}
	// In the background: ten million plates take it longer than a client waits.
	if err := b.redis.Current().FlushAllAsync(ctx).Err(); err != nil {
		return fmt.Errorf("empty Redis: %w", err)
	}
	if err := b.awaitFreed(ctx); err != nil {
		return err
	}
	if err := b.awaitRewrite(ctx); err != nil {
		return err
	}
	if err := b.redis.Current().BgRewriteAOF(ctx).Err(); err != nil {
		return fmt.Errorf("rewrite Redis's append-only file: %w", err)
	}
	return b.awaitRewrite(ctx)
}

// awaitFreed waits until Redis has given back what it was emptied of.
func (b *bench) awaitFreed(ctx context.Context) error {
	return poll(ctx, time.Minute, 20*time.Millisecond, func() (bool, error) {
		info, err := b.redis.Current().Info(ctx, "memory").Result()
		return infoField(info, "lazyfree_pending_objects") == "0", err
	})
}

// awaitRewrite waits until Redis does not rewrite its append-only file.
func (b *bench) awaitRewrite(ctx context.Context) error {
	return poll(ctx, time.Minute, 20*time.Millisecond, func() (bool, error) {
		info, err := b.redis.Current().Info(ctx, "persistence").Result()
		return strings.Contains(info, "aof_rewrite_in_progress:0") && strings.Contains(info, "aof_rewrite_scheduled:0"), err
	})
}

// waiting is how many messages are ready in the queues of events. It is an error
// when there are dead letters.
func (b *bench) waiting() (int, error) {
	ch, err := b.conn.Channel()
	if err != nil {
		return 0, fmt.Errorf("open a channel: %w", err)
	}
	defer ch.Close()
	n := 0
	for _, queue := range queues {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		if err != nil {
			return 0, fmt.Errorf("look at %s: %w", queue, err)
		}
		n += q.Messages
		dead, err := ch.QueueDeclarePassive(broker.DeadQueue(queue), true, false, false, false, nil)
		if err != nil {
			return 0, fmt.Errorf("look at %s: %w", broker.DeadQueue(queue), err)
		}
		if dead.Messages > 0 {
			return 0, fmt.Errorf("%d events became dead letters", dead.Messages)
		}
	}
	return n, nil
}

// errLate is the error of a poll that took too long.
var errLate = errors.New("it took too long")

// poll asks until the answer is yes or an error.
func poll(ctx context.Context, within, every time.Duration, ask func() (bool, error)) error {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if done, err := ask(); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("%w: more than %s", errLate, within)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
