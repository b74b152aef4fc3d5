package rabbitmq

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/breaker"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/unacked"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/eventually"
	"parkstream/shared/process"
)

var batched = map[string]string{annotationBatchSize: "100"}

func succeed(id string) batch.Result { return batch.Result{ID: id, Outcome: batch.Done} }

func TestEveryEventIsDoneOnce(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, batched)
	declareQueue(t, queue)
	publish(t, events(queue, "e", 5000)...)
	c := startConnector(t, g, nil)
	counters := c.settled(t, queue, 5000)
	if once, twice := f.done(); once != 5000 || twice != 0 {
		t.Errorf("%d done once, %d more often", once, twice)
	}
	if counters["acked"] != 5000 || counters["received"] != 5000 {
		t.Errorf("counters: %v", counters)
	}
	if calls := f.callCount(); calls > 500 {
		t.Errorf("%d calls for 5000 events: batches are not filled", calls)
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, batched)
	seen := map[string]int{}
	f.result = func(id string) batch.Result {
		seen[id]++
		switch {
		case id == "e-1":
			return batch.Result{ID: id, Outcome: batch.Reject, Reason: "no plate"}
		case id == "e-2" && seen[id] < 3:
			return batch.Result{ID: id, Outcome: batch.Retry, Reason: "store away"}
		case id == "e-3":
			return succeed("someone else")
		}
		return succeed(id)
	}
	declareQueue(t, queue)
	publish(t, events(queue, "e", 10)...)
	c := startConnector(t, g, nil)
	counters := c.settled(t, queue, 10)
	if counters["acked"] != 8 || counters["dead_lettered"] != 2 || counters["retried"] != 2+7 {
		t.Errorf("counters: %v", counters)
	}
	dead := map[string]amqp.Delivery{}
	for _, d := range takeDead(t, queue) {
		dead[d.MessageId] = d
	}
	for _, want := range []struct {
		id, reason string
		attempts   int32
	}{
		{"e-1", "no plate", 1},
		{"e-3", "the function's answer does not name this event", 8},
	} {
		h := dead[want.id].Headers
		if h[message.HeaderReason] != want.reason || h[message.HeaderAttempts] != want.attempts || h[message.HeaderFunction] != "fn" || h[message.HeaderStatus] != int32(200) || h[message.HeaderQueue] != queue {
			t.Errorf("dead letter %s: %v", want.id, h)
		}
		first, _ := time.Parse(time.RFC3339Nano, headerText(h, message.HeaderFirstTime))
		last := headerText(h, message.HeaderLastTime)
		if at, err := time.Parse(time.RFC3339Nano, last); err != nil || first.IsZero() || at.Before(first) || (want.attempts > 1) != at.After(first) {
			t.Errorf("dead letter %s failed from %s to %s", want.id, first, last)
		}
	}
}

// The original stays as it was, whatever it went through.
func TestDeadLettersKeepTheOriginal(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: "3"})
	f.result = func(id string) batch.Result {
		return batch.Result{ID: id, Outcome: batch.Retry, Reason: strings.Repeat("é", 2000)}
	}
	declareQueue(t, queue)
	conn := dialNode(t)
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	sent := amqp.Publishing{
		Headers: amqp.Table{
			"text": "v", "number": int64(7), "list": []any{"a", int32(1)},
			"x-death": []any{amqp.Table{"queue": "elsewhere", "reason": "rejected", "count": int64(1)}},
		},
		ContentType: "application/x-thing", ContentEncoding: "gzip", DeliveryMode: 2, Priority: 3, CorrelationId: "corr", ReplyTo: "reply",
		Expiration: "600000", MessageId: "the id", Timestamp: time.Unix(1700000000, 0), Type: "type", UserId: conn.Config.SASL[0].(*amqp.PlainAuth).Username, AppId: "app",
		Body: []byte{0, 1, 2, 0xff},
	}
	if err := ch.PublishWithContext(t.Context(), "", queue, true, false, sent); err != nil {
		t.Fatal(err)
	}
	c := startConnector(t, g, nil)
	c.settled(t, queue, 1)
	dead := takeDead(t, queue)
	if len(dead) != 1 {
		t.Fatalf("%d dead letters", len(dead))
	}
	d := dead[0]
	if d.ContentType != sent.ContentType || d.ContentEncoding != sent.ContentEncoding || d.DeliveryMode != 2 || d.Priority != 3 || d.CorrelationId != "corr" ||
		d.ReplyTo != "reply" || d.MessageId != "the id" || !d.Timestamp.Equal(sent.Timestamp) || d.Type != "type" || d.AppId != "app" || string(d.Body) != string(sent.Body) {
		t.Errorf("properties: %+v", d)
	}
	if d.Expiration != "" || d.Headers[message.HeaderExpiration] != "600000" || d.Headers[message.HeaderUser] != sent.UserId {
		t.Errorf("expiration %q, headers %v", d.Expiration, d.Headers)
	}
	for k, v := range sent.Headers {
		if fmt.Sprint(d.Headers[k]) != fmt.Sprint(v) {
			t.Errorf("header %s is %v", k, d.Headers[k])
		}
	}
	for k := range d.Headers {
		if _, theirs := sent.Headers[k]; !theirs && !strings.HasPrefix(k, message.Prefix) && k != "x-delivery-count" {
			t.Errorf("header %s was added", k)
		}
	}
	if reason := headerText(d.Headers, message.HeaderReason); len(reason) > message.MaxReason+3 || !strings.HasSuffix(reason, "é…") {
		t.Errorf("reason %q", reason)
	}
}

func TestRawMessages(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, nil)
	f.setScript(func(w http.ResponseWriter, _ *http.Request, ids []string) bool {
		switch ids[0] {
		case "refused":
			http.Error(w, "not like this", http.StatusUnprocessableEntity)
			return true
		case "accepted":
			w.WriteHeader(http.StatusAccepted)
		}
		return false
	})
	declareQueue(t, queue)
	publish(t,
		broker.Message{
			Queue: queue, ID: "one", Body: []byte("accepted"), ContentType: "text/plain",
			Headers: amqp.Table{
				"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=b", "region": "south", "count": int32(3),
				"bad name": "x", "bad-value": "a\nb", "table": amqp.Table{"a": "b"},
			},
		},
		broker.Message{Queue: queue, Body: []byte("refused")},
	)
	c := startConnector(t, g, nil)
	counters := c.settled(t, queue, 2)
	if counters["acked"] != 1 || counters["dead_lettered"] != 1 {
		t.Errorf("counters: %v", counters)
	}
	dead := takeDead(t, queue)
	if len(dead) != 1 || dead[0].Headers[message.HeaderReason] != "422 Unprocessable Entity: not like this" || dead[0].Headers[message.HeaderStatus] != int32(422) {
		t.Errorf("dead letters: %v", dead)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var h http.Header
	for _, got := range f.headers {
		if got.Get("X-Rabbitmq-Msg-Id") == "one" {
			h = got
		}
	}
	for name, want := range map[string]string{
		"X-Connector": connectorName, "X-Topic": queue, "X-Rabbitmq-Routing-Key": queue, "Content-Type": "text/plain",
		"Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "Tracestate": "a=b",
		"X-Rabbitmq-Header-Region": "south", "X-Rabbitmq-Header-Count": "3",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if h.Get("X-Call-Id") == "" || h.Get("X-Rabbitmq-Header-Bad-Value") != "" || h.Get("X-Rabbitmq-Header-Table") != "" {
		t.Errorf("headers: %v", h)
	}
}

// A function learns the routing key of the publisher at every attempt, and so does
// who looks at the dead letter.
func TestRoutingKey(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, map[string]string{annotationMaxAttempts: "2"})
	f.setScript(func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})
	declareQueue(t, queue)
	ch, err := dialNode(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(queue, "gate.*", "amq.topic", false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.PublishWithContext(t.Context(), "amq.topic", "gate.north", true, false, amqp.Publishing{Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	c := startConnector(t, g, nil)
	c.settled(t, queue, 1)
	if dead := takeDead(t, queue); len(dead) != 1 || dead[0].Headers[message.HeaderRoutingKey] != "gate.north" {
		t.Errorf("dead letters: %v", dead)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, h := range f.headers {
		if key := h.Get("X-Rabbitmq-Routing-Key"); key != "gate.north" {
			t.Errorf("routing key %q in call %d", key, i)
		}
	}
}

// Messages without an id, or with one that another has, are told apart.
func TestIDsAreUnique(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, batched)
	declareQueue(t, queue)
	msgs := make([]broker.Message, 30)
	for i := range msgs {
		msgs[i] = broker.Message{Queue: queue, ID: []string{"same", "", "bad\xff"}[i%3], Body: []byte("{}")}
	}
	publish(t, msgs...)
	c := startConnector(t, g, nil)
	if counters := c.settled(t, queue, 30); counters["acked"] != 30 || counters["retried"] != 0 {
		t.Errorf("counters: %v", counters)
	}
	if once, twice := f.done(); once+twice < 20 {
		t.Errorf("%d ids", once+twice)
	}
}

func TestMessagesOfAllSizes(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, map[string]string{annotationBatchSize: "100", annotationBatchBytes: "100000"})
	declareQueue(t, queue)
	var msgs []broker.Message
	for i, n := range []int{10, 200_000, 10, 1_000_001, 50_000, 60_000, 10, 0} {
		msgs = append(msgs, broker.Message{Queue: queue, ID: fmt.Sprint(i), Body: []byte(strings.Repeat("x", n))})
	}
	publish(t, msgs...)
	c := startConnector(t, g, func(cfg *Config) { cfg.MaxMessageBytes = 1_000_000 })
	if counters := c.settled(t, queue, 8); counters["acked"] != 7 || counters["dead_lettered"] != 1 {
		t.Errorf("counters: %v", counters)
	}
	if dead := takeDead(t, queue); len(dead) != 1 || len(dead[0].Body) != 1_000_001 || !strings.Contains(headerText(dead[0].Headers, message.HeaderReason), "1000001 bytes") {
		t.Errorf("dead letters: %d", len(dead))
	}
	if once, _ := f.done(); once != 7 {
		t.Errorf("%d done", once)
	}
}

// Two functions on one queue: each has its own outcome.
func TestSeveralFunctionsOnOneQueue(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	one := g.add("one", queue, batched)
	two := g.add("two", queue, batched)
	fails := map[string]int{}
	two.result = func(id string) batch.Result {
		if id == "e-7" {
			return batch.Result{ID: id, Outcome: batch.Reject, Reason: "not for two"}
		}
		if fails[id]++; fails[id] < 3 && strings.HasSuffix(id, "1") {
			return batch.Result{ID: id, Outcome: batch.Retry, Reason: "later"}
		}
		return succeed(id)
	}
	down := make(chan struct{})
	two.setScript(func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
		select {
		case <-down:
			return false
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
	})
	declareQueue(t, queue)
	publish(t, events(queue, "e", 1000)...)
	c := startConnector(t, g, nil)
	eventually.True(t, "function one does not wait for two", func() bool { once, _ := one.done(); return once == 1000 })
	if once, twice := two.done(); once+twice > 0 {
		t.Errorf("two has done %d", once)
	}
	close(down)
	eventually.True(t, "function two catches up", func() bool { once, _ := two.done(); return once == 999 })
	conn := dialNode(t)
	eventually.True(t, "the dead letter is there", func() bool { return ready(t, conn, broker.DeadQueue(queue)) == 1 })
	if once, twice := one.done(); once != 1000 || twice != 0 {
		t.Errorf("one has done %d once, %d more often", once, twice)
	}
	if once, twice := two.done(); once != 999 || twice != 0 {
		t.Errorf("two has done %d once, %d more often", once, twice)
	}
	dead := takeDead(t, queue)
	if len(dead) != 1 || dead[0].Headers[message.HeaderFunction] != "two" || dead[0].Headers[message.HeaderOnlyFunction] != "two" || dead[0].MessageId != "e-7" {
		t.Errorf("dead letters: %v", dead)
	}
	eventually.True(t, "nothing is unacked", func() bool { return c.counters(t, queue)["unacked"] == 0 })
	c.checkIdentity(t, c.counters(t, queue))
}

// A message that is owed to one function stays so while that is the only one on the
// queue: the others have had it, and may come back before it is through.
func TestOwedStaysOwed(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	g.add("fn", queue, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: "2"}).result = func(id string) batch.Result {
		return batch.Result{ID: id, Outcome: batch.Retry, Reason: "not now"}
	}
	declareQueue(t, queue)
	for _, body := range []string{"{}", strings.Repeat("x", 1001)} { // one retried, one too large to be given to a function
		publish(t, broker.Message{Queue: queue, ID: fmt.Sprint(len(body)), Body: []byte(body), Headers: amqp.Table{message.HeaderOnlyFunction: "fn"}})
	}
	c := startConnector(t, g, func(cfg *Config) { cfg.MaxMessageBytes = 1000 })
	c.settled(t, queue, 2)
	dead := takeDead(t, queue)
	if len(dead) != 2 {
		t.Fatalf("%d dead letters", len(dead))
	}
	for _, d := range dead {
		if d.Headers[message.HeaderOnlyFunction] != "fn" {
			t.Errorf("message %s is owed to %v", d.MessageId, d.Headers[message.HeaderOnlyFunction])
		}
	}
}

func readyz(c *running) (int, string) {
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	return w.Code, w.Body.String()
}

func TestParking(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	broken := func(w http.ResponseWriter) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return true
	}
	g.setListing(broken)
	declareQueue(t, queue)
	publish(t, events(queue, "a", 10)...)
	log := new(lockedText)
	c := startConnector(t, g, func(cfg *Config) { cfg.Log = process.NewLogger(log, "text", 0) })
	conn := dialNode(t)
	parked := func(reason string) {
		t.Helper()
		eventually.True(t, "not ready: "+reason, func() bool {
			code, text := readyz(c)
			return code == http.StatusServiceUnavailable && strings.Contains(text, reason)
		})
	}
	parked("answered 500")
	g.setListing(func(w http.ResponseWriter) bool {
		_, err := io.WriteString(w, `{"not":"a list"}`)
		return err == nil
	})
	parked("is GATEWAY_URL an OpenFaaS gateway?")
	g.setListing(nil)
	parked("no function has the annotation topic")
	if n := ready(t, conn, queue); n != 10 {
		t.Fatalf("%d messages are left in the queue", n)
	}

	f := g.add("fn", queue, batched)
	c.settled(t, queue, 10)
	eventually.True(t, "ready", func() bool { code, _ := readyz(c); return code == http.StatusOK })

	// the last good list is used on
	g.setListing(broken)
	parked("is used on")
	publish(t, events(queue, "b", 10)...)
	c.settled(t, queue, 20)

	// a function that is gone is a queue that is left alone
	g.remove("fn")
	g.setListing(nil)
	parked("no function has the annotation topic")
	if want := `msg="no function listens any more, messages wait" queue=` + queue; strings.Count(log.String(), want) != 1 {
		t.Errorf("the log does not say %q once:\n%s", want, log)
	}
	publish(t, events(queue, "c", 10)...)
	if once, _ := f.done(); once != 20 || ready(t, conn, queue) != 10 {
		t.Errorf("%d done, %d in the queue", once, ready(t, conn, queue))
	}
}

func TestFunctionsThatCannotBeServed(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, map[string]string{annotationBatchSize: "many"})
	g.add("cron", "cron-function", nil)
	c := startConnector(t, g, nil)
	eventually.True(t, "not ready", func() bool {
		code, text := readyz(c)
		return code == http.StatusServiceUnavailable && strings.Contains(text, `parkstream.batch-size is "many"`) && !strings.Contains(text, "cron")
	})
	g.mu.Lock()
	f.annotations = map[string]string{annotationTopic: queue + ", " + queue + "-2,cron-function", annotationBatchSize: "10"}
	g.mu.Unlock()
	eventually.True(t, "ready", func() bool { code, _ := readyz(c); return code == http.StatusOK })
	publish(t, append(events(queue, "a", 3), events(queue+"-2", "b", 3)...)...)
	c.settled(t, queue, 3)
	c.settled(t, queue+"-2", 3)
}

// A queue whose name AMQP or HTTP cannot carry is a mistake of its function, and
// takes the connection to RabbitMQ from no other.
func TestImpossibleQueueNames(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	g.add("long", strings.Repeat("q", 250), batched)
	g.add("lines", "one\ntwo", batched)
	f := g.add("fn", queue, batched)
	declareQueue(t, queue)
	c := startConnector(t, g, nil)
	eventually.True(t, "the mistakes are told", func() bool {
		_, text := readyz(c)
		return strings.Contains(text, "function long: the queue name qqq") && strings.Contains(text, `function lines: the queue name "one\ntwo"`)
	})
	publish(t, events(queue, "e", 10)...)
	c.settled(t, queue, 10)
	if once, _ := f.done(); once != 10 {
		t.Errorf("%d done", once)
	}
	eventually.True(t, "it is counted how often it connected", func() bool { return c.scrape(t) != "" })
	if text := c.scrape(t); !strings.Contains(text, `parkstream_amqp_connects_total{connection="parkstream-rabbitmq"} 1`) {
		t.Error("the connection was lost")
	}
}

// The messages of a function that cannot be served are not acknowledged for the
// others on its queues.
func TestAMistakeParksTheQueue(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	one, two := g.add("one", queue, batched), g.add("two", queue, map[string]string{annotationBatchSize: "many"})
	declareQueue(t, queue)
	publish(t, events(queue, "e", 20)...)
	c := startConnector(t, g, nil)
	eventually.True(t, "it is told", func() bool {
		_, text := readyz(c)
		return strings.Contains(text, `its queues are parked: function two: annotation parkstream.batch-size is "many"`)
	})
	if n := one.callCount(); n != 0 {
		t.Errorf("one was called %d times", n)
	}
	g.mu.Lock()
	two.annotations = map[string]string{annotationTopic: queue, annotationBatchSize: "10"}
	g.mu.Unlock()
	c.settled(t, queue, 20)
	for name, f := range map[string]*function{"one": one, "two": two} {
		if once, twice := f.done(); once != 20 || twice != 0 {
			t.Errorf("%s: %d done once, %d more often", name, once, twice)
		}
	}
}

// A new function does not wait for the calls of a queue whose functions change,
// and one that is gone leaves no breaker behind.
func TestPlanChangesDuringACall(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	slow := g.add("slow", queue, map[string]string{annotationBatchSize: "10", annotationTimeout: "30s"})
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	slow.setScript(func(http.ResponseWriter, *http.Request, []string) bool {
		entered <- struct{}{}
		<-leave
		return false
	})
	declareQueue(t, queue)
	declareQueue(t, queue+"-2")
	publish(t, append(events(queue, "a", 1), events(queue+"-2", "b", 1)...)...)
	c := startConnector(t, g, nil)
	<-entered
	g.remove("slow")
	fast := g.add("fast", queue+"-2", batched)
	eventually.True(t, "the new function is served", func() bool { once, _ := fast.done(); return once == 1 })
	eventually.True(t, "the breaker of the old one is gone", func() bool {
		text := c.scrape(t)
		return strings.Contains(text, `breaker_state{function="fast"}`) && !strings.Contains(text, `breaker_state{function="slow"}`)
	})
	close(leave)
	eventually.True(t, "the call is settled", func() bool { return c.counters(t, queue)["acked"] == 1 })
}

// CC asks the broker for copies once, not for more with every attempt; the other
// headers reach functions that take batches as well.
func TestHeadersOfBatches(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: "3"})
	f.result = func(id string) batch.Result { return batch.Result{ID: id, Outcome: batch.Retry, Reason: "not now"} }
	var bodies atomic.Value
	g.server.Config.Handler = recordBodies(g.server.Config.Handler, &bodies)
	declareQueue(t, queue)
	declareQueue(t, queue+"-copy")
	ch, err := dialNode(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	headers := amqp.Table{
		"CC": []any{queue + "-copy"}, "X-Tenant": "south", "x-tenant": "north", "n": int64(7), "table": amqp.Table{}, "tracestate": "a=b",
	}
	if err := ch.PublishWithContext(t.Context(), "", queue, true, false, amqp.Publishing{MessageId: "m", Headers: headers, Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	c := startConnector(t, g, nil)
	if counters := c.settled(t, queue, 1); counters["dead_lettered"] != 1 || counters["retried"] != 2 {
		t.Errorf("counters: %v", counters)
	}
	if n := ready(t, dialNode(t), queue+"-copy"); n != 1 {
		t.Errorf("%d copies", n)
	}
	if dead := takeDead(t, queue); len(dead) != 1 || fmt.Sprint(dead[0].Headers[message.HeaderCC]) != fmt.Sprint(headers["CC"]) {
		t.Errorf("dead letters %v", dead)
	}
	want := `"tracestate":"a=b","amqpxtenant":"south","amqpn":"7","data":{}`
	if got, _ := bodies.Load().(string); !strings.Contains(got, want) {
		t.Errorf("the call was %s, want %s", got, want)
	}
}

func recordBodies(next http.Handler, last *atomic.Value) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if len(body) > 0 {
			last.Store(string(body))
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

// The metrics of calls, of the time in the queue, of the breaker and of the
// connection show what happens.
func TestMetrics(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, batched)
	var failing atomic.Bool
	f.setScript(func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
		if failing.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return failing.Load()
	})
	declareQueue(t, queue)
	publish(t, events(queue, "a", 100)...)
	c := startConnector(t, g, nil)
	c.settled(t, queue, 100)
	failing.Store(true)
	publish(t, events(queue, "b", 1)...)
	value := func(series string) float64 {
		for line := range strings.Lines(c.scrape(t)) {
			if text, found := strings.CutPrefix(line, series+" "); found {
				v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
		}
		return -1
	}
	eventually.True(t, "the breaker is open and the oldest message ages", func() bool {
		return value(`parkstream_connector_breaker_state{function="fn"}`) >= float64(breaker.Open) &&
			value(fmt.Sprintf(`parkstream_connector_oldest_unacked_age_seconds{queue=%q}`, queue)) > 0.1
	})
	failing.Store(false)
	c.settled(t, queue, 101)
	for series, want := range map[string]float64{
		`parkstream_connector_breaker_state{function="fn"}`:                                              float64(breaker.Closed),
		fmt.Sprintf(`parkstream_connector_oldest_unacked_age_seconds{queue=%q}`, queue):                  0,
		`parkstream_connector_calls_in_flight{function="fn"}`:                                            0,
		`parkstream_connector_batch_size_sum{function="fn"}`:                                             float64(101 + value(`parkstream_connector_call_duration_seconds_count{function="fn",verdict="outage"}`)),
		`parkstream_stage_duration_seconds_count{function="fn",stage="consumed"}`:                        101,
		fmt.Sprintf(`parkstream_connector_outcomes_total{function="fn",outcome="done",queue=%q}`, queue): 101,
	} {
		if got := value(series); got != want {
			t.Errorf("%s is %g, want %g", series, got, want)
		}
	}
	for _, series := range []string{
		`parkstream_connector_call_duration_seconds_sum{function="fn",verdict="answered"}`,
		`parkstream_connector_calls_limit{function="fn"}`,
		`parkstream_stage_duration_seconds_sum{function="fn",stage="consumed"}`,
		`parkstream_stage_duration_seconds_sum{function="fn",stage="invoked"}`,
		`parkstream_amqp_connects_total{connection="parkstream-rabbitmq"}`,
	} {
		if got := value(series); got <= 0 {
			t.Errorf("%s is %g", series, got)
		}
	}
}

// The number of unacked messages has its former name as well until the next release.
func TestFormerNameOfUnacked(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	tracker := unacked.New(nil, newMetrics(registry).queue("q"))
	for range 3 {
		tracker.Add(time.Now(), 1)
	}
	r := &running{registry: registry}
	if c := r.counters(t, "q"); c["unacked"] != 3 || c["in_hand"] != 3 {
		t.Errorf("%v", c)
	}
}

// A change of a function's annotations takes effect without losing anything.
func TestSettingsOfAFunctionChange(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, map[string]string{annotationBatchSize: "5"})
	declareQueue(t, queue)
	c := startConnector(t, g, nil)
	for i, size := range []string{"5", "7", "20"} {
		g.mu.Lock()
		f.annotations = map[string]string{annotationTopic: queue, annotationBatchSize: size}
		g.mu.Unlock()
		publish(t, events(queue, fmt.Sprint(i), 500)...)
	}
	c.settled(t, queue, 1500)
	if once, twice := f.done(); once+twice != 1500 {
		t.Errorf("%d done", once+twice)
	}
}

func TestGatewayCredentials(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	g.add("fn", queue, batched)
	auth := make(chan string, 1000)
	next := g.server.Config.Handler
	g.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); strings.HasPrefix(r.URL.Path, "/system/") && (user != "admin" || password != "secret-2") {
			auth <- user + ":" + password
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
	dir := t.TempDir()
	writeSecret(t, dir, "basic-auth-user", "admin\n")
	writeSecret(t, dir, "basic-auth-password", "secret-1\n")
	c := startConnector(t, g, func(cfg *Config) { cfg.SecretsDir = dir })
	if got := <-auth; got != "admin:secret-1" {
		t.Errorf("credentials %s", got)
	}
	eventually.True(t, "the refusal is told", func() bool { _, text := readyz(c); return strings.Contains(text, "does not accept the secrets") })
	writeSecret(t, dir, "basic-auth-password", "secret-2\n")
	eventually.True(t, "the new password is used", func() bool { code, _ := readyz(c); return code == http.StatusOK })
}

// TestGatewayPasswordIsRotatedUnderLoad: events flow on while the gateway refuses the
// old password and the secret does not have the new one yet.
func TestGatewayPasswordIsRotatedUnderLoad(t *testing.T) {
	t.Parallel()
	const rotations, each = 3, 200
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, batched)
	var wanted atomic.Value
	wanted.Store("secret-0")
	var refused, listed atomic.Int64
	next := g.server.Config.Handler
	g.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/system/") {
			if user, password, _ := r.BasicAuth(); user != "admin" || password != wanted.Load().(string) {
				refused.Add(1)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			listed.Add(1)
		}
		next.ServeHTTP(w, r)
	})
	dir := t.TempDir()
	writeSecret(t, dir, "basic-auth-user", "admin\n")
	writeSecret(t, dir, "basic-auth-password", "secret-0\n")
	declareQueue(t, queue)
	c := startConnector(t, g, func(cfg *Config) { cfg.SecretsDir = dir })
	eventually.True(t, "it is ready", func() bool { code, _ := readyz(c); return code == http.StatusOK })
	for i := range rotations {
		wasRefused, wasListed := refused.Load(), listed.Load()
		wanted.Store(fmt.Sprint("secret-", i+1))
		eventually.True(t, "the old password is refused", func() bool { return refused.Load() > wasRefused })
		publish(t, events(queue, fmt.Sprint("e", i), each)...)
		c.settled(t, queue, (i+1)*each)
		writeSecret(t, dir, "basic-auth-password", fmt.Sprintf("secret-%d\n", i+1))
		eventually.True(t, "the new password is used", func() bool {
			code, text := readyz(c)
			if strings.Contains(text, "secret-") {
				t.Fatalf("a password is told: %s", text)
			}
			return listed.Load() > wasListed && code == http.StatusOK
		})
	}
	if once, twice := f.done(); once != rotations*each || twice != 0 {
		t.Errorf("%d events done once, %d more often", once, twice)
	}
}

func TestNamespaces(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn.blue", queue, batched)
	g.server.Config.Handler = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("namespace") == "blue" {
				_ = json.NewEncoder(w).Encode([]listed{{Name: "fn", Annotations: f.annotations}})
				return
			}
			next.ServeHTTP(w, r)
		})
	}(g.server.Config.Handler)
	declareQueue(t, queue)
	publish(t, events(queue, "e", 3)...)
	c := startConnector(t, g, func(cfg *Config) { cfg.Namespaces = []string{"blue"} })
	c.settled(t, queue, 3)
	if once, _ := f.done(); once != 3 {
		t.Errorf("%d done", once)
	}
}
