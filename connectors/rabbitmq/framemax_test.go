package rabbitmq

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/deadletter"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/eventually"
)

// setFrameMax changes the broker's frame_max for the connections that are made in
// the test.
func setFrameMax(t *testing.T, n int) {
	t.Helper()
	set := func(ctx context.Context, n int) {
		t.Helper()
		if _, err := nodeOf(t).Ctl(ctx, "eval", fmt.Sprintf("application:set_env(rabbit, frame_max, %d).", n)); err != nil {
			t.Fatal(err)
		}
	}
	set(t.Context(), n)
	t.Cleanup(func() { set(context.Background(), 131072) })
}

// A message is retried and dead-lettered with every frame_max. Headers that do not fit
// beside ours are left out and named, the largest first.
func testFrameMax(t *testing.T) {
	frameMaxes := []int{4096, 8192}
	if isSince(t, 4, 1) { // it lets in no client with less than 8,192
		frameMaxes = frameMaxes[1:]
	}
	for _, frameMax := range frameMaxes {
		t.Run(fmt.Sprint(frameMax), func(t *testing.T) {
			const attempts = 3
			name := queueName(t)
			queue := strings.Repeat("q", 220-len(name)) + name // little room is left for headers
			g := newGateway(t)
			f := g.add("fn", queue, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: fmt.Sprint(attempts)})
			f.result = func(id string) batch.Result {
				return batch.Result{ID: id, Outcome: batch.Retry, Reason: strings.Repeat("why ", 2000)}
			}
			declareQueue(t, queue)
			send := func(m amqp.Publishing) {
				t.Helper()
				ch, err := dialNode(t).Channel()
				if err != nil {
					t.Fatal(err)
				}
				if err := ch.PublishWithContext(t.Context(), "", queue, true, false, m); err != nil {
					t.Fatal(err)
				}
				if err := ch.Close(); err != nil { // it is there, or the broker has refused it
					t.Fatal(err)
				}
			}
			text := func(n int) string { return strings.Repeat("x", n) }
			send(amqp.Publishing{MessageId: "sent before", Headers: amqp.Table{"small": "kept", "huge": text(100_000)}})
			setFrameMax(t, frameMax)
			full := text(255)
			user := dialNode(t).Config.SASL[0].(*amqp.PlainAuth).Username
			var many []any
			for i := range frameMax / 40 {
				many = append(many, fmt.Sprint("a queue that is not there ", i))
			}
			want := map[string]string{"large": "huge", "several": "c", "copied": message.HeaderCC, "full": "huge", "sent before": "", "plain": ""}
			for _, m := range []amqp.Publishing{
				{MessageId: "large", Headers: amqp.Table{"small": "kept", "huge": text(frameMax - 150)}},
				{MessageId: "several", Headers: amqp.Table{"small": "kept", "a": text(frameMax / 8), "b": text(frameMax / 4), "c": text(frameMax / 2)}},
				{MessageId: "copied", Headers: amqp.Table{"small": "kept", "CC": many}},
				{
					MessageId: "full", Headers: amqp.Table{"small": "kept", "huge": text(frameMax - 2200)}, ContentType: full, ContentEncoding: full, CorrelationId: full,
					ReplyTo: full, Type: full, AppId: full, UserId: user, Expiration: "86400000", Priority: 9,
				},
				{MessageId: "plain", Headers: amqp.Table{"small": "kept"}},
			} {
				send(m)
			}
			c := startConnector(t, g, nil)
			c.settled(t, queue, len(want))
			for _, connection := range []string{"parkstream-rabbitmq", "parkstream-rabbitmq-publish"} {
				if text := c.scrape(t); !strings.Contains(text, fmt.Sprintf("parkstream_amqp_connects_total{connection=%q} 1\n", connection)) {
					t.Errorf("the connection %s was lost", connection)
				}
			}

			check := func() {
				t.Helper()
				conn := dialNode(t)
				seen := 0
				if _, err := deadletter.List(t.Context(), conn, queue, deadletter.Filter{}, func(d deadletter.Letter) error {
					seen++
					if d.Headers["small"] != "kept" {
						t.Errorf("%s: headers %v", d.ID, d.Headers)
					}
					if d.ID == "sent before" {
						if !strings.HasPrefix(d.Reason, unreadable) || !strings.Contains(d.Reason, `"huge"`) {
							t.Errorf("reason %q", d.Reason)
						}
						return nil
					}
					if d.Attempts != attempts || !strings.HasPrefix(d.Reason, "why why ") || d.Function != "fn" || d.First.IsZero() {
						t.Errorf("%s: %d attempts, reason %q", d.ID, d.Attempts, d.Reason)
					}
					return nil
				}); err != nil || seen != len(want) {
					t.Errorf("%d dead letters, %v", seen, err)
				}
			}
			check()
			conn := dialNode(t)
			p := broker.NewPublisher(broker.Config{URLs: nodeURLs(t)})
			defer p.Close()
			if n, err := deadletter.Replay(t.Context(), conn, p, queue, deadletter.Filter{}); n != len(want) || err != nil {
				t.Errorf("%d replayed, %v", n, err)
			}
			c.settled(t, queue, 2*len(want))
			check()
			for _, d := range takeDead(t, queue) {
				omitted := headerText(d.Headers, message.HeaderOmitted)
				if d.MessageId == "several" { // how many of them depends on frame_max
					omitted, _, _ = strings.Cut(omitted, ",")
				}
				if omitted != want[d.MessageId] {
					t.Errorf("%s: omitted %q, want %q", d.MessageId, omitted, want[d.MessageId])
				}
				if d.MessageId == "full" && (d.ContentType != full || d.AppId != full || d.Headers[message.HeaderUser] != user || d.Headers[message.HeaderExpiration] != "86400000") {
					t.Errorf("full: %v", d)
				}
			}
		})
	}
}

// closePublishing has the broker close the connections that n connectors publish on.
func closePublishing(t *testing.T, n int) {
	t.Helper()
	const closeAll = `length([rabbit_networking:close_connection(Pid, "for a test") ||
		[{pid, Pid}, {client_properties, Ps}] <- rabbit_networking:connection_info_all([pid, client_properties]),
		lists:keyfind(<<"connection_name">>, 1, Ps) =:= {<<"connection_name">>, longstr, <<"parkstream-rabbitmq-publish">>}]).`
	if closed, err := nodeOf(t).Ctl(t.Context(), "eval", closeAll); err != nil || strings.TrimSpace(closed) != fmt.Sprint(n) {
		t.Fatalf("%s connections closed, %v; want %d", closed, err, n)
	}
}

// A message that comes over a connection with large frames fits into those of the
// connection that it leaves by, which can be another one at each attempt.
func testFrameMaxShrinks(t *testing.T) {
	huge := broker.Message{ID: "huge", Body: []byte("{}"), Headers: amqp.Table{"small": "kept", "huge": strings.Repeat("x", 100_000)}}
	ends := []struct {
		when string
		end  func(*testing.T)
	}{
		{"before the first connection", hugeRetry(t, huge, false, false)},
		{"before the message is sent", hugeRetry(t, huge, true, false)},
		{"while the message waits to be sent", hugeRetry(t, huge, false, true)},
		{"replay", hugeReplay(t, huge)},
	}
	setFrameMax(t, 8192)
	closePublishing(t, 2)
	for _, tt := range ends {
		t.Run(tt.when, tt.end)
	}
}

// hugeRetry has a connector get a message over a connection with large frames. It has
// published before if connected is true. If full is true the dead letters are full, and the
// message waits to be sent to them; otherwise it waits in its first call.
func hugeRetry(t *testing.T, huge broker.Message, connected, full bool) (end func(*testing.T)) {
	t.Helper()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: "2", annotationTimeout: "5m"})
	f.result = func(id string) batch.Result {
		return batch.Result{ID: id, Outcome: batch.Retry, Reason: "why"}
	}
	release := make(chan struct{})
	f.setScript(func(_ http.ResponseWriter, r *http.Request, ids []string) bool {
		if slices.Contains(ids, huge.ID) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		return false
	})
	ch, err := dialNode(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	if full {
		declareFullDeadQueue(t, queue)
	}
	declareQueue(t, queue)
	c := startConnector(t, g, nil)
	messages := 1
	if connected {
		publish(t, events(queue, "e", 1)...)
		c.settled(t, queue, 1)
		messages = 2
	}
	huge.Queue = queue
	calls := f.callCount()
	publish(t, huge)
	eventually.True(t, "the function is called", func() bool { return f.callCount() > calls })
	if full {
		close(release)
		eventually.True(t, "the message waits", func() bool { _, text := readyz(c); return strings.Contains(text, "the queue is full") })
	}
	return func(t *testing.T) {
		if full {
			if _, err := ch.QueuePurge(broker.DeadQueue(queue), false); err != nil {
				t.Fatal(err)
			}
		} else {
			close(release)
		}
		c.settled(t, queue, messages)
		dead := takeDead(t, queue)
		i := slices.IndexFunc(dead, func(d amqp.Delivery) bool { return d.MessageId == huge.ID })
		if i < 0 {
			t.Fatalf("dead letters: %v", dead)
		}
		if h := dead[i].Headers; h["small"] != "kept" || h[message.HeaderAttempts] != int32(2) || h[message.HeaderReason] != "why" || h[message.HeaderOmitted] != "huge" {
			t.Errorf("headers: %v", h)
		}
	}
}

// hugeReplay connects with large frames to a message that is to be replayed.
func hugeReplay(t *testing.T, huge broker.Message) (end func(*testing.T)) {
	t.Helper()
	queue := queueName(t)
	declareQueue(t, queue)
	huge.Queue = broker.DeadQueue(queue)
	publish(t, huge)
	conn := dialNode(t)
	return func(t *testing.T) {
		p := broker.NewPublisher(broker.Config{URLs: nodeURLs(t)})
		defer p.Close()
		if n, err := deadletter.Replay(t.Context(), conn, p, queue, deadletter.Filter{}); n != 1 || err != nil {
			t.Fatalf("%d replayed, %v", n, err)
		}
		ch, err := dialNode(t).Channel()
		if err != nil {
			t.Fatal(err)
		}
		d, _, err := ch.Get(queue, true)
		if err != nil || d.MessageId != huge.ID || d.Headers["small"] != "kept" || d.Headers[message.HeaderOmitted] != "huge" {
			t.Errorf("%s: headers %v, %v", d.MessageId, d.Headers, err)
		}
	}
}
