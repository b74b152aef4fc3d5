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
	"net/http/pprof"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	handler "github.com/openfaas/templates-sdk/go-http"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// checkTimeout bounds a readiness check.
	checkTimeout = 2 * time.Second
	// idleTimeout is longer than callers keep their idle connections, so that it
	// is the caller who ends one and no call meets a connection being closed.
	idleTimeout = 5 * time.Minute
)

// server is the HTTP front of a process.
type server struct {
	rt       *Runtime
	settings settings
	handle   Handler
	own      map[string]http.HandlerFunc // paths that are not the function's
	metrics  *metrics
	inflight atomic.Int64
	draining atomic.Bool
}

func newServer(rt *Runtime, handle Handler) *server {
	s := &server{rt: rt, settings: rt.settings, handle: handle}
	s.metrics = newMetrics(rt.Registerer, func() float64 { return float64(s.inflight.Load()) })
	metrics := promhttp.HandlerFor(rt.registry, promhttp.HandlerOpts{
		Registry: rt.registry, EnableOpenMetrics: true,
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
		ErrorLog:          slog.NewLogLogger(s.rt.Log.Handler(), slog.LevelWarn),
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		// Callers go elsewhere with their next call, before the connection is
		// closed under them.
		w.Header().Set("Connection", "close")
	}
	if own, ok := s.own[r.URL.Path]; ok {
		own(w, r)
		return
	}
	if s.settings.Pprof && strings.HasPrefix(r.URL.Path, "/debug/pprof/") {
		Profile(w, r)
		return
	}
	s.call(w, r)
}

// call serves one call of the function.
func (s *server) call(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	c := &call{url: r.URL, id: r.Header.Get("X-Call-Id")}
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), callKey{}, c), s.settings.ExecTimeout)
	defer cancel()
	ctx, span := s.span(ctx, r)

	answer := s.answer(ctx, r)
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
	endSpan(span, answer.StatusCode)

	took := time.Since(start)
	s.metrics.called(ctx, r.Method, answer.StatusCode, took)
	if s.rt.Log.Enabled(ctx, slog.LevelDebug) {
		// Without the path: it may have a plate in it.
		s.rt.Log.DebugContext(ctx, "call", "method", r.Method, "status", answer.StatusCode,
			"bytes_out", len(answer.Body), "seconds", took.Seconds())
	}
}

// answer finds out what to say, in every case.
func (s *server) answer(ctx context.Context, r *http.Request) handler.Response {
	running := s.inflight.Add(1)
	defer s.inflight.Add(-1)
	if limit := s.settings.MaxInflight; limit > 0 && running > limit {
		answer := failure(http.StatusTooManyRequests, fmt.Sprintf("%d calls are being served, max_inflight allows no more", limit))
		answer.Header.Set("Retry-After", "1")
		return answer
	}
	body, err := s.readBody(r)
	if err != nil {
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return failure(http.StatusRequestEntityTooLarge, fmt.Sprintf("the request's body is larger than %d bytes", tooLarge.Limit))
		}
		return failure(http.StatusBadRequest, "the request's body could not be read: "+err.Error())
	}
	req := handler.Request{Body: body, Header: r.Header, QueryString: r.URL.RawQuery, Method: r.Method, Host: r.Host}
	req.WithContext(ctx)
	return s.invoke(ctx, req)
}

func (s *server) readBody(r *http.Request) ([]byte, error) {
	limit := s.settings.MaxBodyBytes
	switch {
	case r.ContentLength == 0:
		return nil, nil
	case r.ContentLength > limit:
		return nil, &http.MaxBytesError{Limit: limit}
	case r.ContentLength > 0:
		body := make([]byte, r.ContentLength)
		_, err := io.ReadFull(r.Body, body)
		return body, err
	default:
		return io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	}
}

func (s *server) invoke(ctx context.Context, req handler.Request) (answer handler.Response) {
	defer func() {
		switch cause := recover(); cause {
		case nil:
		case http.ErrAbortHandler: // net/http asks for this very value
			panic(cause)
		default:
			s.rt.Log.ErrorContext(ctx, "the function panicked", "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			answer = failure(http.StatusInternalServerError, "the function failed unexpectedly; its log says why")
		}
	}()
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
		Header:     http.Header{"Content-Type": {"application/json"}},
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
	answer := s.check(r.Context())
	if s.draining.Load() {
		answer.Failing = append(answer.Failing, "draining")
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
	bad, good := "not ready", "ready again"
	if c.warning {
		bad, good = "warning", "warning is over"
	}
	if !was && err != nil {
		log.Warn(bad, "check", c.name, "error", err)
	} else if was && err == nil {
		log.Info(good, "check", c.name)
	}
}

// Profile serves the profiles of net/http/pprof below /debug/pprof/.
func Profile(w http.ResponseWriter, r *http.Request) {
	switch strings.TrimPrefix(r.URL.Path, "/debug/pprof/") {
	case "cmdline":
		pprof.Cmdline(w, r)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
}
