package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

const (
	// maxConnections is that of a [Service] without its own. It bounds the memory of
	// callers that do not send a request: one takes some 20 KiB.
	maxConnections = 1000
	// defaultTimeout is that of a [Service] without its own.
	defaultTimeout = 60 * time.Second
	// headerTimeout bounds the time for the header of a request, also if its body may
	// take longer.
	headerTimeout = 60 * time.Second
	// idleTimeout is longer than callers keep their idle connections. The caller closes
	// a connection first, and no call meets one that is being closed.
	idleTimeout = 5 * time.Minute
	// maxHeaderBytes bounds the memory of a request before its body. The connector's
	// own headers have less than 2 KiB.
	maxHeaderBytes = 16 << 10
	// maxScrapes bounds the responses of /metrics under way. Prometheus and an operator
	// need two.
	maxScrapes = 4
)

// ErrCutOff is wrapped by the error of a stop that did not wait for every request.
var ErrCutOff = errors.New("requests did not end in time and were cut off")

// Service is what a process does between its start and its stop.
type Service struct {
	// Handler answers the requests.
	Handler http.Handler
	// Work runs beside the server, if it is not nil. When its context has ended it
	// finishes what it has begun, logs its stop and returns; the server stops after it.
	// If it returns earlier, the process stops with an error.
	Work func(context.Context)

	// MaxConnections bounds the open connections, with or without a request; a further
	// one waits until another is closed. 0 is 1,000.
	MaxConnections int
	// ReadTimeout is how long a caller may take to send a request, WriteTimeout how long
	// a request may take until its answer is sent; 0 is a minute.
	ReadTimeout, WriteTimeout time.Duration
	// DrainDelay is how long the process still serves after it has answered that it is
	// not ready, for its callers to go elsewhere.
	DrainDelay time.Duration
	// Grace is how long a stop then waits for the requests that are being served.
	Grace time.Duration
}

// Serve serves until ctx ends, and stops in this order: [Process.Ready] answers 503;
// the drain delay passes, and the work ends meanwhile; no more requests are accepted,
// and those in flight finish within the grace; [Process.Close] is called. The error is
// nil if ctx ended and no request was cut off; see [ErrCutOff].
func (p *Process) Serve(ctx context.Context, s Service) error {
	defer p.serveProfiles()()
	defer p.serveMetrics()()
	defer p.Close()
	listener := p.listener
	if listener == nil {
		var err error
		if listener, err = p.settings.listen(); err != nil {
			return fmt.Errorf("cannot start: %w", err)
		}
	}
	listener = netutil.LimitListener(listener, cmp.Or(s.MaxConnections, maxConnections))
	server, broken := p.httpServer(s), make(chan error, 1)
	go func() { broken <- server.Serve(listener) }()
	p.Log.Info("listening", "address", listener.Addr().String())

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var checking sync.WaitGroup
	defer checking.Wait()
	checking.Go(func() { p.checks.runEvery(ctx, checkInterval) })
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		if s.Work == nil {
			<-ctx.Done()
			return
		}
		s.Work(ctx)
	}()
	var err, failed error
	select {
	case err = <-broken:
	case <-worked:
		if ctx.Err() == nil {
			failed = errors.New("the work of the process has ended before its stop")
		}
	case <-ctx.Done():
	}
	stop()
	if err == nil {
		if s.Work == nil {
			p.Log.Info("draining", "delay", s.DrainDelay.String(), "requests", p.requests.Load())
		}
		p.draining.Store(true)
		select {
		case err = <-broken:
		case <-time.After(s.DrainDelay):
		}
	}
	<-worked
	if err == nil {
		failed = cmp.Or(failed, p.shutdown(server, s.Grace))
		err = <-broken
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", listener.Addr(), err)
	}
	return failed
}

// shutdown returns when no request is in flight. Its error wraps [ErrCutOff].
func (p *Process) shutdown(server *http.Server, grace time.Duration) error {
	deadline, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if server.Shutdown(deadline) == nil {
		return nil
	}
	requests := p.requests.Load()
	p.Log.Error("requests did not end in time and were cut off", "requests", requests, "grace", grace.String())
	_ = server.Close()
	return fmt.Errorf("%w: %d after %s", ErrCutOff, requests, grace)
}

// Draining reports whether the process is stopping.
func (p *Process) Draining() bool { return p.draining.Load() }

func (p *Process) httpServer(s Service) *http.Server {
	readTimeout := cmp.Or(s.ReadTimeout, defaultTimeout)
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.requests.Add(1)
			defer p.requests.Add(-1)
			if p.Draining() {
				// Callers go elsewhere with their next call, before the connection is
				// closed under them.
				w.Header().Set("Connection", "close")
			}
			s.Handler.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: min(readTimeout, headerTimeout),
		ReadTimeout:       readTimeout,
		WriteTimeout:      cmp.Or(s.WriteTimeout, defaultTimeout),
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(p.Log.Handler(), slog.LevelWarn),
	}
}

// Metrics returns the handler that answers Prometheus. At most four answers are made at
// a time, the rest get 503, and callers at the same time share one collection.
func (p *Process) Metrics() http.Handler {
	return promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{
		Registry: p.registry, EnableOpenMetrics: true,
		MaxRequestsInFlight: maxScrapes, CoalesceGather: true,
		ErrorLog: slog.NewLogLogger(p.Log.Handler(), slog.LevelWarn),
	})
}
