package eventually

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a test that records its failure.
type fake struct {
	testing.TB
	ctx    context.Context
	failed string
}

func (f *fake) Helper()                  {}
func (f *fake) Context() context.Context { return f.ctx }
func (f *fake) Fatalf(format string, args ...any) {
	f.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// outcome runs wait and returns the message with which it failed the test, and how
// long it took.
func outcome(ctx context.Context, wait func(t testing.TB)) (failed string, took time.Duration) {
	f := &fake{ctx: ctx}
	began := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait(f)
	}()
	<-done
	return f.failed, time.Since(began)
}

func TestEventually(t *testing.T) {
	after := func(d time.Duration) func() error { // fails until d has passed
		began := time.Now()
		return func() error {
			if time.Since(began) < d {
				return errors.New("still raining")
			}
			return nil
		}
	}
	for name, tt := range map[string]struct {
		wait   func(t testing.TB)
		cancel time.Duration // after which the test ends; 0 is never
		failed string
		took   time.Duration // at most
	}{
		"at once":    {func(t testing.TB) { Succeeds(t, "sun", after(0)) }, 0, "", 0},
		"later":      {func(t testing.TB) { Succeeds(t, "sun", after(time.Second)) }, 0, "", time.Second + maxPause},
		"never":      {func(t testing.TB) { Succeeds(t, "sun", after(time.Hour)) }, 0, "not within 1m0s: sun: still raining", Deadline},
		"much later": {func(t testing.TB) { SucceedsWithin(t, 2*time.Hour, "sun", after(time.Hour)) }, 0, "", time.Hour + maxPause},
		"too late":   {func(t testing.TB) { SucceedsWithin(t, time.Second, "sun", after(time.Hour)) }, 0, "not within 1s: sun: still raining", time.Second},
		"test ends":  {func(t testing.TB) { Succeeds(t, "sun", after(time.Hour)) }, time.Second, "sun: context canceled: still raining", time.Second},
		"true":       {func(t testing.TB) { True(t, "sun", func() bool { return true }) }, 0, "", 0},
		"never true": {func(t testing.TB) { True(t, "sun", func() bool { return false }) }, 0, "not within 1m0s: sun: not yet", Deadline},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.cancel > 0 {
					time.AfterFunc(tt.cancel, cancel)
				}
				failed, took := outcome(ctx, tt.wait)
				if failed != tt.failed || took > tt.took {
					t.Errorf("failed %q after %s, want %q within %s", failed, took, tt.failed, tt.took)
				}
			})
		})
	}
}
