package access

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/crypto/bcrypt"
)

// NewUser describes a user to be added. Password and token are in plain text; empty:
// none.
type NewUser struct {
	Name   string
	Role   Role
	Sites  []string // none: all
	Plates bool     // whole ones, for a viewer

	Password, Token string
}

// AddUser returns a users file with one more user. Like the other edits it refuses a file
// with mistakes and leaves all other lines as they are.
func AddUser(file []byte, u NewUser) ([]byte, error) {
	users, err := ParseUsers(file)
	if err != nil {
		return nil, err
	}
	if users.Find(u.Name) != nil {
		return nil, fmt.Errorf("the user %s exists", u.Name)
	}
	line := userLine{Name: u.Name, Role: u.Role, Plates: u.Plates}
	var errs []error
	if len(u.Sites) > 0 {
		line.Sites, err = json.Marshal(u.Sites)
		errs = append(errs, err)
	}
	if u.Token != "" {
		line.Token, err = hashToken(u.Token)
		errs = append(errs, err)
	}
	if u.Password != "" {
		line.Password = users.decoy // until all else is known to be right
		errs = append(errs, CheckPassword(u.Password))
	}
	text, err := encodeUser(line)
	_, wrong := parseUser(bytes.TrimSpace(text))
	if err := errors.Join(append(append(errs, err), wrong...)...); err != nil {
		return nil, err
	}
	if u.Password != "" {
		if line.Password, err = hashPassword(u.Password); err != nil {
			return nil, err
		}
		if text, err = encodeUser(line); err != nil {
			return nil, err
		}
	}
	changed := slices.Clone(file)
	if len(changed) > 0 && !bytes.HasSuffix(changed, []byte("\n")) {
		changed = append(changed, '\n')
	}
	return checked(append(changed, text...))
}

// noUsers is the file after the removal of its last user. An empty one would count as one
// that is being written, and its users would stay.
const noUsers = "# no users\n"

// RemoveUser returns a users file without a user.
func RemoveUser(file []byte, name string) ([]byte, error) {
	changed, err := editUser(file, name, func(userLine) ([]byte, error) { return nil, nil })
	if err == nil && len(bytes.TrimSpace(changed)) == 0 {
		changed = []byte(noUsers)
	}
	return changed, err
}

// SetPassword returns a users file with another password of a user.
func SetPassword(file []byte, name, password string) ([]byte, error) {
	return editUser(file, name, func(line userLine) (_ []byte, err error) {
		if line.Password, err = hashPassword(password); err != nil {
			return nil, err
		}
		return encodeUser(line)
	})
}

// SetToken returns a users file with another token of a user. The old one is no longer
// valid.
func SetToken(file []byte, name, token string) ([]byte, error) {
	sum, err := hashToken(token)
	if err != nil {
		return nil, err
	}
	return editUser(file, name, func(line userLine) ([]byte, error) {
		line.Token = sum
		return encodeUser(line)
	})
}

// editUser replaces the line of a user.
func editUser(file []byte, name string, edit func(userLine) ([]byte, error)) ([]byte, error) {
	if _, err := ParseUsers(file); err != nil {
		return nil, err
	}
	var changed []byte
	found := false
	for whole := range bytes.Lines(file) {
		var line userLine
		for _, text := range userLines(whole) {
			if err := json.Unmarshal(text, &line); err != nil {
				return nil, explain(err)
			}
		}
		if line.Name != name || name == "" {
			changed = append(changed, whole...)
			continue
		}
		found = true
		edited, err := edit(line)
		if err != nil {
			return nil, err
		}
		changed = append(changed, edited...)
	}
	if !found {
		return nil, fmt.Errorf("there is no user %s", name)
	}
	return checked(changed)
}

func checked(file []byte) ([]byte, error) {
	if _, err := ParseUsers(file); err != nil {
		return nil, err
	}
	return file, nil
}

func encodeUser(line userLine) ([]byte, error) {
	text, err := json.Marshal(line, jsontext.EscapeForHTML(false))
	if err != nil {
		return nil, fmt.Errorf("write the line of a user: %w", err)
	}
	return append(text, '\n'), nil
}

// CheckPassword returns what is wrong with a new password.
func CheckPassword(password string) error {
	if password == "" || len(password) > maxPassword {
		return fmt.Errorf("want a password of 1 to %d bytes", maxPassword)
	}
	return nil
}

func hashPassword(password string) (string, error) {
	if err := CheckPassword(password); err != nil {
		return "", err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcryptCost)
	if err != nil {
		return "", fmt.Errorf("hash the password: %w", err)
	}
	return string(hash), nil
}

// NewToken returns a token that cannot be guessed.
func NewToken() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	return hex.EncodeToString(raw[:])
}

// minToken is the least length of a token: the file has its SHA-256, which is fast to
// compute, and a short one could be guessed from it.
const minToken = 20

// hashToken returns a token as a users file has it.
func hashToken(token string) (string, error) {
	if len(token) < minToken {
		return "", fmt.Errorf("want a token of at least %d bytes", minToken)
	}
	sum := sha256.Sum256([]byte(token))
	return tokenPrefix + hex.EncodeToString(sum[:]), nil
}
