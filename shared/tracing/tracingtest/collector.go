// Package tracingtest has a collector of spans for tests.
package tracingtest

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is what a test wants to know of a span. Ids are in hexadecimal digits, as
// in traceparent; a root has no Parent.
type Span struct {
	Service, Name     string
	Trace, ID, Parent string
	Kind              wire.Span_SpanKind
	Failed            bool
	Links             []string // ids of the spans it links to
	Attributes        map[string]string
}

// Collector receives spans as OTLP over HTTP.
type Collector struct {
	// URL is for OTEL_EXPORTER_OTLP_ENDPOINT.
	URL string

	mu      sync.Mutex
	spans   []Span
	headers []http.Header
	zipped  bool
}

// New starts a collector that runs until the test ends.
func New(t testing.TB) *Collector {
	t.Helper()
	c := new(Collector)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.receive(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

// Spans returns the spans received so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Requests returns the headers of the requests so far. zipped is true if one of them
// was compressed.
func (c *Collector) Requests() (headers []http.Header, zipped bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.headers), c.zipped
}

func (c *Collector) receive(r *http.Request) error {
	if r.URL.Path != "/v1/traces" {
		return fmt.Errorf("%s is not where spans go", r.URL.Path)
	}
	body := io.Reader(r.Body)
	zipped := r.Header.Get("Content-Encoding") == "gzip"
	if zipped {
		plain, err := gzip.NewReader(body)
		if err != nil {
			return err
		}
		body = plain
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(text, &request); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headers = append(c.headers, r.Header)
	c.zipped = c.zipped || zipped
	for _, rs := range request.GetResourceSpans() {
		service := attributes(rs.GetResource().GetAttributes())["service.name"]
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				c.spans = append(c.spans, span(service, s))
			}
		}
	}
	return nil
}

func span(service string, s *wire.Span) Span {
	made := Span{
		Service: service, Name: s.GetName(), Kind: s.GetKind(),
		Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Failed: s.GetStatus().GetCode() == wire.Status_STATUS_CODE_ERROR, Attributes: attributes(s.GetAttributes()),
	}
	for _, l := range s.GetLinks() {
		made.Links = append(made.Links, hex.EncodeToString(l.GetSpanId()))
	}
	return made
}

func attributes(pairs []*common.KeyValue) map[string]string {
	m := make(map[string]string, len(pairs))
	for _, p := range pairs {
		switch v := p.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			m[p.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			m[p.GetKey()] = fmt.Sprint(v.IntValue)
		default:
			m[p.GetKey()] = fmt.Sprint(v)
		}
	}
	return m
}
