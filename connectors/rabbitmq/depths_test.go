package rabbitmq

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"parkstream/shared/batch"
	"parkstream/shared/eventually"
)

// The metrics count the messages of the broker's queues: ready, waiting for another
// attempt, dead. A missing queue has no series, and after the end there are none.
func TestDepths(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, batched)
	f.result = func(id string) batch.Result {
		switch {
		case strings.HasPrefix(id, "dead-"):
			return batch.Result{ID: id, Outcome: batch.Reject, Reason: "no plate"}
		case strings.HasPrefix(id, "again-"):
			return batch.Result{ID: id, Outcome: batch.Retry, Reason: "store away"}
		}
		return succeed(id)
	}
	declareQueue(t, queue)
	publish(t, events(queue, "dead", 3)...)
	publish(t, events(queue, "again", 2)...)
	publish(t, events(queue, "fine", 5)...)
	c := startConnector(t, g, func(cfg *Config) { cfg.RetryDelay, cfg.RetryMaxDelay = time.Hour, time.Hour })
	series := func(state string, n int) string {
		return fmt.Sprintf("parkstream_connector_queue_messages{queue=%q,state=%q} %d\n", queue, state, n)
	}
	eventually.True(t, "the messages are counted", func() bool {
		text := c.scrape(t)
		return strings.Contains(text, series("ready", 0)) && strings.Contains(text, series("waiting", 2)) && strings.Contains(text, series("dead", 3))
	})

	conn := dialNode(t)
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDelete(queue+".dead", false, false, false); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the queue that is gone is not counted, the others are", func() bool {
		text := c.scrape(t)
		return !strings.Contains(text, `state="dead"`) && strings.Contains(text, series("waiting", 2))
	})
	c.stop()
	if text := c.scrape(t); strings.Contains(text, "parkstream_connector_queue_messages{") {
		t.Errorf("depths are told after the end:\n%s", text)
	}
}
