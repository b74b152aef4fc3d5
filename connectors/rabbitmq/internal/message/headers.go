package message

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/batch"
	"parkstream/shared/broker"
)

// The headers that the connector adds to a message that waits for another attempt or is
// a dead letter. What the publisher sent is left as it was.
const (
	Prefix            = "x-parkstream-"
	HeaderReason      = Prefix + "reason"     // why the last attempt failed
	HeaderFunction    = Prefix + "function"   // which function it failed in
	HeaderStatus      = Prefix + "status"     // the HTTP status of that call, 0 if there was none
	HeaderAttempts    = Prefix + "attempts"   // how many attempts have failed
	HeaderFirstTime   = Prefix + "first-time" // when the first one failed, RFC 3339
	HeaderLastTime    = Prefix + "last-time"  // when the last one failed, RFC 3339
	HeaderQueue       = Prefix + "queue"      // the queue that the message came from
	HeaderMaxBatch    = Prefix + "batch-size" // [History.MaxBatch]
	HeaderFailedAlone = Prefix + "failed-alone"
	HeaderWaits       = Prefix + "waits"
	// HeaderOnlyFunction names the only function that still has to get the message, if
	// several functions listen to its queue.
	HeaderOnlyFunction = Prefix + "owed"
	// HeaderUser is the publisher's user id: RabbitMQ refuses the property itself from
	// anybody else.
	HeaderUser = Prefix + "user-id"
	// HeaderExpiration is the publisher's expiration: as a property it would make the
	// dead letter vanish.
	HeaderExpiration = Prefix + "expiration"
	// HeaderCC is the publisher's CC: the broker has sent the copies, and would send
	// more of them for the header itself.
	HeaderCC = Prefix + "cc"
	// HeaderDeaths is the publisher's x-death, which is put aside while the message
	// waits in a retry queue, so that the broker's record stands alone. One that
	// RabbitMQ has not written is never put back: when RabbitMQ 3.10 dead-letters a
	// message with it, no message leaves a retry queue of that node any more.
	HeaderDeaths = Prefix + "x-death"
	// HeaderRoutingKey is the publisher's routing key if it is not the queue: a message
	// that comes back from a retry queue has another.
	HeaderRoutingKey = Prefix + "routing-key"
	// HeaderOmitted names the publisher's headers that left no room for these.
	HeaderOmitted = Prefix + "omitted-headers"
	// HeaderUnreadable marks a message whose headers the client library refuses, and
	// HeaderOriginal has them in the encoding of AMQP. A publisher that sends the mark
	// gets a dead letter, too.
	HeaderUnreadable = broker.HeaderUnreadable
	HeaderOriginal   = broker.HeaderOriginal
)

// Headers of the broker that mean something to it.
const (
	headerCopies = "CC"
	headerDeath  = "x-death"
)

const (
	// maxShort is the length of AMQP's short strings: of ids, queues and routing keys.
	maxShort = 255
	// MaxReason bounds the reason in a header and in a log line, in bytes.
	MaxReason = 1000
	ellipsis  = "…"
)

// text returns a header that is text, or "".
func text(h amqp.Table, name string) string {
	switch v := h[name].(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

// shortText returns a header that could be a short string of AMQP, or "".
func shortText(h amqp.Table, name string) string {
	if text := text(h, name); len(text) <= maxShort && batch.IsText(text) {
		return text
	}
	return ""
}

// number returns a header that is a whole number, at least 0 and at most most.
func number(h amqp.Table, name string, most int) int {
	n, _ := integer(h[name])
	return int(min(max(n, 0), int64(most)))
}

// integer returns a value that is a whole number, of any of AMQP's types.
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

// instant returns the time in a header of ours, zero if there is none.
func instant(h amqp.Table, name string) time.Time {
	text := shortText(h, name)
	if text == "" { // as in nearly every message; the error of Parse is not for free
		return time.Time{}
	}
	t, _ := time.Parse(time.RFC3339Nano, text)
	return t
}

// functionName returns a name that a function can have, or "".
func functionName(text string) string {
	if len(text) > maxShort || !isName(strings.ReplaceAll(text, ".", "")) {
		return ""
	}
	return text
}

// isName reports whether a text may be a part of a header's name in HTTP, or of a
// function's name.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != ""
}

// published returns when a message was published, zero if that is not known.
func published(d *amqp.Delivery) time.Time {
	if n, ok := integer(d.Headers[broker.HeaderTime]); ok {
		if t := sinceEpoch(n); !t.IsZero() {
			return t
		}
	}
	return sinceEpoch(d.Timestamp.Unix())
}

// The years in which events are published, as seconds since 1970. A count outside of
// them is not a time: a clock that was never set, or nonsense.
var (
	firstYear = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	lastYear  = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
)

// sinceEpoch reads a count since 1970. Publishers write seconds where milliseconds
// belong, and the other way round, and finer units in both; of the four units only one
// can bring the count into these years. It returns zero if none does.
func sinceEpoch(n int64) time.Time {
	for _, perSecond := range [...]int64{1, 1e3, 1e6, 1e9} {
		if s := n / perSecond; s >= firstYear && s < lastYear {
			return time.Unix(s, n%perSecond*(1e9/perSecond))
		}
	}
	return time.Time{}
}

const unreadablePrefix = "the headers of the message cannot be read: "

// unreadable returns what is wrong with headers that could not be read, "" if nothing
// is.
func unreadable(h amqp.Table) string {
	if _, marked := h[HeaderUnreadable]; !marked {
		return ""
	}
	return unreadablePrefix + Clip(text(h, HeaderUnreadable), MaxReason)
}

// keepUnreadable copies what [unreadable] goes by.
func keepUnreadable(to, from amqp.Table) {
	mark, marked := from[HeaderUnreadable]
	if !marked {
		return
	}
	to[HeaderUnreadable] = mark
	if table, ok := from[HeaderOriginal].([]byte); ok {
		to[HeaderOriginal] = table
	}
}

// Clip makes s valid UTF-8 of at most n bytes, and an ellipsis if it was longer.
func Clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + ellipsis
}
