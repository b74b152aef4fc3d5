package faas

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/caarlos0/env/v11"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"

	"parkstream/shared/tracing"
)

// Runtime is what a process hands to the code that it runs. Its methods are for
// the time of wiring, except those of what they return.
type Runtime struct {
	// Name is that of the function or process.
	Name string
	// Log adds the X-Call-Id of the call and the id of its trace to lines that
	// are logged with the call's context (InfoContext and its like).
	Log *slog.Logger
	// Registerer takes the metrics that /metrics shows.
	Registerer prometheus.Registerer

	ctx      context.Context
	environ  map[string]string
	settings settings
	registry *prometheus.Registry
	checks   []*check
	closers  []closer
	tracer   trace.Tracer // nil where tracing is off
	// admission is never nil.
	admission Admission
}

type check struct {
	name    string
	run     func(context.Context) error
	warning bool        // shown, and the process is ready all the same
	failing atomic.Bool // as last seen, so that only a change is logged
}

type closer struct {
	name string
	run  func(context.Context) error
}

// newRuntime returns a usable runtime also with an error, so that the mistakes
// of the process can be reported together with those of the function.
func newRuntime(o Options) (*Runtime, context.CancelFunc, error) {
	ctx, cancel := context.WithCancel(context.Background())
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	rt := &Runtime{
		Name:       o.Name,
		Registerer: registry,
		ctx:        ctx,
		environ:    env.ToMap(o.Environ),
		registry:   registry,
		admission:  admitAll,
	}
	err := rt.Settings(&rt.settings)
	sink := o.Log
	if sink == nil {
		sink = io.Discard
	}
	rt.Log = rt.settings.logger(sink).With("process", o.Name)
	if err == nil {
		err = rt.trace()
	}
	return rt, cancel, err
}

// trace is the first to register what it has to close, so that it also sends the
// spans of the others.
func (rt *Runtime) trace() error {
	provider, stop, err := tracing.New(tracing.Config{
		Settings: rt.settings.Tracing, Service: rt.Name, Headers: rt.Secret(tracing.HeadersSecret).Value, Log: rt.Log,
	})
	if err != nil {
		return err
	}
	if provider != nil {
		rt.OnClose("tracing", stop)
		rt.tracer = provider.Tracer(tracing.Scope)
	}
	return nil
}

// Settings fills dst, a pointer to a struct with the tags of
// github.com/caarlos0/env (env:"NAME" envDefault:"..."), and calls its method
// Validate() error if there is one. A duration is written 1m30s, or as a whole
// number of seconds. The error lists every mistake, one a line.
func (rt *Runtime) Settings(dst any) error { return parseSettings(dst, rt.environ) }

// Secret returns the secret of that name. The file is read when its value is
// asked for.
func (rt *Runtime) Secret(name string) *Secret {
	return NewSecret(rt.settings.SecretsDir, name)
}

// Admit has a decide about each call of the function before its body is read.
func (rt *Runtime) Admit(a Admission) { rt.admission = a }

// OnReady makes /_/ready answer 503 while check returns an error. The check gets
// two seconds; it runs at the start and may run at any time, also concurrently
// with itself. The answer shows everyone what the error's method
// Detail() string returns, if it has one.
func (rt *Runtime) OnReady(name string, run func(context.Context) error) {
	rt.checks = append(rt.checks, &check{name: name, run: run})
}

// OnWarning is OnReady for what does not keep the process from working: /_/ready
// lists it among its warnings and answers 200.
func (rt *Runtime) OnWarning(name string, run func(context.Context) error) {
	rt.checks = append(rt.checks, &check{name: name, run: run, warning: true})
}

// OnClose has run called once, after the last call has ended, what was
// registered last first. Its context ends after ten seconds.
func (rt *Runtime) OnClose(name string, run func(context.Context) error) {
	rt.closers = append(rt.closers, closer{name: name, run: run})
}

// Context ends when the last call has ended, before the first OnClose runs.
func (rt *Runtime) Context() context.Context { return rt.ctx }

func (rt *Runtime) close() {
	for _, c := range slices.Backward(rt.closers) {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		if err := c.run(ctx); err != nil {
			rt.Log.Warn("could not close cleanly", "what", c.name, "error", err)
		} else {
			rt.Log.Debug("closed", "what", c.name)
		}
		cancel()
	}
	rt.closers = nil
}
