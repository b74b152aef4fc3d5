// Package restart chooses the delays before restarts of a connection, a consumer or a
// child process.
package restart

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	first = 100 * time.Millisecond
	most  = 5 * time.Second
	// stable is how long a run must last for its end to count as the first.
	stable = 10 * time.Second
)

// Delays are the delays of one thing that is restarted. They are not safe for
// concurrent use.
type Delays struct{ backoff backoff.ExponentialBackOff }

// NewDelays returns delays whose first is about 100 ms.
func NewDelays() *Delays {
	d := &Delays{backoff.ExponentialBackOff{InitialInterval: first, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: most}}
	d.Reset()
	return d
}

// Next returns how long to wait before the next start. ran is how long the last run
// took, 0 if it could not start. The delay is about 100 ms after the first end, doubles from end
// to end up to about 5 s, and is about 100 ms again after a run of more than 10 s. Each is
// half to one and a half times as long, at random: 50 to 150 ms at first, 2.5 to 7.5 s at
// last.
func (d *Delays) Next(ran time.Duration) time.Duration {
	if ran > stable {
		d.Reset()
	}
	return d.backoff.NextBackOff()
}

// Reset makes the next delay the first.
func (d *Delays) Reset() { d.backoff.Reset() }
