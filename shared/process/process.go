// Package process provides what every program needs around its own code: settings from
// the environment, secrets from files, a logger, metrics, readiness, an HTTP server
// with bounds, and a stop in order.
//
// A program consists of an HTTP handler, work, or both, and their dependencies:
//
//	func run(ctx context.Context, environ []string, log io.Writer) error {
//		return process.Run(ctx, process.Options{Name: "greeter", Environ: environ, Log: log}, wire)
//	}
//
//	func wire(p *process.Process) (process.Service, error) {
//		var s settings
//		err := p.Settings(&s)
//		...
//		return process.Service{Handler: mux}, err
//	}
//
//	func main() { os.Exit(process.Main("greeter", run)) }
//
// An OpenFaaS function is such a program, too: see package faas.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"
)

// closeTimeout bounds each step of closing, after the last request has ended.
const closeTimeout = 10 * time.Second

// StopSignals returns the signals that stop a process cleanly: SIGTERM, SIGINT and
// SIGHUP. A closed terminal sends SIGHUP. It is left out if the process was started to
// ignore it, as by nohup.
func StopSignals() []os.Signal {
	signals := []os.Signal{syscall.SIGTERM, os.Interrupt}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// Main calls run with the process's environment and standard error, and returns the exit
// code: 0 after a stop signal, 1 if run returned an error, which is printed. The context
// ends with the first stop signal; a second SIGINT ends the process at once.
func Main(name string, run func(ctx context.Context, environ []string, log io.Writer) error) (exitCode int) {
	ctx, stop := signal.NotifyContext(context.Background(), StopSignals()...)
	defer stop()
	defer context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) })()
	if err := run(ctx, os.Environ(), os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", "\n  "))
		return 1
	}
	return 0
}

// Options describe a process.
type Options struct {
	// Name is shown in log lines and traces.
	Name string
	// Environ holds the settings as "NAME=value"; see [Parse].
	Environ []string
	// Defaults holds settings that count if Environ does not have them.
	Defaults []string
	// Listener accepts the connections. If it is nil, the settings LISTEN and LISTEN_FD
	// choose one. [Process.Serve] closes it.
	Listener net.Listener
	// Log is where log lines go; nil discards them.
	Log io.Writer
}

// Process is what a program is wired with. Its methods are called while wiring; what
// they return is used later, too.
type Process struct {
	Name string
	// Log adds the id of the call and of its trace to lines that are logged with the
	// call's context (InfoContext and its like).
	Log *slog.Logger
	// Registerer takes the metrics that [Process.Metrics] shows.
	Registerer prometheus.Registerer
	// Traces makes spans; nil if tracing is off.
	Traces trace.TracerProvider

	environ  []string
	settings Settings
	listener net.Listener
	registry *prometheus.Registry
	checks   checks
	closers  []closer
	requests atomic.Int64 // being served
	draining atomic.Bool
}

type closer struct {
	name string
	run  func(context.Context) error
}

// New returns a process that does not serve yet. The error lists every mistake in its
// settings, one a line. The process is usable despite an error, and the caller can
// report other mistakes with it. [Process.Close] ends it.
func New(o Options) (*Process, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	p := &Process{
		Name: o.Name, Registerer: registry, registry: registry, listener: o.Listener,
		environ: withDefaults(o.Environ, o.Defaults),
	}
	err := p.Settings(&p.settings)
	sink := o.Log
	if sink == nil {
		sink = io.Discard
	}
	p.Log = p.settings.logger(sink).With("process", o.Name)
	p.checks.log = p.Log
	if err == nil {
		err = p.trace()
	}
	return p, err
}

// Run runs a process from its start to its end: [New], wire, [Process.Serve]. wire is
// called once, even if there are mistakes in the settings: all are reported together.
// The error is nil if ctx ended, also if requests were cut off, which the log tells.
func Run(ctx context.Context, o Options, wire func(*Process) (Service, error)) error {
	p, err := New(o)
	service, wireErr := wire(p)
	if err := errors.Join(err, wireErr); err != nil {
		p.Close()
		return fmt.Errorf("cannot start:\n%w", err)
	}
	if err := p.Serve(ctx, service); !errors.Is(err, ErrCutOff) {
		return err
	}
	return nil
}

// Settings fills dst from the settings of the process; see [Parse].
func (p *Process) Settings(dst any) error { return Parse(dst, p.environ) }

// Listen returns the setting LISTEN, the address at which the process serves unless it was
// given a listener.
func (p *Process) Listen() string { return p.settings.Listen }

// Loopback reports whether the process serves this machine only.
func (p *Process) Loopback() bool {
	if p.listener == nil && p.settings.ListenFD >= firstInheritedFD { // its address is the socket's
		p.listener, _ = p.settings.listen() // else Serve reports it
	}
	address := p.settings.Listen
	if p.listener != nil {
		address = p.listener.Addr().String()
	}
	return isLoopback(address)
}

// Secret returns the secret of that name. The file is read when its value is asked for.
func (p *Process) Secret(name string) *Secret { return NewSecret(p.settings.SecretsDir, name) }

// OnClose registers run to be called once, after the last request and the work have
// ended, in reverse order of registration. Its context ends after ten seconds.
func (p *Process) OnClose(name string, run func(context.Context) error) {
	p.closers = append(p.closers, closer{name: name, run: run})
}

// Close closes in reverse order what [Process.OnClose] registered. [Process.Serve] calls
// it at its end.
func (p *Process) Close() {
	for _, c := range slices.Backward(p.closers) {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		if err := c.run(ctx); err != nil {
			p.Log.Warn("could not close cleanly", "what", c.name, "error", err)
		} else {
			p.Log.Debug("closed", "what", c.name)
		}
		cancel()
	}
	p.closers = nil
}
