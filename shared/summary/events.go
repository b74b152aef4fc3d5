package summary

import (
	"cmp"
	"errors"
	"net/http"

	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
	"parkstream/shared/timeline"
)

// event responds with the version of an event that counts, by the id in the path or the
// query.
func (h handler) event(w http.ResponseWriter, r *http.Request) {
	site, id := r.PathValue("site"), cmp.Or(r.PathValue("id"), r.URL.Query().Get("id"))
	if err := errors.Join(parking.CheckSite(site), parking.CheckID(id)); err != nil {
		h.fail(w, r, err)
		return
	}
	e, err := h.Sites.Event(r.Context(), site, id)
	m := maskOf(r.Context())
	if err == nil && !m.knowsEvent(e) {
		err = timeline.ErrNoEvent
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, m.event(e))
}

// noPlatesPage is a part of the list of reads without a plate, newest first.
type noPlatesPage struct {
	Events []parking.Event `json:"events"`
	Next   string          `json:"next"` // empty on the last page
}

// noPlates responds with the events of a site whose plate was not read.
func (h handler) noPlates(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	site := r.PathValue("site")
	limit, err := limitParam.number(values, defaultLimit)
	err = errors.Join(err, parking.CheckSite(site))
	if err == nil {
		err = h.noPlatesOf(w, r, site, values.Get(eventParam.name), int(limit))
	}
	if err != nil {
		h.fail(w, r, err)
	}
}

func (h handler) noPlatesOf(w http.ResponseWriter, r *http.Request, site, cursor string, limit int) error {
	cursor, err := h.cursor(r.Context(), cursor)
	if err != nil {
		return err
	}
	var page noPlatesPage
	if page.Events, page.Next, err = h.Sites.NoPlates(r.Context(), site, limit, cursor); err != nil {
		return err
	}
	if page.Next, err = h.next(r.Context(), page.Next); err != nil {
		return err
	}
	for i := range page.Events {
		page.Events[i] = maskOf(r.Context()).event(page.Events[i])
	}
	httpjson.Write(w, http.StatusOK, page)
	return nil
}
