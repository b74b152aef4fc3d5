package summary

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

const (
	// maxMinutes bounds the time span of one response about minutes.
	maxMinutes = 7 * 24 * 60
	// maxInsideAnywhere bounds the length of the list of vehicles inside over all
	// sites, because each page reads all pages before it.
	maxInsideAnywhere = 1000
)

// overview is the state of all sites now.
type overview[S any] struct {
	At    time.Time `json:"at"`
	Sites []S       `json:"sites"`
}

func (h handler) overview(w http.ResponseWriter, r *http.Request) {
	sites, err := h.sitesOf(r.Context(), "", knownSites{h})
	if err != nil {
		h.fail(w, r, err)
		return
	}
	states, err := h.Sites.States(r.Context(), sites)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	cameras, err := h.Cameras.Snapshot(r.Context())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	response := overview[any]{h.Stays.Now().UTC(), make([]any, len(states))}
	for i := range states {
		doubted, hidden, err := h.doubted(r.Context(), cameras, states[i])
		if err != nil {
			h.fail(w, r, err)
			return
		}
		response.Sites[i] = doubted
		if hidden {
			response.Sites[i] = struct {
				noOccupancy `json:",inline"`
				siteState   `json:",inline"`
			}{siteState: doubted}
		}
	}
	httpjson.Write(w, http.StatusOK, response)
}

// minutesQuery is the query of GET /minutes.
type minutesQuery struct {
	site     string
	from, to time.Time
	step     time.Duration
}

func (h handler) minutesQuery(values url.Values) (q minutesQuery, err error) {
	var errs [2]error
	q.site, errs[0] = siteOf(values)
	q.from, q.to, errs[1] = spanOf(values)
	step, err := stepParam.number(values, 1)
	if err := errors.Join(errs[0], errs[1], err); err != nil {
		return q, err
	}
	q.step = time.Duration(step) * time.Minute
	if q.to.IsZero() {
		q.to = h.Stays.Now()
	}
	if q.from.IsZero() {
		q.from = q.to.Add(-time.Hour)
	}
	// Steps begin at multiples of their length, so their places do not depend on the
	// time.
	q.from = q.from.UTC().Truncate(q.step)
	if span := q.to.Sub(q.from); span < 0 || span > maxMinutes*time.Minute+q.step {
		return q, parking.Invalid("from %s to %s: want a span of at most %d minutes", q.from.Format(time.RFC3339), q.to.Format(time.RFC3339), maxMinutes)
	}
	return q, nil
}

// minutesResponse counts entries and exits by steps.
type minutesResponse struct {
	StepSeconds int64             `json:"step_seconds"`
	Minutes     []timeline.Minute `json:"minutes"`
}

func (h handler) minutes(w http.ResponseWriter, r *http.Request) {
	q, err := h.minutesQuery(r.URL.Query())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	sites, err := h.sitesOf(r.Context(), q.site, h.Sites)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	days := int((q.to.Sub(q.from) + 24*time.Hour - 1) / (24 * time.Hour))
	if err := stay.CheckSiteDays(len(sites), days); err != nil {
		h.fail(w, r, err)
		return
	}
	steps, err := h.Sites.Minutes(r.Context(), sites, q.from, q.to, q.step)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, minutesResponse{int64(q.step / time.Second), steps})
}

func (h handler) insideAnywhere(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	offset, limit, err := insidePage(values, offsetOfAll)
	if err == nil && offset+int64(limit) > maxInsideAnywhere {
		err = parking.Invalid("offset and limit are %d together, at most %d are allowed: ask for one site", offset+int64(limit), maxInsideAnywhere)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	sites, err := h.sitesOf(r.Context(), "", h.Sites)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	vehicles, err := h.Sites.InsideSites(r.Context(), sites, int(offset)+limit)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, map[string][]timeline.InsideSite{"vehicles": maskOf(r.Context()).insideSites(vehicles[min(int(offset), len(vehicles)):])})
}

// insidePage returns the offset and limit of a page of vehicles inside.
func insidePage(values url.Values, from parameter) (offset int64, limit int, err error) {
	most, err1 := limitParam.number(values, defaultLimit)
	offset, err2 := from.number(values, 0)
	return offset, int(most), errors.Join(err1, err2)
}

func (h handler) system(w http.ResponseWriter, r *http.Request) {
	snapshot, err := h.Monitor.Snapshot(r.Context())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, snapshot)
}
