// Package supervise keeps child processes running.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"parkstream/shared/instance"
	"parkstream/shared/restart"
)

// Child is a process that is restarted whenever it ends.
type Child struct {
	Name string
	// Command returns the command of one start; its output goes to Output.
	Command func() *exec.Cmd
	Output  io.Writer
	// Grace is how long the child may take to end after SIGTERM.
	Grace time.Duration
	// Notify gets a sentence when the child ends unexpectedly or cannot be started.
	Notify func(string)

	pid atomic.Int64
}

// Running reports whether the process is running.
func (c *Child) Running() bool { return c.pid.Load() != 0 }

// Pid returns the id of the process, 0 if it does not run.
func (c *Child) Pid() int { return int(c.pid.Load()) }

// Run keeps the child running until ctx ends. It then ends the child with SIGTERM, and
// with SIGKILL after its grace.
func (c *Child) Run(ctx context.Context) { Restart(ctx, c.Name, c.Notify, c.once) }

// Restart calls once, which runs a process to its end, and calls it again whenever it
// returns, until ctx ends. The delay grows while processes end soon after their start.
// notify gets a sentence about each restart.
func Restart(ctx context.Context, name string, notify func(string), once func(context.Context) error) {
	delays := restart.NewDelays()
	for ctx.Err() == nil {
		started := time.Now()
		err := once(ctx)
		if ctx.Err() != nil {
			return
		}
		delay := delays.Next(time.Since(started))
		notify(fmt.Sprintf("%s ended (%v) and is started again in %s", name, err, delay.Round(time.Millisecond)))
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
}

// once runs the child until it ends.
func (c *Child) once(ctx context.Context) error {
	cmd := c.Command()
	cmd.Stdout, cmd.Stderr = c.Output, c.Output
	cmd.SysProcAttr = instance.ChildAttributes()
	if err := cmd.Start(); err != nil {
		return err
	}
	c.pid.Store(int64(cmd.Process.Pid))
	defer c.pid.Store(0)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err == nil {
			err = errors.New("exit status 0")
		}
		return err
	case <-ctx.Done():
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-done:
		if err != nil && !isTerminated(err) {
			c.Notify(fmt.Sprintf("%s did not end cleanly: %v", c.Name, err))
		}
	case <-time.After(c.Grace):
		c.Notify(fmt.Sprintf("%s did not end within %s and was killed", c.Name, c.Grace))
		_ = cmd.Process.Signal(os.Kill)
		<-done
	}
	return ctx.Err()
}

// isTerminated reports whether SIGTERM ended a child before it had a handler for it.
func isTerminated(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGTERM
}
