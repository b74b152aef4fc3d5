package rabbitmq

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
)

// forged are values of every type that none of our headers has.
var forged = []any{
	int8(math.MinInt8), int8(math.MaxInt8), int16(math.MinInt16), int16(math.MaxInt16), int32(math.MinInt32), int32(math.MaxInt32), int64(math.MinInt64), int64(math.MaxInt64),
	uint16(math.MaxUint16), uint32(math.MaxUint32), byte(255), float32(-1e30), 1e300, -1e300, math.NaN(), math.Inf(1), 1e18, true, nil, "", "7", "-1", "0x10", "gone", "fn", "\xff", "a\nb",
	strings.Repeat("9", 40_000), []byte("\x00\xff"),
	amqp.Decimal{Scale: 255, Value: math.MinInt32},
	time.Unix(math.MaxInt64, 0),
	[]any{int32(-1)},
	[]any{strings.Repeat("x", 40_000)},
	amqp.Table{"a": int32(1)},
	"0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "2026-11-27T09:00:00+99:00",
}

var ownHeaders = []string{
	headerReason, headerFunction, headerStatus, headerAttempts, headerFirstTime, headerLastTime, headerQueue, headerOwed, headerMost, headerLonely, headerWaits, headerUser, headerExpiration, headerCC, headerRoutingKey,
	headerOmitted, headerDeaths,
}

// recordOf is what the broker writes of a message that expired in a queue.
func recordOf(queue string) []any {
	return []any{amqp.Table{"queue": queue, "reason": "expired", "count": int64(1), "exchange": "", "routing-keys": []any{queue}, "time": time.Now()}}
}

func retryQueue(queue string) string { return broker.RetryQueue(queue, 20*time.Millisecond) }

// Whatever our headers have, what is read of them is within bounds, and what is
// written is what was read.
func TestHistoryIsWithinBounds(t *testing.T) {
	now := time.Now()
	check := func(h amqp.Table, timestamp time.Time) {
		t.Helper()
		d := &amqp.Delivery{Headers: h, RoutingKey: "q", Timestamp: timestamp}
		o := readHistory(d, "q", now)
		earliest := published(d)
		if earliest.After(now) {
			earliest = time.Time{}
		}
		if o.attempts < 0 || o.attempts > openfaas.AttemptsLimit || o.failedAlone < 0 || o.failedAlone > maxLonely || o.waits < 0 || o.waits > maxWaits || o.maxBatch < 0 || o.maxBatch > batch.MaxEvents ||
			o.last.After(now) || o.first.After(o.last) || o.first.IsZero() != o.last.IsZero() || !o.last.IsZero() && o.first.Before(earliest) ||
			len(o.onlyFunction) > maxShort || len(o.routingKey) > maxShort || len(o.userID) > maxShort || len(o.expiration) > maxShort || len(o.omitted) > maxReason+3 {
			t.Errorf("%.200v was read as %+v", h, o)
		}
		written := amqp.Table{}
		o.write(written, "q")
		if err := written.Validate(); err != nil || broker.HeadersSize(written) > 2*maxPassedOn {
			t.Errorf("%.200v is written with %d bytes, %v", h, broker.HeadersSize(written), err)
		}
		written[deathHeader] = recordOf(retryQueue("q"))
		again := readHistory(&amqp.Delivery{Headers: written, RoutingKey: "q", Timestamp: timestamp}, "q", now)
		if again.attempts != o.attempts || again.failedAlone != o.failedAlone || again.waits != o.waits || again.maxBatch != o.maxBatch || !again.first.Equal(o.first) || !again.last.Equal(o.last) ||
			again.onlyFunction != o.onlyFunction || again.routingKey != o.routingKey || again.userID != o.userID || again.expiration != o.expiration {
			t.Errorf("%+v is read back as %+v", o, again)
		}
	}
	for _, timestamp := range append(farTimes(), now.Add(-time.Hour), now.Add(time.Hour)) {
		for _, value := range forged {
			all := amqp.Table{deathHeader: recordOf(retryQueue("q"))}
			for _, name := range ownHeaders {
				all[name] = value
				check(amqp.Table{deathHeader: recordOf(retryQueue("q")), headerLastTime: "2026-11-27T08:00:00Z", name: value}, timestamp)
			}
			check(all, timestamp)
		}
	}
}

func farTimes() []time.Time {
	return []time.Time{{}, time.Unix(0, 0), time.Unix(math.MaxInt64, 0), time.Unix(math.MinInt64, 0), time.UnixMilli(math.MaxInt64)}
}

// What became of earlier calls counts only with the broker's record of a retry queue.
func TestWhoIsBelieved(t *testing.T) {
	entry := func(queue, reason any) amqp.Table { return amqp.Table{"queue": queue, "reason": reason} }
	const retry = "q.retry.1000"
	for _, tt := range []struct {
		name   string
		deaths any
		want   bool
	}{
		{"no record", nil, false},
		{"a retry queue", []any{entry(retry, "expired")}, true},
		{"one of an earlier setting", []any{entry("q.retry.77", "expired")}, true},
		{"moved on since", []any{entry("q", "delivery_limit"), entry(retry, "expired")}, false},
		{"through a retry queue at last", []any{entry(retry, "expired"), entry("elsewhere", "rejected")}, true},
		{"of another queue", []any{entry("other.retry.1000", "expired")}, false},
		{"of a queue with a longer name", []any{entry("qq.retry.1000", "expired")}, false},
		{"rejected there", []any{entry(retry, "rejected")}, false},
		{"dead letters", []any{entry("q.dead", "expired")}, false},
		{"empty", []any{}, false},
		{"text", "q.retry.1000", false},
		{"a table", entry(retry, "expired"), false},
		{"a list of texts", []any{retry}, false},
		{"odd types", []any{entry(int32(1), []any{})}, false},
	} {
		h := amqp.Table{headerAttempts: int32(5), headerLonely: int32(2), headerWaits: int32(3), headerMost: int32(7), headerLastTime: "2026-11-27T08:00:00Z", headerOwed: "fn", headerRoutingKey: "gate.north"}
		if tt.deaths != nil {
			h[deathHeader] = tt.deaths
		}
		o := readHistory(&amqp.Delivery{Headers: h, RoutingKey: "q"}, "q", time.Now())
		if believed := o.attempts == 5 && o.failedAlone == 2 && o.waits == 3 && o.maxBatch == 7 && !o.last.IsZero(); believed != tt.want || !tt.want && (o.attempts != 0 || o.failedAlone != 0 || o.waits != 0 || o.maxBatch != 0 || !o.last.IsZero()) {
			t.Errorf("%s: %+v", tt.name, o)
		}
		if o.onlyFunction != "fn" || o.routingKey != "gate.north" {
			t.Errorf("%s: for %q with routing key %q", tt.name, o.onlyFunction, o.routingKey)
		}
	}
}

// No header makes a message immortal, and none of what was forged travels on.
func TestForgedHeaders(t *testing.T) {
	queue := queueName(t)
	g := newGateway(t)
	// One event a call: an answer that says only "retry" to several opens the breaker.
	f := g.add("fn", queue, map[string]string{annotationBatchSize: "1", annotationMaxInFlight: "16", annotationMaxAttempts: "3"})
	f.result = func(id string) batch.Result { return batch.Result{ID: id, Outcome: batch.Retry, Reason: "not now"} }
	declareQueue(t, queue)
	if err := broker.DeclareRetryQueue(dialNode(t), queue, 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Second)
	var msgs []broker.Message
	send := func(to string, h amqp.Table) {
		msgs = append(msgs, broker.Message{Queue: to, ID: fmt.Sprint(len(msgs)), Timestamp: before, Headers: h, Body: []byte("{}")})
	}
	for _, value := range forged {
		if number, ok := value.(float64); ok && (math.IsNaN(number) || math.IsInf(number, 0)) {
			continue // RabbitMQ ends the connection of who publishes these
		}
		for _, with := range []amqp.Table{{}, {headerOwed: "gone"}, {headerOwed: "fn"}, {deathHeader: recordOf(retryQueue(queue))}, {deathHeader: "text", headerOwed: value}} {
			h := amqp.Table{}
			for _, name := range append(ownHeaders, "x-parkstream-new") {
				if broker.HeadersSize(amqp.Table{name: value}) < 5_000 || name == headerReason || name == headerFunction { // all together have to fit into a frame
					h[name] = value
				}
			}
			maps.Copy(h, with)
			send(queue, h)
			send(retryQueue(queue), h)
		}
	}
	n := len(msgs)
	publish(t, msgs...)
	c := startConnector(t, g, func(cfg *Config) { cfg.MaxAttempts = 3 })
	counters := c.settled(t, queue, n)
	if counters["dead_lettered"] != n || counters["retried"] > 2*n {
		t.Errorf("%d messages: %v", n, counters)
	}
	for _, d := range takeDead(t, queue) {
		checkOwn(t, d, before)
	}
	if text := c.scrape(t); strings.Contains(text, `function="gone"`) || strings.Contains(text, `function="7"`) {
		t.Error("a header made a series")
	}
}

// checkOwn checks that our headers of a dead letter are ours.
func checkOwn(t *testing.T, d amqp.Delivery, published time.Time) {
	t.Helper()
	size := 0
	for name, v := range d.Headers {
		if !strings.HasPrefix(name, headerPrefix) {
			continue
		}
		size += broker.HeadersSize(amqp.Table{name: v})
		text, isText := v.(string)
		number, isNumber := v.(int32)
		switch name {
		case headerAttempts:
			if !isNumber || number < 1 || number > openfaas.AttemptsLimit {
				t.Errorf("%s: %s is %v", d.MessageId, name, v)
			}
		case headerStatus, headerMost, headerLonely:
			if !isNumber || number < 0 || number > batch.MaxEvents {
				t.Errorf("%s: %s is %v", d.MessageId, name, v)
			}
		case headerFirstTime, headerLastTime:
			if at, err := time.Parse(time.RFC3339Nano, text); err != nil || at.Before(published.Truncate(time.Second)) || at.After(time.Now()) {
				t.Errorf("%s: %s is %v", d.MessageId, name, v)
			}
		case headerReason, headerFunction, headerQueue, headerOwed, headerUser, headerExpiration, headerRoutingKey, headerOmitted:
			if !isText || len(text) > maxReason+3 {
				t.Errorf("%s: %s is %.50v", d.MessageId, name, v)
			}
		case headerCC, headerDeaths: // the publisher's own
		default:
			t.Errorf("%s: %s travelled on", d.MessageId, name)
		}
	}
	if size > 2*maxPassedOn {
		t.Errorf("%s: our headers have %d bytes", d.MessageId, size)
	}
}

// What goes back to its queue has of our headers the publisher's word only.
func TestReplayHeaders(t *testing.T) {
	for _, value := range forged {
		h := amqp.Table{"theirs": "kept", deathHeader: recordOf(retryQueue("q"))}
		for _, name := range ownHeaders {
			h[name] = value
		}
		got := replayHeaders(h, "q")
		if got["theirs"] != "kept" || broker.HeadersSize(got) > 2*maxPassedOn {
			t.Errorf("%.50v: %d bytes", value, broker.HeadersSize(got))
		}
		for name := range got {
			if strings.HasPrefix(name, headerPrefix) && !slices.Contains([]string{headerOwed, headerUser, headerExpiration, headerCC, headerRoutingKey}, name) {
				t.Errorf("%.50v: %s goes back", value, name)
			}
		}
	}
}

// A dead letter that RabbitMQ's own tools move back to its queue has all its attempts
// again, and goes to the function that failed only.
func TestMovedDeadLetters(t *testing.T) {
	queue := queueName(t)
	g := newGateway(t)
	one, two := g.add("one", queue, batched), g.add("two", queue, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: "3"})
	two.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
		results := make([]batch.Result, len(ids))
		for i, id := range ids {
			results[i] = batch.Result{ID: id, Outcome: batch.Retry, Reason: "not now"}
		}
		_, _ = w.Write(batch.AppendResponse(nil, results))
		return true
	})
	calls := func() (n int) {
		two.mu.Lock()
		defer two.mu.Unlock()
		for _, size := range two.sizes {
			n += size
		}
		return n
	}
	declareQueue(t, queue)
	ch, err := dialNode(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	deaths := []any{amqp.Table{"queue": "elsewhere", "reason": "rejected", "count": int64(1)}}
	if err := ch.PublishWithContext(t.Context(), "", queue, true, false, amqp.Publishing{MessageId: "e", Headers: amqp.Table{deathHeader: deaths}, Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	c := startConnector(t, g, nil)
	conn := dialNode(t)
	for round := 1; round <= 3; round++ {
		waitFor(t, "it is dead", func() bool {
			return calls() >= 3*round && ready(t, conn, broker.DeadQueue(queue)) == 1 && c.counters(t, queue)["in_hand"] == 0
		})
		if n := calls(); n != 3*round {
			t.Errorf("%d attempts in %d rounds, want 3 each", n, round)
		}
		dead := takeDead(t, queue)
		if len(dead) != 1 || dead[0].Headers[headerAttempts] != int32(3) || dead[0].Headers[headerOwed] != "two" || fmt.Sprint(dead[0].Headers[deathHeader]) != fmt.Sprint(deaths) {
			t.Fatalf("dead letters: %v", dead)
		}
		if round == 3 {
			break
		}
		// As a shovel does, and the management page's "move messages".
		d := dead[0]
		if err := ch.PublishWithContext(t.Context(), "", queue, true, false, amqp.Publishing{MessageId: d.MessageId, Headers: d.Headers, Timestamp: d.Timestamp, Body: d.Body}); err != nil {
			t.Fatal(err)
		}
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if !slices.Equal(one.sizes, []int{1}) {
		t.Errorf("one was called with %v", one.sizes)
	}
}
