package summary

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"

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
	var errs [5]error
	q.Cursor = values.Get("cursor")
	if raw := values.Get("plate"); raw != "" {
		q.Plate, errs[0] = plateOf(raw)
	}
	q.site, errs[1] = siteOf(values)
	status, err := statusParam.choice(values)
	q.Status, errs[2] = parking.Status(status), err
	q.From, q.To, errs[3] = spanOf(values)
	limit, err := limitParam.number(values, defaultLimit)
	q.Limit, errs[4] = int(limit), err
	return q, errors.Join(errs[:]...)
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

func (h handler) listPage(w http.ResponseWriter, r *http.Request, q listQuery) {
	page, err := h.page(r.Context(), q)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, page)
}

// page returns a page of a list.
func (h handler) page(ctx context.Context, q listQuery) (page stay.Page, err error) {
	if q.Sites, err = h.sitesOf(ctx, q.site, h.Stays); err != nil {
		return page, err
	}
	return h.Stays.List(ctx, q.Query)
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
	k, err := h.Stays.Get(r.Context(), sites, id)
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
