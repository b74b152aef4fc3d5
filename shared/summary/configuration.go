package summary

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"parkstream/shared/access"
	"parkstream/shared/audit"
	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
	"parkstream/shared/site"
	"parkstream/shared/timeline"
)

// configuration is what is configured of the sites that a principal sees.
type configuration struct {
	Version string      `json:"version"`
	Sites   []site.Site `json:"sites"`
}

// changed is what a change of the configuration has changed, or would change.
type changed struct {
	Version string   `json:"version"`
	Changes []string `json:"changes"`
}

func (h handler) configuration(w http.ResponseWriter, r *http.Request) {
	sites, version, err := h.Registry.Configuration(r.Context())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	seen := access.From(r.Context()).Sites
	sites = slices.DeleteFunc(sites, func(s site.Site) bool { return !seen.Has(s.ID) })
	httpjson.Write(w, http.StatusOK, configuration{version, sites})
}

// configure changes the sites of a file. Those that it does not have stay as they are,
// unless prune is asked for.
func (h handler) configure(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	dryRun, err1 := dryRunParam.choice(values)
	prune, err2 := pruneParam.choice(values)
	text, err3 := readJSON(r)
	if err := errors.Join(err1, err2, err3); err != nil {
		h.fail(w, r, err)
		return
	}
	file, err := site.Parse(text)
	if err != nil {
		h.fail(w, r, withoutLines(err))
		return
	}
	c := site.Change{Put: file.Sites, Version: values.Get(changeParam.name), DryRun: dryRun == "1"}
	seen := access.From(r.Context()).Sites
	named := make(map[string]bool)
	for _, s := range c.Put {
		if !seen.Has(s.ID) {
			h.fail(w, r, access.ErrSite)
			return
		}
		named[s.ID] = true
	}
	if prune == "1" {
		all, version, err := h.Registry.Configuration(r.Context())
		if err != nil {
			h.fail(w, r, err)
			return
		}
		if c.Version == "" {
			c.Version = version // what is removed was looked up in this one
		}
		for _, s := range all {
			if seen.Has(s.ID) && !named[s.ID] {
				c.Remove = append(c.Remove, s.ID)
			}
		}
	}
	h.change(w, r, "", c)
}

func (h handler) configureSite(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("site")
	if err := parking.CheckSite(id); err != nil {
		h.fail(w, r, err)
		return
	}
	text, err := readJSON(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	s, err := site.ParseSite(id, text)
	if err != nil {
		h.fail(w, r, withoutLines(err))
		return
	}
	h.change(w, r, id, site.Change{Put: []site.Site{s}})
}

func (h handler) removeConfiguration(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("site")
	if err := parking.CheckSite(id); err != nil {
		h.fail(w, r, err)
		return
	}
	h.change(w, r, id, site.Change{Remove: []string{id}})
}

// change makes a change that concerns one site, or several if at is empty.
func (h handler) change(w http.ResponseWriter, r *http.Request, at string, c site.Change) {
	var done changed
	act := func(ctx context.Context) (_ audit.Change, err error) {
		done.Changes, done.Version, err = h.Registry.Apply(ctx, c)
		if done.Changes == nil {
			done.Changes = []string{}
		}
		return audit.Change{After: strings.Join(done.Changes, "; ")}, err
	}
	var err error
	if c.DryRun {
		_, err = act(r.Context())
	} else {
		e := entry(r.Context(), audit.Configure, at)
		var names []string
		for _, s := range c.Put {
			names = append(names, s.ID)
		}
		for _, id := range c.Remove {
			names = append(names, "-"+id)
		}
		e.Object = strings.Join(names, " ")
		err = h.Audit.Do(r.Context(), e, act)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, done)
}

// readJSON returns the body, which is JSON, in the form that YAML contains. It has a value
// a line, so that mistakes come in its order.
func readJSON(r *http.Request) ([]byte, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, parking.Invalid("read the request: %v", err)
	}
	text := jsontext.Value(slices.Clone(body))
	if err := text.Format(jsontext.EscapeForJS(true), jsontext.WithIndent(" ")); err != nil { // JavaScript and YAML know the same line ends
		return nil, parking.Invalid("want JSON: %v", err)
	}
	return text, nil
}

// withoutLines removes the lines of a text that the caller does not have.
func withoutLines(err error) error {
	mistakes, ok := errors.AsType[site.Mistakes](err)
	if !ok {
		return err
	}
	for i := range mistakes {
		mistakes[i].Line = 0
	}
	return mistakes
}

// knownSites lists the sites with events and those with a configuration.
type knownSites struct{ handler }

// Sites implements registry.
func (h knownSites) Sites(ctx context.Context) ([]string, error) {
	names, err := h.handler.Sites.Sites(ctx)
	if err != nil {
		return nil, err
	}
	configured, err := h.Registry.Sites(ctx)
	for _, s := range configured {
		names = append(names, s.ID)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// SettingsOf returns the settings of the states of sites.
func SettingsOf(r *site.Registry) func(context.Context, string) (timeline.Settings, error) {
	return func(ctx context.Context, id string) (timeline.Settings, error) {
		s, err := r.Site(ctx, id)
		return timeline.Settings{Zone: s.Location, Capacity: s.Capacity, LongestStay: s.LongestStay}, err
	}
}
