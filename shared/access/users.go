package access

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/crypto/bcrypt"

	"parkstream/shared/parking"
)

// Bounds of a users file.
const (
	maxUsers      = 10_000
	maxUsersBytes = 4 << 20
	// maxMistakes bounds the mistakes that an error lists.
	maxMistakes = 20
	// bcryptCost is the cost of a new password; maxCost that of any, which takes
	// a second.
	bcryptCost = 10
	maxCost    = 14
	// maxPassword is what bcrypt takes into account, in bytes.
	maxPassword = 72
)

// User is one line of a users file.
type User struct {
	Name   string
	Role   Role
	Sites  Sites
	Plates bool // whole ones, for a viewer

	line     digest // of the whole line
	password string // bcrypt; empty: none
	token    digest
	hasToken bool
}

// Fingerprint returns a text that changes with everything in the user's line.
func (u *User) Fingerprint() string { return hex.EncodeToString(u.line[:16]) }

// HasPassword reports whether the user can log in with a password.
func (u *User) HasPassword() bool { return u.password != "" }

// HasToken reports whether the user has a bearer token.
func (u *User) HasToken() bool { return u.hasToken }

// Principal returns the user as one who came in some way.
func (u *User) Principal(via string) Principal {
	return Principal{Name: u.Name, Role: u.Role, Sites: u.Sites, Plates: u.Plates, Via: via}
}

// digest is a SHA-256.
type digest [sha256.Size]byte

// Users are those of a users file.
type Users struct {
	all     []*User
	byName  map[string]*User
	byToken map[digest]*User
	// passwords: a user has one.
	passwords bool
	cost      int    // the highest of the passwords' hashes
	decoy     string // a password's hash that nothing matches, of that cost
}

// All returns the users in the order of the file.
func (u *Users) All() []*User { return u.all }

// Find returns the user of a name, or nil.
func (u *Users) Find(name string) *User { return u.byName[name] }

// FindToken returns the user of a token, or nil.
func (u *Users) FindToken(token string) *User { return u.byToken[sha256.Sum256([]byte(token))] }

// userLine is a line as it is written. An absent member is left out.
type userLine struct {
	Name     string         `json:"name"`
	Role     Role           `json:"role"`
	Sites    jsontext.Value `json:"sites,omitzero"`
	Plates   bool           `json:"plates,omitzero"`
	Password string         `json:"password,omitzero"`
	Token    string         `json:"token,omitzero"`
}

// ParseUsers parses a users file: one JSON object a line; blank lines and lines that
// begin with # do not count. Its error lists the mistakes, each with its line. It has
// nothing of a password or token.
func ParseUsers(text []byte) (*Users, error) {
	if len(text) > maxUsersBytes {
		return nil, fmt.Errorf("users: the file has %d bytes, want at most %d", len(text), maxUsersBytes)
	}
	users := &Users{byName: make(map[string]*User), byToken: make(map[digest]*User)}
	lines := make(map[*User]int)
	cost := 0
	var mistakes mistakes
	for number, text := range userLines(text) {
		user, errs := parseUser(text)
		if user == nil || len(errs) > 0 {
			mistakes.add(number, errs...)
			continue
		}
		if first := users.byName[user.Name]; first != nil {
			mistakes.add(number, fmt.Errorf("the name %q is that of line %d", user.Name, lines[first]))
			continue
		}
		if first := users.byToken[user.token]; user.hasToken && first != nil {
			mistakes.add(number, fmt.Errorf("the token is that of line %d", lines[first]))
			continue
		}
		if len(users.all) == maxUsers {
			mistakes.add(number, fmt.Errorf("there are more than %d users", maxUsers))
			break
		}
		users.all, users.byName[user.Name], lines[user] = append(users.all, user), user, number
		if user.hasToken {
			users.byToken[user.token] = user
		}
		if user.HasPassword() {
			costs, _ := bcrypt.Cost([]byte(user.password)) // was parsed
			cost = max(cost, costs)
			users.passwords = true
		}
	}
	users.cost = cmp.Or(cost, bcryptCost)
	users.decoy = decoyOf(users.cost)
	return users, mistakes.err()
}

// userLines returns the lines with a user, by their numbers from 1.
func userLines(text []byte) func(yield func(int, []byte) bool) {
	return func(yield func(int, []byte) bool) {
		number := 0
		for line := range bytes.Lines(text) {
			number++
			if number == 1 {
				line = bytes.TrimPrefix(line, []byte("\ufeff")) // as some editors write it
			}
			if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
				continue
			}
			if !yield(number, line) {
				return
			}
		}
	}
}

type mistakes struct {
	errs []error
	more int
}

func (m *mistakes) add(line int, errs ...error) {
	for _, err := range errs {
		if len(m.errs) == maxMistakes {
			m.more++
			continue
		}
		m.errs = append(m.errs, fmt.Errorf("users: line %d: %w", line, err))
	}
}

func (m *mistakes) err() error {
	if m.more > 0 {
		m.errs = append(m.errs, fmt.Errorf("users: and %d more mistakes", m.more))
	}
	return errors.Join(m.errs...)
}

// userName matches the names of users. A colon would end the name in Basic credentials.
var userName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$`)

func checkUserName(name string) error {
	if !userName.MatchString(name) {
		return errors.New("name: want 1 to 64 ASCII letters, digits and . _ @ + -, the first a letter or digit")
	}
	return nil
}

// parseUser returns the user of a line, or every mistake in it.
func parseUser(text []byte) (*User, []error) {
	var line userLine
	if err := json.Unmarshal(text, &line, json.RejectUnknownMembers(true)); err != nil {
		return nil, []error{explain(err)}
	}
	user := &User{Name: line.Name, Role: line.Role, Plates: line.Plates, password: line.Password, line: sha256.Sum256(text)}
	var errs []error
	mistake := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	mistake(checkUserName(line.Name))
	if _, known := roleRights[line.Role]; !known || line.Role == Open {
		mistake(errors.New("role: want viewer, operator, admin or machine"))
	}
	var err error
	user.Sites, err = parseSites(line.Sites)
	mistake(err)
	if line.Plates && line.Role != Viewer {
		mistake(errors.New("plates: this is for viewers; the other roles do not need it"))
	}
	if line.Password != "" {
		mistake(checkHash(line.Password))
		if line.Role == Machine {
			mistake(errors.New("password: a machine has a token only"))
		}
	}
	if line.Token != "" {
		user.token, err = parseToken(line.Token)
		user.hasToken = true
		mistake(err)
	}
	if line.Password == "" && line.Token == "" {
		mistake(errors.New("neither password nor token is given"))
	}
	return user, errs
}

func parseSites(value jsontext.Value) (Sites, error) {
	if value == nil {
		return AllSites(), nil
	}
	var names []string
	if value.Kind() != '[' || json.Unmarshal(value, &names) != nil {
		return Sites{}, errors.New(`sites: want an array of texts such as ["north","south"], or ["*"] for all`)
	}
	switch {
	case len(names) == 0:
		return Sites{}, errors.New("sites: the list is empty; leave it out for all sites")
	case len(names) == 1 && names[0] == "*":
		return AllSites(), nil
	}
	for _, name := range names {
		if err := parking.CheckSite(name); err != nil {
			return Sites{}, fmt.Errorf("sites: %w", err)
		}
	}
	return SitesOf(names...), nil
}

// hashForm matches bcrypt hashes, with the cost.
var hashForm = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)

func checkHash(hash string) error {
	if hashForm.MatchString(hash) {
		if cost, err := bcrypt.Cost([]byte(hash)); err == nil && cost <= maxCost {
			return nil
		}
	}
	return fmt.Errorf("password: want a bcrypt hash of at most cost %d, as parkstream users passwd writes it", maxCost)
}

const tokenPrefix = "sha256:"

func parseToken(text string) (d digest, err error) {
	sum, ok := strings.CutPrefix(text, tokenPrefix)
	raw, err := hex.DecodeString(sum)
	if !ok || err != nil || len(raw) != len(d) {
		return d, errors.New("token: want sha256: and 64 hexadecimal digits, as parkstream users add writes it")
	}
	return digest(raw), nil
}

// explain returns an error of package json without any value of the line.
func explain(err error) error {
	wrong, semantic := errors.AsType[*json.SemanticError](err)
	if !semantic {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return errors.New("a member is given twice")
		}
		return errors.New("this is not a JSON object on one line")
	}
	switch member := strings.TrimPrefix(string(wrong.JSONPointer), "/"); {
	case errors.Is(err, json.ErrUnknownName):
		return fmt.Errorf("%q is not known, want name, role, sites, plates, password or token", member)
	case member == "":
		return errors.New("this is not a JSON object on one line")
	case member == "plates":
		return errors.New("plates: want true or false")
	default:
		return fmt.Errorf("%s: want a text", member)
	}
}
