// Package faas makes an OpenFaaS function out of a [process.Process]: an HTTP server
// that calls the function's Handle, with bounds on the cost of a call, and with health,
// readiness and metrics at OpenFaaS's paths.
//
// A function is a package with two functions, Wire and Handle:
//
//	var service http.Handler
//
//	func Wire(rt *faas.Runtime) error {
//		rt.Admit(rt.Require(access.Read))
//		...
//	}
//
//	func Handle(req handler.Request) (handler.Response, error) { return faas.Adapt(service, req) }
//
// and its program is one line:
//
//	func main() { os.Exit(faas.Main("entry-processor", function.Wire, function.Handle)) }
package faas

import (
	"context"
	"errors"
	"io"
	"net/http"

	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/access"
	"parkstream/shared/process"
)

// Handler is the signature of an OpenFaaS function in Go.
type Handler = func(handler.Request) (handler.Response, error)

// Main runs a function until SIGTERM, SIGINT or SIGHUP and returns the exit code of its
// process; see [process.Main] and [Run].
func Main(name string, wire func(*Runtime) error, handle Handler) (exitCode int) {
	return process.Main(name, func(ctx context.Context, environ []string, log io.Writer) error {
		return Run(ctx, process.Options{Name: name, Environ: environ, Log: log}, wire, handle)
	})
}

// Run reads the settings, calls wire once, and serves handle until ctx ends. Then the
// function reports for healthcheck_interval that it is not ready, stops accepting, lets
// the calls in flight finish within write_timeout, and closes in reverse order what
// wire registered.
//
// It answers these paths itself and passes all others to handle:
//
//	/_/health   200 as long as the process serves
//	/_/ready    200, or 503 with the names of what is not ready; also warnings
//	/metrics    Prometheus, for principals with the right ReadMetrics
//
// Its error is nil when ctx ended. An error about settings lists every mistake,
// one a line.
func Run(ctx context.Context, o process.Options, wire func(*Runtime) error, handle Handler) error {
	return process.Run(ctx, o, func(p *process.Process) (process.Service, error) {
		rt, err := newRuntime(p)
		if err := errors.Join(err, wire(rt)); err != nil {
			return process.Service{}, err
		}
		if rt.admission == nil {
			return process.Service{}, errors.New("the function does not decide who may call it: its Wire has to call Admit")
		}
		return newServer(rt, handle).service(), nil
	})
}

// Runtime is what a function is wired with. Its methods are called while wiring; what
// they return is used later, too.
type Runtime struct {
	*process.Process
	// Access identifies the callers; never nil.
	Access    *access.Guard
	settings  settings
	admission Admission
}

// newRuntime returns a usable runtime despite an error: the mistakes of the process are
// reported together with those of the function.
func newRuntime(p *process.Process) (*Runtime, error) {
	rt := &Runtime{Process: p}
	err := p.Settings(&rt.settings)
	var guarded access.Settings
	guardedErr := p.Settings(&guarded)
	guard, guardErr := access.New(p, guarded)
	guard.Token("metrics", p.Secret("metrics-token").Value, access.ReadMetrics)
	rt.Access = guard
	return rt, errors.Join(err, guardedErr, guardErr)
}

// Admit makes a decide on each call of the function before its body is read. A function
// that does not call it does not start.
func (rt *Runtime) Admit(a Admission) { rt.admission = a }

// Require returns the [Admission] of a function whose calls all need one right; see
// [access.Guard.Require].
func (rt *Runtime) Require(right access.Right, contentTypes ...string) Admission {
	return func(w http.ResponseWriter, r *http.Request) (context.Context, int64, bool) {
		ctx, ok := rt.Access.Require(w, r, right, contentTypes...)
		return ctx, AnyBody, ok
	}
}
