// Package eventually lets a test wait for a condition without a fixed sleep.
package eventually

import (
	"errors"
	"testing"
	"time"
)

// Deadline is how long [True] and [Succeeds] wait. It is generous because machines
// that run tests are busy; a condition that is met ends the wait at once.
const Deadline = time.Minute

// The pause between two tries grows from the first to the second.
const minPause, maxPause = time.Millisecond, 50 * time.Millisecond

var errNotYet = errors.New("not yet")

// True calls condition until it reports true. It fails the test after [Deadline] or
// when the test's context ends. The message names what was waited for.
func True(t testing.TB, what string, condition func() bool) {
	t.Helper()
	Succeeds(t, what, func() error {
		if !condition() {
			return errNotYet
		}
		return nil
	})
}

// Succeeds calls try until it returns nil. It fails the test after [Deadline] or
// when the test's context ends. The message names what was waited for, and contains
// the last error.
func Succeeds(t testing.TB, what string, try func() error) {
	t.Helper()
	SucceedsWithin(t, Deadline, what, try)
}

// SucceedsWithin is [Succeeds] with a deadline of the caller's choice.
func SucceedsWithin(t testing.TB, within time.Duration, what string, try func() error) {
	t.Helper()
	deadline := time.After(within)
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-time.After(pause):
		case <-deadline:
			t.Fatalf("not within %s: %s: %v", within, what, err)
		case <-t.Context().Done():
			t.Fatalf("%s: %v: %v", what, t.Context().Err(), err)
		}
	}
}
