package rabbitmq

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/deadletter"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/eventually"
)

// Listing dead letters does not move them. Replay publishes the selected ones again, to
// the function that failed only.
func TestReplay(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	one, two := g.add("one", queue, batched), g.add("two", queue, batched)
	var mended atomic.Bool
	two.result = func(id string) batch.Result {
		var i int
		if _, err := fmt.Sscanf(id, "e-%d", &i); err == nil && i < 700 && !mended.Load() {
			return batch.Result{ID: id, Outcome: batch.Reject, Reason: fmt.Sprint("reason ", i%7)}
		}
		return succeed(id)
	}
	declareQueue(t, queue)
	publish(t, events(queue, "e", 1000)...)
	c := startConnector(t, g, nil)
	c.settled(t, queue, 1000)
	mended.Store(true)

	conn := dialNode(t)
	eventually.True(t, "the dead letters are there", func() bool { return ready(t, conn, broker.DeadQueue(queue)) == 700 })
	there := 700
	list := func(f deadletter.Filter) (ids []string) {
		t.Helper()
		all, err := deadletter.List(t.Context(), conn, queue, f, func(d deadletter.Letter) error {
			ids = append(ids, d.ID)
			if d.Queue != queue || d.Function != "two" || d.Status != 200 || d.Attempts != 1 || d.First.IsZero() || d.Last.Before(d.First) ||
				string(d.Body) != fmt.Sprintf(`{"id":%q}`, d.ID) || d.ContentType != "application/json" {
				t.Errorf("%+v", d)
			}
			for name := range d.Headers {
				if strings.HasPrefix(name, message.Prefix) || strings.HasPrefix(name, "x-d") {
					t.Errorf("header %s is not the publisher's", name)
				}
			}
			return nil
		})
		if err != nil || all != there {
			t.Errorf("%d in all, %v; want %d", all, err, there)
		}
		return ids
	}
	if ids := list(deadletter.Filter{}); len(ids) != 700 {
		t.Errorf("%d are listed", len(ids))
	}

	p := broker.NewPublisher(broker.Config{URLs: nodeURLs(t)})
	defer p.Close()
	replay := func(f deadletter.Filter, want, left int) {
		t.Helper()
		n, err := deadletter.Replay(t.Context(), conn, p, queue, f)
		if err != nil || n != want {
			t.Errorf("%d replayed, %v; want %d", n, err, want)
		}
		if there -= want; there != left {
			t.Fatalf("%d are left by count, want %d", there, left)
		}
		eventually.True(t, "the others are in their place", func() bool { return ready(t, conn, broker.DeadQueue(queue)) == left })
	}
	replay(deadletter.Filter{IDs: []string{"e-5"}}, 1, 699)
	replay(deadletter.Filter{Reason: "reason 5"}, 99, 600)
	if ids := list(deadletter.Filter{}); slices.ContainsFunc(ids, func(id string) bool { return id == "e-5" || id == "e-12" }) {
		t.Error("what was replayed is a dead letter still")
	}
	replay(deadletter.Filter{}, 600, 0)
	replay(deadletter.Filter{}, 0, 0)
	c.settled(t, queue, 1700)
	for name, f := range map[string]*function{"one": one, "two": two} {
		if once, twice := f.done(); once != 1000 || twice != 0 {
			t.Errorf("%s: %d done once, %d more often", name, once, twice)
		}
	}
}

func TestReplayKeepsWhatCannotBePublished(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	declareQueue(t, queue)
	publish(t, broker.Message{Queue: broker.DeadQueue(queue), Body: []byte("no id")}, broker.Message{Queue: broker.DeadQueue(queue), ID: "b", Body: []byte("{}")})
	conn := dialNode(t)
	if ch, err := conn.Channel(); err != nil {
		t.Fatal(err)
	} else if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	p := broker.NewPublisher(broker.Config{URLs: nodeURLs(t)})
	defer p.Close()
	if n, err := deadletter.Replay(t.Context(), conn, p, queue, deadletter.Filter{}); n != 0 || !errors.Is(err, broker.ErrUnroutable) {
		t.Errorf("%d, %v", n, err)
	}
	eventually.True(t, "both are in their place", func() bool { return ready(t, conn, broker.DeadQueue(queue)) == 2 })
	var ids []string
	if _, err := deadletter.List(t.Context(), conn, queue, deadletter.Filter{}, func(d deadletter.Letter) error { ids = append(ids, d.ID); return nil }); err != nil {
		t.Error(err)
	}
	slices.Sort(ids)
	if len(ids) != 2 || ids[0] != "b" || !strings.HasPrefix(ids[1], "sha256:") {
		t.Errorf("ids %q", ids)
	}
	if _, err := deadletter.List(t.Context(), conn, "no-such-queue", deadletter.Filter{}, nil); err == nil || !strings.Contains(err.Error(), "no-such-queue.dead") {
		t.Errorf("no queue: %v", err)
	}
}

// What comes twice, as a dead letter that failed again while others took some, is
// left for the next time.
func TestReplayLeavesWhatComesTwice(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	declareQueue(t, queue)
	dead := broker.DeadQueue(queue)
	long := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339Nano)
	letter := func(id, function string) broker.Message {
		return broker.Message{Queue: dead, ID: id, Body: []byte("{}"), Headers: amqp.Table{message.HeaderFunction: function, message.HeaderLastTime: long}}
	}
	publish(t, letter("a", "one"), letter("a", "two"), letter("b", "one"), letter("a", "one"))
	conn := dialNode(t)
	eventually.True(t, "they are there", func() bool { return ready(t, conn, dead) == 4 })
	p := broker.NewPublisher(broker.Config{URLs: nodeURLs(t)})
	defer p.Close()
	for _, want := range []int{3, 1, 0} {
		if n, err := deadletter.Replay(t.Context(), conn, p, queue, deadletter.Filter{}); n != want || err != nil {
			t.Errorf("%d replayed, %v; want %d", n, err, want)
		}
	}
}

// A time in the future, which a publisher can send, hides no dead letter behind it
// and is of no age, and what comes while they are read is left for the next time.
func TestDeadLettersOfTheFuture(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	declareQueue(t, queue)
	dead := broker.DeadQueue(queue)
	now := time.Now()
	text := func(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }
	future, old := now.Add(1000*time.Hour), now.Add(-48*time.Hour).Truncate(time.Second)
	death := func(at time.Time) []any { return []any{amqp.Table{"time": at}} }
	msgs := []broker.Message{
		{Queue: dead, ID: "last", Timestamp: old, Headers: amqp.Table{message.HeaderFirstTime: text(future), message.HeaderLastTime: text(future)}},
		{Queue: dead, ID: "death", Timestamp: future, Headers: amqp.Table{message.HeaderLastTime: text(future), "x-death": death(old)}},
		{Queue: dead, ID: "both", Timestamp: old, Headers: amqp.Table{message.HeaderLastTime: text(future), "x-death": death(future)}},
		{Queue: dead, ID: "all", Timestamp: future, Headers: amqp.Table{message.HeaderLastTime: text(future), "x-death": death(future)}},
		{Queue: dead, ID: "none", Forwarded: true, Headers: amqp.Table{message.HeaderLastTime: text(old)}},
	}
	publish(t, msgs...)
	conn := dialNode(t)
	eventually.True(t, "they are there", func() bool { return ready(t, conn, dead) == len(msgs) })
	left := func(visit func()) (ids []string) {
		t.Helper()
		all, err := deadletter.List(t.Context(), conn, queue, deadletter.Filter{}, func(d deadletter.Letter) error {
			want := old
			if d.ID == "all" || strings.HasPrefix(d.ID, "later") {
				want = time.Time{}
			}
			if !d.Since.Equal(want) || d.First.After(now) || d.Last.After(now) {
				t.Errorf("%s: dead since %v, want %v; first %v, last %v", d.ID, d.Since, want, d.First, d.Last)
			}
			if ids = append(ids, d.ID); len(ids) > 20 {
				return errors.New("it does not end")
			}
			visit()
			return nil
		})
		if err != nil || all != len(ids) {
			t.Errorf("%d in all, %v", all, err)
		}
		return ids
	}
	i := 0
	if got := strings.Join(left(func() {
		i++
		publish(t, broker.Message{Queue: dead, ID: fmt.Sprint("later-", i), Forwarded: true})
	}), " "); got != "last death both all none" {
		t.Errorf("there are %q", got)
	}
	if n, err := deadletter.Purge(t.Context(), conn, queue, deadletter.Filter{Before: now.Add(-time.Hour)}); n != 4 || err != nil {
		t.Errorf("%d purged, %v", n, err)
	}
	if got := strings.Join(left(func() {}), " "); got != "all later-1 later-2 later-3 later-4 later-5" {
		t.Errorf("there are %q", got)
	}
	p := broker.NewPublisher(broker.Config{URLs: nodeURLs(t)})
	defer p.Close()
	if n, err := deadletter.Replay(t.Context(), conn, p, queue, deadletter.Filter{}); n != 6 || err != nil {
		t.Errorf("%d replayed, %v", n, err)
	}
}

// Purge deletes what is selected, also by an age that only the broker's headers or
// the time of publishing tell, and leaves what has none.
func TestPurge(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	declareQueue(t, queue)
	dead := broker.DeadQueue(queue)
	old := time.Now().Add(-48 * time.Hour)
	text := old.UTC().Format(time.RFC3339Nano)
	publish(t,
		broker.Message{Queue: dead, ID: "failed", Headers: amqp.Table{message.HeaderLastTime: text}},
		broker.Message{Queue: dead, ID: "failed-now", Timestamp: old, Headers: amqp.Table{message.HeaderLastTime: time.Now().Add(-time.Minute).UTC().Format(time.RFC3339Nano)}},
		broker.Message{Queue: dead, ID: "expired", Headers: amqp.Table{"x-death": []any{amqp.Table{"time": old}}}},
		broker.Message{Queue: dead, ID: "expired-now", Timestamp: old, Headers: amqp.Table{"x-death": []any{amqp.Table{"time": time.Now()}}}},
		broker.Message{Queue: dead, ID: "published", Timestamp: old},
		broker.Message{Queue: dead, ID: "published-now", Timestamp: time.Now().Add(-time.Second)},
		broker.Message{Queue: dead, ID: "unknown", Forwarded: true},
	)
	conn := dialNode(t)
	eventually.True(t, "they are there", func() bool { return ready(t, conn, dead) == 7 })
	left := func() (ids []string) {
		t.Helper()
		if _, err := deadletter.List(t.Context(), conn, queue, deadletter.Filter{}, func(d deadletter.Letter) error {
			ids = append(ids, d.ID)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	for _, tt := range []struct {
		f    deadletter.Filter
		left string
	}{
		{deadletter.Filter{Before: time.Now().Add(-72 * time.Hour)}, "failed failed-now expired expired-now published published-now unknown"},
		{deadletter.Filter{Before: time.Now().Add(-24 * time.Hour)}, "failed-now expired-now published-now unknown"},
		{deadletter.Filter{Match: func(d *deadletter.Letter) bool { return d.ID == "expired-now" }}, "failed-now published-now unknown"},
		{deadletter.Filter{IDs: []string{"unknown"}, Before: time.Now().Add(time.Hour)}, "failed-now published-now unknown"},
		{deadletter.Filter{}, ""},
	} {
		there := len(left())
		n, err := deadletter.Purge(t.Context(), conn, queue, tt.f)
		ids := left()
		if got := strings.Join(ids, " "); err != nil || got != tt.left || n != there-len(ids) {
			t.Errorf("%+v: %d purged, %v; left %q, want %q", tt.f, n, err, got, tt.left)
		}
	}
	if _, err := deadletter.Purge(t.Context(), conn, "no-such-queue", deadletter.Filter{}); err == nil || !strings.Contains(err.Error(), "no-such-queue.dead") {
		t.Errorf("no queue: %v", err)
	}
}
