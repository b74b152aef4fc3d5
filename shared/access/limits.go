package access

import (
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// maxLimited bounds the principals whose requests are remembered.
const maxLimited = maxUsers

// burst is how many seconds' requests may come at once.
const burst = 2

// limits bounds the requests of each principal. Other parts of the system, and everyone
// if access is open, are bounded by what the process bounds only.
type limits struct {
	perSecond int // 0: no limit

	mu  sync.Mutex
	lru *simplelru.LRU[string, *rate.Limiter]
}

func newLimits(perSecond int) *limits {
	lru, _ := simplelru.NewLRU[string, *rate.Limiter](maxLimited, nil) // fails for a size of 0 only
	return &limits{perSecond: perSecond, lru: lru}
}

func (l *limits) check(p Principal) error {
	if l.perSecond == 0 || p.Exempt() {
		return nil
	}
	wait := l.wait(p.Name)
	if wait == 0 {
		return nil
	}
	return &Refusal{Status: http.StatusTooManyRequests, Reason: "this login makes too many requests (REQUESTS_PER_SECOND)", RetryAfter: wait, kind: "limited"}
}

// wait counts a request, or returns when there can be another.
func (l *limits) wait(name string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter, ok := l.lru.Get(name)
	if !ok {
		limiter = rate.NewLimiter(rate.Limit(l.perSecond), burst*l.perSecond)
		l.lru.Add(name, limiter)
	}
	now := time.Now()
	if limiter.AllowN(now, 1) {
		return 0
	}
	return max(time.Millisecond, time.Duration((1-limiter.TokensAt(now))/float64(l.perSecond)*float64(time.Second)))
}
