package access

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"parkstream/shared/process"
)

// usersFile is the secret users, read again when it changes. A file with mistakes does
// not replace a good one that is in use.
type usersFile struct {
	secret *process.Secret

	mu    sync.Mutex
	text  string // as it was parsed last
	wrong error  // the mistakes in text
	good  *Users // of text, or of the last one without mistakes; never nil
	err   error  // why good is not what the file has now
	at    time.Time
}

func newUsersFile(secret *process.Secret) *usersFile {
	none, _ := ParseUsers(nil)
	return &usersFile{secret: secret, good: none}
}

// current returns the users of the file as it is now, or of the last good one.
func (f *usersFile) current() *Users {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read()
	return f.good
}

// read reads the file if it was changed. The caller holds mu.
func (f *usersFile) read() {
	f.at = time.Now()
	text, err := f.secret.Value()
	if errors.Is(err, fs.ErrNotExist) { // removed, and so are its users
		text, err = "", nil
	}
	if err == nil && text != f.text {
		var users *Users
		if users, f.wrong = ParseUsers([]byte(text)); f.wrong == nil {
			f.good = users
		}
		f.text = text
	}
	f.err = errors.Join(err, f.wrong)
}

// broken returns why the users in use are not those of the file as it is now, or nil.
func (f *usersFile) broken() error {
	f.current()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// some reports whether the file has users. What it returns may be readAgainAfter old.
func (f *usersFile) some() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.at) >= readAgainAfter {
		f.read()
	}
	return len(f.good.all) > 0
}

// setUp reports whether anyone can have a login.
func (g *Guard) setUp() bool {
	return g.Open() || g.settings.OIDCIssuer != "" || g.users.some()
}

func (g *Guard) checkSetUp() error {
	switch {
	case g.setUp():
		return nil
	case g.users.broken() != nil:
		return errMistaken
	default:
		return errNotSetUp
	}
}

// ready is a check of readiness: the log has what is wrong when that begins, and then
// each hour.
func (g *Guard) ready(context.Context) error {
	if g.setUp() {
		g.reminder.forget()
		return nil
	}
	err := setUpError{cause: g.users.broken()}
	if g.reminder.due() {
		g.log.Warn("still not ready", "check", "access", "error", err)
	}
	return err
}

// reminder is due each hour after the first time.
type reminder struct {
	mu   sync.Mutex
	last time.Time
}

func (r *reminder) due() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.last.IsZero()
	if !first && time.Since(r.last) < time.Hour {
		return false
	}
	r.last = time.Now()
	return !first
}

func (r *reminder) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Time{}
}

// setUpError is the error of a process that cannot be used.
type setUpError struct{ cause error }

func (e setUpError) Error() string {
	if e.cause != nil {
		return mistaken + ":\n" + e.cause.Error()
	}
	return notSetUp
}

func (e setUpError) Unwrap() error { return e.cause }

// Detail returns the public text.
func (e setUpError) Detail() string {
	if e.cause != nil {
		return mistaken
	}
	return notSetUp
}
