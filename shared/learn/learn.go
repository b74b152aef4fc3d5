// Package learn makes a model of a site from what is stored of it, and tells what it would
// change. It changes nothing.
package learn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"parkstream/shared/model"
	"parkstream/shared/parking"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

const (
	// MaxDays bounds the days that are learnt from.
	MaxDays = 31
	// maxExact bounds the exact stays of them, the newest.
	maxExact = 200_000
	// mostLooks bounds the exact stays whose events are read for makes and colours.
	mostLooks = 5000
	// maxChanges bounds the changes that are told one by one, the newest.
	maxChanges = 200
)

// Learner makes models.
type Learner struct {
	Stays  *stay.Store
	Events *timeline.Store
	Models *model.Store
	// Match returns what a tick of the matcher at an instant would make of the exits of a site
	// since another, by these models, as [parking.Reads.Match] does. first is the instant from
	// which it would decide them: later than from if it would leave out the oldest.
	Match func(ctx context.Context, site string, from, at time.Time, models parking.Models) (stays []parking.Stay, first time.Time, err error)
	Now   func() time.Time

	looks int // mostLooks, if it is 0
}

// Request is what is to be learnt.
type Request struct {
	Site string
	Days int
	// Margin is that of the model, or 0 for that of the default model.
	Margin parking.Weight
}

// Report is a model and what it would change of the stays that it is learnt from, if it
// were valid for all of them: what the next tick of the matcher makes of those that have
// settled and are in its window.
type Report struct {
	Site   string         `json:"site"`
	From   time.Time      `json:"from"`
	To     time.Time      `json:"to"`
	Learnt parking.Learnt `json:"learnt"`
	// LeftOut reports that there were too many reads or stays: the oldest were left out.
	LeftOut bool           `json:"left_out"`
	Model   *parking.Model `json:"model"`
	// Valid is the version that is valid now.
	Valid string `json:"valid"`
	// Before and After are with the models that are valid, and with the new one.
	Before Totals `json:"before"`
	After  Totals `json:"after"`
	// Changed has the stays that would change, by kind, and Changes the newest of them.
	Changed []Kind   `json:"changed"`
	Changes []Change `json:"changes"`
}

// Totals counts stays, and the hours begun of those with an entry: what they are charged by.
type Totals struct {
	Exact     int `json:"exact"`
	Disputed  int `json:"disputed"` // of the exact ones
	Near      int `json:"near"`
	Unmatched int `json:"unmatched"`

	ExactHours    int `json:"exact_hours"`
	DisputedHours int `json:"disputed_hours"`
	NearHours     int `json:"near_hours"`
}

// The kinds of changes.
const (
	Gained     = "gained"     // an unmatched exit gets an entry
	Lost       = "lost"       // an exit gets unmatched
	Exchanged  = "exchanged"  // an exit gets another entry
	Disputed   = "disputed"   // an exact stay gets disputed
	Undisputed = "undisputed" // and is so no more
)

// Kind counts the changes of one kind, and the hours begun of their stays.
type Kind struct {
	Kind        string `json:"kind"`
	Stays       int    `json:"stays"`
	HoursBefore int    `json:"hours_before"`
	HoursAfter  int    `json:"hours_after"`
}

// Change is a stay that would change.
type Change struct {
	Kind   string       `json:"kind"`
	Before parking.Stay `json:"before"`
	After  parking.Stay `json:"after"`
}

// Learn makes a model of a site from its last days.
func (l *Learner) Learn(ctx context.Context, q Request) (*Report, error) {
	if q.Days < 1 || q.Days > MaxDays {
		return nil, parking.Invalid("days is %d, want 1 to %d", q.Days, MaxDays)
	}
	base := parking.DefaultModel()
	if q.Margin != 0 {
		base.Margin = q.Margin
		for method, margin := range base.Margins { // those that need a stricter one keep it
			base.Margins[method] = max(margin, q.Margin)
		}
	}
	if err := base.Check(); err != nil {
		return nil, err
	}
	to := l.Now().UTC().Truncate(time.Second)
	from := to.AddDate(0, 0, -q.Days)
	models, err := l.Models.Models(ctx, q.Site)
	if err != nil {
		return nil, err
	}
	list, err := l.Models.List(ctx, q.Site)
	if err != nil {
		return nil, err
	}
	rejections, err := l.Events.Rejections(ctx, q.Site)
	if err != nil {
		return nil, err
	}
	rejected := timeline.Valid(rejections)
	reads, leftOut, err := l.reads(ctx, q.Site, from, to)
	if err != nil {
		return nil, err
	}
	if len(reads.Exact) == 0 {
		return nil, parking.Invalid("site %q has no stay of the last %d days to learn from: check its name, or ask for more days", q.Site, q.Days)
	}
	learnt, of := parking.Learn(reads, rejected, base)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("learn from %d reads and %d stays of site %q: %w: ask for fewer days", len(reads.Lone), len(reads.Exact), q.Site, err)
	}
	var results [2][]parking.Stay
	decided := from // by both: reads arrive between the two, and then the later one begins later
	for i, models := range []parking.Models{models, {learnt}} {
		stays, first, err := l.Match(ctx, q.Site, from, to, models)
		if err != nil {
			return nil, err
		}
		results[i] = stays
		if first.After(decided) {
			decided, leftOut = first, true
		}
	}
	for i, stays := range results {
		results[i] = slices.DeleteFunc(stays, func(s parking.Stay) bool { return s.ExitTime.Before(decided) })
	}
	r := &Report{Site: q.Site, From: from, To: to, Learnt: of, LeftOut: leftOut, Model: learnt, Valid: list.At(to)}
	r.compare(reads, results[0], results[1])
	return r, nil
}

// errEnough ends the reading of stays.
var errEnough = errors.New("enough")

// reads returns the reads of a span, with all exact stays.
func (l *Learner) reads(ctx context.Context, site string, from, to time.Time) (reads *parking.Reads, leftOut bool, err error) {
	reads = new(parking.Reads)
	if reads.Lone, leftOut, err = l.Events.Lone(ctx, site, from, to); err != nil {
		return nil, false, err
	}
	decisions, err := l.Events.Decisions(ctx, site, from)
	if err != nil {
		return nil, false, err
	}
	decided := make(map[string]bool)
	var otherwise []parking.ExactStay
	for i := range decisions { // these may be posted otherwise
		d := &decisions[i]
		entry := d.Exact
		if d.Withdraws() {
			entry = timeline.Place{ID: d.Stay.EntryID, Time: d.Stay.EntryTime}
		}
		if s := &d.Stay; entry.ID != "" && !s.ExitTime.Before(from) && s.ExitTime.Before(to) {
			decided[s.ID] = true
			otherwise = append(otherwise, exactOf(entry.ID, entry.Time, s.ID, s.ExitTime, site, d.ExitPlate))
		}
	}
	q := stay.Query{Sites: []string{site}, From: from, To: to, Status: parking.Completed}
	err = l.Stays.Export(ctx, q, func(stays []stay.StoredStay) error {
		for i := range stays {
			s := &stays[i].Stay
			if method := s.Method(); (method == parking.Exact || method == parking.Corrected) && !decided[s.ID] {
				if len(reads.Exact) == maxExact {
					leftOut = true
					return errEnough
				}
				reads.Exact = append(reads.Exact, exactOf(s.EntryID, s.EntryTime, s.ID, s.ExitTime, site, s.Plate))
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, false, err
	}
	reads.Exact = append(reads.Exact, otherwise...) // last: the first ones tell makes and colours
	stays := make(map[string]int)
	for i := range reads.Exact {
		stays[reads.Exact[i].Exit.Plate]++
	}
	for i := range reads.Exact {
		reads.Exact[i].Known = stays[reads.Exact[i].Exit.Plate] > 1
	}
	return reads, leftOut, l.details(ctx, site, reads.Exact, from, to)
}

// details reads the events of exact stays: of some for makes and colours, and of all that a
// person corrected.
func (l *Learner) details(ctx context.Context, site string, exact []parking.ExactStay, from, to time.Time) error {
	corrected, err := l.Events.Corrected(ctx, site, from.Add(-parking.Horizon), to)
	if err != nil {
		return err
	}
	wanted := make(map[string]bool, len(corrected))
	for _, id := range corrected {
		wanted[id] = true
	}
	var ids []string
	for i := range exact {
		if entry, exit := exact[i].Entry.ID, exact[i].Exit.ID; i < cmp.Or(l.looks, mostLooks) || wanted[entry] || wanted[exit] {
			ids = append(ids, entry, exit)
		}
	}
	events, err := l.Events.Events(ctx, site, ids)
	if err != nil {
		return err
	}
	for i := range exact {
		for _, e := range []*parking.Event{&exact[i].Entry, &exact[i].Exit} {
			if known, found := events[e.ID]; found && known.Plate == e.Plate && known.Kind == e.Kind {
				*e = known
			}
		}
	}
	return nil
}

func exactOf(entryID string, entry time.Time, exitID string, exit time.Time, site, plate string) parking.ExactStay {
	return parking.ExactStay{
		Entry: parking.Event{ID: entryID, Kind: parking.Entry, Site: site, Version: 1, Plate: plate, RawPlate: plate, Time: entry},
		Exit:  parking.Event{ID: exitID, Kind: parking.Exit, Site: site, Version: 1, Plate: plate, RawPlate: plate, Time: exit},
	}
}

// hours returns the hours begun of a stay, 0 without an entry.
func hours(s *parking.Stay) int {
	d, ok := s.Duration()
	if !ok {
		return 0
	}
	return int((d + time.Hour - 1) / time.Hour)
}

// compare tells what differs between two results of [parking.Reads.Match].
func (r *Report) compare(reads *parking.Reads, before, after []parking.Stay) {
	was, is := results(reads, before), results(reads, after)
	kinds := make(map[string]*Kind)
	for _, kind := range []string{Gained, Lost, Exchanged, Disputed, Undisputed} {
		kinds[kind] = &Kind{Kind: kind}
	}
	for id, a := range was {
		b := is[id]
		r.Before.count(a)
		r.After.count(b)
		var kind string
		switch {
		case a.EntryID == "" && b.EntryID != "":
			kind = Gained
		case a.EntryID != "" && b.EntryID == "":
			kind = Lost
		case a.EntryID != b.EntryID:
			kind = Exchanged
		case b.Disputed && !a.Disputed:
			kind = Disputed
		case a.Disputed && !b.Disputed:
			kind = Undisputed
		default:
			continue
		}
		k := kinds[kind]
		k.Stays++
		k.HoursBefore += hours(a)
		k.HoursAfter += hours(b)
		r.Changes = append(r.Changes, Change{kind, *a, *b})
	}
	slices.SortFunc(r.Changes, func(a, b Change) int {
		return cmp.Or(b.After.ExitTime.Compare(a.After.ExitTime), strings.Compare(a.After.ID, b.After.ID))
	})
	r.Changes = append([]Change{}, r.Changes[:min(len(r.Changes), maxChanges)]...)
	r.Changed = []Kind{}
	for _, kind := range []string{Gained, Lost, Exchanged, Disputed, Undisputed} {
		if kinds[kind].Stays > 0 {
			r.Changed = append(r.Changed, *kinds[kind])
		}
	}
}

// results returns the stay of each exit, those that [parking.Reads.Match] leaves to the
// pairing rule as well.
func results(reads *parking.Reads, stays []parking.Stay) map[string]*parking.Stay {
	all := make(map[string]*parking.Stay, len(reads.Exact)+len(reads.Lone))
	for i := range reads.Lone {
		if e := &reads.Lone[i].Event; e.Kind == parking.Exit {
			all[e.ID] = &parking.Stay{ID: e.ID, Site: e.Site, Plate: e.Plate, ExitTime: e.Time, Revision: 1}
		}
	}
	for i := range reads.Exact {
		e := &reads.Exact[i]
		all[e.Exit.ID] = &parking.Stay{ID: e.Exit.ID, Site: e.Exit.Site, Plate: e.Exit.Plate, EntryID: e.Entry.ID, EntryTime: e.Entry.Time, ExitTime: e.Exit.Time, Revision: 1}
	}
	for i := range stays {
		if id := stays[i].ID; all[id] != nil { // else it is of an exit that came since
			all[id] = &stays[i]
		}
	}
	return all
}

func (t *Totals) count(s *parking.Stay) {
	n := hours(s)
	switch {
	case s.EntryID == "":
		t.Unmatched++
	case s.Method() != parking.Exact && s.Method() != parking.Corrected:
		t.Near++
		t.NearHours += n
	default:
		t.Exact++
		t.ExactHours += n
		if s.Disputed {
			t.Disputed++
			t.DisputedHours += n
		}
	}
}
