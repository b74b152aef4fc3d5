package summary

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"parkstream/shared/access"
	"parkstream/shared/audit"
	"parkstream/shared/httpjson"
	"parkstream/shared/model"
	"parkstream/shared/parking"
)

// maxActivation is enough for a version and an instant.
const maxActivation = 4 << 10

// models lists the models of a site and when each is valid.
func (h handler) models(w http.ResponseWriter, r *http.Request) {
	h.withSite(w, r, func(site string) (any, error) { return h.Models.List(r.Context(), site) })
}

// model responds with the document of a model.
func (h handler) model(w http.ResponseWriter, r *http.Request) {
	h.withSite(w, r, func(site string) (any, error) {
		version := r.PathValue("version")
		if err := model.CheckVersion(version); err != nil {
			return nil, err
		}
		return h.Models.Model(r.Context(), site, version)
	})
}

// keepModel keeps the model of the body. It is not valid for any exit by that.
func (h handler) keepModel(w http.ResponseWriter, r *http.Request) {
	h.withSite(w, r, func(site string) (any, error) {
		body, err := readBody(r)
		if err != nil {
			return nil, parking.Invalid("read the request: %v", err)
		}
		m, err := parking.ParseModel(body)
		if err != nil {
			return nil, err
		}
		if version := r.PathValue("version"); m.Version != version {
			return nil, parking.Invalid("the model has the version %.80q, and the path %.80q", m.Version, version)
		}
		return h.changeModels(r.Context(), site, "keep "+m.Version, func(ctx context.Context, by string) (model.List, error) {
			return h.Models.Keep(ctx, site, m, by)
		})
	})
}

// activateModel makes a model valid from an instant on.
func (h handler) activateModel(w http.ResponseWriter, r *http.Request) {
	h.withSite(w, r, func(site string) (any, error) {
		dryRun, err := dryRunParam.choice(r.URL.Query())
		if err != nil {
			return nil, err
		}
		body, err := readBody(r)
		if err != nil {
			return nil, parking.Invalid("read the request: %v", err)
		}
		var wanted struct {
			Version string             `json:"version"`
			From    *parking.Timestamp `json:"from"`
		}
		if err := cmp.Or(json.Unmarshal(body, &wanted), model.CheckVersion(wanted.Version)); err != nil {
			return nil, parking.Invalid(`want {"version": ..., "from": ...} with a version that the site has or "default", and an instant or null for now: %v`, err)
		}
		from, when := time.Time{}, "now"
		if wanted.From != nil {
			from = time.Time(*wanted.From)
			when = from.UTC().Format(time.RFC3339)
		}
		activate := func(ctx context.Context, by string) (model.List, error) {
			return h.Models.Activate(ctx, site, wanted.Version, from, by, dryRun == "1")
		}
		if dryRun == "1" {
			return activate(r.Context(), access.From(r.Context()).Name)
		}
		return h.changeModels(r.Context(), site, fmt.Sprintf("valid from %s: %s", when, wanted.Version), activate)
	})
}

// dropModel removes a model that is not needed any more.
func (h handler) dropModel(w http.ResponseWriter, r *http.Request) {
	h.withSite(w, r, func(site string) (any, error) {
		version := r.PathValue("version")
		if err := model.CheckVersion(version); err != nil {
			return nil, err
		}
		return h.changeModels(r.Context(), site, "drop "+version, func(ctx context.Context, _ string) (model.List, error) {
			return h.Models.Drop(ctx, site, version)
		})
	})
}

// changeModels makes a change of the models of a site, which the audit has.
func (h handler) changeModels(ctx context.Context, site, what string, do func(ctx context.Context, by string) (model.List, error)) (model.List, error) {
	e := entry(ctx, audit.Configure, site)
	e.Object = "model: " + what
	var list model.List
	err := h.Audit.Do(ctx, e, func(ctx context.Context) (_ audit.Change, err error) {
		list, err = do(ctx, e.Who)
		return audit.Change{}, err
	})
	return list, err
}

// withSite responds with what an act returns for the site in the path.
func (h handler) withSite(w http.ResponseWriter, r *http.Request, act func(site string) (any, error)) {
	site := r.PathValue("site")
	var answer any
	err := parking.CheckSite(site)
	if err == nil {
		answer, err = act(site)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, answer)
}
