// Package probe shares the result of a costly check among concurrent callers.
package probe

import (
	"context"
	"time"
)

// Shared is a check with a shared result. The result serves all callers that ask while
// the check is under way, and all that ask within an interval after its start. The rate
// of checks therefore does not depend on the number of callers. Its methods may be
// called concurrently.
type Shared[T any] struct {
	interval time.Duration
	check    func(context.Context) (T, error)
	turn     chan struct{} // holds one value while no check is under way; guards the fields below

	startedAt, endedAt time.Time // of the check with this result; zero: there was none
	value              T
	err                error
}

// New returns a check whose result serves for an interval after the start of the check.
func New[T any](interval time.Duration, check func(context.Context) (T, error)) *Shared[T] {
	s := &Shared[T]{interval: interval, check: check, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// Result returns the result of a check that was under way at the time of the call or
// that started within the interval. Otherwise it runs the check with ctx. A caller that
// waits for another's check gets the error of its own context if that ends first. A
// check that fails because its caller's context has ended serves no other caller.
func (s *Shared[T]) Result(ctx context.Context) (T, error) {
	var none T
	called := time.Now()
	select {
	case <-s.turn:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	defer func() { s.turn <- struct{}{} }()
	if err := ctx.Err(); err != nil { // both channels were ready
		return none, err
	}
	startedAt := time.Now()
	if called.Before(s.endedAt) || startedAt.Sub(s.startedAt) < s.interval {
		return s.value, s.err
	}
	value, err := s.check(ctx)
	if err == nil || ctx.Err() == nil {
		s.startedAt, s.endedAt, s.value, s.err = startedAt, time.Now(), value, err
	}
	return value, err
}
