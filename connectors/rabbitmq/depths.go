package rabbitmq

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker"
)

// depthInterval is how often the broker is asked how many messages wait.
const depthInterval = 3 * time.Second

// The states of a message that is at the broker, as they are labelled.
const (
	stateReady   = "ready"
	stateWaiting = "waiting"
	stateDead    = "dead"
)

// depths are how many messages of a queue are in each state. What could not be
// read is missing.
type depths map[string]int

// watchDepths keeps the depths of a queue until ctx or the connection ends. Without a
// connection nothing is known of them.
func (c *Connector) watchDepths(ctx context.Context, conn *broker.Conn, queue string) {
	tick := time.NewTicker(depthInterval)
	defer tick.Stop()
	r := depthReader{conn: conn}
	defer r.close()
	for {
		if d := r.read(queue, c.delays); ctx.Err() == nil { // else another worker may have the queue
			c.metrics.setDepths(queue, d)
		}
		select {
		case <-tick.C:
		case <-conn.Done():
			if ctx.Err() == nil {
				c.metrics.setDepths(queue, nil)
			}
			return
		case <-ctx.Done():
			return
		}
	}
}

// depthReader asks over a channel of its own: the broker closes a channel on
// which a client asks for a queue that is not there.
type depthReader struct {
	conn *broker.Conn
	ch   *amqp.Channel
}

func (r *depthReader) read(queue string, delays []time.Duration) depths {
	d := make(depths, 3)
	if n, err := r.messages(queue); err == nil {
		d[stateReady] = n
	}
	if n, err := r.messages(broker.DeadQueue(queue)); err == nil {
		d[stateDead] = n
	}
	waiting := 0
	for _, delay := range delays {
		n, err := r.messages(broker.RetryQueue(queue, delay))
		if err != nil {
			return d
		}
		waiting += n
	}
	d[stateWaiting] = waiting
	return d
}

func (r *depthReader) messages(queue string) (int, error) {
	if r.ch == nil || r.ch.IsClosed() {
		ch, err := r.conn.Channel()
		if err != nil {
			return 0, fmt.Errorf("open a channel to count messages: %w", err)
		}
		r.ch = ch
	}
	q, err := r.ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		return 0, fmt.Errorf("count the messages of %s: %w", queue, err)
	}
	return q.Messages, nil
}

func (r *depthReader) close() {
	if r.ch != nil {
		_ = r.ch.Close()
	}
}

func (m *metrics) setDepths(queue string, d depths) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d == nil {
		delete(m.depths, queue)
		return
	}
	m.depths[queue] = d
}
