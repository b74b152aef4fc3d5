package summary

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"parkstream/shared/access"
	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
	"parkstream/shared/stay"
)

// listQuery is the query of a list. site is empty if it covers all sites.
type listQuery struct {
	stay.Query
	site string
}

func parseQuery(values url.Values) (q listQuery, err error) {
	var errs [7]error
	q.Cursor = values.Get("cursor")
	if raw := values.Get("plate"); raw != "" {
		q.Plate, errs[0] = plateOf(raw)
	}
	q.site, errs[1] = siteOf(values)
	status, err := statusParam.choice(values)
	q.Status, errs[2] = parking.Status(status), err
	method, err := methodParam.choice(values)
	q.Method, errs[5] = parking.Method(method), err
	disputed, err := disputedParam.choice(values)
	if errs[6] = err; disputed != "" {
		q.Disputed = new(disputed == "1" || disputed == "true")
	}
	q.From, q.To, errs[3] = spanOf(values)
	limit, err := limitParam.number(values, defaultLimit)
	q.Limit, errs[4] = int(limit), err
	return q, errors.Join(errs[:]...)
}

func (h handler) list(w http.ResponseWriter, r *http.Request) { h.listOf(w, r, r.URL.Query()) }

// listOf responds with a list by its parameters, which are in the query or in the body.
func (h handler) listOf(w http.ResponseWriter, r *http.Request, values url.Values) {
	if values.Has(plateParam.name) && !maskOf(r.Context()).whole {
		h.fail(w, r, access.Forbidden("this login may not search by plate"))
		return
	}
	q, err1 := parseQuery(values)
	format, err2 := formatParam.choice(values)
	bom, err3 := bomParam.choice(values)
	err := errors.Join(err1, err2, err3)
	if err == nil {
		q.Cursor, err = h.cursor(r.Context(), q.Cursor)
	}
	if err == nil {
		err = h.recordRead(r.Context(), q, values)
	}
	switch {
	case err != nil:
		h.fail(w, r, err)
	case format == "csv":
		h.csv(w, r, q, values.Has(limitParam.name), bom != "0")
	default:
		h.bounded(w, r, q.site, func(w http.ResponseWriter, r *http.Request) { h.listPage(w, r, q) })
	}
}

func (h handler) listPage(w http.ResponseWriter, r *http.Request, q listQuery) {
	stays, next, err := h.page(r.Context(), q)
	var shown []shownStay
	if err == nil {
		shown, _, err = h.show(r.Context(), stays)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, stayPage{shown, next})
}

// page returns a page of a list, and the cursor of the next one.
func (h handler) page(ctx context.Context, q listQuery) (stays []stay.StoredStay, next string, err error) {
	if q.Sites, err = h.sitesOf(ctx, q.site, h.Stays); err != nil {
		return nil, "", err
	}
	page, err := h.Stays.List(ctx, q.Query)
	if err != nil {
		return nil, "", err
	}
	next, err = h.next(ctx, page.Next)
	return page.Stays, next, err
}

// one responds with a stay by its id, from the path or the query.
func (h handler) one(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	site, err := siteOf(values)
	id := cmp.Or(r.PathValue("id"), values.Get("id"))
	if err := errors.Join(err, parking.CheckID(id)); err != nil {
		h.fail(w, r, err)
		return
	}
	sites, err := h.sitesOf(r.Context(), site, h.Stays)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	k, err := h.get(r.Context(), sites, id)
	var shown []shownStay
	if err == nil {
		shown, _, err = h.show(r.Context(), []stay.StoredStay{k})
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, shown[0])
}

// get returns the stay with an id at one of the sites that the principal may ask for.
func (h handler) get(ctx context.Context, sites []string, id string) (stay.StoredStay, error) {
	k, err := h.Stays.Get(ctx, sites, id)
	found := []stay.StoredStay{k}
	if several, ok := errors.AsType[stay.AmbiguousError](err); ok {
		found = several.Stays
	} else if err != nil {
		return k, err
	}
	switch known := slices.DeleteFunc(found, func(k stay.StoredStay) bool { return !maskOf(ctx).knows(k) }); len(known) {
	case 0:
		return k, stay.ErrNotFound
	case 1:
		return known[0], nil
	default:
		return k, stay.AmbiguousError{Stays: known}
	}
}

func (h handler) stats(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	site, err1 := siteOf(values)
	from, to, err2 := spanOf(values)
	if err := errors.Join(err1, err2); err != nil {
		h.fail(w, r, err)
		return
	}
	sites, err := h.sitesOf(r.Context(), site, h.Stays)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	stats, err := h.Stays.Stats(r.Context(), sites, from, to)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, stats)
}
