package rabbitmq

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"

	"parkstream/shared/broker/brokertest"
	"parkstream/shared/eventually"
)

// A frame that makes the client close the connection for a reason which is not known
// here stops its own queue, and no other.
func TestOneQueueStopsNoOther(t *testing.T) {
	t.Parallel()
	queue, other := queueName(t), queueName(t)+"-other"
	g := newGateway(t)
	f, unaffected := g.add("fn", queue, batched), g.add("other", other, batched)
	declareQueue(t, queue)
	declareQueue(t, other)
	publish(t, events(queue, "e", 10)...)
	proxy := brokertest.NewProxy(t, nodeOf(t).URL())
	var mended atomic.Bool
	var broken atomic.Int32
	proxy.Filter(func() brokertest.Filter {
		return func(fromClient bool, f brokertest.Frame) []byte {
			if fromClient || f.Method() != brokertest.BasicDeliver || !bytes.HasSuffix(f.Payload(), []byte(queue)) || mended.Load() {
				return f
			}
			broken.Add(1)
			return brokertest.NewFrame(9, f.Channel(), f.Payload())
		}
	})
	c := startConnector(t, g, func(cfg *Config) {
		cfg.Broker = func() ([]string, error) { return []string{proxy.Through(nodeOf(t).URL())}, nil }
	})
	eventually.True(t, "the connection was closed again and again", func() bool { return broken.Load() > 2 })
	publish(t, events(other, "e", 500)...)
	counters := c.settled(t, other, 500)
	if once, twice := unaffected.done(); once != 500 || twice != 0 || counters["returned"] != 0 {
		t.Errorf("%d done once, %d more often, counters %v", once, twice, counters)
	}
	eventually.True(t, "it is told", func() bool {
		_, text := readyz(c)
		return strings.Contains(text, "queue "+queue+" is not consumed: no connection to RabbitMQ") && !strings.Contains(text, other)
	})
	mended.Store(true)
	c.settled(t, queue, 10)
	if once, _ := f.done(); once != 10 {
		t.Errorf("%d done", once)
	}
}
