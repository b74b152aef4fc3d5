package faas

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	handler "github.com/openfaas/templates-sdk/go-http"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func tracedServer(tb testing.TB, provider trace.TracerProvider) *server {
	tb.Helper()
	rt := testRuntime(tb)
	rt.Traces = provider
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
