package probe_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parkstream/shared/probe"
)

const interval = 1500 * time.Millisecond

var errFailed = errors.New("failed")

// check takes a second and returns the number of its runs, with the current error.
type check struct {
	runs int
	err  error
}

func (c *check) run(ctx context.Context) (int, error) {
	c.runs++
	select {
	case <-time.After(time.Second):
		return c.runs, c.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Concurrent callers cost one check, and so do callers within the interval after its
// start, for a success and for a failure.
func TestOneCheckForAll(t *testing.T) {
	for _, want := range []error{nil, errFailed} {
		synctest.Test(t, func(t *testing.T) {
			c := check{err: want}
			shared := probe.New(interval, c.run)
			ask := func(run int) {
				t.Helper()
				var all sync.WaitGroup
				for range 50 {
					all.Go(func() {
						if got, err := shared.Result(t.Context()); got != run || !errors.Is(err, want) {
							t.Errorf("result %d, %v, want %d, %v", got, err, run, want)
						}
					})
				}
				all.Wait()
			}
			ask(1)
			time.Sleep(interval - time.Second - 1)
			ask(1)
			time.Sleep(time.Nanosecond)
			ask(2)
			if c.runs != 2 {
				t.Errorf("%d checks, want 2", c.runs)
			}
		})
	}
}

// A check that takes longer than the interval serves the callers during the check. It
// serves none after its end, because its result is too old.
func TestALongCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := check{}
		shared := probe.New(time.Second/2, c.run)
		var all sync.WaitGroup
		for _, wait := range []time.Duration{0, time.Second / 4, time.Second - 1} {
			all.Go(func() {
				time.Sleep(wait)
				if got, err := shared.Result(t.Context()); got != 1 || err != nil {
					t.Errorf("after %v: %d, %v, want the result of the check under way", wait, got, err)
				}
			})
		}
		all.Wait()
		if got, err := shared.Result(t.Context()); got != 2 || err != nil {
			t.Errorf("after the end: %d, %v, want a check of its own", got, err)
		}
	})
}

// A caller waits no longer than its context allows. A failure because of a caller that
// left serves no other caller. A complete result does.
func TestACallerGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := check{}
		shared := probe.New(interval, c.run)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if _, err := shared.Result(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a caller with half a second gets %v", err)
				}
			})
		}
		all.Wait()
		if got, err := shared.Result(t.Context()); got != 2 || err != nil {
			t.Errorf("the next caller gets %d, %v, want a check of its own", got, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := check{}
		shared := probe.New(interval, func(ctx context.Context) (int, error) { return c.run(context.WithoutCancel(ctx)) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		for _, ctx := range []context.Context{ctx, t.Context()} {
			if got, err := shared.Result(ctx); got != 1 || err != nil {
				t.Errorf("result %d, %v, want that of the one check", got, err)
			}
		}
	})
}
