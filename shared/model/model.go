// Package model keeps the models of sites in Redis: what the near rule knows of the
// cameras, the plates and the stays of a site, and from which instants.
package model

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

const (
	// MaxModels bounds the models that are kept of a site.
	MaxModels = 50
	// MaxPeriods bounds the instants from which one of them is valid.
	MaxPeriods = 100
	// MaxWindow is the longest time in which a matcher decides of exits again.
	MaxWindow = 31 * 24 * time.Hour
	// settledAfter is more than the age of an exit on which a stay depends that the matcher
	// still decides of. A model that was valid only before that can be dropped, and no stay
	// changes.
	settledAfter = MaxWindow + parking.Horizon
	// maxAhead bounds how far in the future a model becomes valid.
	maxAhead = 366 * 24 * time.Hour
	// maxCopies bounds the sites whose models a process has parsed.
	maxCopies = 64
	// changeTries bounds the tries of a change while others change the models of the site.
	changeTries = 20
	maxByBytes  = 128
)

// Default is the version under which the default model is valid, whatever its own version
// in this release.
const Default = "default"

// ErrNotFound is the error of a version that a site does not have.
var ErrNotFound = errors.New("the site has no such model")

// Kept tells of a model that is kept.
type Kept struct {
	Version string    `json:"version"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
	Bytes   int       `json:"bytes"`
}

// Period is an instant from which a model is valid, until that of the next Period.
type Period struct {
	From    time.Time `json:"from"`
	Version string    `json:"version"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
}

// List has the models of a site in the order of their ages, and the periods in the order
// of time. Before the first period the default model is valid.
type List struct {
	Models  []Kept   `json:"models"`
	Periods []Period `json:"periods"`
}

// At returns the version that is valid for an exit observed at t.
func (l List) At(t time.Time) string {
	for _, p := range slices.Backward(l.Periods) {
		if !t.Before(p.From) {
			return p.Version
		}
	}
	return Default
}

// Store keeps the models of all sites. It is safe for concurrent use by any number of
// processes.
type Store struct {
	redis *redis.Client
	now   func() time.Time

	mu     sync.Mutex
	copies map[string]parsed
}

// parsed are the models of a site at one version of its documents.
type parsed struct {
	version string
	models  parking.Models
}

// CheckVersion returns an error for a version that no kept model has.
func CheckVersion(version string) error {
	if parking.CheckSite(version) != nil { // a segment of a path has the same characters
		return parking.Invalid("version %.80q: want 1 to %d ASCII letters, digits, dots, hyphens or underscores", version, parking.MaxSiteBytes)
	}
	return nil
}

// New returns the models in a Redis. The caller closes the client.
func New(client *redis.Client) *Store {
	return &Store{redis: client, now: time.Now, copies: make(map[string]parsed)}
}

// Models returns the models of a site as they are valid now, for [parking.Reads.Match].
// Each call asks Redis whether they are the same still. They are not to be changed. A
// model that this version does not understand is an error: another one in its place would
// decide otherwise.
func (s *Store) Models(ctx context.Context, site string) (parking.Models, error) {
	s.mu.Lock()
	known := s.copies[site]
	s.mu.Unlock()
	documents, version, changed, err := s.documents(site).Read(ctx, known.version)
	if err != nil {
		return nil, err
	}
	if !changed {
		return known.models, nil
	}
	state, err := parse(documents, version)
	if err != nil {
		return nil, fmt.Errorf("models of site %q: %w", site, err)
	}
	models, err := state.models()
	if err != nil {
		return nil, fmt.Errorf("models of site %q: %w", site, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for other := range s.copies {
		if len(s.copies) < maxCopies {
			break
		}
		delete(s.copies, other) // of any site: a next call parses them again
	}
	s.copies[site] = parsed{version, models}
	return models, nil
}

// List returns what is kept of a site.
func (s *Store) List(ctx context.Context, site string) (List, error) {
	state, err := s.read(ctx, site)
	return state.list(), err
}

// Model returns a model of a site. Its From is zero.
func (s *Store) Model(ctx context.Context, site, version string) (*parking.Model, error) {
	if version == Default {
		return parking.DefaultModel(), nil
	}
	state, err := s.read(ctx, site)
	if err != nil {
		return nil, err
	}
	kept, found := state.kept[version]
	if !found {
		return nil, ErrNotFound
	}
	return parking.ParseModel(kept.Model)
}

// Keep keeps a model, which is not valid for any exit by that. If the site has as many as
// it may have, the oldest one is dropped that may be. Keeping the same model again changes
// nothing.
func (s *Store) Keep(ctx context.Context, site string, m *parking.Model, by string) (List, error) {
	return s.change(ctx, site, func(state *state) error { return state.keep(m, by, s.now()) })
}

// Activate makes a model valid for exits observed from an instant on, now if it is zero,
// in place of all that were or will be valid from then on. DryRun changes nothing, and
// tells what there would be.
func (s *Store) Activate(ctx context.Context, site, version string, from time.Time, by string, dryRun bool) (List, error) {
	activate := func(state *state) error { return state.activate(version, from, by, s.now()) }
	if dryRun {
		state, err := s.read(ctx, site)
		if err == nil {
			err = activate(&state)
		}
		return state.list(), err
	}
	return s.change(ctx, site, activate)
}

// Drop removes a model that decides of no stay any more.
func (s *Store) Drop(ctx context.Context, site, version string) (List, error) {
	return s.change(ctx, site, func(state *state) error { return state.drop(version, s.now()) })
}

func (s *Store) documents(site string) redis.Documents {
	return redis.Documents{Client: s.redis, Prefix: redis.ModelsKey(site), What: "the models of a site"}
}

func (s *Store) read(ctx context.Context, site string) (state, error) {
	documents, version, _, err := s.documents(site).Read(ctx, "")
	if err != nil {
		return state{}, err
	}
	return parse(documents, version)
}

// change makes a change of the models of a site, unless it changes nothing.
func (s *Store) change(ctx context.Context, site string, do func(*state) error) (List, error) {
	for range changeTries {
		state, err := s.read(ctx, site)
		if err != nil {
			return List{}, err
		}
		if err := do(&state); err != nil {
			return List{}, err
		}
		if len(state.changes) == 0 {
			return state.list(), nil
		}
		_, changed, err := s.documents(site).Change(ctx, state.version, state.changes...)
		if err != nil {
			return List{}, err
		}
		if changed {
			return state.list(), nil
		}
	}
	return List{}, errors.New("others change the models of the site all the time: try again")
}

// state are the documents of a site. Its methods are pure.
type state struct {
	version string
	kept    map[string]document
	periods []Period
	changes []string // pairs for [redis.Documents.Change]
}

// document is the form in Redis: of a model, or of the periods.
type document struct {
	By      string          `json:"by,omitempty"`
	At      time.Time       `json:"at,omitzero"`
	Version string          `json:"version,omitempty"`
	Model   json.RawMessage `json:"model,omitempty"`
	Periods []Period        `json:"periods,omitempty"`
}

// Names of the documents.
const (
	modelName   = "model:"
	periodsName = "periods"
)

func parse(documents []string, version string) (state, error) {
	s := state{version: version, kept: make(map[string]document)}
	for _, text := range documents {
		var d document
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			return state{}, fmt.Errorf("a document of version %s is not understood: %w", version, err)
		}
		if d.Version == "" {
			s.periods = d.Periods
		} else {
			s.kept[d.Version] = d
		}
	}
	return s, nil
}

// models returns the models of the periods.
func (s *state) models() (parking.Models, error) {
	var models parking.Models
	for _, p := range s.periods {
		m := parking.DefaultModel()
		if p.Version != Default {
			var err error
			if m, err = parking.ParseModel(s.kept[p.Version].Model); err != nil {
				return nil, fmt.Errorf("version %s is not understood: %w", p.Version, err)
			}
		}
		m.From = p.From
		models = append(models, m)
	}
	return models, nil
}

func (s *state) list() List {
	l := List{Models: []Kept{}, Periods: append([]Period{}, s.periods...)}
	for version, d := range s.kept {
		l.Models = append(l.Models, Kept{Version: version, By: d.By, At: d.At, Bytes: len(d.Model)})
	}
	slices.SortFunc(l.Models, func(a, b Kept) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Version, b.Version)) })
	return l
}

func (s *state) keep(m *parking.Model, by string, now time.Time) error {
	if err := m.Check(); err != nil {
		return err
	}
	if err := CheckVersion(m.Version); err != nil {
		return err
	}
	if m.Version == Default || m.Version == parking.DefaultVersion {
		return parking.Invalid("version %q is that of the default model: give the model another one", m.Version)
	}
	kept := *m
	kept.From = time.Time{} // the periods have it
	text, err := json.Marshal(&kept)
	switch before, found := s.kept[m.Version]; {
	case err != nil:
		return parking.Invalid("the model cannot be written: %v", err)
	case len(text) > parking.MaxModel:
		return parking.Invalid("the model has %d bytes, at most %d are allowed", len(text), parking.MaxModel)
	case found && string(before.Model) == string(text):
		return nil
	case found:
		return parking.Invalid("the site has another model of version %q: give this one another version", m.Version)
	}
	for _, oldest := range s.list().Models {
		if len(s.kept) < MaxModels {
			break
		}
		if s.mayDrop(oldest.Version, now) == nil {
			s.remove(oldest.Version)
		}
	}
	if len(s.kept) >= MaxModels {
		return parking.Invalid("the site has %d models, which is all that can be kept, and each is valid for stays that are not settled: wait, or learn less often", MaxModels)
	}
	d := document{By: bounded(by), At: now.UTC().Truncate(time.Millisecond), Version: m.Version, Model: text}
	s.kept[m.Version] = d
	s.write(modelName+m.Version, d)
	return nil
}

func (s *state) activate(version string, from time.Time, by string, now time.Time) error {
	if _, found := s.kept[version]; !found && version != Default {
		return ErrNotFound
	}
	if from.IsZero() {
		from = now
	}
	from = from.UTC().Truncate(time.Millisecond)
	if from.Unix() < 0 || from.After(now.Add(maxAhead)) {
		return parking.Invalid("a model cannot become valid at %s: want 1970 to one year from now", from.Format(time.RFC3339))
	}
	i := len(s.periods)
	for i > 0 && !s.periods[i-1].From.Before(from) {
		i--
	}
	before := Default
	if i > 0 {
		before = s.periods[i-1].Version
	}
	if before == version && i == len(s.periods) {
		return nil
	}
	periods := slices.Clone(s.periods[:i])
	if before != version {
		periods = append(periods, Period{From: from, Version: version, By: bounded(by), At: now.UTC().Truncate(time.Millisecond)})
	}
	for len(periods) > MaxPeriods {
		if now.Sub(periods[1].From) < settledAfter {
			return parking.Invalid("the models of the site were changed %d times in the last %d days, which is all that can be kept of it", MaxPeriods, settledAfter/(24*time.Hour))
		}
		periods = periods[1:]
	}
	s.setPeriods(periods)
	return nil
}

func (s *state) drop(version string, now time.Time) error {
	if _, found := s.kept[version]; !found {
		return ErrNotFound
	}
	if err := s.mayDrop(version, now); err != nil {
		return err
	}
	s.remove(version)
	return nil
}

// mayDrop returns an error if the model is valid for exits that may be decided of.
func (s *state) mayDrop(version string, now time.Time) error {
	for i, p := range s.periods {
		if p.Version != version {
			continue
		}
		if i+1 == len(s.periods) || now.Sub(s.periods[i+1].From) < settledAfter {
			return parking.Invalid("model %q is valid for exits that are not settled for good: it can be dropped %d days after another one became valid",
				version, settledAfter/(24*time.Hour))
		}
	}
	return nil
}

func (s *state) remove(version string) {
	delete(s.kept, version)
	s.changes = append(s.changes, modelName+version, "")
	valid := slices.DeleteFunc(slices.Clone(s.periods), func(p Period) bool { return p.Version == version })
	if len(valid) != len(s.periods) {
		s.setPeriods(valid)
	}
}

func (s *state) setPeriods(periods []Period) {
	s.periods = periods
	s.write(periodsName, document{Periods: periods})
}

func (s *state) write(name string, d document) {
	text, _ := json.Marshal(d) // it has strings, times and a valid document
	s.changes = append(s.changes, name, string(text))
}

// bounded returns a name of at most maxByBytes.
func bounded(by string) string {
	if len(by) > maxByBytes {
		by = strings.ToValidUTF8(by[:maxByBytes], "")
	}
	return by
}
