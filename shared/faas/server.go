package faas

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	handler "github.com/openfaas/templates-sdk/go-http"
	"go.opentelemetry.io/otel/trace"

	"parkstream/shared/access"
	"parkstream/shared/process"
	"parkstream/shared/tracing"
)

// server is the HTTP front of a function.
type server struct {
	rt       *Runtime
	settings settings
	handle   Handler
	own      map[string]http.HandlerFunc // paths that are not the function's
	scrape   http.Handler
	tracer   trace.Tracer // nil if tracing is off
	metrics  *metrics
	bodies   *bodies
	inflight atomic.Int64
}

func newServer(rt *Runtime, handle Handler) *server {
	s := &server{rt: rt, settings: rt.settings, handle: handle, scrape: rt.Metrics()}
	s.bodies = newBodies(rt.settings.bodiesInFlight(), rt.settings.MaxBodyBytes)
	s.metrics = newMetrics(rt.Registerer, func() float64 { return float64(s.inflight.Load()) })
	s.own = map[string]http.HandlerFunc{
		"/_/health": process.Healthy,
		"/_/ready":  rt.Ready,
		"/metrics":  s.metricsFor,
	}
	if rt.Traces != nil {
		s.tracer = rt.Traces.Tracer(tracing.Scope)
	}
	return s
}

func (s *server) service() process.Service {
	return process.Service{
		Handler: s, ReadTimeout: s.settings.ReadTimeout, WriteTimeout: s.settings.WriteTimeout,
		DrainDelay: s.settings.DrainDelay, Grace: s.settings.WriteTimeout,
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.rt.Access.CheckHost(r); err != nil {
		closeAfter(w)
		s.rt.Access.Refuse(w, r, err)
		return
	}
	if own, ok := s.own[r.URL.Path]; ok {
		own(w, r)
		return
	}
	s.call(w, r)
}

// metricsFor answers Prometheus.
func (s *server) metricsFor(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.rt.Access.Require(w, r, access.ReadMetrics); ok {
		s.scrape.ServeHTTP(w, r)
	}
}

// closeAfter makes net/http close the connection after the response. It would read the
// rest of the request's body, and wait for it, before a response on a connection that
// stays open.
func closeAfter(w http.ResponseWriter) { w.Header().Set("Connection", "close") }

// call serves one call of the function.
func (s *server) call(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	c := &call{url: r.URL, remote: r.RemoteAddr, stream: &stream{w: w}}
	if r.ContentLength != 0 {
		closeAfter(w) // unless the body is read
	}
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), callKey{}, c), s.settings.ExecTimeout)
	defer cancel()
	ctx = process.ContextWithCallID(ctx, boundedID(r.Header.Get("X-Call-Id")))
	ctx, span := s.span(ctx, r)

	defer func() {
		if c.inflight {
			s.inflight.Add(-1)
		}
		if c.stream.begun() { // also when it was aborted
			s.called(ctx, r, span, start, c.stream.status, c.stream.bytes)
		}
	}()
	answer := s.answer(ctx, c, r)
	if c.stream.begun() {
		return
	}
	if answer.StatusCode == 0 {
		answer.StatusCode = http.StatusOK
	}
	header := w.Header()
	maps.Copy(header, answer.Header)
	if len(answer.Body) > 0 {
		header["Content-Length"] = []string{strconv.Itoa(len(answer.Body))}
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(answer.Body) // fails when the caller has gone
	s.called(ctx, r, span, start, answer.StatusCode, len(answer.Body))
}

// called counts and logs a call that was answered.
func (s *server) called(ctx context.Context, r *http.Request, span trace.Span, start time.Time, status, bytes int) {
	endSpan(span, status)
	took := time.Since(start)
	s.metrics.called(ctx, r.Method, status, took)
	if s.rt.Log.Enabled(ctx, slog.LevelDebug) {
		// Without the path, which may contain a plate.
		s.rt.Log.DebugContext(ctx, "call", "method", r.Method, "status", status, "bytes_out", bytes, "seconds", took.Seconds())
	}
}

// maxCallID bounds the id of a call in bytes. Callers choose it, and it is in every log
// line and in the span.
const maxCallID = 128

func boundedID(id string) string {
	if len(id) > maxCallID {
		id = id[:maxCallID]
	}
	return strings.ToValidUTF8(id, "")
}

// answer returns the response to a call, whatever fails. The call counts as in flight
// from the last byte of its body to the last byte of its response: a slow sender takes
// no place.
func (s *server) answer(ctx context.Context, c *call, r *http.Request) (answer handler.Response) {
	defer func() {
		switch cause := recover(); cause {
		case nil:
		case http.ErrAbortHandler: // net/http asks for this very value
			panic(cause)
		default:
			s.rt.Log.ErrorContext(ctx, "the function panicked", "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			if c.stream.begun() {
				panic(http.ErrAbortHandler) // what was sent must not look complete
			}
			answer = failure(http.StatusInternalServerError, "the function failed unexpectedly; its log says why")
		}
	}()
	if limit := s.settings.MaxInflight; limit > 0 && s.inflight.Load() >= limit {
		return s.full()
	}
	ctx, limit, refusal := s.admit(ctx, r)
	if refusal != nil {
		return *refusal
	}
	held := s.bodies.reserve(access.From(ctx))
	defer held.release()
	body, err := held.read(r, limit, &pace{
		conn: http.NewResponseController(c.stream.w), stall: s.bodies.stall, end: time.Now().Add(s.settings.ReadTimeout), next: firstRead,
	})
	if err != nil {
		status, reason := refused(err)
		answer := failure(status, reason)
		if status == http.StatusTooManyRequests {
			answer.Header.Set("Retry-After", "1")
		}
		return answer
	}
	if limit > 0 && !s.rt.Draining() {
		c.stream.w.Header().Del("Connection")
	}
	running := s.inflight.Add(1)
	c.inflight = true
	if limit := s.settings.MaxInflight; limit > 0 && running > limit {
		return s.full()
	}
	req := handler.Request{Body: body, Header: r.Header, QueryString: r.URL.RawQuery, Method: r.Method, Host: r.Host}
	req.WithContext(ctx)
	return s.invoke(ctx, req)
}

func (s *server) full() handler.Response {
	answer := failure(http.StatusTooManyRequests, fmt.Sprintf("%d calls are being served, max_inflight allows no more", s.settings.MaxInflight))
	answer.Header.Set("Retry-After", "1")
	return answer
}

// admit asks the function's [Admission] and returns the context of the call and how many
// bytes its body may have, or the answer with which the call is refused.
func (s *server) admit(ctx context.Context, r *http.Request) (admittedCtx context.Context, maxBody int64, refusal *handler.Response) {
	seen := r.WithContext(ctx)
	seen.Body = http.NoBody
	w := recorder{header: make(http.Header, 2)}
	admittedCtx, maxBody, admitted := s.rt.admission(&w, seen)
	if !admitted {
		return ctx, 0, &handler.Response{Body: w.body, StatusCode: w.status, Header: w.header}
	}
	return admittedCtx, min(max(0, maxBody), s.settings.MaxBodyBytes), nil
}

func (s *server) invoke(ctx context.Context, req handler.Request) handler.Response {
	answer, err := s.handle(req)
	if err != nil {
		s.rt.Log.ErrorContext(ctx, "the function failed", "error", err)
		answer.StatusCode = http.StatusInternalServerError
		if len(answer.Body) == 0 {
			answer = failure(answer.StatusCode, "the function failed; its log says why")
		}
	}
	return answer
}

func failure(status int, message string) handler.Response {
	body, _ := json.Marshal(struct {
		Error string `json:"error"`
	}{message}) // a struct of one string cannot fail
	return handler.Response{
		StatusCode: status,
		Header:     http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}},
		Body:       append(body, '\n'),
	}
}
