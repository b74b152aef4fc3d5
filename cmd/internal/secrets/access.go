package secrets

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"path/filepath"
	"strings"

	"parkstream/shared/access"
)

// The secrets with which parts of a system and people show who they are.
const (
	SummaryToken   = "summary-token"   // of processors, at the summary
	ConnectorToken = "connector-token" // of the connector, at the processors
	SessionKey     = "session-key"     // signs the cookies of people
	UsersFile      = "users"
	MetricsToken   = "metrics-token"  // of the user prometheus
	AdminPassword  = "admin-password" // of the user admin
	AdminToken     = "admin-token"    // likewise
)

const (
	admin      = "admin"
	prometheus = "prometheus"
)

// maxSessionKeys is how many keys are kept: a session ends after seven days at most, and
// a key that is replaced daily is needed so long.
const maxSessionKeys = 10

// NewSessionKeys returns the secret session-key: the key that signs, and the one that will
// sign after the next rotation. Replicas that have not read the rotated secret yet know
// that one already.
func NewSessionKeys() string { return newSessionKey() + "\n" + newSessionKey() + "\n" }

func newSessionKey() string {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	return hex.EncodeToString(key[:])
}

// RotateSessionKey makes the next key the one that signs, and a new one the next. What the
// former keys have signed stays valid, unless they are forgotten.
func RotateSessionKey(dir string, forget bool) error {
	return Edit(filepath.Join(dir, SessionKey), func(text []byte) ([]byte, error) {
		var former []string
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				former = append(former, line)
			}
		}
		if forget {
			former = nil
		}
		keys := []string{newSessionKey(), newSessionKey()}
		switch len(former) {
		case 0:
		case 1:
			keys = append(keys, former...)
		default:
			keys[0] = former[1]
			keys = append(append(keys, former[0]), former[2:]...)
		}
		return []byte(strings.Join(keys[:min(len(keys), maxSessionKeys)], "\n") + "\n"), nil
	})
}

// EnsureAccess writes what is missing of the secrets of a system on this machine.
func EnsureAccess(dir string) error {
	_, err := EnsureUsers(dir)
	errs := []error{err, ensureAdminToken(dir)}
	for name, value := range map[string]func() string{
		SummaryToken: rand.Text, ConnectorToken: rand.Text, MetricsToken: access.NewToken, SessionKey: NewSessionKeys,
	} {
		_, err := Ensure(dir, name, value)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// EnsureUsers writes a users file if the folder has none: the user admin, whose password
// is the secret admin-password, and the machine prometheus, whose token is metrics-token.
// It reports whether it has written one.
func EnsureUsers(dir string) (made bool, err error) {
	if text, err := read(dir, UsersFile); err != nil || text != "" {
		return false, err
	}
	password, err1 := Ensure(dir, AdminPassword, rand.Text)
	token, err2 := Ensure(dir, MetricsToken, access.NewToken)
	if err := errors.Join(err1, err2); err != nil {
		return false, err
	}
	err = Edit(filepath.Join(dir, UsersFile), func(text []byte) ([]byte, error) {
		if len(bytes.TrimSpace(text)) > 0 { // another process was first
			return text, nil
		}
		made = true
		text, err := access.AddUser(nil, access.NewUser{Name: admin, Role: access.Admin, Password: password})
		if err != nil {
			return nil, err
		}
		return access.AddUser(text, access.NewUser{Name: prometheus, Role: access.Machine, Token: token})
	})
	return made, err
}

// ensureAdminToken gives the user admin of the folder's users file the token of the secret
// admin-token. If admin has another token, or is no admin, the file stays as it is.
func ensureAdminToken(dir string) error {
	token, err := Ensure(dir, AdminToken, access.NewToken)
	if err != nil {
		return err
	}
	return Edit(filepath.Join(dir, UsersFile), func(text []byte) ([]byte, error) {
		users, err := access.ParseUsers(text)
		if err != nil {
			return nil, err
		}
		switch user := users.Find(admin); {
		case users.FindToken(token) != nil:
			return text, nil
		case user == nil:
			return access.AddUser(text, access.NewUser{Name: admin, Role: access.Admin, Token: token})
		case user.HasToken() || user.Role != access.Admin:
			return text, nil
		}
		return access.SetToken(text, admin, token)
	})
}
