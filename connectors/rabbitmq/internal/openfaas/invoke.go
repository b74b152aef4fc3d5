package openfaas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"parkstream/shared/batch"
	"parkstream/shared/tracing"
)

const (
	// maxResponse bounds what is read of a response; a batch of 10,000 results with
	// long reasons fits.
	maxResponse = 16 << 20
	// maxReused keeps the memory of a huge call from being kept.
	maxReused = 8 << 20
	// MaxField bounds the value of a header in bytes, so that the gateway takes the request.
	MaxField = 1024
)

// Request is what a function is called with.
type Request struct {
	// CallID identifies the call, in the header X-Call-Id.
	CallID string
	// Topic is what the function listens to, in the header X-Topic.
	Topic string
	// Source is the CloudEvents source of the events.
	Source string
	// Events are for a function that speaks the batch contract. Without any it is
	// asked whether it answers. They are not used after the call.
	Events []batch.Event
	// Body and Header are the message for a function that takes single raw ones. Of
	// the fields of one name the first counts; what HTTP or a gateway would not take
	// is left out.
	Body   []byte
	Header []Field
}

// Field is a field of an HTTP header.
type Field struct{ Name, Value string }

// buffers are reused from call to call.
type buffers struct {
	request  []byte
	response bytes.Buffer
}

func (g *Gateway) giveBack(b *buffers) {
	if cap(b.request) > maxReused || b.response.Cap() > maxReused {
		return
	}
	b.response.Reset()
	g.buffers.Put(b)
}

// Invoke calls a function and waits for its response, until ctx ends or the function's
// timeout is over. Every error is a response, too.
func (g *Gateway) Invoke(ctx context.Context, f *Function, r Request) Response {
	buf := g.buffers.Get().(*buffers)
	callCtx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	var (
		delivered atomic.Bool // the gateway may have got a part of the request
		written   atomic.Bool // the request's buffer is not read any more
	)
	defer func() {
		if written.Load() {
			g.giveBack(buf)
		}
	}()
	traced := httptrace.WithClientTrace(callCtx, &httptrace.ClientTrace{
		// The client tries again if the gateway has closed an idle connection. Only its
		// last try counts.
		GetConn:      func(string) { delivered.Store(false) },
		WroteHeaders: func() { delivered.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) { written.Store(info.Err == nil) },
	})

	var a Response
	token, err := g.tokenFor(f)
	if err != nil {
		a.Verdict, a.Setup, a.Reason = batch.Outage, true, err.Error()
		return a
	}
	req, err := g.request(traced, f, r, buf)
	if err != nil { // a mistake of ours or of the settings; it must not cost an event
		a.Verdict, a.Reason = batch.Outage, err.Error()
		return a
	}
	if token != "" {
		req.Header["Authorization"] = []string{"Bearer " + token}
	}
	req.Header["X-Connector"] = []string{g.connector}
	req.Header["X-Call-Id"] = []string{r.CallID}
	req.Header["X-Topic"] = []string{r.Topic}
	tracing.Inject(ctx, req.Header)

	start := time.Now()
	resp, err := g.client.Do(req)
	if err == nil {
		a.Status = resp.StatusCode
		_, err = buf.response.ReadFrom(io.LimitReader(resp.Body, int64(g.limit)+1))
		_ = resp.Body.Close()
	}
	a.Took = time.Since(start)
	switch {
	case err != nil && ctx.Err() != nil:
		return Response{Cancelled: true}
	case err != nil && !delivered.Load():
		a.Verdict, a.Reason = batch.Outage, "the gateway cannot be reached: "+err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		a.Verdict, a.Reason, a.Status = batch.Crash, fmt.Sprintf("no answer within %s", f.Timeout), 0
	case err != nil:
		a.Verdict, a.Reason = batch.Crash, "the call was cut short: "+err.Error()
	case buf.response.Len() > g.limit:
		a.Verdict, a.Reason = batch.Crash, fmt.Sprintf("the answer is larger than %d bytes", g.limit)
	default:
		a.read(resp.Header, buf.response.Bytes(), f, token, r.Events)
	}
	return a
}

// tokenFor returns the token that calls of a function carry: none unless the function
// has the annotation for it.
func (g *Gateway) tokenFor(f *Function) (string, error) {
	if !f.SendToken {
		return "", nil
	}
	token, err := g.token()
	switch {
	case err != nil:
		return "", fmt.Errorf("the function %s takes the connector's token, which cannot be read: %w", f.Name, err)
	case !validField(token):
		return "", errors.New("the secret connector-token has a control character or several lines, and no header can carry it: write the token alone into it")
	}
	return token, nil
}

func (g *Gateway) request(ctx context.Context, f *Function, r Request, buf *buffers) (*http.Request, error) {
	body := r.Body
	if f.Batched() {
		buf.request = batch.AppendRequest(buf.request[:0], r.Source, r.Events)
		body = buf.request
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+"/function/"+f.Name, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if f.Batched() {
		req.Header["Content-Type"] = []string{batch.ContentType}
		return req, nil
	}
	for _, field := range r.Header {
		if v := field.Value; v != "" && len(v) <= MaxField && validField(v) && req.Header.Get(field.Name) == "" {
			req.Header.Set(field.Name, v)
		}
	}
	return req, nil
}

// validField reports whether the value of a header can be sent: net/http fails the
// whole call otherwise.
func validField(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
