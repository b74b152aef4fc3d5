package learn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"parkstream/shared/access"
	"parkstream/shared/failure"
	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
)

const (
	defaultDays = 14
	// atOnce bounds the models that a process makes at a time: each takes a processor and
	// the memory of a tick.
	atOnce = 1
	// timeout is for what the caller hears of a site that takes too long. It is below the
	// time of a call (exec_timeout).
	timeout = 50 * time.Second
)

// Handler serves
//
//	POST /learn?site=north&days=14&margin=350
//
//	200 a [Report]
//	400, 403 {"error":"..."}
//	429 {"error":"..."} while another model is made
//	503 {"error":"..."}
//
// It changes nothing.
func Handler(l *Learner, log *slog.Logger) http.Handler {
	return &endpoint{l, log, make(chan struct{}, atOnce)}
}

type endpoint struct {
	*Learner
	log   *slog.Logger
	turns chan struct{}
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		httpjson.Error(w, http.StatusMethodNotAllowed, "use POST, this makes a model")
		return
	}
	q, err := requestOf(r.URL.RawQuery)
	if err != nil {
		httpjson.Error(w, http.StatusBadRequest, err.Error())
		return
	}
	if p := access.From(r.Context()); !p.May(access.Administer) || !p.Sites.Has(q.Site) {
		httpjson.Error(w, http.StatusForbidden, "this login may not have a model made of that site")
		return
	}
	select {
	case e.turns <- struct{}{}:
		defer func() { <-e.turns }()
	default:
		w.Header().Set("Retry-After", "30")
		httpjson.Error(w, http.StatusTooManyRequests, "another model is being made: try again in half a minute")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	start := time.Now()
	report, err := e.Learn(ctx, q)
	switch {
	case errors.Is(err, parking.ErrInvalid):
		httpjson.Error(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil:
		e.log.WarnContext(ctx, "no model made: it takes too long", "site", q.Site, "days", q.Days, "error", err)
		httpjson.Error(w, http.StatusServiceUnavailable, fmt.Sprintf("%d days of the site take more than %s: ask for fewer days", q.Days, timeout))
	case err != nil:
		e.log.ErrorContext(ctx, "no model made", "site", q.Site, "days", q.Days, "error", err)
		w.Header().Set("Retry-After", "5")
		httpjson.Error(w, http.StatusServiceUnavailable, failure.Told(err))
	default:
		e.log.InfoContext(ctx, "model made", "site", q.Site, "days", q.Days, "version", report.Model.Version, "exact_stays", report.Learnt.Exact,
			"near_stays", report.Learnt.Near, "took", time.Since(start))
		httpjson.Write(w, http.StatusOK, report)
	}
}

// requestOf parses the query of a request.
func requestOf(text string) (q Request, err error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return q, parking.Invalid("read the query: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains([]string{"site", "days", "margin"}, name) {
			return q, parking.Invalid("unknown parameter %.40q: want site, days, margin", name)
		}
		if len(values[name]) > 1 {
			return q, parking.Invalid("parameter %q is given %d times, want once", name, len(values[name]))
		}
	}
	q = Request{Site: values.Get("site"), Days: defaultDays}
	if err := parking.CheckSite(q.Site); err != nil {
		return q, err
	}
	number := func(name string, most int, to *int) error {
		if !values.Has(name) {
			return nil
		}
		n, err := strconv.Atoi(values.Get(name))
		if err != nil || n < 1 || n > most {
			return parking.Invalid("%s is %.40q, want a number from 1 to %d", name, values.Get(name), most)
		}
		*to = n
		return nil
	}
	margin := 0
	err = errors.Join(number("days", MaxDays, &q.Days), number("margin", maxMargin, &margin))
	q.Margin = parking.Weight(margin) //nolint:gosec // at most maxMargin
	return q, err
}

// maxMargin bounds the margin of a request: at e^-20 nothing is matched.
const maxMargin = 2000
