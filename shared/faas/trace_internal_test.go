package faas

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	handler "github.com/openfaas/templates-sdk/go-http"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func tracedServer(tb testing.TB, provider trace.TracerProvider) *server {
	tb.Helper()
	rt, cancel, err := newRuntime(Options{Name: "test", Log: io.Discard})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(cancel)
	if provider != nil {
		rt.tracer = provider.Tracer("test")
	}
	return newServer(rt, func(handler.Request) (handler.Response, error) { return handler.Response{}, nil })
}

// With tracing off a call that brings a context allocates nothing for it.
func TestServerWithoutTracing(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	spans := func(s *server) func() {
		return func() {
			_, span := s.span(context.Background(), r)
			endSpan(span, http.StatusOK)
		}
	}
	if n := testing.AllocsPerRun(100, spans(tracedServer(t, nil))); n != 0 {
		t.Errorf("%v allocations without tracing", n)
	}
	if n := testing.AllocsPerRun(100, spans(tracedServer(t, sdk.NewTracerProvider()))); n == 0 {
		t.Error("no allocations with tracing: this test measures nothing")
	}
}

func BenchmarkCall(b *testing.B) {
	for name, provider := range map[string]trace.TracerProvider{"tracing off": nil, "tracing on": sdk.NewTracerProvider()} {
		b.Run(name, func(b *testing.B) {
			s := tracedServer(b, provider)
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
			b.ReportAllocs()
			for b.Loop() {
				s.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}

// BenchmarkLogLine is what the line of a batch costs.
func BenchmarkLogLine(b *testing.B) {
	ctx := ContextWithCallID(b.Context(), "6f1c6a0e-7d1f-4be9-9f0a-6a1f7b7b2d11")
	ctx, span := sdk.NewTracerProvider().Tracer("test").Start(ctx, "call")
	defer span.End()
	log := NewLogger(io.Discard, "json", slog.LevelInfo).With("process", "test")
	b.ReportAllocs()
	for b.Loop() {
		log.InfoContext(ctx, "called", "function", "entry-processor", "queue", "vehicle_entries", "events", 500,
			"verdict", "answered", "took", "1ms", "outcomes", map[string]int{"done": 499, "reject": 1})
	}
}
