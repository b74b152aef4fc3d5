package test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"

	"parkstream/shared/eventually"
	"parkstream/shared/tracing/tracingtest"
)

// One trace leads from the publisher of an event through every part to Redis, and a
// batch links to the trace of each of its events. The headers for the collector are a
// secret file; the variable that could hold them is not passed on.
func TestTracing(t *testing.T) {
	collector := tracingtest.New(t)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secrets", "otlp-headers"), []byte("authorization=Bearer%20from-the-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startSystemWith(t, []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL, "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=from-the-environment", "OTEL_SERVICE_NAME=everything",
	}, dir, "--no-cron")
	arrival := time.Now().UTC().Add(-2 * time.Hour).Truncate(time.Second)
	ch := s.dial(t)

	t.Run("from a publisher", func(t *testing.T) {
		const traceID, publisher = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
		publish(t, ch, "vehicle_entries", []byte(eventJSON("traced-e", "TRACED1", "entry", arrival)))
		eventually.Succeeds(t, "the entry is recorded", func() error {
			var site struct {
				VehiclesInside int `json:"vehicles_inside"`
			}
			if s.get(t, "/function/summary/sites/default", &site); site.VehiclesInside != 1 {
				return errors.New("the vehicle is not inside")
			}
			return nil
		})
		err := ch.PublishWithContext(t.Context(), "", "vehicle_exits", true, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, Body: []byte(eventJSON("traced-x", "TRACED1", "exit", arrival.Add(time.Minute))),
			Headers: amqp.Table{"traceparent": "00-" + traceID + "-" + publisher + "-01", "tracestate": "house=1"},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.wantStay(t, "TRACED1", "traced-e", "traced-x", 60)

		process := awaitSpan(t, collector, traceID, "rabbitmq-connector", "process vehicle_exits", publisher)
		if process.Kind != wire.Span_SPAN_KIND_CONSUMER || !slices.Equal(process.Links, []string{publisher}) ||
			process.Attributes["messaging.system"] != "rabbitmq" || process.Attributes["messaging.destination.name"] != "vehicle_exits" ||
			process.Attributes["messaging.batch.message_count"] != "1" || process.Attributes["http.response.status_code"] != "200" {
			t.Errorf("the batch: %+v", process)
		}
		serve := awaitSpan(t, collector, traceID, "exit-processor", "POST exit-processor", process.ID)
		if serve.Kind != wire.Span_SPAN_KIND_SERVER || serve.Attributes["faas.invocation_id"] != process.Attributes["faas.invocation_id"] {
			t.Errorf("the function: %+v", serve)
		}
		awaitSpan(t, collector, traceID, "exit-processor", "parse", serve.ID)
		stored := awaitSpan(t, collector, traceID, "exit-processor", "store", serve.ID)
		awaitSpan(t, collector, traceID, "exit-processor", "redis pipeline", stored.ID)
		posted := awaitSpan(t, collector, traceID, "exit-processor", "post", serve.ID)
		client := awaitSpan(t, collector, traceID, "exit-processor", "POST summary", posted.ID)
		summary := awaitSpan(t, collector, traceID, "summary", "POST summary", client.ID)
		awaitSpan(t, collector, traceID, "summary", "redis pipeline", summary.ID)

		for file, callID := range map[string]string{"connector": "", "exit-processor": "", "summary": ""} {
			lines := s.logLines(t, file, traceID)
			if len(lines) != 1+strings.Count(strings.Join(lines, ""), "exit without entry") || !strings.Contains(lines[0], "call_id=") {
				t.Errorf("lines about the batch of %s %s: %q", file, callID, lines)
			}
		}
	})

	t.Run("from the generator", func(t *testing.T) {
		const traceID, person = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.gateway+"/function/entry-generator?count=20&site=traced", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("traceparent", "00-"+traceID+"-"+person+"-01")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		serve := awaitSpan(t, collector, traceID, "entry-generator", "POST entry-generator", person)
		send := awaitSpan(t, collector, traceID, "entry-generator", "send vehicle_entries", serve.ID)
		if send.Kind != wire.Span_SPAN_KIND_PRODUCER || send.Attributes["messaging.batch.message_count"] != "20" {
			t.Errorf("the publishing: %+v", send)
		}
		process := awaitSpan(t, collector, traceID, "rabbitmq-connector", "process vehicle_entries", send.ID)
		awaitSpan(t, collector, traceID, "entry-processor", "POST entry-processor", process.ID)
	})

	headers, zipped := collector.Requests()
	if !zipped {
		t.Error("OTEL_EXPORTER_OTLP_COMPRESSION is not passed on")
	}
	for _, h := range headers {
		if got := h.Get("Authorization"); got != "Bearer from-the-file" {
			t.Errorf("the collector is shown %q", got)
		}
	}
	t.Run("no plates and secrets", func(t *testing.T) { s.keepsQuiet(t, collector, arrival) })
}

// awaitSpan waits for a span of a trace and returns it.
func awaitSpan(t *testing.T, c *tracingtest.Collector, traceID, service, name, parent string) (found tracingtest.Span) {
	t.Helper()
	eventually.Succeeds(t, "the span arrives", func() error {
		spans := c.Spans()
		for _, found = range spans {
			if found.Trace == traceID && found.Service == service && found.Name == name && found.Parent == parent {
				return nil
			}
		}
		spans = slices.DeleteFunc(spans, func(s tracingtest.Span) bool { return s.Trace != traceID })
		return fmt.Errorf("no span %q of %s below %s in trace %s: %+v", name, service, parent, traceID, spans)
	})
	return found
}

// logLines waits for lines of a part's log that have a text in them.
func (s *system) logLines(t *testing.T, part, text string) (lines []string) {
	t.Helper()
	eventually.Succeeds(t, "the line is in the log", func() error {
		log, err := os.ReadFile(filepath.Join(s.dir, "logs", part+".log"))
		if err != nil {
			return err
		}
		lines = nil
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, text) {
				lines = append(lines, line)
			}
		}
		if len(lines) == 0 {
			return fmt.Errorf("no line of %s.log has %q", part, text)
		}
		return nil
	})
	return lines
}

// keepsQuiet feeds every part what it can go wrong with, and looks for plates,
// secrets and bodies in all logs and spans.
func (s *system) keepsQuiet(t *testing.T, c *tracingtest.Collector, arrival time.Time) {
	const plate = "QUIET4711"
	body := `{"id":"q%d","vehicle_plate":"` + plate + `",%s}`
	at := `"exit_date_time":"` + arrival.Format(time.RFC3339) + `"`
	for i, rest := range []string{
		at,                                      // an exit without entry
		at + `,"vehicle_plate":"` + plate + `"`, // twice
		`"exit_date_time":17`,
		`"exit_date_time":"yesterday"`,
		`"exit_date_time":"2199-01-01T00:00:00Z"`,
		`"entry_date_time":"2026-01-01T00:00:00Z"`,
		at + `,"gate":"\u0007"`,
		at + `,"site":"not a site"`,
		at + `,"secret":"hush-hush"`, // unknown fields are ignored
		at + `,` + "\xff",
		at + `,`,
	} {
		event := fmt.Sprintf(body, i, rest)
		s.call(t, http.MethodPost, "/function/exit-processor", event)
		publish(t, s.dial(t), "vehicle_exits", []byte(event))
	}
	s.call(t, http.MethodPost, "/function/exit-processor", fmt.Sprintf(body, 0, `"exit_date_time":"`+arrival.Add(time.Second).Format(time.RFC3339)+`"`)) // a conflict
	token := s.secret(t, "summary-token")
	for _, call := range []struct{ method, path, body string }{
		{http.MethodGet, "?plate=" + plate, ""},
		{http.MethodPost, "", `[{"vehicle_plate":"` + plate + `"}]`},
		{http.MethodDelete, "/plates/" + plate, ""},
	} {
		s.call(t, call.method, "/function/summary"+call.path, call.body)
	}
	s.post(t, token, `[{"id":"q","exit_id":"q","site":"default","vehicle_plate":"quiet-4711","exit_date_time":"`+arrival.Format(time.RFC3339)+`","revision":1}]`)

	s.logLines(t, "exit-processor", "exit without entry")
	s.logLines(t, "exit-processor", "event rejected")
	s.logLines(t, "connector", "dead letter")
	forbidden := []string{plate, "quiet-4711", "hush-hush", "from-the-environment", "from-the-file"}
	secrets, err := filepath.Glob(filepath.Join(s.dir, "secrets", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range secrets {
		if name := filepath.Base(file); name != "basic-auth-user" {
			forbidden = append(forbidden, strings.Split(s.secret(t, name), "\n")...)
		}
	}
	text := map[string]string{"parkstream up": s.output.String(), "spans": fmt.Sprintf("%+v", c.Spans())}
	for _, log := range s.logs() {
		lines, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		text[filepath.Base(log)] = string(lines)
	}
	for name, text := range text {
		for _, word := range forbidden {
			if i := strings.Index(text, word); i >= 0 {
				t.Errorf("%s has %q in it: %.300s", name, word, text[max(0, i-200):])
			}
		}
	}
}

// post sends stays to the summary as a processor does.
func (s *system) post(t *testing.T, token, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.gateway+"/function/summary", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}
