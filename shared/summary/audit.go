package summary

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"parkstream/shared/access"
	"parkstream/shared/audit"
	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
)

// auditTable has the fields of an entry, in the order of auditRecord.
var auditTable = table{file: "audit.csv", columns: []string{
	"id", "at", "who", "role", "via", "address", "action", "site", "object", "plate", "before", "after", "outcome", "of",
}}

func auditRecord(e *audit.Entry) []string {
	return []string{
		inert(e.ID), csvTime(e.At), inert(e.Who), inert(e.Role), inert(e.Via), inert(e.Address), inert(string(e.Action)), inert(e.Site),
		inert(e.Object), inert(e.Plate), inert(e.Before), inert(e.After), inert(string(e.Outcome)), inert(e.Of),
	}
}

// actions returns the choices of the parameter action.
func actions() []string {
	var list []string
	for _, a := range audit.Actions() {
		list = append(list, string(a))
	}
	return list
}

// audit responds with entries of the audit, newest first. A principal of some sites sees
// those of its sites.
func (h handler) audit(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	q, err := auditQuery(r.Context(), values)
	format, err1 := formatParam.choice(values)
	bom, err2 := bomParam.choice(values)
	if err := errors.Join(err, err1, err2); err != nil {
		h.fail(w, r, err)
		return
	}
	if format == "csv" && !values.Has(limitParam.name) {
		h.auditDownload(w, r, q, auditTable.head(bom != "0"))
		return
	}
	h.bounded(w, r, values.Get(siteParam.name), func(w http.ResponseWriter, r *http.Request) {
		page, err := h.Audit.List(r.Context(), q)
		switch {
		case err != nil:
			h.fail(w, r, err)
		case format == "csv":
			auditTable.setHeader(w.Header(), page.Next)
			text := []byte(auditTable.head(bom != "0"))
			for i := range page.Entries {
				text = auditTable.append(text, auditRecord(&page.Entries[i]))
			}
			_, _ = w.Write(text)
		default:
			httpjson.Write(w, http.StatusOK, page)
		}
	})
}

func auditQuery(ctx context.Context, values url.Values) (q audit.Query, err error) {
	var errs [5]error
	q.Who, errs[0] = userOf(values)
	action, err := actionParam.choice(values)
	q.Action, errs[1] = audit.Action(action), err
	q.From, q.To, errs[2] = spanOf(values)
	limit, err := limitParam.number(values, defaultLimit)
	q.Limit, errs[3] = int(limit), err
	site, err := siteOf(values)
	errs[4] = err
	q.Cursor = values.Get(entryParam.name)
	switch seen := access.From(ctx).Sites; {
	case site != "":
		q.Sites = []string{site}
	case !seen.All():
		q.Sites = append([]string{}, seen.Names()...) // not nil, which is all
	}
	return q, errors.Join(errs[:]...)
}

// auditDownload streams the entries of a query as CSV.
func (h handler) auditDownload(w http.ResponseWriter, r *http.Request, q audit.Query, head string) {
	leave, ok := h.mayDownload(w, r, true)
	if !ok {
		return
	}
	defer leave()
	var err error
	if q.Last, err = h.Audit.CursorAfter(r.Context(), q, h.bounds.csvRows); err != nil {
		h.fail(w, r, err)
		return
	}
	h.download(w, r, auditTable, head, q.Last, func(ctx context.Context, send func([][]string) error) error {
		return h.Audit.Export(ctx, q, func(entries []audit.Entry) error {
			records := make([][]string, len(entries))
			for i := range entries {
				records[i] = auditRecord(&entries[i])
			}
			return send(records)
		})
	})
}

// entry returns the beginning of an entry about a request at a site; at none if it
// concerns several.
func entry(ctx context.Context, a audit.Action, site string) audit.Entry {
	p := access.From(ctx)
	e := audit.By(p, a)
	e.Site = site
	if names := p.Sites.Names(); site == "" && len(names) == 1 {
		e.Site = names[0]
	}
	return e
}

// recordRead records a search for a plate and a download of whole plates, before they
// are answered.
func (h handler) recordRead(ctx context.Context, q listQuery, values url.Values) error {
	action := audit.Search
	switch {
	case values.Get(formatParam.name) == "csv" && maskOf(ctx).whole:
		action = audit.Download
	case q.Plate == "":
		return nil
	}
	if q.site != "" && !access.From(ctx).Sites.Has(q.site) {
		return access.ErrSite // a refused search is none
	}
	e := entry(ctx, action, q.site)
	e.Plate, e.Outcome = q.Plate, audit.Begun
	filters := make(url.Values)
	for _, p := range []parameter{statusParam, methodParam, disputedParam, fromParam, toParam, limitParam} {
		if values.Has(p.name) {
			filters.Set(p.name, values.Get(p.name))
		}
	}
	e.Object = filters.Encode()
	return h.Audit.Add(ctx, e)
}

// userOf returns the name of a user in a query.
func userOf(values url.Values) (string, error) {
	name := values.Get(whoParam.name)
	if len(name) > maxUserName {
		return "", parking.Invalid("%s has %d bytes, at most %d are possible", whoParam.name, len(name), maxUserName)
	}
	return name, nil
}
