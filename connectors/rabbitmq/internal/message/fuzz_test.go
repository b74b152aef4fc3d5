package message

import (
	"cmp"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/message/messagetest"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
)

// fuzzedNames are headers that mean something to the connector or to the broker, and two
// of a publisher.
var fuzzedNames = append([]string{
	headerDeath, headerCopies, "x-first-death-reason", "x-first-death-queue", "x-last-death-queue", "x-delivery-count", HeaderUnreadable, HeaderOriginal,
	broker.HeaderTime, "traceparent", "x-tenant", "X-Tenant",
}, messagetest.OwnHeaders...)

// fuzzedValue returns a value of any of AMQP's types.
func fuzzedValue(kind uint8, text string, number int64) any {
	values := [...]any{
		text, []byte(text), number, int32(number), int16(number), uint16(number), int8(number), byte(number), math.Float64frombits(uint64(number)), float32(number),
		number%2 == 0, nil, time.Unix(number, 0),
		amqp.Decimal{Scale: byte(number), Value: int32(number)},
		[]any{text},
		amqp.Table{"queue": text},
		messagetest.RecordOf(text),
		[]any{amqp.Table{"queue": text, "reason": "expired", "count": number, "time": time.Unix(number, 0)}},
		[]any{amqp.Table{"queue": "elsewhere", "count": int32(number)}, text},
		time.Unix(0, number).UTC().Format(time.RFC3339Nano),
	}
	return values[int(kind)%len(values)]
}

// FuzzHeaders reads the headers of strangers: what is read is within bounds. A copy that
// waits or is a dead letter fits, is read as it was written, and keeps what is the
// publisher's; a copy that is replayed begins without a history.
func FuzzHeaders(f *testing.F) {
	index := func(name string) uint8 {
		for i, known := range fuzzedNames {
			if known == name {
				return uint8(i)
			}
		}
		f.Fatalf("%s is not among the names", name)
		return 0
	}
	const second = int64(1795763908)
	f.Add(index(HeaderAttempts), uint8(2), index(HeaderLastTime), uint8(19), "fn", int64(3), second, "q.retry.20", "boom")
	f.Add(index(HeaderRoutingKey), uint8(0), index(HeaderOnlyFunction), uint8(1), "gate.north", second*1e9, second*1000, "q.retry.1000", "")
	f.Add(index(HeaderUser), uint8(0), index(HeaderExpiration), uint8(0), "60000", int64(-1), int64(math.MaxInt64), "", "\xff")
	f.Add(index(HeaderLastTime), uint8(19), index(HeaderFirstTime), uint8(0), "2026-11-27T08:00:00Z", second*1e9-1e12, second-5000, "q.retry.5000", strings.Repeat("é", 700))
	f.Add(index(HeaderUnreadable), uint8(0), index(HeaderOriginal), uint8(1), "short table", int64(0), int64(0), "", "a\nb")
	f.Add(index("x-first-death-reason"), uint8(0), index(headerDeath), uint8(17), strings.Repeat("rejected", 500), int64(7), second, "", "")
	f.Add(index(headerCopies), uint8(14), index(headerDeath), uint8(18), "q.dead", int64(1), second, "q.retry.20", "x")
	now := time.Unix(second, 5).UTC()
	f.Fuzz(func(t *testing.T, name1, kind1, name2, kind2 uint8, text string, number, timestamp int64, expiredIn, reason string) {
		const room = 16 << 10 // of headers that are never left out
		if len(text) > room || len(expiredIn) > room || len(reason) > room {
			return
		}
		h := amqp.Table{"theirs": text}
		if expiredIn != "" {
			h[headerDeath] = messagetest.RecordOf(expiredIn)
		}
		h[fuzzedNames[int(name1)%len(fuzzedNames)]] = fuzzedValue(kind1, text, number)
		h[fuzzedNames[int(name2)%len(fuzzedNames)]] = fuzzedValue(kind2, text, number)
		published := &amqp.Delivery{Headers: h, RoutingKey: "gate", Timestamp: time.Unix(timestamp, 0), DeliveryTag: 1}
		checkHistory(t, published, now)
		checkDead(t, published, now)

		source := &Source{Queue: "q", Connection: "c", FrameMax: usualFrameMax}
		d := source.Read(published, now)
		checkPassedOn(t, d)
		failure := Failure{Function: "fn", Reason: reason, Status: 503, Only: true}

		waiting := fitted(t, d.Republish("q.retry.20", 20*time.Millisecond, d.History(), failure))
		if _, kept := waiting.Headers[headerDeath]; kept {
			t.Errorf("%.200v waits with a record of the broker", h)
		}
		waiting.Headers[headerDeath] = messagetest.RecordOf("q.retry.20")
		back := source.Read(waiting, now)
		was, is := d.headers, back.headers
		if !sameHistory(was.history, is.history) {
			t.Errorf("%.200v: history %+v is read back as %+v", h, was.history, is.history)
		}
		if is.onlyFunction != cmp.Or(was.onlyFunction, "fn") || is.routingKey != was.routingKey || is.userID != was.userID || is.expiration != was.expiration || back.Unreadable() != d.Unreadable() {
			t.Errorf("%.200v: %+v is read back as %+v", h, was, is)
		}

		dead := fitted(t, back.Republish("q.dead", 0, back.History(), failure))
		if record, there := dead.Headers[headerDeath]; there && !deathsOfBroker(record) {
			t.Errorf("%.200v is dead with the record %.200v", h, record)
		}
		checkDead(t, dead, now)
		if letter := ReadDead(dead, now); letter.Function != "fn" || letter.Status != 503 || letter.Attempts != back.History().Attempts ||
			reason != "" && d.Unreadable() == "" && letter.Reason != Clip(reason, MaxReason) {
			t.Errorf("%.200v failed for %q and is the dead letter %+v", h, reason, letter)
		}

		again := fitted(t, Replay(dead, "q", usualFrameMax))
		again.Headers[headerDeath] = messagetest.RecordOf("q.retry.20") // even so
		if r := source.Read(again, now); r.History() != (History{}) || r.OnlyFunction() != back.OnlyFunction() || r.headers.routingKey != was.routingKey {
			t.Errorf("%.200v is replayed as %+v", h, r.headers)
		}
		for _, copied := range []*amqp.Delivery{waiting, dead, again} {
			if copied.Headers["theirs"] != text {
				t.Errorf("%.200v lost what is the publisher's: %.200v", h, copied.Headers)
			}
		}
	})
}

// fitted returns a copy as it comes back from its queue.
func fitted(t *testing.T, m broker.Message) *amqp.Delivery {
	t.Helper()
	m.Fit(&m, usualFrameMax)
	if err := m.Headers.Validate(); err != nil || broker.HeadersSize(m.Headers) > headerRoom(&m, usualFrameMax) {
		t.Errorf("headers of %d bytes for %s: %v", broker.HeadersSize(m.Headers), m.Queue, err)
	}
	return &amqp.Delivery{Headers: m.Headers, RoutingKey: "q", Timestamp: m.Timestamp, Body: m.Body}
}

// checkDead wants that a dead letter is read within bounds, whatever its headers are.
func checkDead(t *testing.T, d *amqp.Delivery, now time.Time) {
	t.Helper()
	dead := ReadDead(d, now)
	if dead.Reason == "" || !utf8.ValidString(dead.Reason) || len(dead.Reason) > 3*MaxReason || len(dead.Function) > maxShort || dead.Status < 0 || dead.Status > 999 ||
		dead.Attempts < 0 || dead.Attempts > openfaas.AttemptsLimit || dead.First.After(now) || dead.Last.After(now) || dead.Since.After(now) {
		t.Errorf("%.200v is the dead letter %+v", d.Headers, dead)
	}
}

// checkPassedOn wants that what a function gets of the headers is bounded, and is text
// under names of its own.
func checkPassedOn(t *testing.T, d *Delivery) {
	t.Helper()
	names, size := map[string]bool{}, 0
	for _, a := range d.attributes() {
		if names[a.Name] || !batch.IsText(a.Value) {
			t.Errorf("attribute %q is %.200q", a.Name, a.Value)
		}
		names[a.Name] = true
		size += len(a.Name) + len(a.Value)
	}
	if size > maxPassedOn+2*maxHeader {
		t.Errorf("attributes of %d bytes", size)
	}
	for _, field := range d.fields() {
		if !isName(field.Name) {
			t.Errorf("field %q", field.Name)
		}
	}
}
