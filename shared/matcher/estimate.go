package matcher

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/stay"
)

const (
	// estimateEvery is how often it is estimated how many near stays of a site are wrong.
	estimateEvery = time.Hour
	// estimateKept is how long an estimate counts: another process may have the site then.
	estimateKept = 3 * time.Hour
	// sampleSize bounds the exact stays whose entries are hidden, and sampleOf is of how many
	// of the newest one is: all together would look like each other.
	sampleSize, sampleOf = 500, 4
	// sampleSpan is how old they are at most.
	sampleSpan = 7 * 24 * time.Hour
)

// Estimates estimate now and then how many near stays of the sites are wrong.
type Estimates struct {
	Source  Source
	Stays   Stays
	Metrics *Metrics
	Log     *slog.Logger
	Now     func() time.Time

	mu sync.Mutex
	of map[string]estimated // by site
}

type estimated struct {
	at time.Time
	parking.Estimate
}

// update makes an estimate of a site, if the last one is old. It costs as much as a tick of
// the site. What fails is logged: an estimate is no work that has to be done.
func (e *Estimates) update(ctx context.Context, site string, span *Span, models parking.Models) {
	now := e.Now()
	if !e.due(site, now) {
		return
	}
	sample, err := e.sample(ctx, site, now)
	if err != nil {
		e.Log.WarnContext(ctx, "near stays of a site not estimated", "site", site, "error", err)
		return
	}
	of := parking.EstimateNear(&span.Reads, sample, span.Rejections, models)
	e.Log.InfoContext(ctx, "near stays of a site estimated", "site", site, "hidden", of.Hidden, "wrong", of.Wrong, "near", of.Near,
		"unmatched", of.Unmatched, "wrong_near", of.WrongNear(), "took", e.Now().Sub(now))
	e.keep(site, estimated{now, of})
}

// due reports whether the estimate of a site is old.
func (e *Estimates) due(site string, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	last, found := e.of[site]
	return !found || now.Sub(last.at).Abs() >= estimateEvery
}

// keep keeps an estimate, forgets old ones, and sets the metrics to the sums.
func (e *Estimates) keep(site string, of estimated) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of == nil {
		e.of = make(map[string]estimated)
	}
	e.of[site] = of
	var hidden, near int
	var wrong float64
	for name, one := range e.of {
		if of.at.Sub(one.at).Abs() > estimateKept {
			delete(e.of, name)
			continue
		}
		hidden += one.Hidden
		near += one.Near
		wrong += one.WrongNear()
	}
	e.Metrics.estimated(hidden, near, wrong)
}

// errEnough ends the reading of stays.
var errEnough = errors.New("enough")

// sample returns some of the newest exact stays of a site that nothing disputes.
func (e *Estimates) sample(ctx context.Context, site string, now time.Time) ([]parking.ExactStay, error) {
	var stays []parking.Stay
	q := stay.Query{Sites: []string{site}, Status: parking.Completed, From: now.Add(-sampleSpan), To: now}
	err := e.Stays.Export(ctx, q, func(page []stay.StoredStay) error {
		for i := range page {
			s := &page[i].Stay
			if s.Method() != parking.Exact || s.Disputed || !sampled(s.ID) {
				continue
			}
			if stays = append(stays, *s); len(stays) == sampleSize {
				return errEnough
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	ids := make([]string, 0, 2*len(stays))
	for i := range stays {
		ids = append(ids, stays[i].EntryID, stays[i].ID)
	}
	events, err := e.Source.Events(ctx, site, ids)
	if err != nil {
		return nil, err
	}
	var sample []parking.ExactStay
	for i := range stays {
		entry, exit := events[stays[i].EntryID], events[stays[i].ID]
		if entry.Plate == exit.Plate && entry.Kind == parking.Entry && exit.Kind == parking.Exit {
			sample = append(sample, parking.ExactStay{Entry: entry, Exit: exit})
		}
	}
	return sample, nil
}

// sampled reports whether a stay is in the sample, which does not depend on the process.
func sampled(id string) bool {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(id))
	return hash.Sum32()%sampleOf == 0
}
