package matcher

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"
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
// models; see [parking.Matching.Match]. first is the instant from which it would decide them:
// later than from if it would leave out the oldest.
func (r Reader) match(ctx context.Context, site string, from, at time.Time, models parking.Models) (stays []parking.Stay, first time.Time, err error) {
	span, err := r.Read(ctx, site, from.Add(-parking.Horizon), at.Add(aheadOfNow), models)
	if err != nil {
		return nil, time.Time{}, err
	}
	first, _ = span.first(from)
	stays = slices.DeleteFunc(span.Matching.Match(span.Exact), func(s parking.Stay) bool { return s.ExitTime.Before(first) })
	return stays, first, nil
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

// Bounds of the exact stays whose events are in memory before it is known whether they
// matter: few of them do at a large site.
const (
	mostSifting = 4 // goroutines, and one for the stays that were decided to be otherwise
	pairsAtOnce = 1000
)

// exact returns the exact stays that matter, in no order. Those that were decided to be
// otherwise are posted otherwise, also after a withdrawal that is not posted, so the
// decisions have their entries. Several goroutines sift: at a large site most of a tick's time
// is spent here.
func (r Reader) exact(ctx context.Context, site string, from, to time.Time, span *Span) ([]parking.ExactStay, error) {
	ids, err := r.Source.Corrected(ctx, site, time.Time{}, to)
	if err != nil {
		return nil, err
	}
	s := &sieve{Source: r.Source, site: site, matching: span.Matching, rejected: setOf(span.Rejections), corrected: setOf(ids), decided: make(map[string]bool)}
	var decided []parking.Rejection
	for i := range span.Decisions {
		d := &span.Decisions[i]
		entry := d.Exact.ID
		if d.Withdraws() { // it may be posted as it was decided before
			entry = d.Stay.EntryID
		}
		if entry != "" {
			decided = append(decided, parking.Rejection{EntryID: entry, ExitID: d.Stay.ID})
			s.decided[d.Stay.ID] = true
		}
	}
	if err := s.fill(ctx, r.Stays, from, to, decided); err != nil {
		return nil, err
	}
	plates := make(map[string]bool)
	for i := range s.kept {
		plates[s.kept[i].Exit.Plate] = true
	}
	stays, err := r.Source.ExactStays(ctx, site, slices.Collect(maps.Keys(plates)))
	for i := range s.kept {
		s.kept[i].Known = stays[s.kept[i].Exit.Plate] > 1
	}
	return s.kept, err
}

// sieve keeps the exact stays that matter. Its methods are safe for concurrent use.
type sieve struct {
	Source

	site     string
	matching *parking.Matching
	rejected map[parking.Rejection]bool
	// corrected has events, and decided exits, by id.
	corrected, decided map[string]bool

	mutex sync.Mutex
	kept  []parking.ExactStay
}

// fill keeps what matters of the posted stays with exits from one instant until before another,
// and of the decided pairs.
func (s *sieve) fill(ctx context.Context, stays Stays, from, to time.Time, decided []parking.Rejection) error {
	pages := make(chan []stay.StoredStay)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(pages)
		query := stay.Query{Sites: []string{s.site}, Status: parking.Completed, From: from, To: to}
		return stays.Export(ctx, query, func(page []stay.StoredStay) error {
			select {
			case pages <- page:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	g.Go(func() error { return s.keep(ctx, decided) })
	for range min(runtime.GOMAXPROCS(0), mostSifting) {
		g.Go(func() error { return s.sift(ctx, pages) })
	}
	return g.Wait()
}

// sift keeps those of posted stays that matter.
func (s *sieve) sift(ctx context.Context, pages <-chan []stay.StoredStay) error {
	var pairs []parking.Rejection // here: pairs of ids
	for page := range pages {
		for i := range page {
			if s.mayMatter(&page[i]) {
				pairs = append(pairs, parking.Rejection{EntryID: page[i].EntryID, ExitID: page[i].ID})
			}
		}
		if len(pairs) >= pairsAtOnce {
			if err := s.keep(ctx, pairs); err != nil {
				return err
			}
			pairs = pairs[:0]
		}
	}
	return s.keep(ctx, pairs)
}

// mayMatter reports whether a posted stay may matter, as far as that is known without its
// events.
func (s *sieve) mayMatter(k *stay.StoredStay) bool {
	if k.Match != nil && k.Match.Method != parking.Exact && k.Match.Method != parking.Corrected || s.decided[k.ID] {
		return false
	}
	return s.rejected[parking.Rejection{EntryID: k.EntryID, ExitID: k.ID}] || s.corrected[k.EntryID] || s.corrected[k.ID] ||
		s.matching.Concern(k.ID, k.Plate, k.EntryTime, k.ExitTime)
}

// keep keeps those of some pairs that matter, now that their events are known.
func (s *sieve) keep(ctx context.Context, pairs []parking.Rejection) error {
	for some := range slices.Chunk(pairs, pairsAtOnce) {
		ids := make([]string, 0, 2*len(some))
		for _, pair := range some {
			ids = append(ids, pair.EntryID, pair.ExitID)
		}
		events, err := s.Events(ctx, s.site, ids)
		if err != nil {
			return err
		}
		for _, pair := range some {
			exact := parking.ExactStay{Entry: events[pair.EntryID], Exit: events[pair.ExitID]}
			// A stay that was changed meanwhile is no exact one, or another one.
			if exact.Entry.Kind != parking.Entry || exact.Exit.Kind != parking.Exit || exact.Entry.Plate != exact.Exit.Plate || exact.Entry.Time.After(exact.Exit.Time) {
				continue
			}
			certain := s.rejected[pair] || s.decided[pair.ExitID] || exact.Entry.Corrected() || exact.Exit.Corrected()
			if certain || s.matching.Remain(&exact) {
				s.mutex.Lock()
				s.kept = append(s.kept, exact)
				s.mutex.Unlock()
			}
		}
	}
	return nil
}

func setOf[T comparable](of []T) map[T]bool {
	set := make(map[T]bool, len(of))
	for _, x := range of {
		set[x] = true
	}
	return set
}
