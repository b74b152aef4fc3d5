package matcher

import (
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"parkstream/shared/parking"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// Source has what was recorded and decided of the events of a site; [timeline.Store] is
// one.
type Source interface {
	Lone(ctx context.Context, site string, from, to time.Time) (lone []parking.Lone, more bool, err error)
	Events(ctx context.Context, site string, ids []string) (map[string]parking.Event, error)
	ExactStays(ctx context.Context, site string, plates []string) (map[string]int, error)
	Corrected(ctx context.Context, site string, from, to time.Time) ([]string, error)
	Rejections(ctx context.Context, site string) ([]timeline.Rejection, error)
	Decisions(ctx context.Context, site string, from time.Time) ([]timeline.Decision, error)
}

// Stays has the stays that were posted; [stay.Store] is one.
type Stays interface {
	Export(ctx context.Context, q stay.Query, yield func([]stay.StoredStay) error) error
}

// Reader reads what the near rule is applied to.
type Reader struct {
	Source Source
	Stays  Stays
}

// Span is what there is of a site from one instant on.
type Span struct {
	parking.Reads

	Rejections []parking.Rejection
	Decisions  []timeline.Decision
	// Complete is the instant from which all lone reads are there. It is later than the
	// start of the span if there are more than [timeline.MaxLone].
	Complete time.Time
	// Matching applies the near rule to the lone reads.
	Matching *parking.Matching
}

// Read returns the reads of a site that were observed from one instant until before
// another. Of the exact stays whose exits were those are there that [parking.Matching.Match]
// may have another result with.
func (r Reader) Read(ctx context.Context, site string, from, to time.Time, models parking.Models) (*Span, error) {
	span := &Span{Complete: from}
	// The decisions come first: one that is made meanwhile is refused then, because it was
	// made already.
	var err error
	if span.Decisions, err = r.Source.Decisions(ctx, site, from); err != nil {
		return nil, err
	}
	rejections, err := r.Source.Rejections(ctx, site)
	if err != nil {
		return nil, err
	}
	span.Rejections = timeline.Valid(rejections)
	lone, more, err := r.Source.Lone(ctx, site, from, to)
	if err != nil {
		return nil, err
	}
	if span.Lone = lone; more {
		span.Complete = completeFrom(lone, to)
	}
	span.Matching = parking.NewMatching(span.Lone, span.Rejections, models)
	span.Exact, err = r.exact(ctx, site, from, to, span)
	return span, err
}

// first returns the first instant, from one on, of exits that can be decided: all reads that
// may have to do with them are there. leftOut reports that it is later.
func (s *Span) first(from time.Time) (first time.Time, leftOut bool) {
	if complete := s.Complete.Add(parking.Horizon); complete.After(from) {
		return complete, true
	}
	return from, false
}

// match returns what a tick at an instant would make of the exits since another by some
// models; see [parking.Matching.Match]. leftOut reports that it would leave out the oldest.
func (r Reader) match(ctx context.Context, site string, from, at time.Time, models parking.Models) (stays []parking.Stay, leftOut bool, err error) {
	span, err := r.Read(ctx, site, from.Add(-parking.Horizon), at.Add(aheadOfNow), models)
	if err != nil {
		return nil, false, err
	}
	from, leftOut = span.first(from)
	stays = slices.DeleteFunc(span.Matching.Match(span.Exact), func(s parking.Stay) bool { return s.ExitTime.Before(from) })
	return stays, leftOut, nil
}

// completeFrom returns the instant from which all lone reads are there, if older ones are left
// out: of the milliseconds that they have, the oldest one may have lost some.
func completeFrom(lone []parking.Lone, to time.Time) time.Time {
	oldest := to
	for i := range lone {
		if at := lone[i].Time; at.Before(oldest) {
			oldest = at
		}
	}
	return oldest.Truncate(time.Millisecond).Add(time.Millisecond)
}

// pairsAtOnce bounds the exact stays whose events are in memory before it is known whether
// they matter: few of them do at a large site.
const pairsAtOnce = 2000

// exact returns the exact stays that matter. Those that were decided to be otherwise are
// posted otherwise, also after a withdrawal that is not posted, so the decisions have their
// entries.
func (r Reader) exact(ctx context.Context, site string, from, to time.Time, span *Span) ([]parking.ExactStay, error) {
	rejected := make(map[parking.Rejection]bool, len(span.Rejections))
	for _, pair := range span.Rejections {
		rejected[pair] = true
	}
	var pairs []parking.Rejection // here: pairs of ids
	for i := range span.Decisions {
		d := &span.Decisions[i]
		entry := d.Exact.ID
		if d.Withdraws() { // it may be posted as it was decided before
			entry = d.Stay.EntryID
		}
		if entry != "" {
			pairs = append(pairs, parking.Rejection{EntryID: entry, ExitID: d.Stay.ID})
		}
	}
	decided := make(map[string]bool, len(pairs))
	for _, pair := range pairs {
		decided[pair.ExitID] = true
	}
	ids, err := r.Source.Corrected(ctx, site, time.Time{}, to)
	if err != nil {
		return nil, err
	}
	corrected := make(map[string]bool, len(ids))
	for _, id := range ids {
		corrected[id] = true
	}
	var exact []parking.ExactStay
	// keep keeps those of the pairs that matter, now that their events are known.
	keep := func() error {
		for some := range slices.Chunk(pairs, pairsAtOnce) {
			ids := make([]string, 0, 2*len(some))
			for _, pair := range some {
				ids = append(ids, pair.EntryID, pair.ExitID)
			}
			events, err := r.Source.Events(ctx, site, ids)
			if err != nil {
				return err
			}
			for _, pair := range some {
				s := parking.ExactStay{Entry: events[pair.EntryID], Exit: events[pair.ExitID]}
				// A stay that was changed meanwhile is no exact one, or another one.
				if s.Entry.Kind != parking.Entry || s.Exit.Kind != parking.Exit || s.Entry.Plate != s.Exit.Plate || s.Entry.Time.After(s.Exit.Time) {
					continue
				}
				certain := rejected[pair] || decided[pair.ExitID] || s.Entry.Corrected() || s.Exit.Corrected()
				if certain || span.Matching.Remain(&s) {
					exact = append(exact, s)
				}
			}
		}
		pairs = pairs[:0]
		return nil
	}
	look := func(page []stay.StoredStay) error {
		for i := range page {
			s := &page[i]
			pair := parking.Rejection{EntryID: s.EntryID, ExitID: s.ID}
			if s.Match != nil && s.Match.Method != parking.Exact && s.Match.Method != parking.Corrected || decided[s.ID] {
				continue
			}
			if rejected[pair] || corrected[s.EntryID] || corrected[s.ID] || span.Matching.Concern(s.ID, s.Plate, s.EntryTime, s.ExitTime) {
				pairs = append(pairs, pair)
			}
		}
		if len(pairs) < pairsAtOnce {
			return nil
		}
		return keep()
	}
	query := stay.Query{Sites: []string{site}, Status: parking.Completed, From: from, To: to}
	err = r.ahead(ctx, query, look)
	if err == nil {
		err = keep()
	}
	if err != nil {
		return nil, err
	}
	plates := make(map[string]bool)
	for i := range exact {
		plates[exact[i].Exit.Plate] = true
	}
	stays, err := r.Source.ExactStays(ctx, site, slices.Collect(maps.Keys(plates)))
	for i := range exact {
		exact[i].Known = stays[exact[i].Exit.Plate] > 1
	}
	return exact, err
}

// ahead calls look with the stays that a query finds, and reads the next ones meanwhile: both
// take long.
func (r Reader) ahead(ctx context.Context, q stay.Query, look func([]stay.StoredStay) error) error {
	pages := make(chan []stay.StoredStay)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(pages)
		return r.Stays.Export(ctx, q, func(page []stay.StoredStay) error {
			select {
			case pages <- page:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	g.Go(func() error {
		for page := range pages {
			if err := look(page); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}
