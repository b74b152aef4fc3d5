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
	// maxConnections bounds the memory of callers that do not send a request: one takes
	// some 20 KiB. Others wait until the system accepts them.
	maxConnections = 1000
	// defaultTimeout is that of a [Service] without its own.
	defaultTimeout = 60 * time.Second
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

// Service is what a process does between its start and its stop.
type Service struct {
	// Handler answers the requests.
	Handler http.Handler
	// Work runs beside the server, if it is not nil. When its context has ended it
	// finishes what it has begun and returns; the server stops after it.
	// It logs its own stop: the requests that are being served tell nothing of it.
	Work func(context.Context)

	// ReadTimeout is how long a caller may take to send a request, WriteTimeout how long
	// a request may take until its answer is sent; 0 is a minute.
	ReadTimeout, WriteTimeout time.Duration
	// DrainDelay is how long the process still serves after it has answered that it is
	// not ready, for its callers to go elsewhere.
	DrainDelay time.Duration
	// Grace is how long a stop then waits for the requests that are being served.
	Grace time.Duration
}

// Serve serves until ctx ends, and stops in this order: [Process.Ready] answers 503,
// the drain delay passes and the work ends, no more requests are accepted, those in
// flight finish within the grace, and [Process.Close] is called. The error is nil if
// ctx ended.
func (p *Process) Serve(ctx context.Context, s Service) error {
	defer p.serveProfiles()()
	defer p.Close()
	listener := p.listener
	if listener == nil {
		var err error
		if listener, err = p.settings.listen(); err != nil {
			return fmt.Errorf("cannot start: %w", err)
		}
	}
	server, broken := p.httpServer(s), make(chan error, 1)
	go func() { broken <- server.Serve(netutil.LimitListener(listener, maxConnections)) }()
	p.Log.Info("listening", "address", listener.Addr().String())

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var checking, working sync.WaitGroup
	defer checking.Wait()
	checking.Go(func() { p.checks.runEvery(ctx, checkInterval) })
	if s.Work != nil {
		working.Go(func() { s.Work(ctx) })
	}
	var err error
	select {
	case err = <-broken:
		stop()
	case <-ctx.Done():
		if s.Work == nil {
			p.Log.Info("draining", "delay", s.DrainDelay.String(), "calls_in_flight", p.requests.Load())
		}
		p.draining.Store(true)
		select {
		case err = <-broken:
		case <-time.After(s.DrainDelay):
		}
	}
	working.Wait()
	if err == nil {
		p.shutdown(server, s.Grace)
		err = <-broken
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", listener.Addr(), err)
	}
	return nil
}

// shutdown returns when no request is in flight.
func (p *Process) shutdown(server *http.Server, grace time.Duration) {
	deadline, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		p.Log.Error("calls did not end in time and were cut off", "calls_in_flight", p.requests.Load(), "grace", grace.String())
		_ = server.Close()
	}
}

// Draining reports whether the process is stopping.
func (p *Process) Draining() bool { return p.draining.Load() }

func (p *Process) httpServer(s Service) *http.Server {
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
		ReadHeaderTimeout: cmp.Or(s.ReadTimeout, defaultTimeout),
		ReadTimeout:       cmp.Or(s.ReadTimeout, defaultTimeout),
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
