package rabbitmq

import (
	"context"
	"errors"
	"time"

	"parkstream/connectors/rabbitmq/internal/attempt"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/unacked"
	"parkstream/shared/broker"
)

const (
	publishTimeout = 30 * time.Second
	publishPause   = time.Second
	// offerTimeout is shorter: an event is not called while it is offered.
	offerTimeout = 5 * time.Second
)

// outgoing is a message that has to be with the broker before the one it stems
// from is acknowledged.
type outgoing struct {
	message    broker.Message
	of         attempt.Event
	settlement unacked.Settlement
}

// settle acts on decisions: the one place that turns them into acknowledgements,
// retries and dead letters. It passes the events that stay unacknowledged to
// keep, as soon as they are known.
func (k *consumer) settle(r recipient, events []attempt.Event, decisions []attempt.Decision, keep func([]attempt.Event)) {
	var (
		now      = time.Now()
		finished = make([]uint64, 0, len(events)) // delivery tags
		kept     []attempt.Event
		offered  []outgoing // at no cost
		out      []outgoing
		tally    = make(map[string]int, 4)
	)
	for i, e := range events {
		d := decisions[i]
		if d.Disposition == attempt.Done {
			finished = append(finished, e.Message.Tag())
			continue
		}
		f := message.Failure{Function: r.name, Only: r.shared, Reason: d.Reason, Status: d.Status}
		spent := e.History.Spend(now)
		switch {
		case d.Disposition == attempt.Keep && !r.shared:
			kept = append(kept, e)
		case d.Disposition == attempt.Keep || d.Disposition == attempt.Defer:
			tally["deferred"]++
			offered = append(offered, k.retry(e, e.History, f, r.away))
		case d.Disposition == attempt.Unavailable:
			tally["unavailable"]++
			offered = append(offered, k.retry(e, e.History.Answered(), f, 0))
		case d.Disposition == attempt.Retry && spent.Attempts < r.maxAttempts:
			tally["retry"]++
			out = append(out, k.retry(e, spent, f, 0))
		default:
			tally["reject"]++
			spent.MaxBatch = 0
			out = append(out, outgoing{e.Message.Republish(broker.DeadQueue(k.queue), 0, spent, f), e, unacked.DeadLettered})
			k.log.WarnContext(callContext(k.life, d.Call), "dead letter", "queue", k.queue, "function", r.name, "id", message.Clip(e.Message.ID(), maxLoggedID), "attempts", spent.Attempts, "status", f.Status, "reason", clip(f.Reason))
		}
	}
	if len(finished) > 0 {
		tally["done"] = len(finished)
	}
	function := r.name
	if r.unknown { // what a header says makes no series
		function = unknownFunction
	}
	for outcome, n := range tally {
		k.metrics.outcomes.WithLabelValues(k.queue, function, outcome).Add(float64(n))
	}
	k.finish(finished, unacked.Acked)
	if len(kept) > 0 {
		keep(kept)
	}
	if kept := k.offer(r, offered); len(kept) > 0 {
		keep(kept)
	}
	k.send(out)
}

// retry makes an event wait for as long as its history asks for, and the longer the longer
// its function has been away.
func (k *consumer) retry(e attempt.Event, h message.History, f message.Failure, away time.Duration) outgoing {
	i := min(max(h.Failures()-1, 0), len(k.delays)-1)
	for i+1 < len(k.delays) && k.delays[i+1] <= away {
		i++
	}
	delay := k.delays[i]
	queue := broker.RetryQueue(k.queue, delay)
	return outgoing{e.Message.Republish(queue, jitter(delay), h, f), e, unacked.Retried}
}

// finish notes that one function is through with messages.
func (k *consumer) finish(tags []uint64, s unacked.Settlement) {
	if len(tags) == 0 {
		return
	}
	if err := k.tracker.Settle(tags, s); err != nil {
		// the channel is gone; the broker delivers the messages again
		k.log.Warn("messages could not be acknowledged", "queue", k.queue, "messages", len(tags), "error", err)
	}
}

// offer publishes what may as well stay unacknowledged. It tries once, or not at all during an
// alarm, and returns the events whose messages the broker has not confirmed: they would be
// with no function when theirs is back. It returns after a pause, unless the breaker
// holds them up anyway.
func (k *consumer) offer(r recipient, out []outgoing) (kept []attempt.Event) {
	if len(out) == 0 {
		return nil
	}
	defer k.health.unsent(k.queue, &out, 0, nil)
	err := k.publisher.Blocked()
	if err == nil {
		out, err = k.publish(out, offerTimeout)
	}
	if len(out) == 0 {
		return nil
	}
	k.health.unsent(k.queue, &out, len(out), err)
	k.log.InfoContext(k.life, "messages could not be moved to a retry queue; they stay unacknowledged", "queue", k.queue, "messages", len(out), "error", err)
	if waits := !r.shared && r.away > 0; !waits && !k.pause() {
		return nil // they go back to the queue
	}
	for _, o := range out {
		kept = append(kept, o.of)
	}
	return kept
}

// send publishes until the broker has confirmed everything, finishing what is
// confirmed. It gives up when the messages are no longer ours to settle, and after
// a failure when the consumer is about to end: it would wait for ever for what
// cannot be published, and nobody would consume the queue.
func (k *consumer) send(out []outgoing) {
	defer k.health.unsent(k.queue, &out, 0, nil)
	var repeated repetition
	for len(out) > 0 {
		var err error
		if out, err = k.publish(out, publishTimeout); len(out) == 0 {
			return
		}
		k.health.unsent(k.queue, &out, len(out), err)
		k.log.Log(k.life, repeated.level(err), "messages for retry or dead letters could not be published; trying again", "queue", k.queue, "messages", len(out), "error", err)
		if !k.pause() {
			return
		}
	}
}

// publish publishes once, finishes what is confirmed and returns the rest.
func (k *consumer) publish(out []outgoing, timeout time.Duration) (left []outgoing, err error) {
	msgs := make([]broker.Message, len(out))
	for i := range out {
		msgs[i] = out[i].message
	}
	ctx, cancel := context.WithTimeout(k.life, timeout)
	defer cancel()
	err = k.publisher.Publish(ctx, msgs)
	if errors.Is(err, broker.ErrUnroutable) {
		if err := k.declare(k.conn, k.queue); err != nil {
			k.log.Warn("the queues could not be declared", "queue", k.queue, "error", err)
		}
	}
	return k.confirmed(out, err), err
}

// pause waits between two attempts to publish. It reports false when the consumer is
// about to end.
func (k *consumer) pause() bool {
	timer := time.NewTimer(jitter(publishPause))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-k.taking.Done(): // ends with life as well
		return false
	}
}

// confirmed finishes what was published and returns the rest.
func (k *consumer) confirmed(out []outgoing, err error) (left []outgoing) {
	failed := map[int]error{}
	if pe, ok := errors.AsType[*broker.PublishError](err); ok {
		failed = pe.Failed
	}
	tags := map[unacked.Settlement][]uint64{}
	for i, o := range out {
		if _, bad := failed[i]; bad {
			left = append(left, o)
			continue
		}
		tags[o.settlement] = append(tags[o.settlement], o.of.Message.Tag())
	}
	for s, tags := range tags {
		k.finish(tags, s)
	}
	return left
}
