package summary

import (
	"context"
	"net/http"
	"time"

	"parkstream/shared/access"
	"parkstream/shared/camera/health"
	"parkstream/shared/httpjson"
	"parkstream/shared/timeline"
)

// camerasResponse is how the cameras are that a principal sees.
type camerasResponse struct {
	At      time.Time       `json:"at"`
	Cameras []health.Health `json:"cameras"`
}

func (h handler) cameras(w http.ResponseWriter, r *http.Request) {
	site, err := siteOf(r.URL.Query())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	snapshot, err := h.Cameras.Snapshot(r.Context())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	seen := access.From(r.Context()).Sites
	response := camerasResponse{At: snapshot.At, Cameras: []health.Health{}}
	for i := range snapshot.All {
		if c := &snapshot.All[i]; seen.Has(c.Site) && (site == "" || site == c.Site) {
			response.Cameras = append(response.Cameras, *c)
		}
	}
	httpjson.Write(w, http.StatusOK, response)
}

// siteState is the state of a site, and the doubt about it.
type siteState struct {
	timeline.Site `json:",inline"`
	// Doubtful reports whether the occupancy may be wrong.
	Doubtful      bool `json:"occupancy_doubtful,omitzero"`
	*health.Doubt `json:",inline"`
}

// noOccupancy has null for the occupancy and what follows from it.
type noOccupancy struct {
	Occupancy  *int64 `json:"occupancy"`
	Correction *int64 `json:"correction"`
	Free       *int64 `json:"free"`
}

// doubted returns the state of a site with the doubt about its occupancy, and whether the
// site's configuration has none shown then.
func (h handler) doubted(ctx context.Context, cameras *health.Snapshot, state timeline.Site) (_ siteState, hidden bool, err error) {
	doubt := health.DoubtOf(cameras.Of(state.Site))
	if doubt == nil {
		return siteState{Site: state}, false, nil
	}
	config, err := h.Registry.Site(ctx, state.Site)
	return siteState{Site: state, Doubtful: true, Doubt: doubt}, config.HideDoubtful, err
}
