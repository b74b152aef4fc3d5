package rabbitmq

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/deadletter"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/shared/broker"
	"parkstream/shared/eventually"
)

// A timestamp in an odd unit costs neither its event nor the others of the batch, and
// no metric becomes absurd. A dead letter of an earlier release goes through.
func TestTimestampsInOddUnits(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, map[string]string{annotationBatchSize: "100", annotationMaxAttempts: "2"})
	declareQueue(t, queue)
	ch, err := dialNode(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	n := 0
	send := func(to string, m amqp.Publishing) {
		t.Helper()
		m.MessageId, m.Body = fmt.Sprint("e-", n), []byte("{}")
		n++
		if err := ch.PublishWithContext(t.Context(), "", to, true, false, m); err != nil {
			t.Fatal(err)
		}
	}
	counts := []int64{now.Unix(), now.UnixMilli(), now.UnixMicro(), now.UnixNano(), 0, 1, -1, -now.Unix(), 253402300800, -62135596801, math.MaxInt64, math.MinInt64}
	for _, count := range counts {
		send(queue, amqp.Publishing{Timestamp: time.Unix(count, 0)})
		send(queue, amqp.Publishing{Headers: amqp.Table{broker.HeaderTime: count}})
		send(broker.DeadQueue(queue), amqp.Publishing{Timestamp: time.Unix(count, 0), Headers: amqp.Table{message.HeaderReason: "400 Bad Request"}})
	}
	c := startConnector(t, g, nil)
	c.settled(t, queue, 2*len(counts))
	p := broker.NewPublisher(broker.Config{URLs: nodeURLs(t)})
	defer p.Close()
	conn := dialNode(t)
	eventually.True(t, "the dead letters are there", func() bool { return ready(t, conn, broker.DeadQueue(queue)) == len(counts) })
	if replayed, err := deadletter.Replay(t.Context(), conn, p, queue, deadletter.Filter{}); err != nil || replayed != len(counts) {
		t.Errorf("%d replayed, %v", replayed, err)
	}
	counters := c.settled(t, queue, n)
	if once, twice := f.done(); once != n || twice != 0 || counters["acked"] != n || counters["retried"] != 0 {
		t.Errorf("%d done once, %d more often, counters %v", once, twice, counters)
	}
	sum := -1.0
	for line := range strings.Lines(c.scrape(t)) {
		if text, found := strings.CutPrefix(line, `parkstream_stage_duration_seconds_sum{function="fn",stage="consumed"} `); found {
			sum, _ = strconv.ParseFloat(strings.TrimSpace(text), 64)
		}
	}
	if sum < 0 || sum > float64(n)*60 {
		t.Errorf("the messages were in the queue for %g s together", sum)
	}
}
