package access

import (
	"context"
	"errors"
	"io/fs"
	"sync"

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
}

func newUsersFile(secret *process.Secret) *usersFile {
	none, _ := ParseUsers(nil)
	return &usersFile{secret: secret, good: none}
}

// current returns the users of the file as it is now, or of the last good one.
func (f *usersFile) current() *Users {
	f.mu.Lock()
	defer f.mu.Unlock()
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
	return f.good
}

// broken returns why the file is not in use, if an older one is.
func (f *usersFile) broken() error {
	f.current()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// setUp reports whether anyone can have a login.
func (g *Guard) setUp() bool {
	return g.Open() || g.settings.OIDCIssuer != "" || len(g.users.current().all) > 0
}

// ready is a check of readiness. Its error is told to everyone.
func (g *Guard) ready(context.Context) error {
	if g.setUp() {
		return nil
	}
	return errSetUp{g.users.broken()}
}

// errSetUp is the error of a process that nobody can use.
type errSetUp struct{ cause error }

func (e errSetUp) Error() string {
	if e.cause != nil {
		return notSetUp + "; " + e.cause.Error()
	}
	return notSetUp
}

func (e errSetUp) Unwrap() error { return e.cause }

// Detail returns the public text.
func (e errSetUp) Detail() string {
	if e.cause != nil {
		return "the secret users has mistakes; the log names them"
	}
	return notSetUp
}
