package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// HeadersSecret is the secret with the headers that the collector asks for, as
// in OTEL_EXPORTER_OTLP_HEADERS: name=value, several with commas. It is optional
// and read at the start.
const HeadersSecret = "otlp-headers"

// Config describes the traced process and the collector.
type Config struct {
	// URL is the collector's, for OTLP over HTTP. The SDK reads
	// OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_TRACES_SAMPLER, OTEL_BSP_SCHEDULE_DELAY and so
	// on from the environment of the process itself.
	URL string
	// Service is the name of the process, which OTEL_SERVICE_NAME overrides.
	Service string
	// Headers returns the secret [HeadersSecret], or an error that wraps
	// os.ErrNotExist if there is none.
	Headers func() (string, error)
	// Log gets one line when the collector fails and one when it answers again.
	Log *slog.Logger
}

const (
	// flushTimeout bounds what a stop spends on the last spans. It is short: the
	// connector has 30 seconds to end, and drains for 25 of them.
	flushTimeout = 3 * time.Second
	// maxLinks bounds the links of a span unless OTEL_SPAN_LINK_COUNT_LIMIT is set. The
	// SDK's own 128 is less than the events of a batch.
	maxLinks = 1000
)

// New returns a provider, and stop, which sends its last spans and ends it within three
// seconds.
func New(c Config) (provider trace.TracerProvider, stop func(context.Context) error, err error) {
	options := []otlptracehttp.Option{otlptracehttp.WithEndpointURL(c.URL), otlptracehttp.WithProxy(proxyUnlessRedirected)}
	headers, err := c.headers()
	if err != nil {
		return nil, nil, err
	}
	if headers != nil {
		options = append(options, otlptracehttp.WithHeaders(headers))
	}
	ctx := context.Background() // New only builds, it connects to nothing
	client, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("prepare the export of spans: %w", err)
	}
	res, err := resource.New(ctx, resource.WithAttributes(semconv.ServiceName(c.Service)), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	limits := sdk.NewSpanLimits()
	if os.Getenv("OTEL_SPAN_LINK_COUNT_LIMIT") == "" {
		limits.LinkCountLimit = maxLinks
	}
	e := &exporter{SpanExporter: client, log: c.Log, closed: make(chan struct{})}
	e.life, e.end = context.WithCancel(ctx)
	p := sdk.NewTracerProvider(sdk.WithBatcher(e), sdk.WithResource(res), sdk.WithRawSpanLimits(limits))
	return p, func(ctx context.Context) error {
		// Shutdown with a context that has ended would not even begin.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		err := p.Shutdown(ctx)
		e.end() // ends exports that are under way, and their goroutines
		<-e.closed
		if err != nil {
			return fmt.Errorf("send the last spans: %w", err)
		}
		return nil
	}, nil
}

// proxyUnlessRedirected refuses redirects, which would carry the secret headers to
// another host. The exporter's own client, which knows the settings of TLS, has no
// other place for that.
func proxyUnlessRedirected(r *http.Request) (*url.URL, error) {
	if r.Response != nil { // r exists because of a redirect
		return nil, fmt.Errorf("the collector's answer %d redirects to %s://%s, which is not followed", r.Response.StatusCode, r.URL.Scheme, r.URL.Host)
	}
	return http.ProxyFromEnvironment(r)
}

func (c Config) headers() (map[string]string, error) {
	text, err := c.Headers()
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	headers := make(map[string]string)
	for pair := range strings.SplitSeq(text, ",") {
		name, value, found := strings.Cut(pair, "=")
		// Values are escaped as in a URL, since a comma ends one.
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !found || name == "" || err != nil {
			return nil, fmt.Errorf("secret %s: want name=value, several with commas, and %%2C for a comma in a value", HeadersSecret)
		}
		headers[name] = value
	}
	return headers, nil
}

// exporter reports a collector that is unavailable once. The SDK would print a line for
// every batch of spans through a global.
type exporter struct {
	sdk.SpanExporter
	log     *slog.Logger
	failing atomic.Bool
	life    context.Context // of exports
	end     context.CancelFunc
	closed  chan struct{} // when there will be no more
}

// ExportSpans implements sdk.SpanExporter. It returns no error.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if was := e.failing.Swap(err != nil); !was && err != nil {
		e.log.Warn("spans cannot be sent and are dropped until the collector answers", "error", err)
	} else if was && err == nil {
		e.log.Info("spans can be sent again")
	}
	return nil
}

// Shutdown implements sdk.SpanExporter. It is called when the last export has
// ended.
func (e *exporter) Shutdown(ctx context.Context) error {
	defer close(e.closed)
	return e.SpanExporter.Shutdown(ctx)
}
