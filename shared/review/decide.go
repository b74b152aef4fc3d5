package review

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"parkstream/shared/failure"
	"parkstream/shared/parking"
	"parkstream/shared/timeline"
)

// Kind is what a decision tells.
type Kind string

// The kinds.
const (
	// Same: an entry and an exit are of one vehicle, whose plate the decision names.
	Same Kind = "same"
	// Different: they are not.
	Different Kind = "different"
	// Plate: an event has this plate.
	Plate Kind = "plate"
	// Undo: another decision is taken back.
	Undo Kind = "undo"
)

// Kinds returns every kind.
func Kinds() []Kind { return []Kind{Same, Different, Plate, Undo} }

// Decision is what a person decides of reads of a site.
type Decision struct {
	// ID is chosen by who decides: a decision that comes again has the same.
	ID   string `json:"id"`
	Kind Kind   `json:"decision"`
	// EntryID and ExitID are the reads of Same and Different; EventID is that of Plate. Undo
	// has those of the decision that it takes back.
	EntryID string `json:"entry_id"`
	ExitID  string `json:"exit_id"`
	EventID string `json:"event_id"`
	// Plate is that of Same and Plate, in any spelling.
	Plate string `json:"plate"`
	// Of is the id of the decision that Undo takes back.
	Of string `json:"of"`
	// By is who decides. It never comes with the decision.
	By string `json:"-"`
}

// maxID bounds the id of a decision.
const maxID = 64

// Check returns a [parking.ErrInvalid] unless the decision has what its kind needs, and
// nothing else.
func (d *Decision) Check() error {
	has := map[string]string{"entry_id": d.EntryID, "exit_id": d.ExitID, "event_id": d.EventID, "plate": d.Plate, "of": d.Of}
	var needs []string
	switch d.Kind {
	case Same:
		needs = []string{"entry_id", "exit_id", "plate"}
	case Different:
		needs = []string{"entry_id", "exit_id"}
	case Plate:
		needs = []string{"event_id", "plate"}
	case Undo:
		needs = []string{"of", "entry_id", "exit_id"}
		if d.EventID != "" {
			needs = []string{"of", "event_id"}
		}
	case "":
		return parking.Invalid("decision is missing: want %q, %q, %q or %q", Same, Different, Plate, Undo)
	default:
		return parking.Invalid("decision is %.40q: want %q, %q, %q or %q", d.Kind, Same, Different, Plate, Undo)
	}
	for _, name := range []string{"entry_id", "exit_id", "event_id", "plate", "of"} {
		switch needed := slices.Contains(needs, name); {
		case needed && has[name] == "":
			return parking.Invalid("%s is missing: the decision %q needs it", name, d.Kind)
		case !needed && has[name] != "":
			return parking.Invalid("%s is given: the decision %q takes none", name, d.Kind)
		case !needed:
		case name == "plate":
			if _, err := parking.NewEvent(parking.Event{ID: "1", RawPlate: d.Plate, Time: time.Unix(0, 0)}); err != nil {
				return fmt.Errorf("plate: %w", err)
			}
		default:
			if err := parking.CheckID(has[name]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if err := parking.CheckID(d.ID); err != nil {
		return err
	}
	if len(d.ID) > maxID {
		return parking.Invalid("id has %d bytes, at most %d are allowed", len(d.ID), maxID)
	}
	if d.Kind == Undo && d.Of == d.ID {
		return parking.Invalid("of is the id of this decision: want that of the one to take back")
	}
	return nil
}

// Situation is what holds of the reads of a decision.
type Situation struct {
	// Events are the reads, in the versions that count.
	Events []parking.Event
	// Stays are those that the reads affect.
	Stays []parking.Stay
	// Rejection is that of the pair, or nil.
	Rejection *timeline.Rejection
}

// Result is what a decision has made.
type Result struct {
	Situation
	// Changed is false if all was so already.
	Changed bool
}

// ConflictError is the error of a decision that does not fit what holds now.
type ConflictError struct {
	Situation
	reason string
}

func (e *ConflictError) Error() string { return e.reason }

// Reviewer decides. All fields are required, but Models and Now.
type Reviewer struct {
	Events *timeline.Store
	// Post stores stays where they are shown; of each the highest revision counts.
	Post func(context.Context, []parking.Stay) error
	// Models returns the models of a site; nil: the default one is valid.
	Models func(ctx context.Context, site string) (parking.Models, error)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

func (r *Reviewer) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

// Decide makes a decision of a site. When it returns, the stays that are affected are
// posted. A decision that comes again changes nothing. After an error that is neither a
// [ConflictError] nor a [parking.ErrInvalid] nor a [timeline.ErrNoEvent], it may be made or
// not: it is to be sent again.
func (r *Reviewer) Decide(ctx context.Context, site string, d Decision) (Result, error) {
	if err := cmp.Or(parking.CheckSite(site), d.Check()); err != nil {
		return Result{}, err
	}
	c := &session{Reviewer: r, site: site, d: d}
	changed := false
	err := c.look(ctx)
	if err == nil {
		if changed, err = c.decide(ctx); isConflict(err) { // what was read before may hold no more
			if err := c.look(ctx); err != nil && !isConflict(err) {
				return Result{}, err
			}
		}
	}
	if conflict, ok := errors.AsType[*ConflictError](err); ok {
		conflict.Situation = c.holds
	}
	if err == nil {
		err = c.settle(ctx)
	}
	if err != nil {
		return Result{}, err
	}
	return Result{c.holds, changed}, c.post(ctx)
}

// session is a decision on its way.
type session struct {
	*Reviewer
	site  string
	d     Decision
	holds Situation
	marks []timeline.Mark // of the reads that the decision corrects
}

// looks bounds how often in a row what holds is read that changes meanwhile.
const looks = 3

// look reads what holds. If that changes all the time, there are no stays.
func (c *session) look(ctx context.Context) (err error) {
	for range looks {
		if err = c.read(ctx); !isConflict(err) {
			break
		}
	}
	return err
}

// read reads what holds.
func (c *session) read(ctx context.Context) error {
	c.holds = Situation{}
	named := []struct{ field, id string }{{"event_id", c.d.EventID}}
	if c.d.EventID == "" {
		named = []struct{ field, id string }{{"entry_id", c.d.EntryID}, {"exit_id", c.d.ExitID}}
		rejection, found, err := c.Events.RejectionOf(ctx, c.site, c.pair())
		if err != nil {
			return err
		}
		if found {
			c.holds.Rejection = &rejection
		}
	}
	for _, of := range named {
		e, err := c.Events.Event(ctx, c.site, of.id)
		if err != nil {
			return fmt.Errorf("%s: %w", of.field, err)
		}
		c.holds.Events = append(c.holds.Events, e)
	}
	return c.record(ctx, c.holds.Events, versionsOf(c.holds.Events), nil)
}

// decide makes the decision, unless it was made before.
func (c *session) decide(ctx context.Context) (changed bool, err error) {
	if known, err := c.isKnown(); err != nil || known {
		return false, err
	}
	switch c.d.Kind {
	case Same:
		return c.same(ctx)
	case Different:
		return c.different(ctx)
	case Plate:
		return c.plate(ctx)
	}
	return c.undo(ctx)
}

func versionsOf(events []parking.Event) []int64 {
	versions := make([]int64, len(events))
	for i := range events {
		versions[i] = events[i].Version
	}
	return versions
}

func (c *session) pair() parking.Rejection {
	return parking.Rejection{EntryID: c.d.EntryID, ExitID: c.d.ExitID}
}

// errMoment is what a decision hears that another one was faster than.
func errMoment() error {
	return conflict("another decision about the reads, or another version of one, came at this moment: look again")
}

// record records versions of events that follow others, all or none, and notes the stays
// that they affect. What is known already changes nothing. A pair, unless it is nil, must not
// be rejected.
func (c *session) record(ctx context.Context, events []parking.Event, was []int64, pair *parking.Rejection) error {
	stays, err := c.Events.RecordAll(ctx, events, was, pair)
	if errors.Is(err, parking.ErrConflict) {
		return errMoment()
	}
	c.holds.Stays = parking.Latest(append(c.holds.Stays, stays...))
	return err
}

// post posts the stays, also those of a decision that was made before: the process may have
// ended before it posted them.
func (c *session) post(ctx context.Context) error {
	if len(c.holds.Stays) > 0 {
		if err := c.Post(ctx, c.holds.Stays); err != nil {
			return err
		}
		if err := c.Events.Posted(ctx, c.site, c.holds.Stays); err != nil {
			return err
		}
	}
	return c.Events.MarkFinished(ctx, c.site, c.marks)
}

func conflict(format string, args ...any) error {
	return &ConflictError{reason: fmt.Sprintf(format, args...)}
}

func isConflict(err error) bool {
	_, ok := errors.AsType[*ConflictError](err)
	return ok
}

// concerns reports whether the decision is one about the plate of a read.
func (c *session) concerns(e *parking.Event) bool {
	switch c.d.Kind {
	case Different:
		return false
	case Undo:
		return e.DecidedBy(c.d.Of)
	}
	return true
}

// isKnown reports whether the decision was made before, of each read that it concerns. If
// it was made of one of both only, which was possible once, it is made of the other one now,
// unless the first has been decided about since.
func (c *session) isKnown() (bool, error) {
	concerned, known, decided := 0, 0, ""
	for i := range c.holds.Events {
		e := &c.holds.Events[i]
		if c.concerns(e) {
			concerned++
		}
		if !e.DecidedBy(c.d.ID) {
			continue
		}
		known++
		last := e.Correction.ID == c.d.ID
		if !c.concerns(e) || last && e.Correction.Undoes != c.d.Of || last && c.d.Kind != Undo && e.Plate != parking.NormalizePlate(c.d.Plate) {
			return false, conflict("the id belongs to another decision about the event %s", e.ID)
		}
		if !last {
			decided = e.ID
		}
	}
	if 0 < known && known < concerned && decided != "" {
		return false, conflict("the decision was made of the event %s only, about which another one has been made since: decide with another id", decided)
	}
	return known > 0 && known == concerned, nil
}

// entry and exit are the reads of a pair.
func (c *session) entry() *parking.Event { return &c.holds.Events[0] }
func (c *session) exit() *parking.Event  { return &c.holds.Events[1] }

// checkPair returns why the reads cannot be an entry and its exit.
func (c *session) checkPair() error {
	for _, e := range c.holds.Events {
		if e.Void {
			return conflict("the event %s is void: there was no such vehicle", e.ID)
		}
	}
	switch entry, exit := c.entry(), c.exit(); {
	case entry.Kind != parking.Entry:
		return conflict("the event %s is no entry", entry.ID)
	case exit.Kind != parking.Exit:
		return conflict("the event %s is no exit", exit.ID)
	case exit.Time.Before(entry.Time):
		return conflict("the exit is before the entry")
	}
	return nil
}

// rejected reports whether a person decided that the pair is not of one vehicle.
func (c *session) rejected() bool {
	return c.holds.Rejection != nil && c.holds.Rejection.Withdrawn == nil
}

func (c *session) checkNotRejected() error {
	if !c.rejected() {
		return nil
	}
	r := c.holds.Rejection
	return conflict("%s decided that they are not of one vehicle, by the decision %s: take that back first", r.By, r.ID)
}

// decidedSame reports whether one plate was decided of both reads of a pair.
func decidedSame(events []parking.Event) bool {
	return len(events) == 2 && events[0].Decided() && events[1].Decided() && events[0].Plate == events[1].Plate
}

// exact reports whether a stay is by the pairing rule and nothing makes it doubtful.
func exact(s *parking.Stay) bool {
	return s.EntryID != "" && !s.Disputed && (s.Match == nil || s.Match.Method == parking.Exact || s.Match.Method == parking.Corrected)
}

// same gives both reads the plate.
func (c *session) same(ctx context.Context) (changed bool, err error) {
	if err := c.checkPair(); err != nil {
		return false, err
	}
	if err := c.checkNotRejected(); err != nil {
		return false, err
	}
	entry, exit := c.entry(), c.exit()
	for i := range c.holds.Stays {
		switch s := &c.holds.Stays[i]; {
		case !exact(s):
		case s.ID == exit.ID && s.EntryID == entry.ID:
			if parking.NormalizePlate(c.d.Plate) == s.Plate && entry.Decided() && exit.Decided() {
				return false, nil
			}
		case s.ID == exit.ID:
			return false, conflict("the exit belongs to the entry %s by now", s.EntryID)
		case s.EntryID == entry.ID:
			return false, conflict("the entry belongs to the exit %s by now", s.ID)
		}
	}
	between, err := c.Events.Between(ctx, c.site, parking.NormalizePlate(c.d.Plate), entry.Time, exit.Time)
	if err != nil {
		return false, err
	}
	for _, other := range between {
		if other.ID != entry.ID && other.ID != exit.ID {
			return false, conflict("the event %s is between them and has this plate: decide about it first", other.ID)
		}
	}
	return c.correct(ctx, c.decided)
}

// decided returns the plate that was decided of a read, as it was read if that is the same.
func (c *session) decided(e *parking.Event) (raw string) {
	if e.Plate == parking.NormalizePlate(c.d.Plate) {
		return e.RawPlate
	}
	return c.d.Plate
}

// plate gives an event the plate.
func (c *session) plate(ctx context.Context) (changed bool, err error) {
	switch e := &c.holds.Events[0]; {
	case e.Void:
		return false, conflict("the event %s is void: there was no such vehicle", e.ID)
	case e.Decided() && e.Plate == parking.NormalizePlate(c.d.Plate):
		return false, nil
	}
	return c.correct(ctx, c.decided)
}

// correct records the corrections of those reads that are concerned, all or none. A decision
// that names a pair and leaves it decided as of one vehicle is refused if it is rejected.
func (c *session) correct(ctx context.Context, plateOf func(*parking.Event) (raw string)) (changed bool, err error) {
	// The record has the reads that stay as they are, too: what was checked is true of all.
	corrected, was := slices.Clone(c.holds.Events), versionsOf(c.holds.Events)
	var ids []string
	for i := range corrected {
		e := &c.holds.Events[i]
		if !c.concerns(e) || e.DecidedBy(c.d.ID) {
			continue
		}
		by := parking.Correction{ID: c.d.ID, By: c.d.By, At: c.now().UTC().Truncate(time.Millisecond), Undoes: c.d.Of}
		next, err := e.Correct(plateOf(e), by)
		if err != nil {
			return false, err
		}
		corrected[i], ids = next, append(ids, e.ID)
	}
	if len(ids) == 0 {
		return false, nil
	}
	var pair *parking.Rejection
	if decidedSame(corrected) {
		if err := c.checkNotRejected(); err != nil {
			return false, err
		}
		one := c.pair()
		pair = &one
	}
	if c.marks, err = c.Events.MarkUnfinished(ctx, c.site, ids); err != nil {
		return false, err
	}
	// If that is refused the marks stay: they may have taken the place of those of another one.
	if err := c.record(ctx, corrected, was, pair); err != nil {
		return false, err
	}
	c.holds.Events = corrected
	return true, nil
}

// different rejects the pair.
func (c *session) different(ctx context.Context) (changed bool, err error) {
	if err := c.checkPair(); err != nil {
		return false, err
	}
	if !c.rejected() && decidedSame(c.holds.Events) {
		last := c.entry().Correction
		return false, conflict("%s decided that they are of one vehicle, by the decision %s: take that back first", last.By, last.ID)
	}
	rejection := timeline.Rejection{Rejection: c.pair(), ID: c.d.ID, By: c.d.By, At: c.now().UTC().Truncate(time.Millisecond)}
	stays, changed, err := c.Events.Reject(ctx, c.site, rejection, timeline.Versions{Entry: c.entry().Version, Exit: c.exit().Version})
	switch {
	case errors.Is(err, timeline.ErrDecided):
		return false, conflict("the id belongs to another decision")
	case errors.Is(err, parking.ErrConflict):
		return false, errMoment()
	case err != nil:
		return false, err
	}
	c.holds.Stays = parking.Latest(append(c.holds.Stays, stays...))
	return changed, nil
}

// settle ends the dispute about stays that the decision was about: their reads were
// confirmed, or the pairs that dispute them rejected. The near rule would do so, later.
func (c *session) settle(ctx context.Context) error {
	for _, s := range slices.Clone(c.holds.Stays) {
		settled, err := c.settled(ctx, &s)
		if err != nil {
			return err
		}
		if !settled {
			continue
		}
		decided, err := c.Events.Decide(ctx, c.site, []timeline.Change{{Stay: parking.Stay{ID: s.ID, Site: c.site}, Was: s.Revision}})
		if err != nil {
			return err
		}
		if decided[0].Refused == "" { // else the near rule has decided meanwhile
			c.holds.Stays = parking.Latest(append(c.holds.Stays, decided[0].Stay))
		}
	}
	return nil
}

func (c *session) settled(ctx context.Context, s *parking.Stay) (bool, error) {
	switch {
	case !s.Disputed || s.Match == nil:
		return false, nil
	case c.d.Kind == Same:
		// A decision that comes again may have been taken back, and the pair be rejected since.
		return s.EntryID == c.d.EntryID && s.ID == c.d.ExitID && decidedSame(c.holds.Events) && !c.rejected(), nil
	case c.d.Kind != Different:
		return false, nil
	}
	disputed, err := c.disputed(ctx, s)
	return err == nil && !disputed, err
}

// undo takes the decision of another id back.
func (c *session) undo(ctx context.Context) (changed bool, err error) {
	for i := range c.holds.Events {
		switch e := &c.holds.Events[i]; {
		case !e.DecidedBy(c.d.Of) || e.DecidedBy(c.d.ID):
		case e.Correction.ID != c.d.Of:
			return false, conflict("the decision %s is not the last one about these reads", c.d.Of)
		case e.Correction.Was == "" && !e.Correction.NoPlate:
			return false, conflict("the plate that was read of the event %s was erased", e.ID)
		}
	}
	changed, err = c.correct(ctx, func(e *parking.Event) string {
		if e.Correction.Confirms {
			return e.RawPlate
		}
		return e.Correction.Was
	})
	if changed || err != nil {
		return changed, err
	}
	r := c.holds.Rejection
	switch {
	case r != nil && r.Withdrawn != nil && r.Withdrawn.ID == c.d.ID:
		return false, nil
	case r == nil || r.ID != c.d.Of || r.Withdrawn != nil:
		return false, conflict("the decision %s is not the last one about these reads", c.d.Of)
	}
	withdrawn := timeline.Rejection{Rejection: c.pair(), ID: c.d.ID, By: c.d.By, At: c.now().UTC().Truncate(time.Millisecond)}
	changed, err = c.Events.Unreject(ctx, c.site, withdrawn, c.d.Of)
	switch {
	case errors.Is(err, timeline.ErrDecided):
		return false, conflict("the id belongs to another decision")
	case errors.Is(err, parking.ErrConflict):
		return false, errMoment()
	}
	return changed, err
}

// unfinishedAfter is the time after which a decision is not under way any more.
const unfinishedAfter = 30 * time.Second

// Unposted are decisions whose stays could not be posted, while others could.
type Unposted struct {
	Decisions int
	First     error // of the first one
}

// Repair posts the stays of decisions at a site whose process ended before it did, of at
// most 1000 events. What is refused is marked again: the others have their turn before it
// comes again.
func (r *Reviewer) Repair(ctx context.Context, site string) (u Unposted, err error) {
	const most = 1000
	marks, err := r.Events.Unfinished(ctx, site, r.now().Add(-unfinishedAfter), most)
	if err != nil {
		return u, err
	}
	for _, mark := range marks {
		c := &session{Reviewer: r, site: site, d: Decision{EventID: mark.ID}, marks: []timeline.Mark{mark}}
		err := c.read(ctx)
		if isConflict(err) { // it is being decided about
			continue
		}
		if err == nil || errors.Is(err, timeline.ErrNoEvent) {
			err = c.post(ctx)
		}
		if err != nil {
			err = fmt.Errorf("post the stays of a decision at site %s: %w", site, err)
		}
		switch {
		case err != nil && !ofOne(err):
			return u, err
		case err != nil:
			u.Decisions++
			u.First = cmp.Or(u.First, err)
			if _, err := r.Events.MarkUnfinished(ctx, site, []string{mark.ID}); err != nil { // behind the others
				return u, err
			}
		}
	}
	return u, nil
}

// ofOne reports whether an error is about the events or stays themselves, so that others may
// be fine.
func ofOne(err error) bool {
	r, ok := errors.AsType[interface {
		error
		Refused() bool
	}](err)
	return ok && r.Refused() || errors.Is(err, parking.ErrInvalid) || !failure.Outage(err)
}
