package summary

import (
	"context"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/time/rate"

	"parkstream/shared/access"
	"parkstream/shared/access/session"
	"parkstream/shared/audit"
	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
)

// Login is how people log in.
type Login struct {
	Sessions *session.Sessions
	// Provider is where people log in beside the users file; nil: there is none.
	Provider Provider

	// refused bounds the log lines of logins and logouts that do not succeed: anyone can
	// cause them.
	refused *rate.Sometimes
}

func newRefused() *rate.Sometimes { return &rate.Sometimes{First: 20, Interval: 10 * time.Second} }

// Provider logs people in and sends them back to us.
type Provider interface {
	// Available returns the reason why no one can log in there now, or nil. Its error may
	// have a method Detail() string with a public text.
	Available(ctx context.Context) error
	// Begin returns the address at which a person logs in, and what Complete needs when
	// the browser comes back.
	Begin(ctx context.Context) (address, kept string, err error)
	Complete(ctx context.Context, kept string, query url.Values) (session.Identity, error)
	// Path is that of the function as browsers see it.
	Path() string
}

// maxLogin is the maximum number of bytes in the body of a login.
const maxLogin = 4 << 10

// Refusals of people who could log in otherwise.
var (
	errNoKey = &access.Refusal{
		Status: http.StatusServiceUnavailable, RetryAfter: 30 * time.Second,
		Reason: "no one can log in here: put a key into the secret session-key (parkstream secrets rotate session-key)",
	}
	errNoSession = &access.Refusal{Status: http.StatusServiceUnavailable, RetryAfter: 5 * time.Second, Reason: "no session can begin now: try again"}
	errNotEnded  = &access.Refusal{Status: http.StatusServiceUnavailable, RetryAfter: 5 * time.Second, Reason: "the session could not be ended: try again"}
	errNoneThere = &access.Refusal{Status: http.StatusNotFound, Reason: "there is no login provider: set OIDC_ISSUER"}
)

func (h handler) login(w http.ResponseWriter, r *http.Request) {
	var given struct {
		Name     string `json:"name"`
		Password string `json:"password"`
	}
	// The error would quote the body.
	if err := json.UnmarshalRead(r.Body, &given, json.RejectUnknownMembers(true)); err != nil || given.Name == "" || given.Password == "" {
		h.fail(w, r, parking.Invalid(`the body has to be {"name":"...","password":"..."}`))
		return
	}
	if err := h.Login.Sessions.Available(r.Context()); err != nil { // before the password is looked at
		h.fail(w, r, errNoKey)
		return
	}
	p, err := h.Access.Login(r, given.Name, given.Password)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if err := h.record(r, p, audit.Login, ""); err != nil {
		h.fail(w, r, err)
		return
	}
	if err := h.Login.Sessions.Begin(w, r, p.Name); err != nil {
		h.Log.ErrorContext(r.Context(), "no session can begin", "error", err)
		h.fail(w, r, errNoSession)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// record puts what a principal does into the audit.
func (h handler) record(r *http.Request, p access.Principal, a audit.Action, object string) error {
	p.Address = h.Access.Address(r)
	e := audit.By(p, a)
	e.Object, e.Outcome = object, audit.Done
	return h.Audit.Add(r.Context(), e)
}

func (h handler) logout(w http.ResponseWriter, r *http.Request) {
	p, err := h.Access.Identify(r)
	if _, refused := errors.AsType[*access.Refusal](err); err == nil || refused {
		err = h.Login.Sessions.End(w, r)
	}
	if err != nil {
		h.Login.refused.Do(func() { h.Log.ErrorContext(r.Context(), "a session could not be ended", "error", err) })
		h.fail(w, r, errNotEnded)
		return
	}
	if p.Via == access.ViaSession {
		if err := h.record(r, p, audit.Logout, ""); err != nil { // it takes rights away, so it is done all the same
			h.Log.ErrorContext(r.Context(), "a logout is not in the audit", "error", err)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// ways are the ways in which a person can log in now.
type ways struct {
	Error       string            `json:"error,omitzero"` // that the caller did not
	Open        bool              `json:"open"`
	Login       []string          `json:"login"`
	Unavailable map[string]string `json:"unavailable,omitzero"`
}

// Names of the ways.
const (
	byPassword = "password"
	byProvider = "oidc"
)

func (h handler) ways(ctx context.Context) ways {
	all := ways{Open: h.Access.Open(), Login: []string{}}
	if err := h.Login.Sessions.Available(ctx); err != nil {
		return all
	}
	if h.Access.HasPasswords() {
		all.Login = append(all.Login, byPassword)
	}
	if h.Login.Provider == nil {
		return all
	}
	if err := h.Login.Provider.Available(ctx); err != nil {
		reason := "the login provider is unavailable"
		if detailed, ok := errors.AsType[interface {
			error
			Detail() string
		}](err); ok {
			reason = detailed.Detail()
		}
		all.Unavailable = map[string]string{byProvider: reason}
		return all
	}
	all.Login = append(all.Login, byProvider)
	return all
}

// me responds with who the caller is and what it may do, or with how to log in.
func (h handler) me(w http.ResponseWriter, r *http.Request) {
	p, err := h.Access.Identify(r)
	if err != nil {
		refusal, ok := errors.AsType[*access.Refusal](err)
		if !ok || refusal.Status != http.StatusUnauthorized {
			h.Access.Refuse(w, r, err)
			return
		}
		access.Challenge(w, r)
		all := h.ways(r.Context())
		all.Error = refusal.Reason
		httpjson.Write(w, http.StatusUnauthorized, all)
		return
	}
	h.Login.Sessions.Renew(w, r.WithContext(access.NewContext(r.Context(), p)))
	rights := []string{}
	for _, right := range p.Rights() {
		rights = append(rights, right.String())
	}
	httpjson.Write(w, http.StatusOK, struct {
		Name   string      `json:"name"`
		Role   access.Role `json:"role"`
		Sites  *[]string   `json:"sites"` // null: all
		Plates bool        `json:"plates"`
		Rights []string    `json:"rights"`
		ways
	}{p.Name, p.Role, sitesOrNull(p.Sites), p.May(access.ReadPlates), rights, h.ways(r.Context())})
}

func sitesOrNull(s access.Sites) *[]string {
	if s.All() {
		return nil
	}
	names := s.Names()
	return &names
}

// depart sends a person to the provider.
func (h handler) depart(w http.ResponseWriter, r *http.Request) {
	if h.Login.Provider == nil {
		h.comeBack(w, r, errNoneThere)
		return
	}
	// The page of another site must not begin a login.
	if err := h.Access.CheckOrigin(r); err != nil {
		h.comeBack(w, r, err)
		return
	}
	address, kept, err := h.Login.Provider.Begin(r.Context())
	if err == nil {
		err = h.Login.Sessions.Depart(w, r, kept)
	}
	if err != nil {
		h.comeBack(w, r, err)
		return
	}
	w.Header().Set("Location", address)
	w.WriteHeader(http.StatusSeeOther)
}

// arrive logs in a person whom the provider sends back.
func (h handler) arrive(w http.ResponseWriter, r *http.Request) {
	if h.Login.Provider == nil {
		h.comeBack(w, r, errNoneThere)
		return
	}
	id, kept, ok, err := h.Login.Sessions.Return(w, r)
	if err == nil && !ok {
		err = access.Forbidden("this login was not begun in this browser, or took more than " + session.FlowTimeout.String() + ": log in again")
	}
	if err != nil {
		h.comeBack(w, r, err)
		return
	}
	err = h.complete(w, r, id, kept)
	if refusal, ok := errors.AsType[*access.Refusal](err); ok && refusal.Status == http.StatusForbidden {
		h.Audit.Refused(r.Context(), access.Principal{Via: byProvider, Address: h.Access.Address(r)})
	}
	h.comeBack(w, r, err)
}

// complete begins the session of a person who comes back from the provider.
func (h handler) complete(w http.ResponseWriter, r *http.Request, id, kept string) error {
	person, err := h.Login.Provider.Complete(r.Context(), kept, r.URL.Query())
	if err != nil {
		return err
	}
	switch first, err := h.Login.Sessions.Once(r.Context(), id); {
	case err != nil:
		return err
	case !first:
		return access.Forbidden("this login was completed before: log in again")
	}
	role, _, _ := h.Login.Sessions.Grant(person.Groups)
	if err := h.record(r, access.Principal{Name: person.Name, Role: role, Via: byProvider}, audit.Login, person.Subject); err != nil {
		return err
	}
	err = h.Login.Sessions.BeginByGroups(w, r, person, h.Login.Provider.Path())
	if errors.Is(err, session.ErrTooLarge) {
		return access.Forbidden("too many of your groups have the same role here: ask the administrator")
	}
	return err
}

// between is the page on the way from the provider to the page. A redirect would not do:
// another site began it, so the browser would not send the session's cookie.
var between = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Parkstream</title>
{{if .}}<h1>You are not logged in</h1>
<p>{{.}}.</p>
<p><a href="../">Back to the page</a></p>
{{else}}<meta http-equiv="refresh" content="0; url=../">
<p>You are logged in. <a href="../">Go on to the page</a></p>
{{end}}</html>
`))

// comeBack responds to a person on the way back from the provider, or to one who could
// not be sent there. A nil error is a login.
func (h handler) comeBack(w http.ResponseWriter, r *http.Request, err error) {
	status, reason := http.StatusOK, ""
	if err != nil {
		refusal, ok := errors.AsType[*access.Refusal](err)
		if !ok {
			refusal = errNoSession
		}
		h.Login.refused.Do(func() { h.Log.WarnContext(r.Context(), "a login at the provider was refused", "error", err) })
		status, reason = refusal.Status, refusal.Reason
		if refusal.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(refusal.RetryAfter.Seconds())))
		}
		if !strings.Contains(r.Header.Get("Accept"), "text/html") {
			httpjson.Error(w, status, reason)
			return
		}
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	header.Set("Referrer-Policy", "no-referrer") // the address has a code
	w.WriteHeader(status)
	_ = between.Execute(w, reason) // fails if the caller has gone
}
