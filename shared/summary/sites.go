package summary

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"parkstream/shared/audit"
	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
	"parkstream/shared/site"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

func (h handler) sites(w http.ResponseWriter, r *http.Request) {
	sites, err := h.sitesOf(r.Context(), "", knownSites{h})
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, map[string][]string{"sites": append([]string{}, sites...)})
}

// siteResponse is the state of a site with today's stays, and its configuration if it
// has one.
type siteResponse struct {
	siteState  `json:",inline"`
	StaysToday stay.Counts `json:"stays_today"`
	Config     *site.Site  `json:"config"`
}

func (h handler) site(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("site")
	if err := parking.CheckSite(id); err != nil {
		h.fail(w, r, err)
		return
	}
	state, err := h.Sites.Site(r.Context(), id)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	today := h.Stays.Now().UTC()
	stats, err := h.Stays.Stats(r.Context(), []string{id}, today, time.Time{})
	if err != nil {
		h.fail(w, r, err)
		return
	}
	config, configured, err := h.Registry.Find(r.Context(), id)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	cameras, err := h.Cameras.Snapshot(r.Context())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	doubted, hidden, err := h.doubted(r.Context(), cameras, state)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	response := siteResponse{siteState: doubted, StaysToday: stats.Counts}
	if configured {
		response.Config = &config
	}
	if hidden {
		httpjson.Write(w, http.StatusOK, struct {
			noOccupancy  `json:",inline"`
			siteResponse `json:",inline"`
		}{siteResponse: response})
		return
	}
	httpjson.Write(w, http.StatusOK, response)
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
	httpjson.Write(w, http.StatusOK, map[string][]timeline.Inside{"vehicles": maskOf(r.Context()).inside(vehicles)})
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
	httpjson.Write(w, http.StatusOK, map[string][]timeline.Correction{"corrections": maskOf(r.Context()).corrections(list)})
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
	var c timeline.Correction
	e := entry(r.Context(), audit.Correct, site)
	e.Object = fmt.Sprintf("counted %d", *body.Counted)
	err = h.Audit.Do(r.Context(), e, func(ctx context.Context) (audit.Change, error) {
		if c, err = h.Sites.CorrectOccupancy(ctx, site, *body.Counted, body.Reason); err != nil {
			return audit.Change{}, err
		}
		return audit.Change{Before: strconv.FormatInt(c.Was, 10), After: strconv.FormatInt(c.Counted, 10)}, nil
	})
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.Log.InfoContext(r.Context(), "occupancy corrected", "site", site, "was", c.Was, "counted", c.Counted) // not the reason: people write plates into it
	httpjson.Write(w, http.StatusCreated, c)
}
