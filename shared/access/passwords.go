package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"
)

const (
	// maxHashing is how many passwords are checked at a time: each takes a core for
	// 50 ms. maxWaiting more may wait for their turn.
	maxHashing = 2
	maxWaiting = 64
	// A right password is remembered for rememberFor, as a keyed digest: the clients of
	// Basic authentication send it with each request.
	rememberFor   = 5 * time.Minute
	maxRemembered = 1000
)

// passwords checks passwords at a bounded cost.
type passwords struct {
	key     [32]byte
	flight  singleflight.Group // of one name and password
	hashing chan struct{}      // holds one element for each hash that is being computed
	waiting chan struct{}      // and one for each that is, or waits

	mu    sync.Mutex
	right *simplelru.LRU[digest, time.Time] // until when
}

func newPasswords() *passwords {
	p := &passwords{hashing: make(chan struct{}, maxHashing), waiting: make(chan struct{}, maxHashing+maxWaiting)}
	_, _ = rand.Read(p.key[:])                                           // never fails
	p.right, _ = simplelru.NewLRU[digest, time.Time](maxRemembered, nil) // fails for a size of 0 only
	return p
}

// login is a password with the hash that it should match.
type login struct {
	name, hash, password string
	// cost is the highest of all hashes.
	cost int
}

// digest returns what is remembered of a login. It changes with the hash.
func (p *passwords) digest(l login) (d digest) {
	mac := hmac.New(sha256.New, p.key[:])
	for _, text := range []string{l.name, l.hash, l.password} { // neither name nor hash has a zero byte
		mac.Write([]byte(text))
		mac.Write([]byte{0})
	}
	return digest(mac.Sum(nil))
}

func (p *passwords) remembers(d digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.right.Get(d)
	return ok && time.Now().Before(until)
}

func (p *passwords) remember(d digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.right.Add(d, time.Now().Add(rememberFor))
}

// matches reports whether a password matches its hash. It computes that.
func (p *passwords) matches(ctx context.Context, l login) (right bool, err error) {
	select {
	case p.waiting <- struct{}{}:
		defer func() { <-p.waiting }()
	default:
		return false, errTooManyLogins
	}
	select {
	case p.hashing <- struct{}{}:
		defer func() { <-p.hashing }()
	case <-ctx.Done():
		return false, errUnidentified
	}
	return l.right(), nil
}

// right computes whether the password matches.
func (l login) right() bool {
	if len(l.password) > maxPassword {
		return false
	}
	if bcrypt.CompareHashAndPassword([]byte(l.hash), []byte(l.password)) == nil {
		return true
	}
	for _, decoy := range l.padding() {
		_ = bcrypt.CompareHashAndPassword([]byte(decoy), []byte(l.password))
	}
	return false
}

// padding returns what is computed after a wrong password, so each one takes the time of
// the highest cost: a user with a cheaper hash would be told from an unknown one.
func (l login) padding() (decoys []string) {
	cost, _ := bcrypt.Cost([]byte(l.hash)) // was parsed
	for ; cost < l.cost; cost++ {          // each takes twice the time of the one before
		decoys = append(decoys, decoyOf(cost))
	}
	return decoys
}

// decoyOf returns a hash of a cost that no password matches.
func decoyOf(cost int) string { return fmt.Sprintf("$2a$%02d$%s", cost, strings.Repeat("A", 53)) }

// check reports whether a password is right, unless its caller has to wait. All who send
// the same from one address at the same time are one try.
func (g *Guard) check(ctx context.Context, l login, address netip.Addr) (right bool, err error) {
	one, d := newTry(l.name, address), g.passwords.digest(l)
	result, err, _ := g.passwords.flight.Do(string(d[:])+string(one.pair[:]), func() (any, error) {
		return g.try(context.WithoutCancel(ctx), l, d, one) // others may wait for it
	})
	right, _ = result.(bool)
	return right, err
}

func (g *Guard) try(ctx context.Context, l login, d digest, one try) (right bool, err error) {
	// A caller that has to wait may not ask what is remembered, either: it could guess
	// at that as fast as it likes.
	if wait := g.throttle.waitPair(one); wait > 0 {
		return false, throttled(wait)
	}
	if g.passwords.remembers(d) {
		return true, nil
	}
	if wait := g.throttle.begin(one); wait > 0 {
		return false, throttled(wait)
	}
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	right, err = g.passwords.matches(ctx, l)
	if right || err != nil { // it has not failed
		g.throttle.undo(one, right)
	}
	if right {
		g.passwords.remember(d)
	}
	return right, err
}

// loginTimeout bounds the wait for a turn.
const loginTimeout = 10 * time.Second

func throttled(wait time.Duration) error {
	return &Refusal{Status: http.StatusTooManyRequests, Reason: "too many logins have failed, wait before the next", RetryAfter: wait, kind: "throttled"}
}
