package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker"
	"parkstream/shared/parking"
	"parkstream/shared/process"
)

const (
	// warmUp at a rate is not counted.
	warmUp = time.Second
	// lastStay is how long the last stay may take.
	lastStay = time.Minute
	// staysKey is the hash of all stays of the site.
	staysKey = "stay:{" + parking.DefaultSite + "}:s"
)

// latency publishes exits of known vehicles at steady rates, one message a
// publish, and takes the time from the confirm of each to its stay being visible.
func (b *bench) latency(ctx context.Context, result *Result) error {
	ours := b.contestants()[0]
	if err := b.deploy(ctx, ours); err != nil {
		return err
	}
	if err := b.redis.Current().ConfigSet(ctx, "notify-keyspace-events", "Kh").Err(); err != nil {
		return fmt.Errorf("have Redis tell of changes: %w", err)
	}
	defer b.redis.Current().ConfigSet(context.WithoutCancel(ctx), "notify-keyspace-events", "")
	for _, rate := range b.Rates {
		n := int((b.LatencyTime + warmUp).Seconds() * float64(rate))
		if err := b.empty(ctx); err != nil {
			return err
		}
		fleet := b.newFleet()
		if err := b.record(ctx, fleet, parking.Entry, n); err != nil {
			return err
		}
		r, err := b.atRate(ctx, fleet, rate, n)
		if err != nil {
			return fmt.Errorf("at %d events/s: %w", rate, err)
		}
		b.Say("%d events/s: %d stays visible, p50 %.2f ms, p99 %.2f ms after the confirm", rate, r.Events, r.P50, r.P99)
		result.Latency = append(result.Latency, r)
	}
	return nil
}

func (b *bench) atRate(ctx context.Context, f fleet, rate, n int) (r *Latency, err error) {
	if err := b.system.StartConnector(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.system.StopConnector()) }()
	if err := b.system.AwaitReady(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sent atomic.Int64
	visible, err := b.watchStays(ctx, f, n, &sent)
	if err != nil {
		return nil, err
	}
	skipped := int(warmUp.Seconds() * float64(rate))
	var before sample
	published, confirmed, err := b.publishAt(ctx, f, rate, n, func(i int) (err error) {
		sent.Store(int64(i) + 1)
		if i == skipped {
			before, err = b.scrape(ctx, b.functionURL("exit-processor"))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var seen []time.Time
	select {
	case w := <-visible:
		seen, err = w.at, w.err
	case <-time.After(lastStay):
		err = fmt.Errorf("not all stays were visible %s after the last confirm", lastStay)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	after, err := b.scrape(ctx, b.functionURL("exit-processor"))
	if err != nil {
		return nil, err
	}
	const name = "event_processing_latency_seconds"
	processing, err1 := after.histogram(name)
	earlier, err2 := before.histogram(name)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	processing.add(earlier, -1)
	return newLatency(rate, published[skipped:], confirmed[skipped:], seen[skipped:], processing), nil
}

func (b *bench) functionURL(name string) string { return b.system.URL() + "/function/" + name }

func newLatency(rate int, published, confirmed, visible []time.Time, processing histogram) *Latency {
	sinceConfirm, sincePublish := make([]time.Duration, len(visible)), make([]time.Duration, len(visible))
	for i := range visible {
		sinceConfirm[i], sincePublish[i] = visible[i].Sub(confirmed[i]), visible[i].Sub(published[i])
	}
	slices.Sort(sinceConfirm)
	slices.Sort(sincePublish)
	ms := func(sorted []time.Duration, q float64) float64 {
		return float64(quantile(sorted, q)) / float64(time.Millisecond)
	}
	took := published[len(published)-1].Sub(published[0]).Seconds()
	return &Latency{
		Rate: rate, Reached: float64(len(published)-1) / took, Events: len(visible),
		P50: ms(sinceConfirm, .5), P95: ms(sinceConfirm, .95), P99: ms(sinceConfirm, .99), P999: ms(sinceConfirm, .999), Max: ms(sinceConfirm, 1),
		PublishP50: ms(sincePublish, .5), PublishP99: ms(sincePublish, .99),
		ProcessingP50: 1000 * processing.quantile(.5), ProcessingP99: 1000 * processing.quantile(.99),
	}
}

type watched struct {
	at  []time.Time
	err error
}

// watchStays records when the stay of each exit becomes visible, and sends all times
// once there are n. sent is how many exits may have been published.
//
// Redis notifies of stays after it has written them, together with the responses of the
// same loop and so after its fsync. A notification does not name the stay. So the
// missing stays are requested, and the time of a stay is that of the response.
func (b *bench) watchStays(ctx context.Context, f fleet, n int, sent *atomic.Int64) (<-chan watched, error) {
	subscription := b.redis.Current().Subscribe(ctx, "__keyspace@0__:"+staysKey)
	if _, err := subscription.Receive(ctx); err != nil { // that it is subscribed
		return nil, errors.Join(fmt.Errorf("have Redis tell of changes: %w", err), subscription.Close())
	}
	result := make(chan watched, 1)
	go func() {
		defer subscription.Close()
		w := watched{at: make([]time.Time, n)}
		missing, next := make([]int, 0, n), 0
		for len(missing) > 0 || next < n {
			if _, err := subscription.ReceiveMessage(ctx); err != nil {
				w.err = fmt.Errorf("hear of changes in Redis: %w", err)
				break
			}
			for ; next < int(sent.Load()); next++ {
				missing = append(missing, next)
			}
			if missing, w.err = b.look(ctx, f, missing, w.at); w.err != nil {
				break
			}
		}
		result <- w
	}()
	return result, nil
}

// look records the time for the missing stays that are visible, and returns the others.
func (b *bench) look(ctx context.Context, f fleet, missing []int, at []time.Time) ([]int, error) {
	if len(missing) == 0 {
		return missing, nil
	}
	ids := make([]string, len(missing))
	for k, i := range missing {
		ids[k] = f.id(parking.Exit, i)
	}
	stays, err := b.redis.Current().HMGet(ctx, staysKey, ids...).Result()
	now := time.Now()
	if err != nil {
		return nil, fmt.Errorf("look for stays in Redis: %w", err)
	}
	left := missing[:0]
	for k, i := range missing {
		if stays[k] == nil {
			left = append(left, i)
		} else {
			at[i] = now
		}
	}
	return left, nil
}

// publishAt publishes exits at a rate without waiting for earlier confirms, and returns
// when each was published and when it was confirmed. It calls before ahead of each.
func (b *bench) publishAt(ctx context.Context, f fleet, rate, n int, before func(i int) error) (published, confirmed []time.Time, err error) {
	conn, err := broker.Dial(ctx, broker.Config{
		URLs: broker.URLs(process.NewSecret(b.system.Secrets(), "rabbitmq-url").Value), Name: "parkstream-bench-rate",
	})
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open a channel to publish on: %w", err)
	}
	published, confirmed = make([]time.Time, n), make([]time.Time, n)
	waiting := make(chan *amqp.DeferredConfirmation, n)
	var wg sync.WaitGroup
	var unconfirmed error
	wg.Go(func() {
		for i := range n {
			select {
			case c, open := <-waiting:
				if !open {
					return
				}
				if ok, err := c.WaitContext(ctx); !ok || err != nil {
					unconfirmed = errors.Join(fmt.Errorf("message %d was not confirmed", i), err)
					return
				}
				confirmed[i] = time.Now()
			case <-ctx.Done():
				return
			}
		}
	})
	start := time.Now()
	for i := range n {
		paused := time.Now()
		if err = before(i); err != nil {
			break
		}
		start = start.Add(time.Since(paused)) // no burst makes up for it
		if err = waitUntil(ctx, start.Add(time.Duration(i)*time.Second/time.Duration(rate))); err != nil {
			break
		}
		m := f.message(parking.Exit, i)
		p := amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: m.ID, ContentType: m.ContentType, Body: m.Body}
		published[i] = time.Now()
		var c *amqp.DeferredConfirmation
		if c, err = ch.PublishWithDeferredConfirm("", m.Queue, true, false, p); err != nil {
			err = fmt.Errorf("publish: %w", err)
			break
		}
		waiting <- c
	}
	close(waiting)
	wg.Wait()
	return published, confirmed, errors.Join(err, unconfirmed, ctx.Err())
}

func waitUntil(ctx context.Context, t time.Time) error {
	wait := time.Until(t)
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
