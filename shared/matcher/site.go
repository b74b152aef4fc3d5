package matcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"parkstream/shared/failure"
	"parkstream/shared/parking"
	"parkstream/shared/review"
	"parkstream/shared/timeline"
)

// Store has what was recorded, and commits decisions; [timeline.Store] is one.
type Store interface {
	Source
	Decide(ctx context.Context, site string, changes []timeline.Change) ([]timeline.Decided, error)
	Posted(ctx context.Context, site string, stays []parking.Stay) error
}

// Poster posts stays to the summary. If Post returns nil all of them are durable there.
type Poster interface {
	Post(ctx context.Context, stays []parking.Stay) error
}

// SiteMatcher matches the reads of one site at a time.
type SiteMatcher struct {
	Store     Store
	Stays     Stays
	Summaries Poster
	// Models returns the models of a site, and Settle how long after an exit its stay is
	// decided.
	Models func(ctx context.Context, site string) (parking.Models, error)
	Settle func(ctx context.Context, site string) (time.Duration, error)
	// Repair posts what a person decided and was not posted.
	Repair func(ctx context.Context, site string) (review.Unposted, error)
	// Estimates estimate how many stays are wrong; nil: none are made.
	Estimates *Estimates
	// Window is the time before now in which exits are decided.
	Window time.Duration
	Log    *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// Match applies the near rule to a site, commits what is otherwise than it was decided, and
// posts that, with what an earlier tick committed and did not post. The counts are valid
// despite an error: it returns after what can be done is done.
func (m *SiteMatcher) Match(ctx context.Context, site string) (c SiteCounts, err error) {
	unposted, err := m.Repair(ctx, site)
	if err != nil {
		return c, fmt.Errorf("post what was decided by hand at site %s: %w", site, err)
	}
	c.Unposted, c.unposted = unposted.Decisions, unposted.First
	models, err := m.Models(ctx, site)
	if err != nil {
		return c, failure.In("Redis", fmt.Errorf("read the models of site %s: %w", site, err))
	}
	settle, err := m.Settle(ctx, site)
	if err != nil {
		return c, failure.In("Redis", fmt.Errorf("read how long exits of site %s settle: %w", site, err))
	}
	now := m.Now()
	from := now.Add(-m.Window)
	// A camera's clock may be ahead.
	span, err := Reader{m.Store, m.Stays}.Read(ctx, site, from.Add(-parking.Horizon), now.Add(aheadOfNow), models)
	if err != nil {
		return c, failure.In("Redis", err)
	}
	stays := span.Matching.Match(span.Exact)
	c.Lone, c.Exact, c.Crowded = len(span.Lone), len(span.Exact), span.Matching.Crowded
	span.Matching = nil // an estimate has one of its own
	from, c.LeftOut = span.first(from)
	todo, err := compare(span, stays, from, now.Add(-settle))
	if err != nil {
		return c, err
	}
	c.Decided = make(map[parking.Method]int)
	var errs []error
	for _, batch := range batches(todo) {
		err := m.commit(ctx, site, batch, &c)
		if err != nil {
			errs = append(errs, err)
		}
		if err != nil && (ctx.Err() != nil || failure.Outage(err)) {
			break
		}
	}
	if m.Estimates != nil && len(errs) == 0 {
		m.Estimates.update(ctx, site, span, models)
	}
	return c, errors.Join(errs...)
}

// aheadOfNow is more than MAX_FUTURE of the processors may be.
const aheadOfNow = 25 * time.Hour

// commit decides a batch and posts its stays. A crash after the decision, or a summary that
// is unavailable, leaves decisions that are not posted: the next tick posts them.
func (m *SiteMatcher) commit(ctx context.Context, site string, batch []work, c *SiteCounts) error {
	var changes []timeline.Change
	var post []parking.Stay
	for i := range batch {
		if w := &batch[i]; w.postOnly {
			post = append(post, w.Stay)
		} else {
			changes = append(changes, w.Change)
		}
	}
	decided, err := m.Store.Decide(ctx, site, changes)
	if err != nil {
		return failure.In("Redis", err)
	}
	for i := range decided {
		d := &decided[i]
		switch {
		case d.Refused != "":
			c.Refused++
			m.Log.DebugContext(ctx, "a decision was refused", "site", site, "reason", d.Refused)
			continue
		case d.Withdraws():
			c.Withdrawn++
		default:
			c.Decided[d.Stay.Method()]++
		}
		post = append(post, d.Stay)
	}
	return m.post(ctx, site, post, c)
}

// post posts stays in one call and notes that. If the summary refuses some, it posts the
// others in halves: those are left to the next tick.
func (m *SiteMatcher) post(ctx context.Context, site string, stays []parking.Stay, c *SiteCounts) error {
	if len(stays) == 0 {
		return nil
	}
	err := m.Summaries.Post(ctx, stays)
	if refused(err) && len(stays) > 1 {
		half := len(stays) / 2
		if err := m.post(ctx, site, stays[:half], c); err != nil {
			return err
		}
		return m.post(ctx, site, stays[half:], c)
	}
	if err != nil {
		err = fmt.Errorf("post %d stays of site %s to the summary: %w", len(stays), site, err)
	}
	if refused(err) {
		c.Unposted++
		c.unposted = cmp.Or(c.unposted, err)
		return nil
	}
	if err != nil {
		return failure.In("the summary", err)
	}
	c.Posted += len(stays)
	if err := m.Store.Posted(ctx, site, stays); err != nil {
		return failure.In("Redis", err)
	}
	return nil
}

// refused reports whether the summary will never accept at least one of the stays.
func refused(err error) bool {
	r, ok := errors.AsType[interface {
		error
		Refused() bool
	}](err)
	return ok && r.Refused()
}
