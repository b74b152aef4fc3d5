package rabbitmq

import (
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
)

// history is what the connector's own headers say of a message: read once, when the
// message comes in, and written in one place, [history.write].
//
// Anybody who may publish can send such headers. What became of earlier calls counts
// only if the broker's record says that the message comes from one of our retry
// queues; a dead letter that an operator moves back by other means than replay begins
// with its attempts at zero. That record can be forged, too, so everything is within
// bounds in any case, and each message ends after a bounded number of attempts. It
// waits without spending any only as long as a function says that what it needs is
// unavailable.
type history struct {
	attempts    int       // that have failed
	failedAlone int       // consecutive calls that failed with nothing but the message in them
	waits       int       // consecutive times that what the function needs was unavailable
	maxBatch    int       // how many messages a call with it may have; 0 where nothing went wrong
	first, last time.Time // when the first and the last call failed; zero if none did
	deaths      any       // the publisher's x-death, put aside so that the broker's record stands alone

	// These are the publisher's word, or of a dead letter that was put back.
	onlyFunction string // the only function that still has to get the message; "" for all
	routingKey   string // the one that the message was published with
	userID       string
	expiration   string
	cc           any
	omitted      string // headers that were left out
}

// maxWaits bounds history.waits: from then on no delay is longer.
const maxWaits = maxRetryQueues

// readHistory reads the headers of a message from queue.
func readHistory(d *amqp.Delivery, queue string, now time.Time) history {
	o := history{
		onlyFunction: functionName(headerText(d.Headers, headerOwed)),
		routingKey:   d.RoutingKey,
		userID:       shortText(d.Headers, headerUser),
		expiration:   shortText(d.Headers, headerExpiration),
		omitted:      clip(headerText(d.Headers, headerOmitted)),
	}
	if key, kept := d.Headers[headerRoutingKey].(string); kept && len(key) <= maxShort { // it may be empty
		o.routingKey = key
	}
	if list, ok := d.Headers[headerCC].([]any); ok && broker.HeadersSize(amqp.Table{cc: list}) <= maxPassedOn {
		o.cc = list
	}
	if fromRetryQueue(d.Headers, queue) {
		o.attempts = headerNumber(d.Headers, headerAttempts, openfaas.AttemptsLimit)
		o.failedAlone = headerNumber(d.Headers, headerLonely, maxLonely)
		o.waits = headerNumber(d.Headers, headerWaits, maxWaits)
		o.maxBatch = headerNumber(d.Headers, headerMost, batch.MaxEvents)
		o.first, o.last = failures(d, now)
		o.deaths = d.Headers[headerDeaths]
	}
	return o
}

// write puts the history into the headers of a copy of the message.
func (o history) write(h amqp.Table, queue string) {
	if n := min(o.attempts, openfaas.AttemptsLimit); n > 0 {
		h[headerAttempts] = int32(n)
	}
	if n := min(o.maxBatch, batch.MaxEvents); n > 0 {
		h[headerMost] = int32(n)
	}
	if n := min(o.failedAlone, maxLonely); n > 0 {
		h[headerLonely] = int32(n)
	}
	if n := min(o.waits, maxWaits); n > 0 {
		h[headerWaits] = int32(n)
	}
	if !o.last.IsZero() {
		h[headerFirstTime] = o.first.UTC().Format(time.RFC3339Nano)
		h[headerLastTime] = o.last.UTC().Format(time.RFC3339Nano)
	}
	for name, text := range map[string]string{headerOwed: o.onlyFunction, headerUser: o.userID, headerExpiration: o.expiration} {
		if text != "" {
			h[name] = text
		}
	}
	if o.routingKey != queue {
		h[headerRoutingKey] = o.routingKey
	}
	if o.cc != nil {
		h[headerCC] = o.cc
	}
}

// fromRetryQueue reports whether a message comes from a retry queue of queue: the
// newest entry of the broker's record, which is the first one, says that it expired
// there. Where it was published by us, that entry is the only one.
func fromRetryQueue(h amqp.Table, queue string) bool {
	deaths, _ := h[deathHeader].([]any)
	if len(deaths) == 0 {
		return false
	}
	newest, _ := deaths[0].(amqp.Table)
	name, _ := newest["queue"].(string)
	reason, _ := newest["reason"].(string)
	return reason == "expired" && strings.HasPrefix(name, retryPrefix(queue))
}

// retryPrefix is what the names of the retry queues of queue begin with.
func retryPrefix(queue string) string { return strings.TrimSuffix(broker.RetryQueue(queue, 0), "0") }

// headerNumber returns a header that is a whole number, at least 0 and at most most.
func headerNumber(h amqp.Table, name string, most int) int {
	n, _ := integer(h[name])
	return int(min(max(n, 0), int64(most)))
}

// failures returns when the first and the last call with a message failed: not in the
// future, and not before the message was published.
func failures(d *amqp.Delivery, now time.Time) (first, last time.Time) {
	first, last = headerInstant(d.Headers, headerFirstTime), headerInstant(d.Headers, headerLastTime)
	if last.IsZero() {
		return time.Time{}, time.Time{}
	}
	earliest := published(d)
	if earliest.IsZero() {
		earliest = time.Unix(firstYear, 0)
	}
	if last.Before(earliest) {
		last = earliest
	}
	if last.After(now) {
		last = now
	}
	if first.Before(earliest) {
		first = earliest
	}
	if first.After(last) {
		first = last
	}
	return first, last
}

// headerInstant returns the time in a header, zero if there is none.
func headerInstant(h amqp.Table, name string) time.Time {
	text := shortText(h, name)
	if text == "" { // as in nearly every message; the error of Parse is not for free
		return time.Time{}
	}
	t, _ := time.Parse(time.RFC3339Nano, text)
	return t
}

// maxShort is the length of AMQP's short strings: of ids, queues and routing keys.
const maxShort = 255

// shortText returns a header that could be a short string of AMQP, or "".
func shortText(h amqp.Table, name string) string {
	if text := headerText(h, name); len(text) <= maxShort && batch.IsText(text) {
		return text
	}
	return ""
}

// functionName returns a name that a function can have, or "".
func functionName(text string) string {
	if len(text) > maxShort || !validName(strings.ReplaceAll(text, ".", "")) {
		return ""
	}
	return text
}
