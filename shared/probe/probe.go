// Package probe shares the result of a costly check among all who ask for it.
package probe

import (
	"context"
	"time"
)

// Shared is a check whose result serves all who ask while it is under way, and all who
// ask within an interval after its start, so that it runs as rarely however many ask.
// Its methods may be called concurrently.
type Shared[T any] struct {
	interval time.Duration
	check    func(context.Context) (T, error)
	turn     chan struct{} // holds one value when no check is under way; guards what follows

	startedAt, endedAt time.Time // of the check with this result; zero: there was none
	value              T
	err                error
}

// New returns a check whose result serves for an interval after its start.
func New[T any](interval time.Duration, check func(context.Context) (T, error)) *Shared[T] {
	s := &Shared[T]{interval: interval, check: check, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// Result returns the result of a check that was under way when it was called or that
// started within the interval, or runs the check with ctx. A caller that waits for the
// check of another gets the error of its own context when that ends first. A check that
// fails because the context of its caller has ended serves no other caller.
func (s *Shared[T]) Result(ctx context.Context) (T, error) {
	var none T
	called := time.Now()
	select {
	case <-s.turn:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	defer func() { s.turn <- struct{}{} }()
	if err := ctx.Err(); err != nil { // both were ready
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
