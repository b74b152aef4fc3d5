package rabbitmq

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/deadletter"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/shared/broker"
	"parkstream/shared/eventually"
)

// nested puts tables and arrays into each other.
func nested(depth int, tables, arrays bool) any {
	var v any = "the innermost"
	for i := range depth {
		if tables && (!arrays || i%2 == 0) {
			v = amqp.Table{"in": v}
		} else {
			v = []any{v}
		}
	}
	return v
}

func manyHeaders(n int) amqp.Table {
	h := make(amqp.Table, n)
	for i := range n {
		h[fmt.Sprint(i)] = nil
	}
	return h
}

// poisons are headers that RabbitMQ accepts and for which the client library closes the
// connection, each with a part of its expected reason.
func poisons(version string) map[string]struct {
	headers amqp.Table
	reason  string
} {
	const deep, many = "nested deeper than 32 levels", "more than 8192 elements"
	// the largest that RabbitMQ takes: it measures the payload, in which there are
	// also the class, the size, the flags, a message id and an expiration
	huge := amqp.Table{"small": "kept", "huge": ""}
	huge["huge"] = strings.Repeat("x", 131072-14-len(" huge 1")-broker.HeadersSize(huge))
	all := map[string]struct {
		headers amqp.Table
		reason  string
	}{
		"tables":  {amqp.Table{"small": "kept", "deep": nested(33, true, false)}, deep},
		"arrays":  {amqp.Table{"small": "kept", "deep": nested(33, false, true)}, deep},
		"both":    {amqp.Table{"small": "kept", "deep": nested(1000, true, true), "many": make([]any, 8193)}, ""},
		"x-death": {amqp.Table{"small": "kept", "x-death": []any{amqp.Table{"queue": "elsewhere", "count": nested(31, true, true)}}}, deep},
		"array":   {amqp.Table{"small": "kept", "many": make([]any, 8193)}, many},
		"inside":  {amqp.Table{"small": "kept", "x-death": []any{amqp.Table{"many": make([]any, 8193)}}}, many},
		"table":   {amqp.Table{"small": "kept", "many": manyHeaders(8193)}, many},
		"headers": {manyHeaders(8193), many},
		"huge":    {huge, "a frame has room for 131064"},
		"forged":  {amqp.Table{"small": "kept", message.HeaderUnreadable: "sent by a stranger", message.HeaderOriginal: []byte("as well")}, "sent by a stranger"},
	}
	if !strings.HasPrefix(version, "3.") { // drops a foreign x-death when it dead-letters a message
		delete(all, "x-death")
		delete(all, "inside")
	}
	return all
}

// Messages whose headers the client library refuses become dead letters, which can be
// listed and replayed. They delay no message behind them, and cost no connection.
func TestPoisonousHeaders(t *testing.T) {
	t.Parallel()
	queue, other := queueName(t), queueName(t)+"-other"
	version := dialNode(t).ServerVersion()
	g := newGateway(t)
	f, unaffected := g.add("fn", queue, batched), g.add("other", other, batched)
	declareQueue(t, queue)
	declareQueue(t, other)
	ch, err := dialNode(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	send := func(expiration string) {
		t.Helper()
		for id, p := range poisons(version) {
			m := amqp.Publishing{MessageId: id, Headers: p.headers, Body: []byte(`{"id":"` + id + `"}`), Expiration: expiration}
			if err := ch.PublishWithContext(t.Context(), "", queue, true, false, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	conn := dialNode(t)
	dead := broker.DeadQueue(queue)
	n := len(poisons(version))
	list := func(prefix string) {
		t.Helper()
		left := poisons(version)
		all, err := deadletter.List(t.Context(), conn, queue, deadletter.Filter{}, func(d deadletter.Letter) error {
			want, known := left[d.ID]
			delete(left, d.ID)
			if !known || !strings.HasPrefix(d.Reason, prefix) || !strings.Contains(d.Reason, unreadable) || !strings.Contains(d.Reason, want.reason) || string(d.Body) != `{"id":"`+d.ID+`"}` {
				t.Errorf("%s: reason %q, body %q", d.ID, d.Reason, d.Body)
			}
			if d.ID != "headers" && d.Headers["small"] != "kept" || (d.Original == nil) != (d.ID == "huge") {
				t.Errorf("%s: headers %v, original of %d bytes", d.ID, d.Headers, len(d.Original))
			}
			return nil
		})
		if err != nil || all != n || len(left) > 0 {
			t.Errorf("%d dead letters, %v, not listed: %v", all, err, left)
		}
	}
	p := broker.NewPublisher(broker.Config{URLs: nodeURLs(t)})
	defer p.Close()
	replay := func() {
		t.Helper()
		if got, err := deadletter.Replay(t.Context(), conn, p, queue, deadletter.Filter{}); got != n || err != nil {
			t.Errorf("%d replayed, %v; want %d", got, err, n)
		}
	}

	// The broker itself moves them to the dead letters.
	send("1")
	eventually.True(t, "they expire", func() bool { return ready(t, conn, dead) == n })
	list("dead-lettered by the broker")
	replay()

	c := startConnector(t, g, nil)
	publish(t, append(events(queue, "e", 20), events(other, "e", 20)...)...)
	c.settled(t, queue, n+20)
	c.settled(t, other, 20)
	list(unreadable)
	for range 2 { // they come back
		replay()
		eventually.True(t, "they are dead letters again", func() bool { return ready(t, conn, dead) == n })
		list(unreadable)
	}
	send("")
	counters := c.settled(t, queue, 20+4*n)
	if counters["acked"] != 20 || counters["dead_lettered"] != 4*n || counters["retried"] != 0 || counters["returned"] != 0 {
		t.Errorf("counters: %v", counters)
	}
	for name, f := range map[string]*function{"fn": f, "other": unaffected} {
		if once, twice := f.done(); once != 20 || twice != 0 {
			t.Errorf("%s: %d done once, %d more often", name, once, twice)
		}
	}
	text := c.scrape(t)
	for connection, want := range map[string]int{"parkstream-rabbitmq": 2, "parkstream-rabbitmq-publish": 1} {
		if !strings.Contains(text, fmt.Sprintf("parkstream_amqp_connects_total{connection=%q} %d\n", connection, want)) {
			t.Errorf("the connection %s was lost", connection)
		}
	}
	if got := takeDead(t, queue); len(got) != 2*n || slices.ContainsFunc(got, func(d amqp.Delivery) bool { return d.Headers[message.HeaderUnreadable] == nil }) {
		t.Errorf("%d dead letters at the end", len(got))
	}
}
