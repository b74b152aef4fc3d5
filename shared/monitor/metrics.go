package monitor

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// families are the metrics of a process by name, or nil if it returned none.
type families map[string]*dto.MetricFamily

// scrape returns the metrics of a process, or reports that it refuses the token. token
// may be nil.
func (m *Monitor) scrape(ctx context.Context, url string, token func() (string, error)) (found families, refused bool) {
	var bearer string
	if token != nil {
		var err error
		if bearer, err = token(); err != nil {
			m.log.DebugContext(ctx, "metrics are requested without a token", "error", err)
			bearer = ""
		}
	}
	status, text, err := m.get(ctx, url, bearer)
	refused = err == nil && (status == http.StatusUnauthorized || status == http.StatusForbidden)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("GET %s: status %d", url, status)
	}
	if err == nil {
		parser := expfmt.NewTextParser(model.UTF8Validation)
		if found, err = parser.TextToMetricFamilies(strings.NewReader(string(text))); err == nil {
			return found, false
		}
	}
	m.log.DebugContext(ctx, "metrics cannot be read", "error", err)
	return nil, refused
}

// each calls what for every series of a metric, sorted by labels.
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

// breakerStates are indexed by the connector's numbers for them.
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
		"messages_unacked":             func(q *Queue) *float64 { return &q.InHand },
		"messages_in_hand":             func(q *Queue) *float64 { return &q.InHand }, // the former name, until a release after 0.1.0
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

// value returns the value of a counter or a gauge.
func value(m *dto.Metric) float64 {
	if c := m.GetCounter(); c != nil {
		return c.GetValue()
	}
	return m.GetGauge().GetValue()
}
