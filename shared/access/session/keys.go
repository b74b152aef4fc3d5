package session

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/gorilla/securecookie"
)

const (
	// minKeyBytes is the least length of a key: 32 characters, as of 16 random bytes in
	// hexadecimal digits.
	minKeyBytes = 32
	// maxKeys bounds the keys: each of them is tried with a forged cookie.
	maxKeys = 10
	// maxCookieBytes is below what browsers keep of a cookie: 4096 bytes with its name.
	maxCookieBytes = 3800
)

// ErrTooLarge is the error of a session that no cookie can hold.
var ErrTooLarge = errors.New("the session is larger than a cookie may be")

// keys are those of the secret as it was read last.
type keys struct {
	mu     sync.Mutex
	secret string
	parsed codecs
}

// codecs sign with the first of the keys and verify with all of them.
type codecs []*securecookie.SecureCookie

// codecs returns those of the keys that the secret has now.
func (s *Sessions) codecs() (codecs, error) {
	secret, err := s.Keys()
	if err != nil {
		return nil, err
	}
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	if s.keys.parsed != nil && s.keys.secret == secret {
		return s.keys.parsed, nil
	}
	parsed, err := parseKeys(secret)
	if err != nil {
		return nil, err
	}
	s.keys.secret, s.keys.parsed = secret, parsed
	return parsed, nil
}

// parseKeys reads the secret session-key: one key a line. Blank lines and lines that begin
// with # do not count. Its error has nothing of a key.
func parseKeys(secret string) (codecs, error) {
	var all codecs
	var errs []error
	number := 0
	for line := range strings.Lines(secret) {
		number++
		key := strings.TrimSpace(line)
		switch {
		case key == "" || key[0] == '#':
		case len(key) < minKeyBytes:
			errs = append(errs, fmt.Errorf("secret session-key: line %d has %d characters, want at least %d random ones (parkstream secrets rotate session-key)", number, len(key), minKeyBytes))
		default:
			// The ages of cookies are in what they hold.
			all = append(all, securecookie.New([]byte(key), nil).MaxAge(0).MaxLength(maxCookieBytes).SetSerializer(securecookie.JSONEncoder{}))
		}
	}
	if len(errs) == 0 && len(all) == 0 {
		errs = append(errs, errors.New("secret session-key has no key: want one a line, the first signs"))
	}
	if len(all) > maxKeys {
		errs = append(errs, fmt.Errorf("secret session-key has %d keys, want at most %d: remove the last ones", len(all), maxKeys))
	}
	return all, errors.Join(errs...)
}

// encode signs v for the cookie of a name.
func (c codecs) encode(name string, v any) (string, error) {
	value, err := c[0].Encode(name, v)
	if err != nil { // what is encoded is ours: it is too long
		return "", fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return value, nil
}

// decode reports whether the value of a cookie is signed by one of the keys for a cookie
// of this name, and reads it into v.
func (c codecs) decode(name, value string, v any) bool {
	for _, one := range c {
		if one.Decode(name, value, v) == nil {
			return true
		}
	}
	return false
}
