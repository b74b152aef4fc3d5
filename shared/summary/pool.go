package summary

import (
	"context"
	"errors"
	"sync"

	"parkstream/shared/access"
)

// pool bounds what runs at the same time: in all, and of one principal, so one alone
// cannot take all of it.
type pool struct {
	turns chan struct{}
	share int // turns of one principal at the same time

	mu sync.Mutex
	// waiting are the principals that have a turn or wait for one, so their number is
	// bounded by that of the requests.
	waiting map[string]*turns
}

// turns are those of one principal.
type turns struct {
	taken chan struct{}
	users int // requests that have or want one
}

func newPool(all, share int) *pool {
	return &pool{turns: make(chan struct{}, all), share: share, waiting: make(map[string]*turns)}
}

var (
	errPoolFull  = errors.New("no more are served at the same time")
	errShareUsed = errors.New("one login has no more of them at the same time")
)

// wait waits for a turn. leave ends it.
func (p *pool) wait(ctx context.Context) (leave func(), err error) {
	mine, done := p.of(access.From(ctx))
	for _, turn := range []chan struct{}{mine, p.turns} {
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			if turn == p.turns {
				<-mine
			}
			done()
			return nil, ctx.Err()
		}
	}
	return func() { <-p.turns; <-mine; done() }, nil
}

// try takes a turn if there is one.
func (p *pool) try(ctx context.Context) (leave func(), err error) {
	mine, done := p.of(access.From(ctx))
	select {
	case mine <- struct{}{}:
	default:
		done()
		return nil, errShareUsed
	}
	select {
	case p.turns <- struct{}{}:
	default:
		<-mine
		done()
		return nil, errPoolFull
	}
	return func() { <-p.turns; <-mine; done() }, nil
}

// of returns the turns of a principal. One that is exempt has no share.
func (p *pool) of(principal access.Principal) (taken chan struct{}, done func()) {
	if principal.Exempt() {
		return make(chan struct{}, 1), func() {}
	}
	who := string(principal.Role) + "/" + principal.Name
	p.mu.Lock()
	defer p.mu.Unlock()
	mine := p.waiting[who]
	if mine == nil {
		mine = &turns{taken: make(chan struct{}, p.share)}
		p.waiting[who] = mine
	}
	mine.users++
	return mine.taken, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(p.waiting, who)
		}
	}
}
