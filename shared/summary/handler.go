package summary

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"parkstream/shared/httpjson"
	"parkstream/shared/monitor"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/stay"
	"parkstream/shared/summary/page"
	"parkstream/shared/timeline"
)

// SiteStore knows the states of the sites; shared/timeline is the one on Redis.
type SiteStore interface {
	Sites(ctx context.Context) ([]string, error)
	Site(ctx context.Context, site string) (timeline.Site, error)
	States(ctx context.Context, sites []string) ([]timeline.Site, error)
	Minutes(ctx context.Context, sites []string, from, to time.Time, step time.Duration) ([]timeline.Minute, error)
	InsideSites(ctx context.Context, sites []string, limit int) ([]timeline.InsideSite, error)
	Inside(ctx context.Context, site string, offset, limit int64) ([]timeline.Inside, error)
	Corrections(ctx context.Context, site string, limit int64) ([]timeline.Correction, error)
	CorrectOccupancy(ctx context.Context, site string, counted int64, reason string) (timeline.Correction, error)
	ErasePlate(ctx context.Context, site, plate string) (timeline.Erased, error)
}

// Config is what the summary endpoint is made of.
type Config struct {
	Stays *stay.Store
	Sites SiteStore
	// Redis has both, and files with what was erased of them.
	Redis *redis.Client
	// Monitor knows how the other parts are.
	Monitor *monitor.Monitor
	// Token returns the secret that writers show.
	Token   func() (string, error)
	Metrics *Metrics
	Log     *slog.Logger

	bounds *bounds
}

// Sizes of answers and of requests.
const (
	defaultLimit = 100
	maxLimit     = 1000
	maxPosted    = 10_000
	// maxCorrection is enough for a count and its reason.
	maxCorrection = 64 << 10
)

// NewHandler serves the summary endpoint; docs/summary-api.md describes it.
func NewHandler(c Config) *Endpoint {
	c.bounds = newBounds()
	h, p := handler{c}, page.New()
	return &Endpoint{handler: h, page: p, routes: h.routes(p)}
}

type handler struct{ Config }

// authorize reports whether a request shows the secret, or answers it.
func (h handler) authorize(w http.ResponseWriter, r *http.Request) bool {
	token, err := h.Token()
	if err != nil {
		h.fail(w, r, err)
		return false
	}
	shown, ok := bearer(r.Header)
	// Digests have one length, so that the comparison tells nothing of the
	// secret's.
	want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(shown))
	if !ok || token == "" || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		w.Header().Set("WWW-Authenticate", `Bearer realm="summary"`)
		reason := "this needs the header Authorization: Bearer with the secret summary-token"
		if r.Method == http.MethodPost { // what faas-cli invoke sends
			reason += "; without it use GET, which reads (faas-cli invoke summary --method GET)"
		}
		httpjson.Error(w, http.StatusUnauthorized, reason)
		return false
	}
	return true
}

// bearer returns the token of the one header Authorization. The scheme's name
// may be in any case (RFC 9110, section 11.1).
func bearer(h http.Header) (token string, ok bool) {
	given := h.Values("Authorization")
	if len(given) != 1 {
		return "", false
	}
	const blanks = " \t"
	text := strings.Trim(given[0], blanks)
	end := strings.IndexAny(text, blanks)
	if end < 0 || !strings.EqualFold(text[:end], "Bearer") {
		return "", false
	}
	return strings.TrimLeft(text[end:], blanks), true
}

// fail answers for an error: those that are the caller's are told, all others
// are ours, logged, and worth another try.
func (h handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	ambiguous, isAmbiguous := errors.AsType[stay.AmbiguousError](err)
	switch {
	case errors.Is(err, parking.ErrInvalid), errors.Is(err, stay.ErrCursor):
		httpjson.Error(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, stay.ErrNotFound):
		httpjson.Error(w, http.StatusNotFound, err.Error())
	case isAmbiguous:
		httpjson.Write(w, http.StatusConflict, map[string]any{"error": ambiguous.Error(), "sites": ambiguous.Sites})
	case context.Cause(r.Context()) == errSlow: //nolint:errorlint // it is never wrapped
		h.Log.WarnContext(r.Context(), "query given up", "route", r.Pattern, "after", queryTimeout.String())
		w.Header().Set("Retry-After", "5")
		httpjson.Error(w, http.StatusServiceUnavailable, errSlow.Error())
	default:
		h.Log.ErrorContext(r.Context(), "summary failed", "route", r.Pattern, "error", err) // not the path, which may have a plate in it
		w.Header().Set("Retry-After", "5")
		httpjson.Error(w, http.StatusServiceUnavailable, "the store of stays cannot be reached now, try again")
	}
}

func (h handler) receive(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	body, err := readBody(r)
	if err != nil {
		httpjson.Error(w, http.StatusBadRequest, "read the request: "+err.Error())
		return
	}
	stays, err := parseStays(body)
	switch {
	case errors.Is(err, errTooMany):
		httpjson.Error(w, http.StatusRequestEntityTooLarge, err.Error())
		return
	case err != nil:
		httpjson.Error(w, http.StatusBadRequest, err.Error())
		return
	}
	if len(stays) == 0 { // a processor asks whether it could post
		httpjson.Write(w, http.StatusCreated, map[string]int{"stored": 0, "ignored": 0})
		return
	}
	n, err := h.Stays.Upsert(r.Context(), stays)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.Metrics.received(r.Context(), n, len(stays)-n, time.Since(start))
	h.Log.InfoContext(r.Context(), "stays posted", "stored", n, "ignored", len(stays)-n, "took", time.Since(start))
	httpjson.Write(w, http.StatusCreated, map[string]int{"stored": n, "ignored": len(stays) - n})
}

// readBody does not copy a body that is in memory already.
func readBody(r *http.Request) ([]byte, error) {
	if whole, ok := r.Body.(interface{ Bytes() []byte }); ok {
		return whole.Bytes(), nil
	}
	return io.ReadAll(r.Body)
}

var errTooMany = fmt.Errorf("at most %d stays may be posted together", maxPosted)

// parseStays reads an array of stays, and none after the first that is wrong or one
// too many.
func parseStays(text []byte) ([]parking.Stay, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(text))
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
		posted, err := public.Stay()
		if err != nil {
			return nil, wrong(err)
		}
		if err := checkStay(&posted); err != nil {
			return nil, fmt.Errorf("stay %d: %w", len(stays), err)
		}
		stays = append(stays, posted)
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

func parseQuery(values url.Values) (stay.Query, error) {
	var errs [5]error
	q := stay.Query{Cursor: values.Get("cursor")}
	if raw := values.Get("plate"); raw != "" {
		q.Plate, errs[0] = plateOf(raw)
	}
	q.Site, errs[1] = siteOf(values)
	status, err := statusParam.choice(values)
	q.Status, errs[2] = parking.Status(status), err
	q.From, q.To, errs[3] = spanOf(values)
	limit, err := limitParam.number(values, defaultLimit)
	q.Limit, errs[4] = int(limit), err
	return q, errors.Join(errs[:]...)
}

func siteOf(values url.Values) (string, error) { return siteParam.site(values) }

func (p parameter) site(values url.Values) (string, error) {
	site := values.Get(p.name)
	if site == "" {
		return "", nil
	}
	return site, parking.CheckSite(site)
}

// spanOf reads the bounds of a time range; a zero one is not given.
func spanOf(values url.Values) (from, to time.Time, err error) {
	from, err1 := timeOf(values, "from")
	to, err2 := timeOf(values, "to")
	if err := errors.Join(err1, err2); err != nil {
		return from, to, err
	}
	hasFrom, hasTo := values.Get("from") != "", values.Get("to") != ""
	if hasFrom && hasTo && to.Before(from) {
		return from, to, parking.Invalid("to %s is before from %s", values.Get("to"), values.Get("from"))
	}
	if hasFrom {
		from = nearest(from)
	}
	if hasTo {
		to = nearest(to)
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

var (
	firstInstant = time.Unix(0, 0).UTC()
	lastInstant  = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)
)

// nearest returns the instant nearest to t within the years that events can
// have: year 1 as a bound selects the same as 1970, and can be told from none.
func nearest(t time.Time) time.Time {
	switch {
	case t.Before(firstInstant):
		return firstInstant
	case t.After(lastInstant):
		return lastInstant
	default:
		return t
	}
}

func (h handler) list(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	q, err1 := parseQuery(values)
	format, err2 := formatParam.choice(values)
	bom, err3 := bomParam.choice(values)
	if err := errors.Join(err1, err2, err3); err != nil {
		h.fail(w, r, err)
		return
	}
	if format == "csv" {
		h.csv(w, r, q, bom != "0")
		return
	}
	h.query(func(w http.ResponseWriter, r *http.Request) { h.listPage(w, r, q) })(w, r)
}

func (h handler) listPage(w http.ResponseWriter, r *http.Request, q stay.Query) {
	page, err := h.Stays.List(r.Context(), q)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, page)
}

// one answers with a stay by its id, from the path or the query.
func (h handler) one(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	site, err := siteOf(values)
	id := cmp.Or(r.PathValue("id"), values.Get("id"))
	if err := errors.Join(err, parking.CheckID(id)); err != nil {
		h.fail(w, r, err)
		return
	}
	k, err := h.Stays.Get(r.Context(), site, id)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, k)
}

func (h handler) stats(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	site, err1 := siteOf(values)
	from, to, err2 := spanOf(values)
	if err := errors.Join(err1, err2); err != nil {
		h.fail(w, r, err)
		return
	}
	stats, err := h.Stays.Stats(r.Context(), site, from, to)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, stats)
}

func (h handler) sites(w http.ResponseWriter, r *http.Request) {
	sites, err := h.siteOrAll(r.Context(), "")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, map[string][]string{"sites": append([]string{}, sites...)})
}

// siteAnswer is the state of a site with the stays of today.
type siteAnswer struct {
	timeline.Site `json:",inline"`
	StaysToday    stay.Counts `json:"stays_today"`
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
	today := h.Stays.Now().UTC()
	stats, err := h.Stays.Stats(r.Context(), site, today, time.Time{})
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, siteAnswer{state, stats.Counts})
}

func (h handler) inside(w http.ResponseWriter, r *http.Request) {
	offset, limit, err := insidePage(r.URL.Query(), offsetParam)
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
	httpjson.Write(w, http.StatusOK, map[string][]timeline.Inside{"vehicles": vehicles})
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
	httpjson.Write(w, http.StatusOK, map[string][]timeline.Correction{"corrections": list})
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
	httpjson.Write(w, http.StatusCreated, c)
}

// erasure says what was removed of a plate.
type erasure struct {
	Events int64 `json:"events"`
	Stays  int64 `json:"stays"`
	Keys   int64 `json:"keys"`
}

func (h handler) erase(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	site, err1 := siteOf(values)
	after, err3 := afterParam.site(values)
	inPath := r.PathValue("plate")
	plate, err2 := plateOf(cmp.Or(inPath, values.Get("plate")))
	err := errors.Join(err1, cmp.Or(certainPlate(inPath), err2), err3)
	if err == nil && site != "" && after != "" {
		err = parking.Invalid("site and after are both given: after goes on with an erasure at all sites")
	}
	if err != nil {
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
	ctx, cancel := context.WithTimeoutCause(r.Context(), h.bounds.timeout, errSlow)
	defer cancel()
	total, done, err := h.eraseAt(ctx, sites, after, plate)
	// Also what was erased before an error is to be in no file.
	err = errors.Join(err, h.Redis.Erased(r.Context()))
	switch {
	case context.Cause(ctx) == errSlow: //nolint:errorlint // it is never wrapped
		h.Log.WarnContext(r.Context(), "plate erased at some sites only", "plate", parking.MaskPlate(plate), "events", total.Events, "stays", total.Stays)
		w.Header().Set("Retry-After", "5")
		httpjson.Error(w, http.StatusServiceUnavailable, goOn(done))
	case err != nil:
		h.fail(w, r, err)
	default:
		h.Log.InfoContext(r.Context(), "plate erased", "plate", parking.MaskPlate(plate), "events", total.Events, "stays", total.Stays)
		httpjson.Write(w, http.StatusOK, total)
	}
}

// goOn says how to complete an erasure that ran out of time after a site.
func goOn(done string) string {
	if done == "" {
		return "the erasure took all the time there is: ask again"
	}
	return fmt.Sprintf("the plate is erased at the sites up to %q, which took all the time there is: ask again with after=%s", done, url.QueryEscape(done))
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
