package summary

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"parkstream/shared/parking"
	"parkstream/shared/store"
)

// SiteStore knows the states of the sites; shared/store is the one on Redis.
type SiteStore interface {
	Sites(ctx context.Context) ([]string, error)
	Site(ctx context.Context, site string) (store.Site, error)
	States(ctx context.Context, sites []string) ([]store.Site, error)
	Minutes(ctx context.Context, sites []string, from, to time.Time, step time.Duration) ([]store.Minute, error)
	InsideSites(ctx context.Context, sites []string, limit int) ([]store.InsideSite, error)
	Inside(ctx context.Context, site string, offset, limit int64) ([]store.Inside, error)
	Corrections(ctx context.Context, site string, limit int64) ([]store.Correction, error)
	CorrectOccupancy(ctx context.Context, site string, counted int64, reason string) (store.Correction, error)
	ErasePlate(ctx context.Context, site, plate string) (store.Erased, error)
}

// Config is what the summary endpoint is made of.
type Config struct {
	Stays *Store
	Sites SiteStore
	// System knows how the other parts are.
	System *System
	// Token returns the secret that writers show.
	Token   func() (string, error)
	Metrics *Metrics
	Log     *slog.Logger

	turns turns
}

// Sizes of answers and of requests.
const (
	defaultLimit = 100
	maxLimit     = 1000
	maxCSVRows   = 100_000
	maxPosted    = 10_000
	// maxCorrection is enough for a count and its reason.
	maxCorrection = 64 << 10
)

// Endpoint is the summary endpoint.
type Endpoint struct {
	http.Handler
	handler handler
	mux     *http.ServeMux
}

// NewHandler serves the summary endpoint; docs/summary-api.md describes it.
func NewHandler(c Config) *Endpoint {
	c.turns = newTurns()
	h := handler{c}
	mux := http.NewServeMux()
	page := newPage()
	mux.HandleFunc("GET /{$}", page.orElse(h.list))
	mux.HandleFunc("GET /page/{file...}", page.asset)
	mux.HandleFunc("POST /{$}", h.authorized(h.put))
	mux.HandleFunc("GET /stats", h.query(h.stats))
	mux.HandleFunc("GET /stays/{id}", h.query(h.one))
	mux.HandleFunc("GET /system", h.system)
	mux.HandleFunc("GET /overview", h.query(h.overview))
	mux.HandleFunc("GET /minutes", h.query(h.minutes))
	mux.HandleFunc("GET /inside", h.query(h.insideAnywhere))
	mux.HandleFunc("GET /sites", h.query(h.sites))
	mux.HandleFunc("GET /sites/{site}", h.site)
	mux.HandleFunc("GET /sites/{site}/inside", h.inside)
	mux.HandleFunc("GET /sites/{site}/occupancy", h.corrections)
	mux.HandleFunc("POST /sites/{site}/occupancy", h.authorized(h.correct))
	mux.HandleFunc("DELETE /plates/{plate}", h.authorized(h.erase))
	return &Endpoint{handler: h, mux: mux, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		// URL.Query drops what it cannot read: an erasure at one site would become
		// one at all sites.
		if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
			answerError(w, http.StatusBadRequest, "read the query: "+err.Error())
			return
		}
		mux.ServeHTTP(w, r)
	})}
}

// Admit decides about a request before its body is read: one that changes something
// shows the secret. It returns how many bytes the body may have; otherwise it has
// written the answer.
func (e *Endpoint) Admit(w http.ResponseWriter, r *http.Request) (maxBody int64, admitted bool) {
	_, pattern := e.mux.Handler(r)
	method, path, _ := strings.Cut(pattern, " ")
	switch {
	case pattern == "" || method == http.MethodGet:
		return 0, true
	case !e.handler.authorize(w, r):
		return 0, false
	case method != http.MethodPost:
		return 0, true
	case path == "/{$}":
		return math.MaxInt64, true
	default:
		return maxCorrection, true
	}
}

type handler struct{ Config }

// authorized lets a request pass that shows the secret.
func (h handler) authorized(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if h.authorize(w, r) {
			next(w, r)
		}
	}
}

// authorize reports whether a request shows the secret, or answers it.
func (h handler) authorize(w http.ResponseWriter, r *http.Request) bool {
	token, err := h.Token()
	if err != nil {
		h.fail(w, r, err)
		return false
	}
	shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	// Digests have one length, so that the comparison tells nothing of the
	// secret's.
	want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(shown))
	if !ok || token == "" || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		w.Header().Set("WWW-Authenticate", `Bearer realm="summary"`)
		answerError(w, http.StatusUnauthorized, "this needs the header Authorization: Bearer with the secret summary-token")
		return false
	}
	return true
}

// fail answers for an error: those that are the caller's are told, all others
// are ours, logged, and worth another try.
func (h handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, parking.ErrInvalid), errors.Is(err, ErrCursor):
		answerError(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, ErrNotFound):
		answerError(w, http.StatusNotFound, err.Error())
	case context.Cause(r.Context()) == errSlow: //nolint:errorlint // it is never wrapped
		h.Log.WarnContext(r.Context(), "query given up", "route", r.Pattern, "after", queryTimeout.String())
		w.Header().Set("Retry-After", "5")
		answerError(w, http.StatusServiceUnavailable, errSlow.Error())
	default:
		h.Log.ErrorContext(r.Context(), "summary failed", "route", r.Pattern, "error", err) // not the path, which may have a plate in it
		w.Header().Set("Retry-After", "5")
		answerError(w, http.StatusServiceUnavailable, "the store of stays cannot be reached now, try again")
	}
}

func answerError(w http.ResponseWriter, status int, reason string) {
	answer(w, status, map[string]string{"error": reason})
}

func answer(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "write the answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

func (h handler) put(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	stays, err := parseStays(r.Body)
	switch {
	case errors.Is(err, errTooMany):
		answerError(w, http.StatusRequestEntityTooLarge, err.Error())
		return
	case err != nil:
		answerError(w, http.StatusBadRequest, err.Error())
		return
	}
	n, err := h.Stays.Put(r.Context(), stays)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.Metrics.put(r.Context(), n, len(stays)-n, time.Since(start))
	h.Log.InfoContext(r.Context(), "stays posted", "stored", n, "ignored", len(stays)-n, "took", time.Since(start))
	answer(w, http.StatusCreated, map[string]int{"stored": n, "ignored": len(stays) - n})
}

var errTooMany = fmt.Errorf("at most %d stays may be posted together", maxPosted)

// parseStays reads an array of stays, and none after the first that is wrong or one
// too many.
func parseStays(body io.Reader) ([]parking.Stay, error) {
	d := jsontext.NewDecoder(body)
	wrong := func(err error) error { return fmt.Errorf("want an array of stays: %w", err) }
	switch begin, err := d.ReadToken(); {
	case err != nil:
		return nil, wrong(err)
	case begin.Kind() != '[':
		return nil, wrong(fmt.Errorf("it is a JSON %s", begin.Kind()))
	}
	stays := []parking.Stay{}
	for d.PeekKind() != ']' {
		if len(stays) == maxPosted {
			return nil, errTooMany
		}
		var public parking.StayJSON
		if err := json.UnmarshalDecode(d, &public); err != nil {
			return nil, wrong(err)
		}
		stay, err := public.Stay()
		if err != nil {
			return nil, wrong(err)
		}
		if err := checkStay(&stay); err != nil {
			return nil, fmt.Errorf("stay %d: %w", len(stays), err)
		}
		stays = append(stays, stay)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, wrong(err)
	}
	switch _, err := d.ReadToken(); {
	case err == nil:
		return nil, wrong(errors.New("something follows at the end"))
	case !errors.Is(err, io.EOF):
		return nil, wrong(err)
	}
	return stays, nil
}

// checkStay says what is wrong with a posted stay.
func checkStay(s *parking.Stay) error {
	_, err := parking.NewEvent(parking.Event{ID: s.ID, Kind: parking.Exit, Site: s.Site, RawPlate: s.Plate, Time: s.ExitTime})
	switch {
	case err != nil:
		return err
	case s.Site == "":
		return parking.Invalid("site is missing")
	case s.ID != s.ExitID:
		return parking.Invalid("id %q is not the exit_id %q", s.ID, s.ExitID)
	case s.Plate != parking.NormalizePlate(s.Plate):
		return parking.Invalid("vehicle_plate is not normalised")
	case s.Revision < 1:
		return parking.Invalid("revision is %d, want 1 or more", s.Revision)
	case s.EntryID == "":
		return nil
	case s.EntryTime.After(s.ExitTime):
		return parking.Invalid("entry_date_time is after exit_date_time")
	}
	_, err = parking.NewEvent(parking.Event{ID: s.EntryID, Kind: parking.Entry, Site: s.Site, RawPlate: s.Plate, Time: s.EntryTime})
	return err
}

// allow says which of a request's query parameters are not known.
func allow(query url.Values, known ...string) error {
	for name, given := range query {
		if !slices.Contains(known, name) {
			return parking.Invalid("unknown parameter %q: want %s", name, strings.Join(known, ", "))
		}
		if len(given) > 1 {
			return parking.Invalid("parameter %q is given %d times, want once", name, len(given))
		}
	}
	return nil
}

func parseQuery(values url.Values) (Query, error) {
	var errs [2]error
	q := Query{Cursor: values.Get("cursor"), Limit: defaultLimit}
	if raw := values.Get("plate"); raw != "" {
		if q.Plate = parking.NormalizePlate(raw); q.Plate == "" {
			return q, parking.Invalid("plate %q has no letter or digit", raw)
		}
	}
	q.Site, errs[0] = siteOf(values)
	switch q.Status = parking.Status(values.Get("status")); q.Status {
	case "", parking.Completed, parking.UnmatchedExit:
	default:
		return q, parking.Invalid("status %q: want %s or %s", q.Status, parking.Completed, parking.UnmatchedExit)
	}
	q.From, q.To, errs[1] = spanOf(values)
	if err := errors.Join(errs[:]...); err != nil {
		return q, err
	}
	if text := values.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxLimit {
			return q, parking.Invalid("limit %q: want a number from 1 to %d", text, maxLimit)
		}
		q.Limit = n
	}
	return q, nil
}

func siteOf(values url.Values) (string, error) {
	site := values.Get("site")
	if site == "" {
		return "", nil
	}
	return site, parking.CheckSite(site)
}

// spanOf reads the bounds of a time range, each of which may be left out.
func spanOf(values url.Values) (from, to time.Time, err error) {
	from, err1 := timeOf(values, "from")
	to, err2 := timeOf(values, "to")
	if err := errors.Join(err1, err2); err != nil {
		return from, to, err
	}
	if !from.IsZero() && !to.IsZero() && to.Before(from) {
		return from, to, parking.Invalid("to %s is before from %s", values.Get("to"), values.Get("from"))
	}
	return from, to, nil
}

func timeOf(values url.Values, name string) (time.Time, error) {
	text := values.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := parking.ParseTime(text)
	if err != nil {
		return t, parking.Invalid("%s %v", name, err)
	}
	return t, nil
}

func (h handler) list(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	err := allow(values, "plate", "site", "status", "from", "to", "limit", "cursor", "format", "bom")
	q, err2 := parseQuery(values)
	if err := errors.Join(err, err2); err != nil {
		h.fail(w, r, err)
		return
	}
	switch format := values.Get("format"); format {
	case "", "json":
		h.query(func(w http.ResponseWriter, r *http.Request) { h.page(w, r, q) })(w, r)
	case "csv":
		h.csv(w, r, q)
	default:
		h.fail(w, r, parking.Invalid("format %q: want json or csv", format))
	}
}

func (h handler) page(w http.ResponseWriter, r *http.Request, q Query) {
	page, err := h.Stays.List(r.Context(), q)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, page)
}

func (h handler) one(w http.ResponseWriter, r *http.Request) {
	site, err := siteOf(r.URL.Query())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	k, err := h.Stays.Get(r.Context(), site, r.PathValue("id"))
	if err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, k)
}

func (h handler) stats(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	site, err1 := siteOf(values)
	from, to, err2 := spanOf(values)
	if err := errors.Join(allow(values, "site", "from", "to"), err1, err2); err != nil {
		h.fail(w, r, err)
		return
	}
	stats, err := h.Stays.Stats(r.Context(), site, from, to)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, stats)
}

func (h handler) sites(w http.ResponseWriter, r *http.Request) {
	sites, err := h.siteOrAll(r.Context(), "")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, map[string][]string{"sites": append([]string{}, sites...)})
}

// siteAnswer is the state of a site with the stays of today.
type siteAnswer struct {
	store.Site `json:",inline"`
	StaysToday Counts `json:"stays_today"`
}

func (h handler) site(w http.ResponseWriter, r *http.Request) {
	site := r.PathValue("site")
	if err := parking.CheckSite(site); err != nil {
		h.fail(w, r, err)
		return
	}
	state, err := h.Sites.Site(r.Context(), site)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	today := h.Stays.now().UTC()
	stats, err := h.Stays.Stats(r.Context(), site, today, time.Time{})
	if err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, siteAnswer{state, stats.Counts})
}

func (h handler) inside(w http.ResponseWriter, r *http.Request) {
	offset, limit, err := insidePage(r.URL.Query())
	site := r.PathValue("site")
	if err := errors.Join(err, parking.CheckSite(site)); err != nil {
		h.fail(w, r, err)
		return
	}
	vehicles, err := h.Sites.Inside(r.Context(), site, offset, int64(limit))
	if err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, map[string][]store.Inside{"vehicles": vehicles})
}

func (h handler) corrections(w http.ResponseWriter, r *http.Request) {
	site := r.PathValue("site")
	if err := parking.CheckSite(site); err != nil {
		h.fail(w, r, err)
		return
	}
	list, err := h.Sites.Corrections(r.Context(), site, defaultLimit)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, map[string][]store.Correction{"corrections": list})
}

func (h handler) correct(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Counted *int64 `json:"counted"`
		Reason  string `json:"reason"`
	}
	site := r.PathValue("site")
	err := json.UnmarshalRead(r.Body, &body)
	switch {
	case err != nil:
		err = parking.Invalid(`want {"counted":12,"reason":"..."}: %v`, err)
	case body.Counted == nil:
		err = parking.Invalid("counted is missing")
	default:
		err = parking.CheckSite(site)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	c, err := h.Sites.CorrectOccupancy(r.Context(), site, *body.Counted, body.Reason)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.Log.InfoContext(r.Context(), "occupancy corrected", "site", site, "was", c.Was, "counted", c.Counted, "reason", c.Reason)
	answer(w, http.StatusCreated, c)
}

// erasure says what was removed of a plate.
type erasure struct {
	Events int64 `json:"events"`
	Stays  int64 `json:"stays"`
	Keys   int64 `json:"keys"`
}

func (h handler) erase(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	site, err := siteOf(values)
	after := values.Get("after")
	plate := parking.NormalizePlate(r.PathValue("plate"))
	if plate == "" {
		err = parking.Invalid("plate %q has no letter or digit", r.PathValue("plate"))
	}
	if err := errors.Join(err, allow(values, "site", "after")); err != nil {
		h.fail(w, r, err)
		return
	}
	sites := []string{site}
	if site == "" {
		if sites, err = h.everySite(r.Context()); err != nil {
			h.fail(w, r, err)
			return
		}
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), queryTimeout, errSlow)
	defer cancel()
	total, done, err := h.eraseAt(ctx, sites, after, plate)
	if context.Cause(ctx) == errSlow { //nolint:errorlint // it is never wrapped
		h.Log.WarnContext(r.Context(), "plate erased at some sites only", "plate", parking.MaskPlate(plate), "events", total.Events, "stays", total.Stays)
		answerError(w, http.StatusServiceUnavailable, fmt.Sprintf(
			"the plate is erased at the sites up to %q, which took all the time there is: ask again with after=%s", done, url.QueryEscape(done)))
		return
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.Log.InfoContext(r.Context(), "plate erased", "plate", parking.MaskPlate(plate), "events", total.Events, "stays", total.Stays)
	answer(w, http.StatusOK, total)
}

// erasedAtOnce is at how many sites a plate is erased at the same time.
const erasedAtOnce = 8

// eraseAt erases a plate at those of the sites, which are sorted, that come after
// one. It returns the last site up to which nothing is left, also with an error.
func (h handler) eraseAt(ctx context.Context, sites []string, after, plate string) (total erasure, done string, err error) {
	begin, found := slices.BinarySearch(sites, after)
	if found {
		begin++
	}
	for some := range slices.Chunk(sites[begin:], erasedAtOnce) {
		erased, errs := make([]erasure, len(some)), make([]error, len(some))
		var wg sync.WaitGroup
		for i, site := range some {
			wg.Go(func() { erased[i], errs[i] = h.eraseAtSite(ctx, site, plate) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return total, after, err
		}
		for _, e := range erased {
			total.Events += e.Events
			total.Keys += e.Keys
			total.Stays += e.Stays
		}
		after = some[len(some)-1]
	}
	return total, after, nil
}

func (h handler) eraseAtSite(ctx context.Context, site, plate string) (erasure, error) {
	erased, err := h.Sites.ErasePlate(ctx, site, plate)
	if err != nil {
		return erasure{}, err
	}
	stays, err := h.Stays.ErasePlate(ctx, site, plate)
	return erasure{Events: erased.Events, Keys: erased.Keys, Stays: stays}, err
}

// everySite lists the sites that have events or stays.
func (h handler) everySite(ctx context.Context) ([]string, error) {
	withEvents, err1 := h.Sites.Sites(ctx)
	withStays, err2 := h.Stays.Sites(ctx)
	sites := slices.Concat(withEvents, withStays)
	slices.Sort(sites)
	return slices.Compact(sites), errors.Join(err1, err2)
}
