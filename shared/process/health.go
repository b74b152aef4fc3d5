package process

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// checkTimeout bounds a readiness check.
	checkTimeout = 2 * time.Second
	// checkInterval is how often the checks run without being asked for.
	checkInterval = time.Minute
)

// OnReady makes [Process.Ready] answer 503 while check returns an error. The check gets
// two seconds. It runs at the start and may run at any time, also concurrently with
// itself. If its error has a method Detail() string, the response shows the result to
// everyone.
func (p *Process) OnReady(name string, run func(context.Context) error) {
	p.checks.all = append(p.checks.all, &check{name: name, run: run})
}

// OnWarning is OnReady for problems with which the process still works: [Process.Ready]
// lists them as warnings and answers 200.
func (p *Process) OnWarning(name string, run func(context.Context) error) {
	p.checks.all = append(p.checks.all, &check{name: name, run: run, warning: true})
}

// Healthy answers that the process serves.
func Healthy(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }

// readiness is the body of the response about readiness. Its path may be open to
// everyone: it names the checks, and shows of an error the result of a method Detail()
// string, if there is one. The causes are in the log.
type readiness struct {
	Ready    bool              `json:"ready"`
	Failing  []string          `json:"failing,omitempty"`
	Warnings []string          `json:"warnings,omitempty"`
	Details  map[string]string `json:"details,omitempty"`
}

// Ready answers 200, or 503 with the names of the checks that fail, or while the process
// stops. Callers at the same time share one run of the checks.
func (p *Process) Ready(w http.ResponseWriter, r *http.Request) {
	// The run continues when its caller leaves: others may wait for it.
	answer := p.checks.shared(context.WithoutCancel(r.Context()))
	if p.Draining() {
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

// checks are those of a process.
type checks struct {
	all []*check
	log *slog.Logger

	mu      sync.Mutex
	current *checkRun // nil: none is under way
}

type check struct {
	name    string
	run     func(context.Context) error
	warning bool        // shown, and the process is ready all the same
	failing atomic.Bool // as last seen, so that only a change is logged
}

type checkRun struct {
	done   chan struct{}
	answer readiness // after done
}

// shared runs all checks, or waits for the run that is under way. That one ends within
// checkTimeout.
func (c *checks) shared(ctx context.Context) readiness {
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
	run.answer = c.run(ctx)
	return run.answer
}

// runEvery runs all checks at intervals until ctx ends. The log has every problem even
// if readiness is never requested.
func (c *checks) runEvery(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		c.run(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// run runs all checks and logs what has changed since the last time.
func (c *checks) run(ctx context.Context) readiness {
	timed, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	errs := make([]error, len(c.all))
	var wg sync.WaitGroup
	for i, check := range c.all {
		wg.Go(func() { errs[i] = check.run(timed) })
	}
	wg.Wait()
	var answer readiness
	if ctx.Err() != nil { // the caller has gone, and the errors may only say so
		return answer
	}
	for i, check := range c.all {
		err := errs[i]
		was := check.failing.Swap(err != nil)
		check.tell(c.log, was, err)
		if err == nil {
			continue
		}
		if check.warning {
			answer.Warnings = append(answer.Warnings, check.name)
		} else {
			answer.Failing = append(answer.Failing, check.name)
		}
		if detailed, ok := errors.AsType[interface {
			error
			Detail() string
		}](err); ok {
			if answer.Details == nil {
				answer.Details = make(map[string]string)
			}
			answer.Details[check.name] = detailed.Detail()
		}
	}
	return answer
}

// tell logs a check that begins or stops failing.
func (c *check) tell(log *slog.Logger, was bool, err error) {
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
