package rabbitmq

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/batch"
	"parkstream/shared/broker"
	"parkstream/shared/redirect"
	"parkstream/shared/tracing"
)

const (
	connectorName = "parkstream-rabbitmq"
	dialTimeout   = 5 * time.Second
	keepAlive     = 15 * time.Second
	// maxAnswer bounds what is read of an answer; a batch of 10,000 results with
	// long reasons fits.
	maxAnswer = 16 << 20
	// maxRetryAfter bounds what a function may ask for.
	maxRetryAfter = 10 * time.Minute
)

// newTransport returns the pool of connections to the gateway.
func newTransport(caFile string) (*http.Transport, error) {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 1024, // the gates bound the calls
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		WriteBufferSize:     64 << 10,
		ReadBufferSize:      16 << 10,
	}
	if caFile == "" {
		return t, nil
	}
	if _, err := readCA(caFile); err != nil {
		return nil, err
	}
	t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		roots, err := readCA(caFile) // anew for each connection: it may have been replaced
		if err != nil {
			return nil, err
		}
		d := tls.Dialer{NetDialer: &net.Dialer{KeepAlive: keepAlive}, Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		return d.DialContext(ctx, network, addr)
	}
	return t, nil
}

func readCA(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the gateway's CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the gateway's CA file %s has no PEM certificate", file)
	}
	return roots, nil
}

// invoker calls functions through the gateway.
type invoker struct {
	client  *http.Client
	gateway string // without the last slash
	buffers sync.Pool
}

func newInvoker(gateway string, t *http.Transport) *invoker {
	return &invoker{
		client: &http.Client{
			Transport:     t,
			CheckRedirect: redirect.Refuse,
		},
		gateway: strings.TrimRight(gateway, "/"),
		buffers: sync.Pool{New: func() any { return new(buffers) }},
	}
}

// buffers are reused from call to call.
type buffers struct {
	request []byte
	answer  bytes.Buffer
	events  []batch.Event
	ids     map[string]struct{}
}

// maxReused keeps one huge call from holding its memory for ever.
const maxReused = 8 << 20

func (i *invoker) giveBack(b *buffers) {
	if cap(b.request) > maxReused || b.answer.Cap() > maxReused {
		return
	}
	clear(b.events)
	b.events = b.events[:0]
	clear(b.ids)
	b.answer.Reset()
	i.buffers.Put(b)
}

// answer is what a call came to.
type answer struct {
	verdict    batch.Verdict
	results    []batch.Result // one for each item, if Answered or an Outage that is told by event
	status     int            // 0 where there was no answer
	reason     string         // why it is not Answered
	retryAfter time.Duration
	took       time.Duration
	cancelled  bool            // the connector gave up the call; nothing else is set
	ctx        context.Context // of the call, with its id and its span
}

// call delivers items to a function in one call and waits for the answer.
func (i *invoker) call(ctx context.Context, f *Function, queue, callID string, items []item) answer {
	buf := i.buffers.Get().(*buffers)
	callCtx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	var (
		delivered atomic.Bool // the gateway may have got a part of the request
		written   atomic.Bool // nobody reads the request's buffer any more
	)
	defer func() {
		if written.Load() {
			i.giveBack(buf)
		}
	}()
	traced := httptrace.WithClientTrace(callCtx, &httptrace.ClientTrace{
		// Again for every attempt: that on an idle connection which the gateway has
		// closed meanwhile does not count.
		GetConn:      func(string) { delivered.Store(false) },
		WroteHeaders: func() { delivered.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) { written.Store(info.Err == nil) },
	})

	var a answer
	req, err := i.request(traced, f, queue, items, buf)
	if err != nil { // a mistake of ours or of the settings; it must not cost an event
		a.verdict, a.reason = batch.Outage, err.Error()
		return a
	}
	req.Header["X-Connector"] = []string{connectorName}
	req.Header["X-Call-Id"] = []string{callID}
	req.Header["X-Topic"] = []string{queue}
	tracing.Inject(ctx, req.Header)

	start := time.Now()
	resp, err := i.client.Do(req)
	if err == nil {
		a.status = resp.StatusCode
		_, err = buf.answer.ReadFrom(io.LimitReader(resp.Body, maxAnswer+1))
		_ = resp.Body.Close()
	}
	a.took = time.Since(start)
	switch {
	case err != nil && ctx.Err() != nil:
		return answer{cancelled: true}
	case err != nil && !delivered.Load():
		a.verdict, a.reason = batch.Outage, "the gateway cannot be reached: "+err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		a.verdict, a.reason, a.status = batch.Crash, fmt.Sprintf("no answer within %s", f.Timeout), 0
	case err != nil:
		a.verdict, a.reason = batch.Crash, "the call was cut short: "+err.Error()
	case buf.answer.Len() > maxAnswer:
		a.verdict, a.reason = batch.Crash, fmt.Sprintf("the answer is larger than %d bytes", maxAnswer)
	default:
		i.read(&a, f, resp.Header, buf)
	}
	return a
}

// read turns an answer that arrived into a verdict.
func (i *invoker) read(a *answer, f *Function, h http.Header, buf *buffers) {
	a.verdict = batch.Classify(a.status)
	if a.verdict != batch.Answered {
		a.reason = fmt.Sprintf("%d %s", a.status, http.StatusText(a.status))
		if text := strings.TrimSpace(clip(buf.answer.String())); text != "" {
			a.reason += ": " + text
		}
		a.retryAfter = retryAfter(h.Get("Retry-After"), time.Now())
		if a.status == http.StatusServiceUnavailable && f.batched() {
			a.readOutage(buf)
		}
		return
	}
	if !f.batched() {
		a.results = []batch.Result{{Outcome: batch.Done}}
		return
	}
	results, err := batch.ParseResponse(buf.answer.Bytes(), buf.events)
	if err != nil {
		// nobody knows what the function did: as if it had not survived the call
		a.verdict, a.reason = batch.Crash, err.Error()
		return
	}
	a.results = results
}

// readOutage takes the results of an outage that the function tells by event: each is
// unavailable, or rejected.
func (a *answer) readOutage(buf *buffers) {
	results, err := batch.ParseResponse(buf.answer.Bytes(), buf.events)
	told := slices.IndexFunc(results, func(r batch.Result) bool { return r.Unavailable })
	if err != nil || told < 0 || slices.ContainsFunc(results, func(r batch.Result) bool { return !r.Unavailable && r.Outcome != batch.Reject }) {
		return
	}
	a.results, a.reason = results, clip(results[told].Reason)
}

func (i *invoker) request(ctx context.Context, f *Function, queue string, items []item, buf *buffers) (*http.Request, error) {
	if !f.batched() {
		return i.rawRequest(ctx, f, items[0])
	}
	buf.addEvents(queue, items)
	buf.request = batch.AppendRequest(buf.request[:0], source(queue), buf.events)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.gateway+"/function/"+f.Name, bytes.NewReader(buf.request))
	if err != nil {
		return nil, err
	}
	req.Header["Content-Type"] = []string{batch.ContentType}
	return req, nil
}

// source is the CloudEvents source of a queue's events, which is a URI reference.
func source(queue string) string { return (&url.URL{Path: "/rabbitmq/" + queue}).EscapedPath() }

// addEvents gives every item an id that is unique within the batch: the message
// id where that is possible.
func (b *buffers) addEvents(queue string, items []item) {
	if b.ids == nil {
		b.ids = make(map[string]struct{}, len(items))
	}
	for _, it := range items {
		id := it.MessageId
		_, twice := b.ids[id]
		if twice || id == "" || !batch.IsText(id) {
			id = queue + "/" + it.from.epoch + "/" + strconv.FormatUint(it.DeliveryTag, 10)
		}
		b.ids[id] = struct{}{}
		b.events = append(b.events, batch.Event{
			ID: id, Time: published(&it.Delivery), TraceParent: traceField(it.Headers, tracing.FieldParent), TraceState: traceField(it.Headers, tracing.FieldState),
			Attributes: attributes(it.delivery, queue), ContentType: it.ContentType, Data: it.Body,
		})
	}
}

// rawRequest delivers one message as it is, with the headers that connectors for
// OpenFaaS use.
func (i *invoker) rawRequest(ctx context.Context, f *Function, it item) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.gateway+"/function/"+f.Name, bytes.NewReader(it.Body))
	if err != nil {
		return nil, err
	}
	set := func(name, value string) {
		if value != "" && len(value) <= maxHeader && validHeader(value) && req.Header.Get(name) == "" {
			req.Header.Set(name, value)
		}
	}
	for _, h := range simple(it.Headers, "") {
		if validName(h.name) {
			set("X-Rabbitmq-Header-"+h.name, h.value)
		}
	}
	set("Content-Type", it.ContentType)
	set("Content-Encoding", it.ContentEncoding)
	set("Traceparent", traceField(it.Headers, tracing.FieldParent))
	set("Tracestate", traceField(it.Headers, tracing.FieldState))
	set("X-Rabbitmq-Msg-Id", it.MessageId)
	set("X-Rabbitmq-Routing-Key", it.history.routingKey)
	return req, nil
}

// traceField returns a field of the publisher's trace context; W3C allows it 512
// bytes.
func traceField(h amqp.Table, name string) string {
	if text := headerText(h, name); len(text) <= maxHeader {
		return text
	}
	return ""
}

// ofPublisher says whether a header is the publisher's own.
func ofPublisher(name string) bool {
	switch name {
	case tracing.FieldParent, tracing.FieldState, cc, "x-delivery-count", "x-acquired-count":
		return false
	}
	for _, prefix := range []string{headerPrefix, "x-first-death-", "x-last-death-"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return true
}

// header is a simple header of a publisher.
type header struct{ name, value string }

const (
	// maxHeader bounds a message header that is passed on, so that the gateway takes
	// the request.
	maxHeader = 1024
	// maxPassedOn bounds all of one message's, with their names: a batch has those of
	// many messages, and proxies end at 8 or 16 KiB.
	maxPassedOn = 8 << 10
)

// simple returns the publisher's simple headers in the order of the alphabet, without
// one of them. What is too large is left out.
func simple(h amqp.Table, without string) []header {
	var hs []header
	for name, value := range h {
		if name == without || !ofPublisher(name) {
			continue
		}
		if text, ok := scalar(value); ok {
			hs = append(hs, header{name, text})
		}
	}
	slices.SortFunc(hs, func(a, b header) int { return strings.Compare(a.name, b.name) })
	room := maxPassedOn
	return slices.DeleteFunc(hs, func(h header) bool {
		size := len(h.name) + len(h.value)
		if size > room {
			return true
		}
		room -= size
		return false
	})
}

// attributes are what the publisher said of the message besides its body, as
// CloudEvents extension attributes: the header x-tenant becomes amqpxtenant. Of names
// that come to the same the first one counts; properties come before headers, which
// are in the order of the alphabet.
func attributes(d *delivery, queue string) []batch.Attribute {
	var as []batch.Attribute
	taken := make(map[string]struct{})
	add := func(name, value string) {
		if _, twice := taken[name]; !twice && batch.IsText(value) {
			taken[name] = struct{}{}
			as = append(as, batch.Attribute{Name: name, Value: value})
		}
	}
	if d.ContentEncoding != "" {
		add("amqpcontentencoding", d.ContentEncoding)
	}
	if key := d.history.routingKey; key != queue && key != "" {
		add("amqproutingkey", key)
	}
	for _, h := range simple(d.Headers, broker.HeaderTime) {
		add("amqp"+strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, strings.ToLower(h.name)), h.value)
	}
	return as
}

// scalar returns the text of a header that has a simple one.
func scalar(v any) (string, bool) {
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case []byte:
		text = string(v)
	case time.Time:
		text = v.UTC().Format(time.RFC3339)
	case amqp.Decimal:
		text = fmt.Sprintf("%de-%d", v.Value, v.Scale)
	case nil, []any, amqp.Table:
		return "", false
	default:
		text = fmt.Sprint(v)
	}
	return text, len(text) <= maxHeader
}

// validHeader says whether a value can be sent: net/http fails the whole call
// otherwise.
func validHeader(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func validName(n string) bool {
	for i := range len(n) {
		c := n[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return n != ""
}

// retryAfter reads the header, which has seconds or a date.
func retryAfter(h string, now time.Time) time.Duration {
	var d time.Duration
	if s, err := strconv.Atoi(h); err == nil {
		d = time.Duration(min(s, int(maxRetryAfter/time.Second))) * time.Second
	} else if t, err := http.ParseTime(h); err == nil {
		d = t.Sub(now)
	}
	return max(0, min(d, maxRetryAfter))
}
