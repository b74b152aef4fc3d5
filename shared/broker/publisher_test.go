package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker/brokertest"
	"parkstream/shared/eventually"
	"parkstream/shared/instance"
)

func messages(queue string, n int) []Message {
	msgs := make([]Message, n)
	for i := range msgs {
		msgs[i] = Message{Queue: queue, ID: fmt.Sprint(i), Body: fmt.Appendf(nil, `{"n":%d}`, i), ContentType: "application/json"}
	}
	return msgs
}

func failures(t *testing.T, err error) map[int]error {
	t.Helper()
	var pe *PublishError
	if !errors.As(err, &pe) {
		t.Fatalf("%v is no PublishError", err)
	}
	return pe.Failed
}

func TestPublish(t *testing.T) {
	queue := testQueue(t)
	cfg := testConfig()
	cfg.Registerer = prometheus.NewRegistry()
	p := testPublisher(t, cfg)
	before := time.Now().Add(-time.Second)
	const n = 3 * maxOutstanding
	msgs := messages(queue, n)
	msgs[0].Headers = amqp.Table{"k": "v"}
	msgs[1].Forwarded = true
	if err := p.Publish(t.Context(), msgs); err != nil {
		t.Fatal(err)
	}
	if got := testutil.ToFloat64(p.metrics.confirmed); got != n {
		t.Errorf("%v messages are counted as confirmed", got)
	}
	got := drain(t, queue, n)
	for i, d := range got {
		if d.MessageId != fmt.Sprint(i) || string(d.Body) != fmt.Sprintf(`{"n":%d}`, i) || d.DeliveryMode != amqp.Persistent || d.ContentType != "application/json" {
			t.Fatalf("message %d is %+v", i, d)
		}
		ms, stamped := d.Headers[HeaderTime].(int64)
		if i == 1 {
			if stamped || !d.Timestamp.IsZero() {
				t.Error("a forwarded message has got a time")
			}
			continue
		}
		if at := time.UnixMilli(ms); at.Before(before) || at.After(time.Now()) || d.Timestamp.Unix() != at.Unix() {
			t.Fatalf("message %d was published at %s, %s", i, at, d.Timestamp)
		}
	}
	if got[0].Headers["k"] != "v" {
		t.Errorf("headers are %v", got[0].Headers)
	}
	if len(msgs[0].Headers) != 1 {
		t.Error("the caller's headers were changed")
	}
}

func TestPublishNamesWhatFailed(t *testing.T) {
	queue := testQueue(t)
	p := testPublisher(t, testConfig())
	msgs := messages(queue, 10)
	msgs[2].Queue = "not-there"
	msgs[3].Queue = "not-there"
	msgs[5].ID = strings.Repeat("x", 256)
	msgs[6].Queue = ""
	msgs[7].Headers = amqp.Table{"k": struct{}{}}
	msgs[9].Headers = amqp.Table{"k": strings.Repeat("x", 130<<10)}
	for range 2 { // the publisher stays usable
		failed := failures(t, p.Publish(t.Context(), msgs))
		if len(failed) != 6 || !errors.Is(failed[2], ErrUnroutable) || !errors.Is(failed[3], ErrUnroutable) || failed[5] == nil || failed[6] == nil || failed[7] == nil || failed[9] == nil {
			t.Fatalf("failed: %v", failed)
		}
	}
	var ids []string
	for _, d := range drain(t, queue, 8) {
		ids = append(ids, d.MessageId)
	}
	if want := []string{"0", "1", "4", "8", "0", "1", "4", "8"}; !slices.Equal(ids, want) {
		t.Errorf("published %v", ids)
	}
}

// A publisher that meets a queue whose leader has just been killed gets through to
// the new one.
func TestPublishAfterTheLeaderWasKilled(t *testing.T) {
	dir, err := os.MkdirTemp("", "parkstream-cluster-") //nolint:usetesting // a dying node writes while t.TempDir is removed
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c, err := instance.StartRabbitMQCluster(t.Context(), dir, 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Kill() })
	publisherTo := func(nodes ...*instance.RabbitMQ) *Publisher {
		var urls []string
		for _, n := range nodes {
			urls = append(urls, n.URL())
		}
		return testPublisher(t, Config{URLs: func() ([]string, error) { return urls, nil }})
	}
	const queue = "of-three"
	if _, err := publisherTo(c.Nodes...).DeclareQueue(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	leader, err := c.Leader(t.Context(), queue)
	if err != nil {
		t.Fatal(err)
	}
	others := slices.DeleteFunc(slices.Clone(c.Nodes), func(n *instance.RabbitMQ) bool { return n == leader })
	p := publisherTo(others...)
	if _, err := p.connection(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := leader.Kill(); err != nil {
		t.Fatal(err)
	}
	refused := 0
	eventually.True(t, "a message is confirmed", func() bool {
		err := p.Publish(t.Context(), messages(queue, 1))
		if errors.Is(err, ErrNacked) {
			refused++
		}
		return err == nil
	})
	t.Logf("%d times refused", refused)
}

func TestPublishIsNacked(t *testing.T) {
	queue := strings.ReplaceAll(t.Name(), "/", "-")
	ch, err := testConn(t, testConfig()).Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum", "x-max-length": int64(1), "x-overflow": "reject-publish"}); err != nil {
		t.Fatal(err)
	}
	p := testPublisher(t, testConfig())
	eventually.True(t, "a full queue refuses", func() bool {
		err := p.Publish(t.Context(), messages(queue, 1))
		return errors.Is(err, ErrNacked)
	})
}

// Calls do not see each other's confirms and returns.
func TestPublishConcurrently(t *testing.T) {
	queue := testQueue(t)
	p := testPublisher(t, testConfig())
	var calls sync.WaitGroup
	for i := range 8 {
		calls.Go(func() {
			for range 5 {
				msgs := messages(queue, 50)
				msgs[i].Queue = "not-there"
				var pe *PublishError
				if err := p.Publish(t.Context(), msgs); !errors.As(err, &pe) || len(pe.Failed) != 1 || !errors.Is(pe.Failed[i], ErrUnroutable) {
					t.Errorf("caller %d: %v", i, err)
				}
			}
		})
	}
	calls.Wait()
	drain(t, queue, 8*5*49)
}

func TestPublishConnectsAgain(t *testing.T) {
	queue := testQueue(t)
	proxy := brokertest.NewProxy(t, node.URL())
	p := testPublisher(t, Config{URLs: urls(proxy.Through(node.URL()))})
	for range 3 {
		if err := p.Publish(t.Context(), messages(queue, 1)); err != nil {
			t.Fatal(err)
		}
		p.mu.Lock()
		conn := p.conn
		p.mu.Unlock()
		proxy.Cut()
		<-conn.Done()
	}
	drain(t, queue, 3)
}

// What is unconfirmed when the connection goes is reported, all else is there.
func TestPublishThroughCuts(t *testing.T) {
	queue := testQueue(t)
	proxy := brokertest.NewProxy(t, node.URL())
	p := testPublisher(t, Config{URLs: urls(proxy.Through(node.URL()))})
	cutting := make(chan struct{})
	go func() {
		defer close(cutting)
		for range 5 {
			time.Sleep(50 * time.Millisecond)
			proxy.Cut()
		}
	}()
	confirmed := map[string]bool{}
	for i := 0; ; i++ {
		msgs := messages(queue, 200)
		for j := range msgs {
			msgs[j].ID = fmt.Sprint(i, "-", j)
		}
		failed := map[int]error{}
		if err := p.Publish(t.Context(), msgs); err != nil {
			failed = failures(t, err)
		}
		for j := range msgs {
			if failed[j] == nil {
				confirmed[msgs[j].ID] = true
			} else if !errors.Is(failed[j], ErrLost) {
				t.Fatal(failed[j])
			}
		}
		select {
		case <-cutting:
		default:
			continue
		}
		break
	}
	ch, err := testConn(t, testConfig()).Channel()
	if err != nil {
		t.Fatal(err)
	}
	deliveries, err := ch.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for timeout := time.After(20 * time.Second); len(confirmed) > 0; {
		select {
		case d := <-deliveries:
			delete(confirmed, d.MessageId)
		case <-timeout:
			t.Fatalf("%d confirmed messages are not in the queue", len(confirmed))
		}
	}
}

func TestPublishEndsWithItsContext(t *testing.T) {
	queue := testQueue(t)
	proxy := brokertest.NewProxy(t, node.URL())
	p := testPublisher(t, Config{URLs: urls(proxy.Through(node.URL()))})
	if err := p.Publish(t.Context(), messages(queue, 1)); err != nil {
		t.Fatal(err)
	}
	timeout := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	proxy.Pause()
	failed := failures(t, p.Publish(timeout(), messages(queue, 10)))
	if len(failed) != 10 || !errors.Is(failed[9], context.DeadlineExceeded) {
		t.Errorf("unconfirmed: %v", failed)
	}
	proxy.SetDown(true)
	proxy.Resume()
	proxy.Cut()
	eventually.True(t, "the loss is noticed", func() bool {
		failed = failures(t, p.Publish(timeout(), messages(queue, 10)))
		return errors.Is(failed[0], context.DeadlineExceeded)
	})
	proxy.SetDown(false)
	if err := p.Publish(t.Context(), messages(queue, 1)); err != nil {
		t.Error(err)
	}
}

func TestPublisherIsClosed(t *testing.T) {
	queue := testQueue(t)
	p := testPublisher(t, testConfig())
	if err := p.Publish(t.Context(), messages(queue, 1)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := p.Publish(t.Context(), messages(queue, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func BenchmarkPublish(b *testing.B) {
	name := "BenchmarkPublish"
	conn := testConn(b, testConfig())
	if _, err := DeclareQueue(conn, name); err != nil {
		b.Fatal(err)
	}
	p := testPublisher(b, testConfig())
	msgs := messages(name, 1000)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if err := p.Publish(b.Context(), msgs); err != nil {
			b.Fatal(err)
		}
		n += len(msgs)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "messages/s")
}
