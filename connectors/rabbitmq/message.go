package rabbitmq

import (
	"maps"
	"math"
	"slices"
	"strings"
	"sync/atomic"
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
	// headerUser is the publisher's user id: RabbitMQ refuses the property itself
	// from anybody else.
	headerUser = headerPrefix + "user-id"
	// headerExpiration is the publisher's expiration: as a property it would make
	// the dead letter vanish.
	headerExpiration = headerPrefix + "expiration"
	// headerCC is the publisher's CC: the broker has sent the copies, and would send
	// more of them for the header itself.
	headerCC = headerPrefix + "cc"
	// headerDeaths is an x-death header that RabbitMQ has not written. When it
	// dead-letters a message with one, as it does at the end of each wait in a retry
	// queue, RabbitMQ 3.10 fails: no message leaves a retry queue of that node then.
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
	deaths           = "x-death"
)

// delivery is one message in hand.
type delivery struct {
	amqp.Delivery
	from     *consumer
	received time.Time

	owed  atomic.Int32  // functions that have not settled it yet
	worst atomic.Uint32 // the largest ending that one of them gave it
}

// settle notes the ending that one function gives the message and says whether
// all have now.
func (d *delivery) settle(e ending) (last bool) {
	for {
		w := d.worst.Load()
		if w >= uint32(e) || d.worst.CompareAndSwap(w, uint32(e)) {
			break
		}
	}
	return d.owed.Add(-1) == 0
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
}

func newItem(d *delivery) item {
	it := item{delivery: d, most: headerNumber(d.Headers, headerMost), failed: lastFailure(d.Headers), lonely: headerNumber(d.Headers, headerLonely)}
	it.solo = it.lonely > 0
	return it
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

// routingKey returns the one that the message was published with.
func routingKey(d *amqp.Delivery) string {
	if _, kept := d.Headers[headerRoutingKey]; kept {
		return headerText(d.Headers, headerRoutingKey)
	}
	return d.RoutingKey
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

func attempts(h amqp.Table) int { return headerNumber(h, headerAttempts) }

func headerNumber(h amqp.Table, name string) int {
	switch n := h[name].(type) {
	case int32:
		return int(n)
	case int64:
		return int(n)
	}
	return 0
}

// firstFailure returns when the message first failed, zero where it has not.
func firstFailure(h amqp.Table) time.Time { return headerInstant(h, headerFirstTime) }

func lastFailure(h amqp.Table) time.Time { return headerInstant(h, headerLastTime) }

// headerInstant returns the time in a header, zero where there is none.
func headerInstant(h amqp.Table, name string) time.Time {
	text := headerText(h, name)
	if text == "" { // as in nearly every message; the error of Parse is not for free
		return time.Time{}
	}
	t, _ := time.Parse(time.RFC3339Nano, text)
	return t
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
	at       time.Time // zero where no call with the item has failed yet
}

// again makes the message that carries d on to queue: into a retry queue, for
// ttl, or to the dead letters.
func (d *delivery) again(queue string, ttl time.Duration, f failure) broker.Message {
	h := original(d.Headers, d.from.queue)
	first := headerText(d.Headers, headerFirstTime)
	last := f.at.UTC().Format(time.RFC3339Nano)
	if first == "" {
		first = last
	}
	h[headerFunction] = f.function
	h[headerReason] = clip(f.reason)
	h[headerStatus] = int32(f.status)
	h[headerAttempts] = int32(f.attempts)
	if !f.at.IsZero() {
		h[headerFirstTime] = first
		h[headerLastTime] = last
	}
	h[headerQueue] = d.from.queue
	if f.most > 0 {
		h[headerMost] = int32(f.most)
	}
	if f.lonely > 0 {
		h[headerLonely] = int32(f.lonely)
	}
	// A message that was owed stays so: the other functions have had it.
	if v, ok := d.Headers[headerOwed]; ok {
		h[headerOwed] = v
	} else if f.owed {
		h[headerOwed] = f.function
	}
	if d.UserId != "" {
		h[headerUser] = d.UserId
	}
	if d.Expiration != "" {
		h[headerExpiration] = d.Expiration
	}
	if v, ok := d.Headers[cc]; ok {
		h[headerCC] = v
	}
	if key := routingKey(&d.Delivery); key != d.from.queue {
		h[headerRoutingKey] = key
	}
	for _, kept := range []string{headerUser, headerExpiration, headerCC, headerDeaths} {
		if v, ok := d.Headers[kept]; ok {
			h[kept] = v
		}
	}
	keepUnreadable(h, d.Headers)
	m := forward(&d.Delivery, queue, h)
	m.TTL = ttl
	fit(&m, headerText(d.Headers, headerOmitted), d.from.frameMax())
	return m
}

// brokerAdds bounds the headers that RabbitMQ adds to a message that waits in queue,
// on its way back from there.
func brokerAdds(queue string) int { return 400 + 4*len(queue) }

// headerRoom returns how many bytes of headers m may have: as many as fit into a
// frame with what the broker adds, and at most 122 KiB of the usual 128.
func headerRoom(m *broker.Message, frameMax int) int {
	return min(m.HeaderRoom(frameMax)-brokerAdds(m.Queue), frameMax/64*61)
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
		return name == queue || name == broker.DeadQueue(queue) || strings.HasPrefix(name, broker.RetryQueue(queue, 0)[:len(queue)+len(".retry.")])
	}
	if list, ok := c[deaths].([]any); ok {
		list = slices.DeleteFunc(slices.Clone(list), func(d any) bool { t, _ := d.(amqp.Table); return ours(t["queue"]) })
		if c[deaths] = list; len(list) == 0 {
			delete(c, deaths)
		}
	}
	if list, there := c[deaths]; there && !deathsOfBroker(list) {
		c[headerDeaths] = list
		delete(c, deaths)
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
