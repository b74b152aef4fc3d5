// Package faas is what every process of ours needs around its own code: an HTTP
// server that calls the function's Handle, health and readiness, metrics,
// logging, settings from the environment, secrets from files, and a stop that
// drops no call.
//
// A function is a package with two functions, Wire and Handle:
//
//	var service http.Handler
//
//	func Wire(rt *faas.Runtime) error { ... }
//	func Handle(req handler.Request) (handler.Response, error) { return faas.Adapt(service, req) }
//
// and its program is one line:
//
//	func main() { os.Exit(faas.Main("entry-processor", function.Wire, function.Handle)) }
package faas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	handler "github.com/openfaas/templates-sdk/go-http"
	"golang.org/x/net/netutil"
)

// Handler is the signature of an OpenFaaS function in Go.
type Handler = func(handler.Request) (handler.Response, error)

// maxConnections bounds the memory of callers who do not send a request: one takes
// some 20 KiB. Others wait until the system accepts them.
const maxConnections = 1000

// closeTimeout bounds each step of closing, after the last call has ended.
const closeTimeout = 10 * time.Second

// StopSignals are those after which a process stops cleanly: SIGTERM, SIGINT, and
// SIGHUP, which a closed terminal sends, unless the process was started to ignore it,
// as nohup does.
func StopSignals() []os.Signal {
	signals := []os.Signal{syscall.SIGTERM, os.Interrupt}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// Main runs a process until SIGTERM, SIGINT or SIGHUP and returns its exit code: 0 after
// a signal, 1 when it could not start or serve, with the reasons on standard
// error. A second SIGINT ends the process at once. See [Run].
func Main(name string, wire func(*Runtime) error, handle Handler) (exitCode int) {
	ctx, stop := signal.NotifyContext(context.Background(), StopSignals()...)
	defer stop()
	defer context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) })()
	err := Run(ctx, Options{Name: name, Environ: os.Environ(), Log: os.Stderr}, wire, handle)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", "\n  "))
		return 1
	}
	return 0
}

// Options say what surrounds a process.
type Options struct {
	Name string
	// Environ holds the settings as "KEY=value". A setting that is empty counts
	// as not set.
	Environ []string
	// Listener takes the calls. Where it is nil the settings LISTEN and
	// LISTEN_FD say where to listen. Run closes it.
	Listener net.Listener
	// Log is where log lines go; nil discards them.
	Log io.Writer
}

// Run reads the settings, calls wire once, and serves handle until ctx ends.
// Then it says "not ready" for the time of healthcheck_interval, stops
// accepting, lets the calls in flight finish within write_timeout, ends
// [Runtime.Context] and closes in reverse order what wire registered.
//
// It answers these paths itself and gives all others to handle:
//
//	/_/health   200 as long as the process serves
//	/_/ready    200, or 503 with the names of what is not ready; also warnings
//	/metrics    Prometheus
//
// With a nil handle, as in a connector, there are only these, health and
// readiness also as /healthz and /readyz.
//
// Its error is nil when ctx ended. An error about settings lists every mistake,
// one a line.
func Run(ctx context.Context, o Options, wire func(*Runtime) error, handle Handler) error {
	rt, cancel, err := newRuntime(o)
	defer cancel()
	if wireErr := wire(rt); wireErr != nil || err != nil {
		rt.close()
		return fmt.Errorf("cannot start:\n%w", errors.Join(err, wireErr))
	}
	listener := o.Listener
	if listener == nil {
		if listener, err = rt.settings.listen(); err != nil {
			rt.close()
			return fmt.Errorf("cannot start: %w", err)
		}
	}
	listener = netutil.LimitListener(listener, maxConnections)
	defer ServeProfiles(rt.settings.PprofListen, rt.Log)()
	front := newServer(rt, handle)
	err = serve(ctx, rt, front, listener)
	cancel()
	rt.close()
	return err
}

// serve returns when the last call has ended.
func serve(ctx context.Context, rt *Runtime, front *server, listener net.Listener) error {
	httpServer := front.httpServer()
	broken := make(chan error, 1)
	go func() { broken <- httpServer.Serve(listener) }()
	rt.Log.Info("listening", "address", listener.Addr().String())
	// What is wrong, or becomes so, is in the log even if /_/ready is never called.
	var checked sync.WaitGroup
	defer checked.Wait()
	checking, stopChecking := context.WithCancel(ctx)
	defer stopChecking()
	checked.Go(func() { front.checkEvery(checking, checkInterval) })

	select {
	case err := <-broken:
		return fmt.Errorf("serve HTTP on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	rt.Log.Info("draining", "delay", rt.settings.DrainDelay.String(), "calls_in_flight", front.inflight.Load())
	front.draining.Store(true)
	select {
	case err := <-broken:
		return fmt.Errorf("serve HTTP on %s: %w", listener.Addr(), err)
	case <-time.After(rt.settings.DrainDelay):
	}

	deadline, cancel := context.WithTimeout(context.Background(), rt.settings.WriteTimeout)
	defer cancel()
	if err := httpServer.Shutdown(deadline); err != nil {
		rt.Log.Error("calls did not end within write_timeout and were cut off",
			"calls_in_flight", front.inflight.Load(), "write_timeout", rt.settings.WriteTimeout.String())
		_ = httpServer.Close()
	}
	if err := <-broken; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", listener.Addr(), err)
	}
	return nil
}
