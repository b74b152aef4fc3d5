package rabbitmq

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
	"parkstream/shared/process"
	"parkstream/shared/tracing"
)

const traceID = "0af7651916cd43dd8448eb211c80319c"

func traced(parent string) *message.Delivery {
	d := &amqp.Delivery{}
	if parent != "" {
		d.Headers = amqp.Table{"traceparent": parent}
	}
	return new(message.Source).Read(d, time.Time{})
}

// A batch links to every sampled origin once, and has the only one as its parent.
func TestBatchSpan(t *testing.T) {
	origin := func(i int, flags string) string { return fmt.Sprintf("00-%s-%016x-%s", traceID, i, flags) }
	tests := []struct {
		name    string
		parents []string
		links   []string
		parent  string
		sampled bool
	}{
		{"no origin", []string{"", ""}, nil, "", true},
		{"one", []string{origin(1, "01"), origin(1, "01")}, []string{"0000000000000001"}, "0000000000000001", true},
		{"two", []string{origin(1, "01"), origin(2, "01"), origin(1, "01")}, []string{"0000000000000001", "0000000000000002"}, "", true},
		{"one and none", []string{origin(1, "01"), ""}, []string{"0000000000000001"}, "", true},
		{"one not sampled", []string{origin(1, "00")}, nil, "", false},
		{"two, one not sampled", []string{origin(1, "00"), origin(2, "01")}, []string{"0000000000000002"}, "", true},
		{"nonsense", []string{"00-1-2-3"}, nil, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spans := tracetest.NewSpanRecorder()
			provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))
			i := &invoker{function: &openfaas.Function{Name: "fn", BatchSize: 10}, queue: "q", tracer: provider.Tracer(tracing.Scope)}
			var ds []*message.Delivery
			for _, parent := range tt.parents {
				ds = append(ds, traced(parent))
			}
			_, span := i.span(t.Context(), "call-1", ds)
			endSpan(span, &openfaas.Response{Verdict: batch.Crash, Status: 502, Reason: "it crashed"})
			if !tt.sampled {
				if n := len(spans.Ended()); n != 0 {
					t.Errorf("%d spans, though the origin is not sampled", n)
				}
				return
			}
			got := spans.Ended()[0]
			var links []string
			for _, l := range got.Links() {
				links = append(links, l.SpanContext.SpanID().String())
			}
			parent := ""
			if got.Parent().IsValid() {
				parent = got.Parent().SpanID().String()
			}
			if !slices.Equal(links, tt.links) || parent != tt.parent || got.Name() != "process q" || got.Status().Description != "it crashed" {
				t.Errorf("links %v, parent %q, %q, status %+v; want %v, %q", links, parent, got.Name(), got.Status(), tt.links, tt.parent)
			}
		})
	}
}

// One line for each batch, and one for a dead letter, both with the ids of the
// call and its trace.
func TestCallsAreLogged(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, batched)
	f.result = func(id string) batch.Result {
		if id == "e-1" {
			return batch.Result{ID: id, Outcome: batch.Reject, Reason: "no plate"}
		}
		return succeed(id)
	}
	declareQueue(t, queue)
	publish(t, events(queue, "e", 3)...)
	log := new(lockedText)
	provider := sdk.NewTracerProvider()
	c := startConnector(t, g, func(cfg *Config) {
		cfg.Log = process.NewLogger(log, "json", 0)
		cfg.Traces = provider
	})
	c.settled(t, queue, 3)
	events, calls, ids := 0.0, 0, map[string]bool{}
	var dead map[string]any
	for line := range strings.Lines(log.String()) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		switch l["msg"] {
		case "called":
			calls++
			events += l["events"].(float64)
			outcomes, _ := l["outcomes"].(map[string]any)
			if l["level"] != "INFO" || l["function"] != "fn" || l["queue"] != queue || l["took"] == nil || len(outcomes) == 0 {
				t.Errorf("%s", line)
			}
			ids[fmt.Sprint(l["call_id"], l["trace_id"])] = true
		case "dead letter":
			dead = l
		}
	}
	if events != 3 || calls != len(ids) {
		t.Errorf("%v events in %d lines with %d ids:\n%s", events, calls, len(ids), log)
	}
	if dead == nil || dead["call_id"] == nil || dead["trace_id"] == nil || !ids[fmt.Sprint(dead["call_id"], dead["trace_id"])] {
		t.Errorf("dead letter: %v, calls: %v", dead, ids)
	}
}

// Without tracing a call costs no span, and its context no headers.
func TestNoTracingCostsNothing(t *testing.T) {
	i := &invoker{function: &openfaas.Function{Name: "fn", BatchSize: 10}, queue: "q"}
	ds := []*message.Delivery{traced("00-" + traceID + "-0000000000000001-01")}
	header := http.Header{}
	r := &openfaas.Response{}
	if n := testing.AllocsPerRun(100, func() {
		ctx, span := i.span(t.Context(), "call-1", ds)
		tracing.Inject(ctx, header)
		endSpan(span, r)
	}); n != 0 || len(header) != 0 {
		t.Errorf("%v allocations, headers %v", n, header)
	}
}

// lockedText is a log that is read while it is written.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
