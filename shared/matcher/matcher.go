// Package matcher matches the reads of sites that the pairing rule leaves alone: on each
// tick of cron it applies [parking.Reads.Match] to the lone reads of the last days, commits
// what is otherwise than it was decided before, and posts the stays.
//
// It has no state of its own. A crash at any place costs a repeated tick: what was
// committed and not posted is found among the decisions, and posted.
package matcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"parkstream/shared/failure"
	"parkstream/shared/parking"
)

// Sites returns the names of the sites with events.
type Sites interface {
	Sites(ctx context.Context) ([]string, error)
}

// Config has the dependencies of a matcher.
type Config struct {
	Sites Sites
	// Turns has the sites one after the other, by one process at a time.
	Turns   *Turns
	Metrics *Metrics
	Log     *slog.Logger
	// Now is the clock.
	Now func() time.Time
	// Site matches the reads of one site.
	Site func(ctx context.Context, site string) (SiteCounts, error)
}

// Matcher matches the reads of sites. It is safe for concurrent use by any number of
// processes.
type Matcher struct {
	Config

	heavy chan struct{} // has an element while a site is worked at
}

// New returns a matcher.
func New(c Config) *Matcher { return &Matcher{c, make(chan struct{}, 1)} }

// enter waits until no site is worked at in this process: the memory of two sites may be more
// than it has. leave ends that.
func (m *Matcher) enter(ctx context.Context) (leave func(), err error) {
	select {
	case m.heavy <- struct{}{}:
		return func() { <-m.heavy }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait until another site is done in this process: %w", ctx.Err())
	}
}

// Counts are what a tick did.
type Counts struct {
	// Sites is the number of sites that were done, Busy that of those in which another tick
	// works, and Left that of those for which there was no time, or that failed.
	Sites int `json:"sites"`
	Busy  int `json:"busy"`
	Left  int `json:"left"`
	// Decided is the number of stays that were decided otherwise than before, Withdrawn that
	// of decisions that are valid no more, and Refused that of decisions that were not made,
	// because what they build on had changed meanwhile.
	Decided   int `json:"decided"`
	Withdrawn int `json:"withdrawn"`
	Refused   int `json:"refused"`
}

// SiteCounts are what a tick did at one site.
type SiteCounts struct {
	// Lone and Exact are the numbers of lone reads and of exact stays that the rule was
	// applied to. LeftOut reports that there are more lone reads: then exits are not matched
	// of which some are left out.
	Lone, Exact int
	LeftOut     bool
	// Crowded is how many of the lone reads are left to persons, because too many are alike.
	Crowded int
	// Decided has the numbers of decisions by method.
	Decided                    map[parking.Method]int
	Withdrawn, Refused, Posted int
	// Unposted is how many stays, and decisions of persons, the summary refused. They are
	// posted again by the next tick.
	Unposted int
	unposted error // of the first one
}

func (c *SiteCounts) decided() (n int) {
	for _, some := range c.Decided {
		n += some
	}
	return n
}

// slowSite is the duration from which a site is worth a line in the log, even if nothing
// changed.
const slowSite = time.Second

// Tick matches the reads of the wanted sites, the one that waits for the longest time first.
// When its context ends the other sites are left to the next tick, which begins with them.
// A failure at one site leaves the others alone, unless it is an outage. The counts are
// valid despite an error.
func (m *Matcher) Tick(ctx context.Context, wanted func(site string) bool) (Counts, error) {
	start := m.Now()
	var total Counts
	sites, err := m.Sites.Sites(ctx)
	if err == nil {
		sites, err = m.Turns.order(ctx, sites, wanted)
	}
	if err != nil {
		err = fmt.Errorf("find the sites whose turn it is: %w", err)
		m.Log.ErrorContext(ctx, "no reads matched", "error", err)
		m.Metrics.ticked(total, nil, false, m.Now())
		return total, failure.In("Redis", err)
	}
	var errs []error
	var done []SiteCounts
	for i, site := range sites {
		if ctx.Err() != nil {
			total.Left += len(sites) - i
			break
		}
		counts, busy, err := m.take(ctx, site)
		total.Withdrawn += counts.Withdrawn
		total.Refused += counts.Refused
		total.Decided += counts.decided()
		switch {
		case busy:
			total.Busy++
		case err == nil:
			total.Sites++
			done = append(done, counts)
		case ctx.Err() != nil:
			total.Left++
		default:
			total.Left++
			errs = append(errs, err)
			if failure.Outage(err) { // it would fail everywhere
				total.Left += len(sites) - i - 1
				err = errors.Join(errs...)
				m.end(ctx, start, total, done, false)
				return total, err
			}
		}
	}
	m.end(ctx, start, total, done, len(errs) == 0)
	return total, errors.Join(errs...)
}

// end counts and logs a tick.
func (m *Matcher) end(ctx context.Context, start time.Time, total Counts, done []SiteCounts, complete bool) {
	now := m.Now()
	m.Metrics.ticked(total, done, complete, now)
	log := m.Log.InfoContext
	if total.Left > 0 {
		log = m.Log.WarnContext
	}
	log(ctx, "reads matched", "sites", total.Sites, "busy", total.Busy, "left", total.Left, "decided", total.Decided,
		"withdrawn", total.Withdrawn, "refused", total.Refused, "took", now.Sub(start))
}

// take matches the reads of a site unless another tick does. It counts and logs that.
func (m *Matcher) take(ctx context.Context, site string) (c SiteCounts, busy bool, err error) {
	leave, err := m.enter(ctx)
	if err != nil {
		return c, false, err
	}
	defer leave()
	release, taken, err := m.Turns.take(ctx, site, m.Now())
	if err != nil {
		m.Log.ErrorContext(ctx, "reads of a site not matched", "site", site, "error", err)
		return c, false, failure.In("Redis", err)
	}
	if !taken {
		m.Log.InfoContext(ctx, "reads of a site are being matched already", "site", site)
		return c, true, nil
	}
	defer release()
	start := m.Now()
	c, err = m.Site(ctx, site)
	took := m.Now().Sub(start)
	m.Metrics.matched(c, took, err)
	if c.Unposted > 0 {
		m.Log.WarnContext(ctx, "stays refused by the summary", "site", site, "unposted", c.Unposted, "error", c.unposted)
	}
	log := m.Log.With("site", site, "lone_reads", c.Lone, "exact_stays", c.Exact, "crowded", c.Crowded, "left_out", c.LeftOut, "decided", c.decided(),
		"withdrawn", c.Withdrawn, "refused", c.Refused, "posted", c.Posted, "took", took)
	switch {
	case err != nil && ctx.Err() != nil:
		log.WarnContext(ctx, "reads of a site not matched: the time of the tick is over", "error", err)
	case err != nil:
		log.ErrorContext(ctx, "reads of a site not matched", "error", err)
	case c.decided()+c.Withdrawn+c.Refused+c.Posted > 0 || c.LeftOut || took > slowSite:
		log.InfoContext(ctx, "reads of a site matched")
	default:
		log.DebugContext(ctx, "reads of a site matched")
	}
	return c, false, err
}
