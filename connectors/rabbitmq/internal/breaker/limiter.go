package breaker

import (
	"math"
	"time"
)

// limiter is the number of calls that may be in flight at the same time: it grows by one
// when as many calls as it allows have succeeded (additive increase), and is halved when the
// function is throttled or slow (multiplicative decrease).
type limiter struct {
	min, max, limit float64
}

func newLimiter(least, most int) limiter {
	return limiter{min: float64(least), max: float64(most), limit: float64(least)}
}

func (l *limiter) calls() int { return int(l.limit) }

func (l *limiter) allows(inFlight int) bool { return inFlight < l.calls() }

// grow notes that a call has succeeded. The limit grows only while it is used up.
func (l *limiter) grow(inFlight int) {
	if !l.allows(inFlight) && l.calls() < int(l.max) {
		l.limit = min(l.max, l.limit+1/l.limit)
	}
}

func (l *limiter) shrink() { l.limit = max(l.min, l.limit/2) }

const (
	// silentFactor is how many times longer than usual a silent call takes.
	silentFactor = 4
	// usualHalf is the time after which the longest call counts for half.
	usualHalf = time.Minute
)

// pace is how long calls take.
type pace struct {
	usual time.Duration // the longest of late; 0 if none was answered
	at    time.Time
}

func (p *pace) observe(took time.Duration, now time.Time) {
	faded := float64(p.usual) * math.Exp2(-float64(now.Sub(p.at))/float64(usualHalf))
	p.usual, p.at = max(took, time.Duration(faded), 1), now
}
