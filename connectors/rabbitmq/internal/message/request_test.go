package message

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
)

// Publishers count in all units and types. A time outside of these years is unknown.
func TestPublished(t *testing.T) {
	at := time.Date(2026, 11, 27, 9, 0, 0, 123_456_789, time.UTC)
	second := at.Truncate(time.Second)
	for _, tt := range []struct {
		header    any
		timestamp time.Time
		want      time.Time
	}{
		{nil, time.Time{}, time.Time{}},
		{nil, second, second},
		{nil, time.Unix(at.UnixMilli(), 0), at.Truncate(time.Millisecond)},
		{nil, time.Unix(at.UnixMicro(), 0), at.Truncate(time.Microsecond)},
		{nil, time.Unix(at.UnixNano(), 0), at},
		{nil, time.Unix(0, 0), time.Time{}},
		{nil, time.Unix(1, 0), time.Time{}},
		{nil, time.Unix(-at.Unix(), 0), time.Time{}},
		{nil, time.Unix(-62135596800, 0), time.Time{}},
		{nil, time.Unix(253402300800, 0), time.Time{}},
		{nil, time.Unix(math.MaxInt64, 0), time.Time{}},
		{nil, time.Unix(math.MinInt64, 0), time.Time{}},
		{at.UnixMilli(), time.Time{}, at.Truncate(time.Millisecond)},
		{at.UnixMilli(), second, at.Truncate(time.Millisecond)},
		{at.UnixMicro(), second, at.Truncate(time.Microsecond)},
		{at.UnixNano(), second, at},
		{at.Unix(), time.Time{}, second},
		{float64(at.UnixMilli()), time.Time{}, at.Truncate(time.Millisecond)},
		{uint32(at.Unix()), time.Time{}, second},
		{second, time.Time{}, second},
		{int64(0), second, second},
		{int64(-1), second, second},
		{int64(math.MaxInt64), second, second},
		{int64(math.MinInt64), second, second},
		{int8(math.MinInt8), second, second},
		{int16(7), second, second},
		{uint16(7), second, second},
		{byte(7), second, second},
		{int32(math.MinInt32), second, second},
		{math.NaN(), second, second},
		{math.Inf(1), second, second},
		{float32(math.Inf(-1)), second, second},
		{1e300, second, second},
		{1.5, second, second},
		{"1795770000000", second, second},
		{[]byte{1}, second, second},
		{amqp.Table{}, second, second},
		{true, second, second},
	} {
		d := &amqp.Delivery{Timestamp: tt.timestamp, Headers: amqp.Table{broker.HeaderTime: tt.header}}
		if got := published(d); !got.Equal(tt.want) {
			t.Errorf("header %v (%T), timestamp %d: %s, want %s", tt.header, tt.header, tt.timestamp.Unix(), got, tt.want)
		}
	}
}

// hostileHeaders are what a publisher can send of every type.
func hostileHeaders() amqp.Table {
	h := amqp.Table{
		"nan": math.NaN(), "inf": math.Inf(1), "huge": 1e300, "float": float32(1.5), "decimal": amqp.Decimal{Scale: 2, Value: 314}, "yes": true, "byte": byte(255), "int": int64(math.MinInt64),
		"when": time.Unix(math.MaxInt64, 0), "nothing": nil, "list": []any{"a"}, "table": amqp.Table{"a": "b"}, "bytes": []byte("\xff\x00"), "bad": "\xff", "control": "a\x00b",
		"X-Tenant": "first", "x-tenant": "second", "x_tenant": "third", "---": "nameless", "日本": "nameless too", "name with \"quotes\"\n\xff": "v", "long": strings.Repeat("x", 2000),
		"data": "taken?", "id": "taken?", "specversion": "taken?", "content-encoding": "from a header", "x-parkstream-attempts": int32(7), "traceparent": "\x00", "tracestate": strings.Repeat("x", 9000),
		strings.Repeat("n", 255): strings.Repeat("v", 1000),
	}
	for i := range 100 {
		h[fmt.Sprint("many", i)] = strings.Repeat("v", 1000)
	}
	return h
}

// What a publisher's headers have makes neither a batch nor a raw call invalid or huge.
func TestHostileHeaders(t *testing.T) {
	var (
		header http.Header
		body   []byte
	)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()
	gateway, err := openfaas.NewGateway(openfaas.GatewayConfig{URL: server.URL, Connector: "a connector"})
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.CloseIdleConnections()
	call := func(f *openfaas.Function, queue string, ds []*Delivery) {
		t.Helper()
		f.Name, f.Timeout = "fn", 10*time.Second
		b := NewRequestBuffer()
		defer b.Release()
		if r := gateway.Invoke(t.Context(), f, b.Request(f, queue, "call", ds)); r.Status != http.StatusOK {
			t.Fatalf("%+v", r)
		}
	}
	source := &Source{Queue: "a queue?ü", Connection: "e"}
	var ds []*Delivery
	for n, id := range []string{"", "line\nbreak", "\xff", "same", "same", "sound"} {
		ds = append(ds, source.Read(&amqp.Delivery{
			DeliveryTag: uint64(n), MessageId: id, Headers: hostileHeaders(), ContentType: "a/b\x00", ContentEncoding: "gzip", RoutingKey: "gate.north", Timestamp: time.Unix(math.MaxInt64, 0), Body: []byte("{}"),
		}, time.Now()))
	}
	call(&openfaas.Function{BatchSize: 10}, source.Queue, ds)
	var events []map[string]any
	if err := json.Unmarshal(body, &events); err != nil || len(events) != len(ds) {
		t.Fatalf("%d events, %v", len(events), err)
	}
	valid, ids := regexp.MustCompile(`^[a-z0-9]+$`), map[string]bool{}
	for _, e := range events {
		id, _ := e["id"].(string)
		ids[id] = true
		size := 0
		for name, value := range e {
			text, ok := value.(string)
			if size += len(name) + len(text); name != "data" && (!ok || !valid.MatchString(name) || !batch.IsText(text)) {
				t.Errorf("attribute %q is %v", name, value)
			}
		}
		if size > maxPassedOn+2*maxHeader {
			t.Errorf("the envelope has %d bytes", size)
		}
		for name, want := range map[string]any{
			"amqpxtenant": "first", "amqpcontentencoding": "gzip", "amqproutingkey": "gate.north", "amqpdecimal": "314e-2", "amqpnan": "NaN", "amqpyes": "true", "amqpint": "-9223372036854775808",
			"amqpcontrol": nil, "amqpbad": nil, "amqpbytes": nil, "amqplong": nil, "time": nil, "datacontenttype": nil, "traceparent": nil, "source": "/rabbitmq/a%20queue%3F%C3%BC",
		} {
			if e[name] != want {
				t.Errorf("attribute %s is %v, want %v", name, e[name], want)
			}
		}
	}
	if len(ids) != len(ds) || !ids["sound"] || !ids["same"] || ids["line\nbreak"] || ids[""] {
		t.Errorf("ids %v", ids)
	}
	call(&openfaas.Function{}, source.Queue, ds[:1])
	size := 0
	for name, values := range header {
		size += len(name) + len(values[0])
	}
	if size > 2*maxPassedOn || header.Get("X-Rabbitmq-Header-X-Tenant") != "first" || header.Get("Tracestate") != "" {
		t.Errorf("%d bytes of headers: %v", size, header)
	}
}
