// Package monitor reports how the parts of Parkstream are, as a caller sees them.
package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"parkstream/shared/probe"
	"parkstream/shared/redirect"
)

const (
	// askTimeout bounds the time in which all parts answer. It is longer than the two
	// seconds that a function gives its own checks, so that it can say what it lacks.
	askTimeout = 2500 * time.Millisecond
	// snapshotInterval is how long a snapshot serves everyone who asks.
	snapshotInterval = 900 * time.Millisecond
	// maxScrapeBytes bounds what is read of one answer.
	maxScrapeBytes = 4 << 20
)

// The functions whose health is shown, and those of them that process events.
var (
	watchedFunctions = []string{"entry-processor", "exit-processor", "entry-generator", "exit-generator"}
	eventProcessors  = watchedFunctions[:2]
)

// Monitor asks all parts of Parkstream how they are, from outside, as a caller does.
type Monitor struct {
	gateway   func(context.Context) (string, error)
	connector string
	redis     func(context.Context) error
	log       *slog.Logger
	client    *http.Client
	shared    *probe.Shared[*Snapshot]
}

// New returns a monitor of the functions behind a gateway, of the connector
// whose health and metrics are at connectorURL (none where it is empty), and of
// Redis, which ping tries.
func New(gateway func(context.Context) (string, error), connectorURL string, ping func(context.Context) error, log *slog.Logger) *Monitor {
	m := &Monitor{
		gateway: gateway, connector: strings.TrimSuffix(connectorURL, "/"),
		redis: ping, log: log, client: &http.Client{CheckRedirect: redirect.Refuse},
	}
	m.shared = probe.New(snapshotInterval, m.ask)
	return m
}

// Snapshot is the system at a moment. Counts grow from the start of the process
// that keeps them; of a function with several replicas one has answered.
type Snapshot struct {
	At    time.Time `json:"at"`
	Parts []Part    `json:"parts"`
	// Latency of events from being taken in to their result, by event type.
	Latency  []Latency `json:"latency"`
	Outcomes []Outcome `json:"outcomes"`
	// Connector is null where it is not known or cannot be reached.
	Connector *Connector `json:"connector"`
}

// The states of a part.
const (
	stateUp          = "up"
	stateNotReady    = "not_ready"
	stateUnreachable = "unreachable"
)

// Part is a process or service that has to work.
type Part struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`  // function, connector or store
	State string `json:"state"` // up, not_ready or unreachable
	// Detail says what is wrong in words that anybody may read; causes are in the
	// log.
	Detail string `json:"detail,omitzero"`
}

// Latency is a histogram.
type Latency struct {
	EventType  string  `json:"event_type"`
	Count      uint64  `json:"count"`
	SumSeconds float64 `json:"sum_seconds"`
	// Buckets count cumulatively, the last has no bound.
	Buckets []Bucket `json:"buckets"`
}

// Bucket counts events that took at most so long.
type Bucket struct {
	UpToSeconds *float64 `json:"up_to_seconds"` // null: no bound
	Count       uint64   `json:"count"`
}

// Outcome counts events by what became of them.
type Outcome struct {
	EventType string  `json:"event_type"`
	Outcome   string  `json:"outcome"`
	Events    float64 `json:"events"`
}

// Connector is what the connector counts.
type Connector struct {
	Queues   []Queue   `json:"queues"`
	Breakers []Breaker `json:"breakers"`
}

// Queue is a queue as the connector sees it.
type Queue struct {
	Queue        string  `json:"queue"`
	Received     float64 `json:"received"`
	Acked        float64 `json:"acked"`
	DeadLettered float64 `json:"dead_lettered"`
	Retried      float64 `json:"retried"`
	Returned     float64 `json:"returned"`
	InHand       float64 `json:"in_hand"`
	// OldestUnackedSeconds is how long ago the oldest message in hand came in.
	OldestUnackedSeconds float64 `json:"oldest_unacked_seconds"`
	// Ready, Waiting (for a retry) and Dead are messages in the broker now; null
	// where the connector does not count them.
	Ready   *float64 `json:"ready"`
	Waiting *float64 `json:"waiting"`
	Dead    *float64 `json:"dead"`
}

// Breaker is what stands between the connector and a function.
type Breaker struct {
	Function      string  `json:"function"`
	State         string  `json:"state"` // closed, open or probing
	CallsInFlight float64 `json:"calls_in_flight"`
	CallsLimit    float64 `json:"calls_limit"`
}

// Snapshot returns the system as it is now or was less than a second ago, however
// many ask. What cannot be reached is part of the snapshot; the only error is that of
// ctx.
func (m *Monitor) Snapshot(ctx context.Context) (*Snapshot, error) {
	snapshot, err := m.shared.Result(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait for the state of the system: %w", err)
	}
	return snapshot, nil
}

// ask asks all parts. It goes on when its caller goes: others may wait for it.
func (m *Monitor) ask(ctx context.Context) (*Snapshot, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	snapshot := &Snapshot{At: time.Now().UTC(), Latency: []Latency{}, Outcomes: []Outcome{}}
	parts := make([]Part, len(watchedFunctions), len(watchedFunctions)+3)
	figures := make([]families, len(eventProcessors))
	redis := Part{Name: "redis", Kind: "store", State: stateUp}
	connector := Part{Name: "connector", Kind: "connector"}
	var connectorFigures families
	gateway, err := m.gateway(ctx)
	if err != nil { // then no function can be reached, which their parts tell
		m.log.DebugContext(ctx, "the gateway is not found", "error", err)
	}
	function := func(name string) string { return gateway + "/function/" + name }

	var wg sync.WaitGroup
	for i, name := range watchedFunctions {
		wg.Go(func() { parts[i] = m.part(ctx, name, "function", function(name)+"/_/ready") })
	}
	for i, name := range eventProcessors {
		wg.Go(func() { figures[i] = m.scrape(ctx, function(name)+"/metrics") })
	}
	wg.Go(func() {
		if err := m.redis(ctx); err != nil {
			m.log.DebugContext(ctx, "a part cannot be reached", "part", redis.Name, "error", err)
			redis.State, redis.Detail = stateUnreachable, reason(err)
			if told, ok := errors.AsType[interface {
				error
				Detail() string
			}](err); ok {
				redis.State, redis.Detail = stateNotReady, told.Detail()
			}
		}
	})
	if m.connector != "" {
		wg.Go(func() { connector = m.part(ctx, connector.Name, connector.Kind, m.connector+"/readyz") })
		wg.Go(func() { connectorFigures = m.scrape(ctx, m.connector+"/metrics") })
	}
	wg.Wait()

	parts = append(parts, Part{Name: "summary", Kind: "function", State: stateUp}, redis)
	if m.connector != "" {
		parts = append(parts, connector)
	}
	snapshot.Parts = parts
	for _, f := range figures {
		snapshot.Latency = append(snapshot.Latency, f.latencies()...)
		snapshot.Outcomes = append(snapshot.Outcomes, f.outcomes()...)
	}
	if connectorFigures != nil {
		snapshot.Connector = connectorFigures.connector()
	}
	return snapshot, nil
}

// part asks whether a part is ready.
func (m *Monitor) part(ctx context.Context, name, kind, url string) Part {
	p := Part{Name: name, Kind: kind}
	status, text, err := m.get(ctx, url)
	switch {
	case err != nil:
		m.log.DebugContext(ctx, "a part cannot be reached", "part", name, "error", err)
		p.State, p.Detail = stateUnreachable, reason(err)
	case status == http.StatusOK:
		p.State = stateUp
	case status == http.StatusNotFound:
		p.State, p.Detail = stateUnreachable, "not deployed"
	default:
		p.State, p.Detail = stateNotReady, failing(status, text)
	}
	return p
}

// failing says what a part that is not ready lacks, as shared/faas tells it.
func failing(status int, text []byte) string {
	var told struct {
		Failing []string `json:"failing"`
	}
	if err := json.Unmarshal(text, &told); err != nil || len(told.Failing) == 0 {
		return fmt.Sprintf("answers %d; its log says why", status)
	}
	return "waits for " + strings.Join(told.Failing, ", ")
}

// reason leaves out addresses: the snapshot is open to everybody.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "does not answer in time"
	}
	return "cannot be reached"
}

func (m *Monitor) get(ctx context.Context, url string) (status int, text []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	resp, err := m.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(io.LimitReader(resp.Body, maxScrapeBytes))
	return resp.StatusCode, text, err
}

// families are the metrics of a process by name; nil where it has not told them.
type families map[string]*dto.MetricFamily

func (m *Monitor) scrape(ctx context.Context, url string) families {
	status, text, err := m.get(ctx, url)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("GET %s: status %d", url, status)
	}
	if err == nil {
		var found families
		parser := expfmt.NewTextParser(model.UTF8Validation)
		if found, err = parser.TextToMetricFamilies(strings.NewReader(string(text))); err == nil {
			return found
		}
	}
	m.log.DebugContext(ctx, "metrics cannot be read", "error", err)
	return nil
}

// each calls what for every series of a metric, in the order of labels.
func (f families) each(name string, what func(label func(string) string, m *dto.Metric)) {
	for _, m := range f[name].GetMetric() {
		what(func(label string) string {
			for _, pair := range m.GetLabel() {
				if pair.GetName() == label {
					return pair.GetValue()
				}
			}
			return ""
		}, m)
	}
}

func (f families) latencies() []Latency {
	var list []Latency
	f.each("event_processing_latency_seconds", func(label func(string) string, m *dto.Metric) {
		h := m.GetHistogram()
		l := Latency{EventType: label("event_type"), Count: h.GetSampleCount(), SumSeconds: h.GetSampleSum()}
		for _, b := range h.GetBucket() {
			if !math.IsInf(b.GetUpperBound(), 1) {
				l.Buckets = append(l.Buckets, Bucket{new(b.GetUpperBound()), b.GetCumulativeCount()})
			}
		}
		l.Buckets = append(l.Buckets, Bucket{nil, l.Count})
		list = append(list, l)
	})
	return list
}

func (f families) outcomes() []Outcome {
	var list []Outcome
	f.each("parkstream_events_total", func(label func(string) string, m *dto.Metric) {
		list = append(list, Outcome{label("event_type"), label("outcome"), m.GetCounter().GetValue()})
	})
	return list
}

// breakerStates are named as the connector numbers them.
var breakerStates = []string{"closed", "open", "probing"}

func (f families) connector() *Connector {
	const prefix = "parkstream_connector_"
	queues, breakers := make(map[string]*Queue), make(map[string]*Breaker)
	queue := func(name string) *Queue {
		if queues[name] == nil {
			queues[name] = &Queue{Queue: name}
		}
		return queues[name]
	}
	breaker := func(name string) *Breaker {
		if breakers[name] == nil {
			breakers[name] = &Breaker{Function: name}
		}
		return breakers[name]
	}
	for name, field := range map[string]func(*Queue) *float64{
		"messages_received_total":      func(q *Queue) *float64 { return &q.Received },
		"messages_acked_total":         func(q *Queue) *float64 { return &q.Acked },
		"messages_dead_lettered_total": func(q *Queue) *float64 { return &q.DeadLettered },
		"messages_retried_total":       func(q *Queue) *float64 { return &q.Retried },
		"messages_returned_total":      func(q *Queue) *float64 { return &q.Returned },
		"messages_in_hand":             func(q *Queue) *float64 { return &q.InHand },
		"oldest_unacked_age_seconds":   func(q *Queue) *float64 { return &q.OldestUnackedSeconds },
	} {
		f.each(prefix+name, func(label func(string) string, m *dto.Metric) { *field(queue(label("queue"))) = value(m) })
	}
	f.each(prefix+"queue_messages", func(label func(string) string, m *dto.Metric) {
		q := queue(label("queue"))
		switch label("state") {
		case "ready":
			q.Ready = new(value(m))
		case "waiting":
			q.Waiting = new(value(m))
		case "dead":
			q.Dead = new(value(m))
		}
	})
	f.each(prefix+"breaker_state", func(label func(string) string, m *dto.Metric) {
		if n := int(value(m)); n >= 0 && n < len(breakerStates) {
			breaker(label("function")).State = breakerStates[n]
		}
	})
	f.each(prefix+"calls_in_flight", func(label func(string) string, m *dto.Metric) {
		breaker(label("function")).CallsInFlight = value(m)
	})
	f.each(prefix+"calls_limit", func(label func(string) string, m *dto.Metric) { breaker(label("function")).CallsLimit = value(m) })
	c := &Connector{Queues: []Queue{}, Breakers: []Breaker{}}
	for _, q := range queues {
		c.Queues = append(c.Queues, *q)
	}
	for _, b := range breakers {
		c.Breakers = append(c.Breakers, *b)
	}
	slices.SortFunc(c.Queues, func(a, b Queue) int { return strings.Compare(a.Queue, b.Queue) })
	slices.SortFunc(c.Breakers, func(a, b Breaker) int { return strings.Compare(a.Function, b.Function) })
	return c
}

// value is that of a counter or a gauge.
func value(m *dto.Metric) float64 {
	if c := m.GetCounter(); c != nil {
		return c.GetValue()
	}
	return m.GetGauge().GetValue()
}
