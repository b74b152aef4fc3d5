package audit

import (
	"sync"
	"time"
)

const (
	// repeatedWithin is the time in which repeated searches have one entry.
	repeatedWithin = time.Minute
	// maxRepeated bounds the searches that are remembered.
	maxRepeated = 1000
)

// repeated remembers what has an entry since the current minute began. It holds whole
// plates, in memory only.
type repeated struct {
	mu    sync.Mutex
	since time.Time
	known map[string]struct{}
}

func (r *repeated) has(now time.Time, key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	_, found := r.known[key]
	return found
}

// add remembers a key. Beyond the bound it does not: then a repetition has an entry,
// too.
func (r *repeated) add(now time.Time, key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	if len(r.known) < maxRepeated {
		r.known[key] = struct{}{}
	}
}

func (r *repeated) forget(now time.Time) {
	if r.known == nil || now.Sub(r.since).Abs() >= repeatedWithin {
		r.since, r.known = now, make(map[string]struct{})
	}
}
