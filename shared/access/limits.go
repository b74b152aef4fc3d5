package access

import (
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

const (
	// maxLimited bounds the principals whose requests are remembered.
	maxLimited = maxUsers
	// burst is how many seconds' requests may come at once.
	burst = 2
	// A user can begin loginBurst sessions at once, and 10 a minute.
	loginRate  rate.Limit = 10. / 60
	loginBurst            = 30
)

// limits bounds the requests of each principal. Other parts of the system, and everyone
// if access is open, are bounded by what the process bounds only.
type limits struct {
	perSecond rate.Limit // 0: no limit
	burst     int
	reason    string // of a refusal

	mu  sync.Mutex
	lru *simplelru.LRU[string, *rate.Limiter]
}

func newLimits(perSecond rate.Limit, burst int, reason string) *limits {
	lru, _ := simplelru.NewLRU[string, *rate.Limiter](maxLimited, nil) // fails for a size of 0 only
	return &limits{perSecond: perSecond, burst: burst, reason: reason, lru: lru}
}

func (l *limits) check(p Principal) error {
	if l.perSecond == 0 || p.Exempt() {
		return nil
	}
	wait := l.wait(p.Name)
	if wait == 0 {
		return nil
	}
	return &Refusal{Status: http.StatusTooManyRequests, Reason: l.reason, RetryAfter: wait, kind: "limited"}
}

// wait counts a request, or returns when there can be another.
func (l *limits) wait(name string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter, ok := l.lru.Get(name)
	if !ok {
		limiter = rate.NewLimiter(l.perSecond, l.burst)
		l.lru.Add(name, limiter)
	}
	now := time.Now()
	if limiter.AllowN(now, 1) {
		return 0
	}
	return max(time.Millisecond, time.Duration((1-limiter.TokensAt(now))/float64(l.perSecond)*float64(time.Second)))
}
