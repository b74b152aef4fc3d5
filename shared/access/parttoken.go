package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io/fs"
	"sync"
	"time"

	"parkstream/shared/process"
)

// readAgainAfter is how long what was read from a file counts as what the file has.
// A check of the file takes longer than all else of a request of the connector.
const readAgainAfter = time.Second

// partToken is the token of another part of the system.
type partToken struct {
	principal Principal
	secret    func() (string, error)

	mu   sync.Mutex
	sum  digest
	some bool // there is a token, and sum is its digest
	at   time.Time
}

// fresh reports whether a token is the right one as read lately.
func (t *partToken) fresh(sum digest, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.some && now.Sub(t.at) < readAgainAfter && subtle.ConstantTimeCompare(t.sum[:], sum[:]) == 1
}

// read reports whether a token is the right one as it is now. Without a file no token
// is.
func (t *partToken) read(sum digest, now time.Time) (bool, error) {
	text, err := t.secret()
	t.mu.Lock()
	t.some, t.at = err == nil && text != "", now
	t.sum = sha256.Sum256([]byte(text))
	t.mu.Unlock()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, process.ErrEmptySecret) {
		err = nil
	}
	return t.fresh(sum, now), err
}
