package rabbitmq

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"parkstream/connectors/rabbitmq/internal/breaker"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/connectors/rabbitmq/internal/unacked"
	"parkstream/shared/batch"
	"parkstream/shared/latency"
)

// metrics of the connector. What belongs to a queue or a breaker is read off when
// the metrics are asked for, so that the figures of one answer fit together.
type metrics struct {
	batchSize *prometheus.HistogramVec
	latency   *prometheus.HistogramVec
	stages    *prometheus.HistogramVec
	outcomes  *prometheus.CounterVec
	setup     *prometheus.CounterVec

	mu       sync.Mutex
	queues   map[string]*unacked.Counts
	breakers map[string]*breaker.Breaker
	depths   map[string]depths
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	m := &metrics{
		batchSize: f.NewHistogramVec(latency.Options("parkstream_connector_batch_size", "Events in one call of a function.",
			[]float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000}), []string{"function"}),
		latency: latency.New(r, "parkstream_connector_call_duration_seconds",
			"Seconds that a call of a function took, by what came of it: answered, outage, crash or refused.", "function", "verdict"),
		stages: latency.NewStages(r),
		outcomes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "parkstream_connector_outcomes_total",
			Help: "Events by what a function made of them: done, retry, reject, unavailable (to be tried again at no cost), or deferred because of an outage.",
		}, []string{"queue", "function", "outcome"}),
		setup: f.NewCounterVec(prometheus.CounterOpts{
			Name: "parkstream_connector_setup_refusals_total",
			Help: "Calls that a function refused because of the connector's token (401, 403) or the type of its batches (415), or that were not made because the token cannot be read (0).",
		}, []string{"function", "status"}),
		queues:   make(map[string]*unacked.Counts),
		breakers: make(map[string]*breaker.Breaker),
		depths:   make(map[string]depths),
	}
	if r != nil {
		r.MustRegister(m)
	}
	return m
}

// verdictNames are the values of the label.
var verdictNames = map[batch.Verdict]string{
	batch.Answered: "answered", batch.Outage: "outage", batch.Crash: "crash", batch.Refused: "refused",
}

// call counts a call with messages that began at start.
func (m *metrics) call(ctx context.Context, function string, ms []*message.Delivery, start time.Time, r *openfaas.Response) {
	m.batchSize.WithLabelValues(function).Observe(float64(len(ms)))
	latency.Observe(ctx, m.latency.WithLabelValues(function, verdictNames[r.Verdict]), r.Took)
	if r.Setup {
		m.setup.WithLabelValues(function, strconv.Itoa(r.Status)).Inc()
	}
	invoked := m.stages.WithLabelValues(function, latency.Invoked)
	for _, msg := range ms {
		latency.Observe(ctx, invoked, start.Sub(msg.Received))
		ctx = context.Background() // one exemplar a call is enough
	}
}

// queue returns the counters of a queue.
func (m *metrics) queue(name string) *unacked.Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.queues[name]
	if c == nil {
		c = new(unacked.Counts)
		m.queues[name] = c
	}
	return c
}

func (m *metrics) breaker(function string, b *breaker.Breaker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.breakers[function] = b
}

// callsInFlight returns how many calls of functions are under way.
func (m *metrics) callsInFlight() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := 0
	for _, b := range m.breakers {
		n, _, _ := b.Load()
		sum += n
	}
	return sum
}

// forget ends the series of a breaker. What was counted of the function stays.
func (m *metrics) forget(function string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.breakers, function)
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("parkstream_connector_"+name, help, labels, nil)
}

var (
	descReceived = desc("messages_received_total", "Messages delivered by the broker. Equals acked + dead-lettered + retried + returned + unacked.", "queue")
	descAcked    = desc("messages_acked_total", "Messages whose effect is done: acknowledged, or about to be.", "queue")
	descDead     = desc("messages_dead_lettered_total", "Messages that went to the dead-letter queue.", "queue")
	descRetried  = desc("messages_retried_total", "Messages that went to a retry queue.", "queue")
	descReturned = desc("messages_returned_total", "Messages that went back to their queue unsettled, because the connection ended, the connector stopped or an outage was long.", "queue")
	descUnacked  = desc("messages_unacked", "Messages that were received and are not settled.", "queue")
	descInHand   = desc("messages_in_hand", "The former name of messages_unacked; it goes with the release after 0.1.0.", "queue")
	descOldest   = desc("oldest_unacked_age_seconds", "How long ago the oldest unacked message was received; 0 if there is none.", "queue")
	descDepth    = desc("queue_messages", "Messages in a queue (state ready), in its retry queues (waiting) and in its dead letters (dead), as the broker said a moment ago; nothing is said of what cannot be read.", "queue", "state")
	descInFlight = desc("calls_in_flight", "Calls of a function under way.", "function")
	descLimit    = desc("calls_limit", "How many calls of a function may be under way at present.", "function")
	descBreaker  = desc("breaker_state", "0 closed, 1 open, 2 open with a probe under way.", "function")
)

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descReceived, descAcked, descDead, descRetried, descReturned, descUnacked, descInHand, descOldest, descDepth, descInFlight, descLimit, descBreaker,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for queue, counts := range m.queues {
		oldest := 0.0
		if t := counts.Oldest(); !t.IsZero() {
			oldest = time.Since(t).Seconds()
		}
		n := counts.Totals()
		for _, c := range []struct {
			d *prometheus.Desc
			n int
		}{
			{descReceived, n.Received},
			{descAcked, n.Acked},
			{descDead, n.DeadLettered},
			{descRetried, n.Retried},
			{descReturned, n.Returned},
		} {
			ch <- prometheus.MustNewConstMetric(c.d, prometheus.CounterValue, float64(c.n), queue)
		}
		ch <- prometheus.MustNewConstMetric(descUnacked, prometheus.GaugeValue, float64(n.Unacked), queue)
		ch <- prometheus.MustNewConstMetric(descInHand, prometheus.GaugeValue, float64(n.Unacked), queue)
		ch <- prometheus.MustNewConstMetric(descOldest, prometheus.GaugeValue, oldest, queue)
	}
	for queue, d := range m.depths {
		for state, n := range d {
			ch <- prometheus.MustNewConstMetric(descDepth, prometheus.GaugeValue, float64(n), queue, state)
		}
	}
	for function, b := range m.breakers {
		inFlight, limit, state := b.Load()
		ch <- prometheus.MustNewConstMetric(descInFlight, prometheus.GaugeValue, float64(inFlight), function)
		ch <- prometheus.MustNewConstMetric(descLimit, prometheus.GaugeValue, float64(limit), function)
		ch <- prometheus.MustNewConstMetric(descBreaker, prometheus.GaugeValue, float64(state), function)
	}
}
