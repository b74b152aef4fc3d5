// Package session keeps people logged in: a signed cookie names the user, and what the
// user may do is looked up at each request. ADR 51 has the reasons.
package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"parkstream/shared/access"
)

const (
	// maxIdle is how long a session lasts after its last request.
	maxIdle = 12 * time.Hour
	// maxAge is how long a session lasts at most.
	maxAge = 7 * 24 * time.Hour
	// maxAgeByGroups is maxAge of a user of the provider: what the provider changes of
	// a user is seen at the next login only.
	maxAgeByGroups = 12 * time.Hour
	// FlowTimeout is how long a login at the provider may take.
	FlowTimeout = 10 * time.Minute

	// renewAfter is the age of a cookie from which a request gets a new one.
	renewAfter = 5 * time.Minute
	// skew is how much the clocks of replicas may differ.
	skew = 5 * time.Minute

	// Names of cookies.
	sessionCookie = "parkstream_session"
	flowCookie    = "parkstream_oidc"

	// maxCookies bounds the cookies of one name that a request has: a browser sends one
	// for each path.
	maxCookies = 4
)

// Ended is the list of the sessions that have ended by a logout.
type Ended interface {
	// End puts an id on the list until a time. first reports whether it was not there.
	End(ctx context.Context, id string, until time.Time) (first bool, err error)
	Has(ctx context.Context, id string) (bool, error)
}

// Config has the dependencies of sessions.
type Config struct {
	// Keys returns the secret session-key.
	Keys func() (string, error)
	// User returns the user of the users file as it is now; nil if there is none.
	User func(name string) *access.User
	// Grant returns what groups of the provider may do now; nil if there is no provider.
	Grant func(groups []string) (role access.Role, sites access.Sites, ok bool)
	Ended Ended
	// HTTPS: browsers reach the function by https only.
	HTTPS bool
	Log   *slog.Logger
}

// Sessions makes sessions and finds them in requests.
type Sessions struct {
	Config
	keys keys
}

// New returns sessions that are signed with the keys of the configuration.
func New(c Config) *Sessions { return &Sessions{Config: c} }

// state is what a cookie holds. It is signed and not encrypted.
type state struct {
	// ID is what a logout puts on the list.
	ID   string `json:"id"`
	Name string `json:"name"`
	// User is the fingerprint of a user of the users file; empty: one of the provider.
	User string `json:"user,omitempty"`
	// Groups of a user of the provider that gave it a role.
	Groups []string `json:"groups,omitempty"`
	// Started and Seen are the times of the login and of the request that got this
	// cookie, in seconds since 1970.
	Started int64 `json:"started"`
	Seen    int64 `json:"seen"`
}

// expires returns when the session ends if no other request comes.
func (s *state) expires() time.Time {
	most := maxAge
	if s.User == "" {
		most = maxAgeByGroups
	}
	idle, end := time.Unix(s.Seen, 0).Add(maxIdle), time.Unix(s.Started, 0).Add(most)
	if end.Before(idle) {
		return end
	}
	return idle
}

// Available returns the reason why there can be no sessions, or nil.
func (s *Sessions) Available(context.Context) error {
	_, err := s.codecs()
	return err
}

// Identify returns the principal of a request's session. ok is false if the request has
// no session, or one that has ended. It is an identifier of [access.Guard].
func (s *Sessions) Identify(r *http.Request) (p access.Principal, ok bool, err error) {
	_, p, ok, err = s.find(r)
	return p, ok, err
}

// find returns the first session of a request that has not ended, and its principal.
func (s *Sessions) find(r *http.Request) (found *state, p access.Principal, ok bool, err error) {
	all, err := s.read(r)
	for i := range all {
		p, ok := s.principal(&all[i])
		if !ok {
			continue
		}
		ended, err := s.Ended.Has(r.Context(), all[i].ID)
		if err != nil {
			return nil, access.Principal{}, false, err
		}
		if !ended {
			return &all[i], p, true, nil
		}
	}
	return nil, access.Principal{}, false, err
}

// read returns the sessions that are signed by one of the keys and not too old.
func (s *Sessions) read(r *http.Request) ([]state, error) {
	cookies := r.CookiesNamed(sessionCookie)
	if len(cookies) == 0 {
		return nil, nil
	}
	codecs, err := s.codecs()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // there never was a session
	}
	if err != nil {
		return nil, err
	}
	var all []state
	for _, cookie := range cookies[:min(len(cookies), maxCookies)] {
		var one state
		if codecs.decode(sessionCookie, cookie.Value, &one) && time.Now().Before(one.expires()) {
			all = append(all, one)
		}
	}
	return all, nil
}

// principal returns what the user of a session may do now. ok is false if the user was
// removed or changed since the login.
func (s *Sessions) principal(one *state) (p access.Principal, ok bool) {
	if one.User != "" {
		user := s.User(one.Name)
		if user == nil || user.Fingerprint() != one.User {
			return access.Principal{}, false
		}
		return user.Principal(access.ViaSession), true
	}
	if s.Grant == nil {
		return access.Principal{}, false
	}
	role, sites, ok := s.Grant(one.Groups)
	return access.Principal{Name: one.Name, Role: role, Sites: sites, Via: access.ViaSession}, ok
}

// errNoUser is the error of a login of a user that is not in the users file.
var errNoUser = errors.New("the users file does not have this user")

// Begin logs a user of the users file in: the response gets the cookie. A session that
// the request has ends.
func (s *Sessions) Begin(w http.ResponseWriter, r *http.Request, name string) error {
	user := s.User(name)
	if user == nil {
		return errNoUser
	}
	return s.begin(w, r, state{Name: name, User: user.Fingerprint()}, "")
}

// Identity is a person as the provider knows it.
type Identity struct {
	// Name is what people call it, and Subject what never changes.
	Name, Subject string
	// Groups are those that give it its role.
	Groups []string
}

// BeginByGroups logs a user of the provider in. path is that of the function as the
// browser sees it: the response is below it.
func (s *Sessions) BeginByGroups(w http.ResponseWriter, r *http.Request, person Identity, path string) error {
	return s.begin(w, r, state{Name: person.Name, Groups: person.Groups}, path)
}

func (s *Sessions) begin(w http.ResponseWriter, r *http.Request, one state, path string) error {
	now := time.Now().Unix()
	one.ID, one.Started, one.Seen = rand.Text(), now, now
	if err := s.endAll(r); err != nil {
		return err
	}
	return s.set(w, r, &one, path)
}

// set writes the cookie of a session. Without a path a browser takes the folder of the
// request's path, which is that of the function for a path of one segment.
func (s *Sessions) set(w http.ResponseWriter, r *http.Request, one *state, path string) error {
	codecs, err := s.codecs()
	if err != nil {
		return err
	}
	value, err := codecs.encode(sessionCookie, one)
	if err != nil {
		return err
	}
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: value, Path: path, MaxAge: seconds(time.Until(one.expires())),
		HttpOnly: true, Secure: s.secure(r), SameSite: http.SameSiteStrictMode,
	})
	return nil
}

func seconds(d time.Duration) int { return int(d / time.Second) }

// secure reports whether a cookie may be sent by https only.
func (s *Sessions) secure(r *http.Request) bool {
	// Of several proxies the first is the one that the browser reaches.
	proto, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	return s.HTTPS || r.TLS != nil || strings.EqualFold(strings.TrimSpace(proto), "https")
}

// Renew gives the response to an admitted request a new cookie if the session's is some
// minutes old.
func (s *Sessions) Renew(w http.ResponseWriter, r *http.Request) {
	p := access.From(r.Context())
	if s == nil || p.Via != access.ViaSession || !folder(r) {
		return
	}
	all, _ := s.read(r) // the request was admitted just now
	for i := range all {
		one := &all[i]
		if one.Name != p.Name || one.User == "" {
			continue
		}
		if time.Since(time.Unix(one.Seen, 0)) >= renewAfter {
			one.Seen = time.Now().Unix()
			if err := s.set(w, r, one, ""); err != nil {
				s.Log.WarnContext(r.Context(), "a session could not be renewed", "error", err)
			}
		}
		return
	}
}

// folder reports whether the folder of a request's path is that of the function: a cookie
// without a path is for that folder.
func folder(r *http.Request) bool {
	name, isRooted := strings.CutPrefix(r.URL.EscapedPath(), "/")
	return isRooted && name != "" && !strings.Contains(name, "/")
}

// End logs out: the sessions of the request end, copies of their cookies too, and the
// response removes the cookie. With an error none of it is certain.
func (s *Sessions) End(w http.ResponseWriter, r *http.Request) error {
	if err := s.endAll(r); err != nil {
		return err
	}
	s.remove(w, r, sessionCookie, http.SameSiteStrictMode)
	return nil
}

func (s *Sessions) endAll(r *http.Request) error {
	all, err := s.read(r)
	for _, one := range all {
		// A cookie that was renewed at the same time may expire later than this one.
		_, endErr := s.Ended.End(r.Context(), one.ID, time.Now().Add(maxIdle+skew))
		err = errors.Join(err, endErr)
	}
	return err
}

func (s *Sessions) remove(w http.ResponseWriter, r *http.Request, name string, mode http.SameSite) {
	http.SetCookie(w, &http.Cookie{Name: name, MaxAge: -1, HttpOnly: true, Secure: s.secure(r), SameSite: mode})
}

// flow is what a browser keeps while its user is at the provider.
type flow struct {
	ID      string `json:"id"`
	Started int64  `json:"started"`
	Login   string `json:"login"`
}

// Depart gives the browser a cookie with what a login at the provider needs when it
// comes back. Strict cookies are not sent then.
func (s *Sessions) Depart(w http.ResponseWriter, r *http.Request, login string) error {
	codecs, err := s.codecs()
	if err != nil {
		return err
	}
	value, err := codecs.encode(flowCookie, flow{ID: rand.Text(), Started: time.Now().Unix(), Login: login})
	if err != nil {
		return fmt.Errorf("begin a login at the provider: %w", err)
	}
	http.SetCookie(w, &http.Cookie{
		Name: flowCookie, Value: value, MaxAge: seconds(FlowTimeout),
		HttpOnly: true, Secure: s.secure(r), SameSite: http.SameSiteLaxMode,
	})
	return nil
}

// Return returns what [Sessions.Depart] kept, and removes it from the browser. ok is
// false if there is nothing, or if it is too old. id is for [Sessions.Once].
func (s *Sessions) Return(w http.ResponseWriter, r *http.Request) (id, login string, ok bool, err error) {
	codecs, err := s.codecs()
	if err != nil {
		return "", "", false, err
	}
	cookies := r.CookiesNamed(flowCookie)
	if len(cookies) == 0 {
		return "", "", false, nil
	}
	s.remove(w, r, flowCookie, http.SameSiteLaxMode)
	for _, cookie := range cookies[:min(len(cookies), maxCookies)] {
		var one flow
		if codecs.decode(flowCookie, cookie.Value, &one) && time.Since(time.Unix(one.Started, 0)) < FlowTimeout {
			return one.ID, one.Login, true, nil
		}
	}
	return "", "", false, nil
}

// Once reports whether a login at the provider is completed for the first time.
func (s *Sessions) Once(ctx context.Context, id string) (first bool, err error) {
	return s.Ended.End(ctx, id, time.Now().Add(FlowTimeout+skew))
}
