package faas

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"

	handler "github.com/openfaas/templates-sdk/go-http"
)

// call is what handler.Request has no field for.
type call struct {
	url *url.URL
	id  string // X-Call-Id, may be empty
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// Adapt serves a call with an ordinary http.Handler, so that a function may have
// several routes. The request's path is the one after /function/<name>, "/" where
// that is empty. The answer is buffered whole: there is no streaming. Its error is
// always nil.
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
	var body io.ReadCloser = http.NoBody
	if len(req.Body) > 0 {
		body = io.NopCloser(bytes.NewReader(req.Body))
	}
	r := (&http.Request{
		Method:        req.Method,
		URL:           target,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          body,
		ContentLength: int64(len(req.Body)),
		Host:          req.Host,
	}).WithContext(ctx)
	w := recorder{header: make(http.Header, 2)}
	h.ServeHTTP(&w, r)
	return handler.Response{Body: w.body, StatusCode: w.status, Header: w.header}, nil
}

// recorder is a http.ResponseWriter that keeps the answer.
type recorder struct {
	header http.Header
	status int
	body   []byte
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK { // 1xx announce the real one
		w.status = status
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, p...)
	return len(p), nil
}

func (w *recorder) WriteString(s string) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, s...)
	return len(s), nil
}
