package rabbitmq

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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

// settler turns decisions into acknowledgements, copies in retry queues and dead letters.
// Nothing else does.
type settler struct {
	queue     string
	delays    []time.Duration // of the retry queues
	tracker   *unacked.Tracker
	publisher publisher
	declare   func() error // makes the queues that copies are published to
	outcomes  *prometheus.CounterVec
	health    *health
	log       *slog.Logger
	settling  context.Context // while the messages are this channel's to settle
}

// publisher publishes with confirms: see [broker.Publisher].
type publisher interface {
	Publish(ctx context.Context, ms []broker.Message) error
	Blocked() error
}

// recipient is a function as one that gets messages of one queue.
type recipient struct {
	name        string
	maxAttempts int
	shared      bool          // other functions listen to the queue, too
	outage      time.Duration // how long the function has been in an outage
	unknown     bool          // it does not listen to the queue
}

// unknownFunction is the label of those; no function can be called like this.
const unknownFunction = "(unknown)"

// outgoing is a copy that has to be with the broker before its message is acknowledged.
type outgoing struct {
	msg        broker.Message
	of         attempt.Event
	settlement unacked.Settlement
}

// settle acts on the decisions for events. It passes the events that stay unacknowledged
// to keep, as soon as they are known. It returns when the others are settled, or can be no
// more; when taking ends it does not try for long.
func (s *settler) settle(taking context.Context, r recipient, events []attempt.Event, decisions []attempt.Decision, keep func([]attempt.Event)) {
	var (
		now     = time.Now()
		done    = make([]uint64, 0, len(events)) // delivery tags
		kept    []attempt.Event
		offered []outgoing // at no cost
		due     []outgoing
		counts  = make(map[string]int, 4)
	)
	for i, e := range events {
		d := decisions[i]
		if d.Disposition == attempt.Done {
			done = append(done, e.Message.Tag())
			continue
		}
		f := message.Failure{Function: r.name, Only: r.shared, Reason: d.Reason, Status: d.Status}
		spent := e.History.Spend(now)
		switch {
		case d.Disposition == attempt.Keep && !r.shared:
			kept = append(kept, e)
		case d.Disposition == attempt.Keep || d.Disposition == attempt.Defer:
			counts["deferred"]++
			offered = append(offered, s.retryCopy(e, e.History, f, r.outage))
		case d.Disposition == attempt.Unavailable:
			counts["unavailable"]++
			offered = append(offered, s.retryCopy(e, e.History.Answered(), f, 0))
		case d.Disposition == attempt.Retry && spent.Attempts < r.maxAttempts:
			counts["retry"]++
			due = append(due, s.retryCopy(e, spent, f, 0))
		default:
			counts["reject"]++
			spent.MaxBatch = 0
			due = append(due, outgoing{e.Message.Republish(broker.DeadQueue(s.queue), 0, spent, f), e, unacked.DeadLettered})
			s.log.WarnContext(callContext(s.settling, d.Call), "dead letter", "queue", s.queue, "function", r.name,
				"id", message.Clip(e.Message.ID(), maxLoggedID), "attempts", spent.Attempts, "status", f.Status, "reason", f.Reason)
		}
	}
	if len(done) > 0 {
		counts["done"] = len(done)
	}
	s.count(r, counts)
	s.finish(done, unacked.Acked)
	if len(kept) > 0 {
		keep(kept)
	}
	if kept := s.offer(taking, r, offered); len(kept) > 0 {
		keep(kept)
	}
	s.send(taking, due)
}

func (s *settler) count(r recipient, counts map[string]int) {
	function := r.name
	if r.unknown { // what a header says makes no series
		function = unknownFunction
	}
	for outcome, n := range counts {
		s.outcomes.WithLabelValues(s.queue, function, outcome).Add(float64(n))
	}
}

// retryCopy returns a copy for the retry queue with the delay that the history asks for: the
// longer, the longer its function has been in an outage.
func (s *settler) retryCopy(e attempt.Event, h message.History, f message.Failure, outage time.Duration) outgoing {
	delay := retryDelay(s.delays, h.Failures(), outage)
	return outgoing{e.Message.Republish(broker.RetryQueue(s.queue, delay), jitter(delay), h, f), e, unacked.Retried}
}

// retryDelay returns how long an event waits after a number of failures: the first, second,
// ... delay, or the longest delay that is no longer than the outage, if that is more. A long
// outage is not followed by a storm of messages.
func retryDelay(delays []time.Duration, failures int, outage time.Duration) time.Duration {
	i := min(max(failures-1, 0), len(delays)-1)
	for i+1 < len(delays) && delays[i+1] <= outage {
		i++
	}
	return delays[i]
}

// finish notes that one function is through with messages.
func (s *settler) finish(tags []uint64, as unacked.Settlement) {
	if len(tags) == 0 {
		return
	}
	if err := s.tracker.Settle(tags, as); err != nil {
		// the channel is gone; the broker delivers the messages again
		s.log.Warn("messages could not be acknowledged", "queue", s.queue, "error", err)
	}
}

// offer publishes copies of what may as well stay unacknowledged. It tries once, or not at
// all during an alarm, and returns the events whose copies the broker has not confirmed:
// they would be with no function when theirs is back. It returns after a pause, unless the
// breaker holds them up anyway.
func (s *settler) offer(taking context.Context, r recipient, left []outgoing) (kept []attempt.Event) {
	if len(left) == 0 {
		return nil
	}
	defer s.health.unsent(s.queue, &left, 0, nil)
	err := s.publisher.Blocked()
	if err == nil {
		left, err = s.publish(left, offerTimeout)
	}
	if len(left) == 0 {
		return nil
	}
	s.health.unsent(s.queue, &left, len(left), err)
	s.log.InfoContext(s.settling, "messages could not be moved to a retry queue; they stay unacknowledged", "queue", s.queue, "messages", len(left), "error", err)
	if waits := !r.shared && r.outage > 0; !waits && !pause(taking) {
		return nil // they go back to the queue
	}
	for _, c := range left {
		kept = append(kept, c.of)
	}
	return kept
}

// send publishes until the broker has confirmed everything, finishing what is confirmed.
// It gives up when the messages are no longer this channel's to settle, and after a
// failure when taking has ended: it would wait without end for what cannot be published,
// and the queue would have no consumer.
func (s *settler) send(taking context.Context, left []outgoing) {
	defer s.health.unsent(s.queue, &left, 0, nil)
	var repeated repetition
	for len(left) > 0 {
		var err error
		if left, err = s.publish(left, publishTimeout); len(left) == 0 {
			return
		}
		s.health.unsent(s.queue, &left, len(left), err)
		s.log.Log(s.settling, repeated.level(err), "messages for retry or dead letters could not be published; trying again", "queue", s.queue, "messages", len(left), "error", err)
		if !pause(taking) {
			return
		}
	}
}

// publish publishes once, finishes what is confirmed and returns the rest.
func (s *settler) publish(all []outgoing, timeout time.Duration) (left []outgoing, err error) {
	copies := make([]broker.Message, len(all))
	for i := range all {
		copies[i] = all[i].msg
	}
	ctx, cancel := context.WithTimeout(s.settling, timeout)
	defer cancel()
	err = s.publisher.Publish(ctx, copies)
	if errors.Is(err, broker.ErrUnroutable) {
		if err := s.declare(); err != nil {
			s.log.Warn("the queues could not be declared", "queue", s.queue, "error", err)
		}
	}
	failed := map[int]error{}
	if pe, ok := errors.AsType[*broker.PublishError](err); ok {
		failed = pe.Failed
	}
	confirmed := map[unacked.Settlement][]uint64{}
	for i, c := range all {
		if _, bad := failed[i]; bad {
			left = append(left, c)
			continue
		}
		confirmed[c.settlement] = append(confirmed[c.settlement], c.of.Message.Tag())
	}
	for as, tags := range confirmed {
		s.finish(tags, as)
	}
	return left, err
}

// pause waits between two attempts to publish. It reports false when taking has ended.
func pause(taking context.Context) bool {
	timer := time.NewTimer(jitter(publishPause))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-taking.Done(): // ends with the channel, too
		return false
	}
}
