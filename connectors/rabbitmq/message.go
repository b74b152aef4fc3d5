package rabbitmq

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker"
)

// The headers that the connector adds to a message that waits for another
// attempt or is a dead letter. What the publisher sent is left as it was.
const (
	headerPrefix    = "x-parkstream-"
	headerReason    = headerPrefix + "reason"     // why the last attempt failed
	headerFunction  = headerPrefix + "function"   // which function it failed in
	headerStatus    = headerPrefix + "status"     // the HTTP status of that call, 0 where there was none
	headerAttempts  = headerPrefix + "attempts"   // how many attempts have failed
	headerFirstTime = headerPrefix + "first-time" // when the first one failed, RFC 3339
	headerLastTime  = headerPrefix + "last-time"  // when the last one failed, RFC 3339
	headerQueue     = headerPrefix + "queue"      // the queue that the message came from
	// headerOwed names the only function that still has to get the message, where
	// several functions listen to its queue.
	headerOwed = headerPrefix + "owed"
	// headerMost is the size of the batches that the message may be in, where an
	// earlier one with it did not go well.
	headerMost = headerPrefix + "batch-size"
	// headerLonely counts the calls in a row that failed with nothing but the
	// message in them and did not cost it an attempt.
	headerLonely = headerPrefix + "failed-alone"
	// headerWaits counts the consecutive times that the message has waited because
	// what its function needs for it is unavailable.
	headerWaits = headerPrefix + "waits"
	// headerUser is the publisher's user id: RabbitMQ refuses the property itself
	// from anybody else.
	headerUser = headerPrefix + "user-id"
	// headerExpiration is the publisher's expiration: as a property it would make
	// the dead letter vanish.
	headerExpiration = headerPrefix + "expiration"
	// headerCC is the publisher's CC: the broker has sent the copies, and would send
	// more of them for the header itself.
	headerCC = headerPrefix + "cc"
	// headerDeaths is the publisher's x-death, which is put aside while the message
	// waits in a retry queue, so that the broker's record stands alone. One that
	// RabbitMQ has not written is never put back: when RabbitMQ 3.10 dead-letters a
	// message with it, no message leaves a retry queue of that node any more.
	headerDeaths = headerPrefix + "x-death"
	// headerRoutingKey is the publisher's routing key where it is not the queue: a
	// message that comes back from a retry queue has another.
	headerRoutingKey = headerPrefix + "routing-key"
	// headerOmitted names the publisher's headers that left no room for these.
	headerOmitted = headerPrefix + "omitted-headers"
	// headerUnreadable marks a message whose headers the client library refuses, and
	// headerOriginal has them in the encoding of AMQP. A publisher that sends the mark
	// gets a dead letter, too.
	headerUnreadable = broker.HeaderUnreadable
	headerOriginal   = broker.HeaderOriginal
	cc               = "CC"
	deathHeader      = "x-death"
)

// delivery is one message in hand.
type delivery struct {
	amqp.Delivery
	from     *consumer
	received time.Time
	history  history
}

func newDelivery(d amqp.Delivery, from *consumer, now time.Time) *delivery {
	return &delivery{Delivery: d, from: from, received: now, history: readHistory(&d, from.queue, now)}
}

// item is a message on its way into one function.
type item struct {
	*delivery
	// solo has the item called alone.
	solo bool
	// most is how many items a call with this one may have, 0 for as many as the
	// function takes: half of those of the last call that did not go well.
	most int
	// failed is when the last call with it that failed began, zero where none did.
	failed time.Time
	// lonely counts the calls in a row that failed with nothing but this item in
	// them.
	lonely int
	// waits counts the consecutive times that what its function needs for it was
	// unavailable while others were done.
	waits int
}

func newItem(d *delivery) item {
	h := &d.history
	return item{delivery: d, most: h.maxBatch, failed: h.last, lonely: h.failedAlone, solo: h.failedAlone > 0, waits: h.waits}
}

// envelope is about what a message costs in a request besides its body.
const envelope = 256

func (it item) size() int { return len(it.Body) + envelope }

// published returns when the message was published, zero where that is not known.
func published(d *amqp.Delivery) time.Time {
	if n, ok := integer(d.Headers[broker.HeaderTime]); ok {
		if t := instant(n); !t.IsZero() {
			return t
		}
	}
	return instant(d.Timestamp.Unix())
}

// The years in which events are published, as seconds since 1970. A count outside of
// them is not a time: a clock that was never set, or nonsense.
var (
	firstYear = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	lastYear  = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
)

// instant reads a count since 1970. Publishers write seconds where milliseconds
// belong, and the other way round, and finer units in both; of the four units only
// one can bring the count into these years. It returns zero if none does.
func instant(n int64) time.Time {
	for _, perSecond := range [...]int64{1, 1e3, 1e6, 1e9} {
		if s := n / perSecond; s >= firstYear && s < lastYear {
			return time.Unix(s, n%perSecond*(1e9/perSecond))
		}
	}
	return time.Time{}
}

// integer returns a header that is a whole number, of any of AMQP's types.
func integer(v any) (int64, bool) {
	switch n := v.(type) {
	case byte:
		return int64(n), true
	case int8:
		return int64(n), true
	case int16:
		return int64(n), true
	case uint16:
		return int64(n), true
	case int32:
		return int64(n), true
	case uint32:
		return int64(n), true
	case int64:
		return n, true
	case float32:
		return integer(float64(n))
	case float64:
		if n == math.Trunc(n) && math.Abs(n) < 1<<63 { // not NaN
			return int64(n), true
		}
	case time.Time:
		return n.Unix(), true
	}
	return 0, false
}

const unreadablePrefix = "the headers of the message cannot be read: "

// unreadable returns what is wrong with headers that could not be read, "" if
// nothing is.
func unreadable(h amqp.Table) string {
	if _, marked := h[headerUnreadable]; !marked {
		return ""
	}
	return unreadablePrefix + clip(headerText(h, headerUnreadable))
}

// keepUnreadable copies what [unreadable] goes by.
func keepUnreadable(to, from amqp.Table) {
	mark, marked := from[headerUnreadable]
	if !marked {
		return
	}
	to[headerUnreadable] = mark
	if table, ok := from[headerOriginal].([]byte); ok {
		to[headerOriginal] = table
	}
}

// headerText returns a header that is text, or "".
func headerText(h amqp.Table, name string) string {
	switch v := h[name].(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

// maxReason bounds the reason in a header.
const maxReason = 1000

// failure is what a failed attempt leaves in the headers of its message.
type failure struct {
	function string
	owed     bool // other functions listen to the queue, too
	reason   string
	status   int
	attempts int       // this one included
	most     int       // of the item
	lonely   int       // of the item, when the attempt did not count
	waits    int       // likewise
	at       time.Time // zero where no call with the item has failed yet
}

// again makes the message that carries d on to queue: into a retry queue, for
// ttl, or to the dead letters.
func (d *delivery) again(queue string, ttl time.Duration, f failure) broker.Message {
	next := d.history
	next.attempts, next.maxBatch, next.failedAlone, next.waits = f.attempts, f.most, f.lonely, f.waits
	if !f.at.IsZero() {
		next.last = f.at
		if next.first.IsZero() {
			next.first = f.at
		}
	}
	// A message that was owed stays so: the other functions have had it.
	if next.onlyFunction == "" && f.owed {
		next.onlyFunction = f.function
	}
	if d.UserId != "" {
		next.userID = d.UserId
	}
	if d.Expiration != "" {
		next.expiration = d.Expiration
	}
	if v, ok := d.Headers[cc]; ok {
		next.cc = v
	}
	h := original(d.Headers, d.from.queue)
	next.write(h, d.from.queue)
	h[headerFunction] = f.function
	h[headerReason] = clip(f.reason)
	h[headerStatus] = int32(f.status)
	h[headerQueue] = d.from.queue
	if next.deaths != nil {
		h[headerDeaths] = next.deaths
	}
	if ttl > 0 {
		move(h, deathHeader, headerDeaths) // the broker's record stands alone then
	} else if deathsOfBroker(h[headerDeaths]) {
		move(h, headerDeaths, deathHeader)
	}
	keepUnreadable(h, d.Headers)
	m := forward(&d.Delivery, queue, h)
	m.TTL = ttl
	m.Fit = fitTo(next.omitted, d.from.conn)
	return m
}

// move renames a header if it is there.
func move(h amqp.Table, from, to string) {
	if v, there := h[from]; there {
		delete(h, from)
		h[to] = v
	}
}

// brokerAdds bounds the headers that RabbitMQ adds to a message that waits in queue,
// on its way back from there.
func brokerAdds(queue string) int { return 400 + 4*len(queue) }

// headerRoom returns how many bytes of headers m may have: as many as fit into a
// frame with what the broker adds, and at most 122 KiB of the usual 128.
func headerRoom(m *broker.Message, frameMax int) int {
	return min(m.HeaderRoom(frameMax)-brokerAdds(m.Queue), frameMax/64*61)
}

// usualFrameMax is RabbitMQ's default.
const usualFrameMax = 128 << 10

// fitTo returns a [broker.Message.Fit] for a message that came over conn, and comes
// back over it from a retry queue. omitted are the headers that were left out before.
func fitTo(omitted string, conn *broker.Conn) func(*broker.Message, int) {
	return func(m *broker.Message, frameMax int) {
		frameMax = min(frameMax, usualFrameMax)
		if conn != nil {
			frameMax = min(frameMax, conn.FrameMax())
		}
		m.Headers = maps.Clone(m.Headers)
		fit(m, omitted, frameMax)
	}
}

// optional are headers of ours that are left out, in this order, when leaving out the
// publisher's is not enough.
var optional = []string{headerExpiration, headerUser, headerRoutingKey, headerOriginal, headerQueue}

// fit has the headers of m fit into a frame: it clips texts and leaves out the
// publisher's largest headers, then those of ours that are of no use to the
// connector. omitted are those that were left out before.
func fit(m *broker.Message, omitted string, frameMax int) {
	h, room := m.Headers, headerRoom(m, frameMax)
	text := max(0, min(maxReason, room/8))
	for _, name := range []string{headerReason, headerUnreadable} {
		if v, ok := h[name]; ok && v != "" {
			h[name] = clipTo(headerText(h, name), text)
		}
	}
	if omitted != "" {
		h[headerOmitted] = clipTo(omitted, text)
	}
	size := broker.HeadersSize(h)
	if size <= room && len(h) <= broker.MaxHeaders {
		return
	}
	type candidate struct {
		name string
		size int
	}
	var candidates []candidate
	add := func(name string) {
		candidates = append(candidates, candidate{name, broker.HeadersSize(amqp.Table{name: h[name]}) - broker.HeadersSize(nil)})
	}
	for name := range h {
		if !strings.HasPrefix(name, headerPrefix) || name == headerCC || name == headerDeaths {
			add(name)
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int { return b.size - a.size })
	for _, name := range optional {
		if _, there := h[name]; there {
			add(name)
		}
	}
	h[headerOmitted] = strings.Repeat(".", text+len(ellipsis)) // its room
	size = broker.HeadersSize(h)
	var left []string
	for _, c := range candidates {
		if size <= room && len(h) <= broker.MaxHeaders {
			break
		}
		delete(h, c.name)
		size -= c.size
		left = append(left, c.name)
	}
	if omitted = strings.Trim(omitted+","+strings.Join(left, ","), ","); omitted == "" {
		delete(h, headerOmitted)
	} else {
		h[headerOmitted] = clipTo(omitted, text)
	}
	if reason := headerText(h, headerReason); size > room && reason != "" {
		h[headerReason] = clipTo(reason, max(0, len(reason)-(size-room)-len(ellipsis)))
	}
}

// forward makes a message of d for another queue.
func forward(d *amqp.Delivery, queue string, headers amqp.Table) broker.Message {
	return broker.Message{
		Queue: queue, ID: d.MessageId, Body: d.Body, ContentType: d.ContentType, Headers: headers, Timestamp: d.Timestamp, Forwarded: true,
		ContentEncoding: d.ContentEncoding, CorrelationID: d.CorrelationId, ReplyTo: d.ReplyTo, Type: d.Type, AppID: d.AppId, Priority: d.Priority,
	}
}

// original returns a copy of the headers as the publisher sent them, with room
// for ours: without what this connector and the broker added on the way.
func original(h amqp.Table, queue string) amqp.Table {
	c := make(amqp.Table, len(h)+10)
	for k, v := range h {
		if strings.HasPrefix(k, headerPrefix) || k == "x-delivery-count" || k == "x-acquired-count" || k == cc {
			continue
		}
		c[k] = v
	}
	ours := func(v any) bool {
		name, _ := v.(string)
		return name == queue || name == broker.DeadQueue(queue) || strings.HasPrefix(name, retryPrefix(queue))
	}
	if list, ok := c[deathHeader].([]any); ok {
		list = slices.DeleteFunc(slices.Clone(list), func(d any) bool { t, _ := d.(amqp.Table); return ours(t["queue"]) })
		if c[deathHeader] = list; len(list) == 0 {
			delete(c, deathHeader)
		}
	}
	if list, there := c[deathHeader]; there && !deathsOfBroker(list) {
		c[headerDeaths] = list
		delete(c, deathHeader)
	}
	for _, which := range []string{"x-first-death-", "x-last-death-"} {
		if ours(c[which+"queue"]) {
			maps.DeleteFunc(c, func(k string, _ any) bool { return strings.HasPrefix(k, which) })
		}
	}
	return c
}

// maxDeaths bounds the queues that a message was dead-lettered in before it came to
// ours.
const maxDeaths = 100

// deathsOfBroker reports whether an x-death header may be one that RabbitMQ has
// written.
func deathsOfBroker(v any) bool {
	list, ok := v.([]any)
	if !ok || len(list) > maxDeaths {
		return false
	}
	for _, death := range list {
		t, ok := death.(amqp.Table)
		if !ok {
			return false
		}
		for name, v := range t {
			switch name {
			case "queue", "reason", "exchange", "original-expiration":
				_, ok = v.(string)
			case "count":
				_, ok = v.(int64)
			case "time":
				_, ok = v.(time.Time)
			case "routing-keys":
				var keys []any
				keys, ok = v.([]any)
				ok = ok && !slices.ContainsFunc(keys, func(key any) bool { _, text := key.(string); return !text })
			}
			if !ok {
				return false
			}
		}
	}
	return true
}

// maxLoggedID bounds an id in a log line.
const maxLoggedID = 128

// clip makes s valid UTF-8 of about maxReason bytes at most.
func clip(s string) string { return clipTo(s, maxReason) }

const ellipsis = "…"

// clipTo makes s valid UTF-8 of at most n bytes, and an ellipsis if it was longer.
func clipTo(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + ellipsis
}
