package rabbitmq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"parkstream/shared/batch"
	"parkstream/shared/redirect"
	"parkstream/shared/tracing"
)

const (
	connectorName = "parkstream-rabbitmq"
	// maxAnswer bounds what is read of an answer; a batch of 10,000 results with
	// long reasons fits.
	maxAnswer = 16 << 20
	// maxRetryAfter bounds what a function may ask for.
	maxRetryAfter = 10 * time.Minute
)

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
