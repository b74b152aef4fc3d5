package tracing_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"parkstream/shared/tracing"
	"parkstream/shared/tracing/tracingtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noHeaders() (string, error) { return "", os.ErrNotExist }

func config(endpoint string, log *slog.Logger) tracing.Config {
	return tracing.Config{
		URL: endpoint + "/v1/traces", Service: "teller", Headers: noHeaders, Log: log,
	}
}

// Spans reach the collector, with the secret's headers, and the context survives
// both ways of travelling.
func TestSpansReachTheCollector(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=bank")
	c := tracingtest.New(t)
	cfg := config(c.URL, discard)
	cfg.Headers = func() (string, error) { return "authorization=Bearer%20open%2Csesame, x-tenant = 7", nil }
	provider, stop, err := tracing.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	root, rootSpan := provider.Tracer("test").Start(t.Context(), "root")
	ctx, child := tracing.Start(root, trace.SpanKindClient, "child")
	header := http.Header{}
	tracing.Inject(ctx, header)
	if got := trace.SpanContextFromContext(tracing.Extract(context.Background(), header)); !got.IsRemote() || got.SpanID() != child.SpanContext().SpanID() {
		t.Errorf("headers %v give %+v", header, got)
	}
	parent, state := tracing.Fields(ctx)
	if got := tracing.Parse(parent, state); got.SpanID() != child.SpanContext().SpanID() || got.TraceID() != rootSpan.SpanContext().TraceID() || !got.IsSampled() {
		t.Errorf("fields %q, %q give %+v", parent, state, got)
	}
	tracing.End(child, fmt.Errorf("broken"))
	rootSpan.End()
	if err := stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := c.Spans()
	if len(spans) != 2 {
		t.Fatalf("%d spans came: %+v", len(spans), spans)
	}
	got, want := spans[0], spans[1]
	if got.Name != "child" || got.Parent != want.ID || got.Trace != want.Trace || !got.Failed || want.Failed || got.Service != "teller" {
		t.Errorf("child: %+v\nroot: %+v", got, want)
	}
	headers, zipped := c.Requests()
	if !zipped || headers[0].Get("Authorization") != "Bearer open,sesame" || headers[0].Get("X-Tenant") != "7" {
		t.Errorf("zipped: %t, headers: %v", zipped, headers[0])
	}
}

// Without a provider nothing is allocated on the way of an event.
func TestOffCostsNothing(t *testing.T) {
	ctx, header := t.Context(), http.Header{}
	if n := testing.AllocsPerRun(100, func() { work(ctx, header) }); n != 0 {
		t.Errorf("%v allocations without tracing", n)
	}
	if len(header) != 0 {
		t.Errorf("headers without tracing: %v", header)
	}
	provider, stop, err := tracing.New(config(tracingtest.New(t).URL, discard))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(t.Context()) }()
	ctx, span := provider.Tracer("test").Start(ctx, "root")
	defer span.End()
	if n := testing.AllocsPerRun(100, func() { work(ctx, header) }); n == 0 {
		t.Error("no allocations with tracing: this test measures nothing")
	}
}

// work is what everybody does on the way of an event.
func work(ctx context.Context, header http.Header) {
	ctx, span := tracing.Start(ctx, trace.SpanKindInternal, "work")
	tracing.Inject(ctx, header)
	_, _ = tracing.Fields(ctx)
	tracing.End(span, nil)
}

func BenchmarkWork(b *testing.B) {
	b.Run("off", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			work(b.Context(), http.Header{})
		}
	})
	b.Run("on", func(b *testing.B) {
		provider, stop, err := tracing.New(config(tracingtest.New(b).URL, discard))
		if err != nil {
			b.Fatal(err)
		}
		ctx, span := provider.Tracer("test").Start(b.Context(), "root")
		b.ReportAllocs()
		for b.Loop() {
			work(ctx, http.Header{})
		}
		span.End()
		_ = stop(context.Background())
	})
}

// An unavailable collector is logged once, and once more when it is back.
func TestUnreachableCollectorIsLoggedOnce(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "5")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var attempts sync.WaitGroup
	attempts.Add(3)
	served := make(chan struct{})
	go func() { // three connections are cut
		defer close(served)
		for range 3 {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
			attempts.Done()
		}
	}()
	log := new(lines)
	provider, stop, err := tracing.New(config("http://"+l.Addr().String(), slog.New(slog.NewTextHandler(log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	spans, end := context.WithCancel(t.Context())
	made := make(chan struct{})
	go func() {
		defer close(made)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, span := provider.Tracer("test").Start(spans, "lost")
				span.End()
			case <-spans.Done():
				return
			}
		}
	}()
	attempts.Wait()
	_ = l.Close()
	end()
	<-made
	<-served
	if err := stop(context.Background()); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "spans cannot be sent"); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, log)
	}
}

// TestNoRedirectIsFollowed: headers for the collector may be a secret.
func TestNoRedirectIsFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s followed, X-Key %q", r.Method, r.URL, r.Header.Get("X-Key"))
	}))
	defer other.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		collector := httptest.NewServer(http.RedirectHandler(other.URL+"/v1/traces?hush", code))
		log := new(lines)
		c := config(collector.URL, slog.New(slog.NewTextHandler(log, nil)))
		c.Headers = func() (string, error) { return "X-Key=hush", nil }
		provider, stop, err := tracing.New(c)
		if err != nil {
			t.Fatal(err)
		}
		_, span := provider.Tracer("test").Start(t.Context(), "lost")
		span.End()
		if err := stop(t.Context()); err != nil {
			t.Error(err)
		}
		if text := log.String(); !strings.Contains(text, "redirects to "+other.URL+",") || strings.Contains(text, "X-Key") {
			t.Errorf("%d: the log has %s", code, text)
		}
		collector.Close()
	}
}

// A collector that takes requests and never answers does not hold up the end.
func TestStopDoesNotWaitForAHangingCollector(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and nothing reads
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	provider, stop, err := tracing.New(config("http://"+l.Addr().String(), discard))
	if err != nil {
		t.Fatal(err)
	}
	_, span := provider.Tracer("test").Start(t.Context(), "lost")
	span.End()
	ended := make(chan error, 1)
	go func() { ended <- stop(context.Background()) }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("no error, though the last span is lost")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
	if err := stop(context.Background()); err != nil { // and it can be called again
		t.Error(err)
	}
}

func TestMalformedHeaders(t *testing.T) {
	cfg := config("http://127.0.0.1:1", discard)
	cfg.Headers = func() (string, error) { return "hush", nil }
	if _, _, err := tracing.New(cfg); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("headers without a name: %v", err)
	}
}

var discard = slog.New(slog.DiscardHandler)

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
