package access

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// freeTries are the failed logins of a name at an address that cost no time.
	freeTries = 5
	// freeAtAddress are those of all names at an address: people share one.
	freeAtAddress = 20
	// attacked is the number of failed logins of a name, at all addresses together,
	// after which each address has one free try instead of freeTries. With none
	// strangers could lock out the user.
	attacked = 50
	// The first wait; each further failure doubles it.
	firstWait = time.Second
	maxWait   = 15 * time.Minute
	// forgetAfter is how long a failure counts.
	forgetAfter = time.Hour
	// maxThrottled bounds the names, addresses and pairs that are remembered, the last
	// ones of each.
	maxThrottled = 10_000
)

// throttle makes failed logins cost time: by name and address together, by address, and
// by name. It is safe for concurrent use.
type throttle struct {
	mu        sync.Mutex
	pairs     failures
	addresses failures
	names     failures
}

func newThrottle() *throttle {
	return &throttle{pairs: newFailures(), addresses: newFailures(), names: newFailures()}
}

// try is one login, which counts as failed until it has succeeded: others at the same
// time cannot all be the last free one.
type try struct {
	name, address, pair throttleKey
}

// throttleKey has the size of a digest, whatever a stranger sends.
type throttleKey [16]byte

func keyOf(text string) (k throttleKey) {
	sum := sha256.Sum256([]byte(text))
	copy(k[:], sum[:])
	return k
}

// subscriber is the part of an IPv6 address that one caller has: 64 bits.
const subscriber = 64

func newTry(name string, address netip.Addr) try {
	if address.Is6() {
		network, _ := address.Prefix(subscriber) // valid for each IPv6 address
		address = network.Addr()
	}
	at := address.String()
	return try{name: keyOf(name), address: keyOf(at), pair: keyOf(at + " " + name)}
}

// waitPair returns how long the name has to wait at the address; 0 if it may try.
func (t *throttle) waitPair(one try) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pairs.wait(one.pair, t.free(one))
}

// free returns the free tries of a pair.
func (t *throttle) free(one try) int {
	if t.names.count(one.name) >= attacked {
		return 1
	}
	return freeTries
}

// begin counts a try as failed, unless the caller has to wait.
func (t *throttle) begin(one try) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	wait = max(t.pairs.wait(one.pair, t.free(one)), t.addresses.wait(one.address, freeAtAddress))
	if wait > 0 {
		return wait
	}
	t.pairs.add(one.pair, 1)
	t.addresses.add(one.address, 1)
	t.names.add(one.name, 1)
	return 0
}

// undo takes back a try that has not failed. A success takes back all failures of the
// name at the address, and none of other names: else a user could guess at those between
// two logins.
func (t *throttle) undo(one try, success bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 1
	if success {
		n = t.pairs.count(one.pair)
	}
	t.pairs.add(one.pair, -n)
	t.addresses.add(one.address, -n)
	t.names.add(one.name, -n)
}

// failures are failed logins by one key.
type failures struct {
	lru *simplelru.LRU[throttleKey, *failed]
}

type failed struct {
	n    int
	last time.Time
}

func newFailures() failures {
	lru, _ := simplelru.NewLRU[throttleKey, *failed](maxThrottled, nil) // fails for a size of 0 only
	return failures{lru}
}

func (f failures) find(k throttleKey) *failed {
	found, ok := f.lru.Get(k)
	if ok && time.Since(found.last) >= forgetAfter {
		f.lru.Remove(k)
		return nil
	}
	return found
}

func (f failures) count(k throttleKey) int {
	if found := f.find(k); found != nil {
		return found.n
	}
	return 0
}

// add adds failures, or takes some away if n is negative.
func (f failures) add(k throttleKey, n int) {
	found := f.find(k)
	if found == nil {
		if n > 0 {
			f.lru.Add(k, &failed{n: n, last: time.Now()})
		}
		return
	}
	found.n += n
	if n > 0 {
		found.last = time.Now()
	}
	if found.n <= 0 {
		f.lru.Remove(k)
	}
}

// wait returns how long to wait after the failures of a key, of which some are free.
func (f failures) wait(k throttleKey, free int) time.Duration {
	found := f.find(k)
	if found == nil || found.n < free {
		return 0
	}
	return max(0, waitAfter(found.n-free)-time.Since(found.last))
}

// waitAfter returns the wait after the last free failure and n more.
func waitAfter(n int) time.Duration {
	const doublings = 10 // firstWait takes this many to maxWait
	return min(maxWait, firstWait<<min(n, doublings))
}
