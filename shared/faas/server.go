package faas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	handler "github.com/openfaas/templates-sdk/go-http"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"
)

const (
	// checkTimeout bounds a readiness check.
	checkTimeout = 2 * time.Second
	// checkInterval is how often the checks run without being asked for.
	checkInterval = time.Minute
	// idleTimeout is longer than callers keep their idle connections, so that it
	// is the caller who ends one and no call meets a connection being closed.
	idleTimeout = 5 * time.Minute
	// maxHeaderBytes bounds the memory of a request before its body. The connector's
	// own headers have less than 2 KiB.
	maxHeaderBytes = 16 << 10
	// maxScrapes bounds the answers of /metrics being made. Prometheus and an operator
	// need two.
	maxScrapes = 4
)

// server is the HTTP front of a process.
type server struct {
	rt       *Runtime
	settings settings
	handle   Handler
	own      map[string]http.HandlerFunc // paths that are not the function's
	metrics  *metrics
	bodies   bodies
	checking sharedCheck
	inflight atomic.Int64
	draining atomic.Bool
}

func newServer(rt *Runtime, handle Handler) *server {
	s := &server{rt: rt, settings: rt.settings, handle: handle}
	s.bodies.limit, s.bodies.stall = rt.settings.bodiesInFlight(), stallTimeout
	s.metrics = newMetrics(rt.Registerer, func() float64 { return float64(s.inflight.Load()) })
	metrics := promhttp.HandlerFor(rt.registry, promhttp.HandlerOpts{
		Registry: rt.registry, EnableOpenMetrics: true,
		MaxRequestsInFlight: maxScrapes, CoalesceGather: true,
		ErrorLog: slog.NewLogLogger(rt.Log.Handler(), slog.LevelWarn),
	})
	s.own = map[string]http.HandlerFunc{
		"/_/health": health,
		"/_/ready":  s.ready,
		"/metrics":  metrics.ServeHTTP,
	}
	if handle == nil {
		s.own["/healthz"] = health
		s.own["/readyz"] = s.ready
		s.handle = notFound
	}
	return s
}

func (s *server) httpServer() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.settings.ReadTimeout,
		ReadTimeout:       s.settings.ReadTimeout,
		WriteTimeout:      s.settings.WriteTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.rt.Log.Handler(), slog.LevelWarn),
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		// Callers go elsewhere with their next call, before the connection is
		// closed under them.
		closeAfter(w)
	}
	if own, ok := s.own[r.URL.Path]; ok {
		own(w, r)
		return
	}
	s.call(w, r)
}

// closeAfter has the connection closed after the answer. Before an answer on one
// that stays open net/http reads the rest of the request's body, and waits for it.
func closeAfter(w http.ResponseWriter) { w.Header().Set("Connection", "close") }

// call serves one call of the function.
func (s *server) call(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	c := &call{url: r.URL, id: boundedID(r.Header.Get("X-Call-Id")), stream: &stream{w: w}}
	if r.ContentLength != 0 {
		closeAfter(w) // unless the body is read
	}
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), callKey{}, c), s.settings.ExecTimeout)
	defer cancel()
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
		// Without the path: it may have a plate in it.
		s.rt.Log.DebugContext(ctx, "call", "method", r.Method, "status", status, "bytes_out", bytes, "seconds", took.Seconds())
	}
}

// maxCallID bounds what a caller may call its call: the id is in every log line and
// in the span.
const maxCallID = 128

func boundedID(id string) string {
	if len(id) > maxCallID {
		id = id[:maxCallID]
	}
	return strings.ToValidUTF8(id, "")
}

// answer finds out what to say, in every case. A call counts as in flight from the
// last byte of its body, so that a slow sender takes no place, to that of its answer.
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
	limit, refusal := s.admit(ctx, r)
	if refusal != nil {
		return *refusal
	}
	held := reservation{of: &s.bodies}
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
	if limit > 0 && !s.draining.Load() {
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

// admit asks the function's [Admission] and returns how many bytes the body may
// have, or the answer with which the call is refused.
func (s *server) admit(ctx context.Context, r *http.Request) (maxBody int64, refusal *handler.Response) {
	seen := r.WithContext(ctx)
	seen.Body, seen.ContentLength = http.NoBody, 0
	w := recorder{header: make(http.Header, 2)}
	maxBody, admitted := s.rt.admission(&w, seen)
	if !admitted {
		return 0, &handler.Response{Body: w.body, StatusCode: w.status, Header: w.header}
	}
	return min(max(0, maxBody), s.settings.MaxBodyBytes), nil
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

func notFound(handler.Request) (handler.Response, error) {
	return failure(http.StatusNotFound, "nothing here but /healthz, /readyz and /metrics"), nil
}

func health(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }

// readiness is the answer to whether a process is ready. The path is open to
// everyone: it names the checks and shows of an error what its method
// Detail() string returns, if it has one. The causes are in the log.
type readiness struct {
	Ready    bool              `json:"ready"`
	Failing  []string          `json:"failing,omitempty"`
	Warnings []string          `json:"warnings,omitempty"`
	Details  map[string]string `json:"details,omitempty"`
}

func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	// The run goes on when its caller goes: others may wait for it.
	answer := s.checking.do(func() readiness { return s.check(context.WithoutCancel(r.Context())) })
	if s.draining.Load() {
		answer.Failing = append(slices.Clip(answer.Failing), "draining")
	}
	answer.Ready = len(answer.Failing) == 0
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// sharedCheck gives callers at the same time one run of the checks: the path is open
// to everyone, and outside of max_inflight.
type sharedCheck struct {
	mu      sync.Mutex
	current *checkRun // nil: none is under way
}

type checkRun struct {
	done   chan struct{}
	answer readiness // after done
}

// do calls check, or waits for the call that is under way. That one ends within
// checkTimeout.
func (c *sharedCheck) do(check func() readiness) readiness {
	c.mu.Lock()
	if run := c.current; run != nil {
		c.mu.Unlock()
		<-run.done
		return run.answer
	}
	run := &checkRun{done: make(chan struct{})}
	c.current = run
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.current = nil
		c.mu.Unlock()
		close(run.done)
	}()
	run.answer = check()
	return run.answer
}

// checkEvery runs all checks now and then until ctx ends.
func (s *server) checkEvery(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		s.check(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// check runs all checks and logs what has changed since the last time.
func (s *server) check(ctx context.Context) readiness {
	timed, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	errs := make([]error, len(s.rt.checks))
	var wg sync.WaitGroup
	for i, c := range s.rt.checks {
		wg.Go(func() { errs[i] = c.run(timed) })
	}
	wg.Wait()
	var answer readiness
	if ctx.Err() != nil { // the caller has gone, and the errors may only say so
		return answer
	}
	for i, c := range s.rt.checks {
		err := errs[i]
		was := c.failing.Swap(err != nil)
		c.log(s.rt.Log, was, err)
		if err == nil {
			continue
		}
		if c.warning {
			answer.Warnings = append(answer.Warnings, c.name)
		} else {
			answer.Failing = append(answer.Failing, c.name)
		}
		if detailed, ok := errors.AsType[interface {
			error
			Detail() string
		}](err); ok {
			if answer.Details == nil {
				answer.Details = make(map[string]string)
			}
			answer.Details[c.name] = detailed.Detail()
		}
	}
	return answer
}

// log logs a check that begins or ceases to fail.
func (c *check) log(log *slog.Logger, was bool, err error) {
	failing := err != nil
	switch {
	case was == failing:
	case c.warning && failing:
		log.Warn("warning", "check", c.name, "error", err)
	case c.warning:
		log.Info("warning is over", "check", c.name)
	case failing:
		log.Warn("not ready", "check", c.name, "error", err)
	default:
		log.Info("ready again", "check", c.name)
	}
}
