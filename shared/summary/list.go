package summary

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"

	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
	"parkstream/shared/stay"
)

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

// one responds with a stay by its id, from the path or the query.
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
