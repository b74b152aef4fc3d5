package faas

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"net/url"

	handler "github.com/openfaas/templates-sdk/go-http"
)

// call holds what handler.Request has no field for.
type call struct {
	url *url.URL
	// remote is the address at the other end of the connection.
	remote string
	// stream sends a response in parts; nil on a server other than ours.
	stream *stream
	// inflight is set while the call counts as in flight.
	inflight bool
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// Adapt serves a call with an http.Handler, which may have several routes. The
// request's path is the part after /function/<name>, or "/" if that is empty. The error
// is always nil.
//
// The response is buffered until the handler calls Flush ([http.ResponseController]).
// From then on every write goes to the caller, and the Response that Adapt returns is
// empty. On a server other than ours Flush does nothing and the whole response is
// buffered. A handler that fails after a Flush panics with [http.ErrAbortHandler],
// which closes the connection.
//
// The request's body has a method Bytes() []byte that returns it without a copy.
func Adapt(h http.Handler, req handler.Request) (handler.Response, error) {
	ctx := req.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	target := &url.URL{Path: "/", RawQuery: req.QueryString}
	if c := callOf(ctx); c != nil && c.url.Path != "" {
		target.Path, target.RawPath = c.url.Path, c.url.RawPath
	}
	header := req.Header
	if header == nil {
		header = http.Header{}
	}
	r := (&http.Request{
		Method:        req.Method,
		URL:           target,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          requestBody{bytes.NewBuffer(req.Body)},
		ContentLength: int64(len(req.Body)),
		Host:          req.Host,
	}).WithContext(ctx)
	w := recorder{header: make(http.Header, 2)}
	if c := callOf(ctx); c != nil {
		w.stream, r.RemoteAddr = c.stream, c.remote
	}
	h.ServeHTTP(&w, r)
	return handler.Response{Body: w.body, StatusCode: w.status, Header: w.header}, nil
}

// requestBody is a body that is in memory already.
type requestBody struct{ *bytes.Buffer }

func (requestBody) Close() error { return nil }

// recorder is a http.ResponseWriter that keeps the answer until it is flushed.
type recorder struct {
	header http.Header
	status int
	body   []byte
	stream *stream // nil: the answer cannot be sent in parts
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK { // 1xx announce the real one
		w.status = status
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.stream.begun() {
		return w.stream.Write(p)
	}
	w.body = append(w.body, p...)
	return len(p), nil
}

func (w *recorder) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// FlushError implements the interface that [http.ResponseController] uses.
func (w *recorder) FlushError() error {
	if w.stream == nil {
		return nil
	}
	w.WriteHeader(http.StatusOK)
	if !w.stream.begun() {
		w.stream.begin(w.header, w.status)
		if _, err := w.stream.Write(w.body); err != nil {
			return err
		}
		w.body = nil
	}
	return w.stream.flush()
}

// Flush implements http.Flusher.
func (w *recorder) Flush() { _ = w.FlushError() }

// stream is an answer on its way to the caller.
type stream struct {
	w      http.ResponseWriter
	status int // 0 before it has begun
	bytes  int
}

func (s *stream) begun() bool { return s != nil && s.status != 0 }

func (s *stream) begin(header http.Header, status int) {
	maps.Copy(s.w.Header(), header)
	s.status = status
	s.w.WriteHeader(status)
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.bytes += n
	return n, err
}

func (s *stream) flush() error { return http.NewResponseController(s.w).Flush() }
