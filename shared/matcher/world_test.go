package matcher

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"pgregory.net/rapid"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/review"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// errCrash ends a step as a crash would: what was done before it stays done.
var errCrash = errors.New("crash")

// settle is how long an exit settles at the site of a world.
const settle = 24 * time.Hour

// tb is a test.
type tb interface {
	rapid.TB
	Context() context.Context
}

// world is one site with what is recorded, decided and posted of it, and the set of events
// and decisions that all of that should be a function of.
type world struct {
	tb
	draw   *rapid.T
	site   string
	store  *timeline.Store
	stays  *stay.Store
	now    time.Time // of the last tick
	window time.Duration
	latest time.Time // of the ticks so far

	events []parking.Event // that the cameras send, all versions
	queue  []int           // those of them that were not delivered yet
	// unposted are those that were recorded and not posted since: the broker delivers them
	// again.
	unposted map[int]bool
	// recorded are the versions of the events, by id, unless they were erased.
	recorded   map[string][]parking.Event
	rejections map[parking.Rejection]bool
	// crashed reports that a process has crashed in a tick or a decision, and no tick ran
	// since that did not.
	crashed   bool
	decisions []review.Decision // those that changed something
	repeats   parking.Repeats
	models    parking.Models

	mu     sync.Mutex
	posted map[string]map[int64]string // id of a stay -> its revisions, with their contents
	known  map[string]int64            // id of a stay -> its revision in the stay store
}

func newWorld(t tb, client *redis.Client, site string) *world {
	const retention = 90 * 24 * time.Hour
	w := &world{
		tb: t, site: site, store: timeline.New(client, retention), stays: stay.New(client, retention), now: time.Now().Truncate(time.Second).UTC(), window: 144 * time.Hour,
		unposted: make(map[int]bool), recorded: make(map[string][]parking.Event), rejections: make(map[parking.Rejection]bool),
		posted: make(map[string]map[int64]string), known: make(map[string]int64),
	}
	w.store.MaxSites = math.MaxInt64 // shrinking takes many
	w.store.Repeats = func(context.Context, string) (parking.Repeats, error) { return w.repeats, nil }
	return w
}

// summary is the stay store, which crashes as it is told.
type summary struct {
	*world
	before, after bool // crash before the stays are stored, or after
}

// Post implements Poster. One revision of a stay has one content, whichever process posts it.
func (s *summary) Post(ctx context.Context, stays []parking.Stay) error {
	if s.before {
		return errCrash
	}
	if err := s.check(stays); err != nil {
		return err
	}
	if _, err := s.stays.Upsert(ctx, stays); err != nil {
		return err
	}
	if s.after {
		return errCrash
	}
	return nil
}

func (w *world) check(stays []parking.Stay) error {
	if len(stays) > timeline.MaxChanges {
		return fmt.Errorf("%d stays are posted at once", len(stays))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range stays {
		s := &stays[i]
		if err := s.CheckMatch(); err != nil {
			return fmt.Errorf("the summary refuses %+v: %w", *s, err)
		}
		revisions, content := w.posted[s.ID], contentOf(s)
		if revisions == nil {
			revisions = make(map[int64]string)
			w.posted[s.ID] = revisions
		}
		if known, found := revisions[s.Revision]; found && known != content {
			return fmt.Errorf("revision %d of a stay is posted as\n%s, and was posted as\n%s", s.Revision, content, known)
		}
		revisions[s.Revision] = content
	}
	return nil
}

// contentOf returns a stay without its revision.
func contentOf(s *parking.Stay) string {
	c := *s
	c.Revision = 0
	text, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// crashing is a store whose process ends after it has decided, or before it notes a post.
type crashing struct {
	*timeline.Store
	afterDecide, beforePosted bool
}

func (c *crashing) Decide(ctx context.Context, site string, changes []timeline.Change) ([]timeline.Decided, error) {
	decided, err := c.Store.Decide(ctx, site, changes)
	if c.afterDecide && err == nil {
		return nil, errCrash
	}
	return decided, err
}

func (c *crashing) Posted(ctx context.Context, site string, stays []parking.Stay) error {
	if c.beforePosted {
		return errCrash
	}
	return c.Store.Posted(ctx, site, stays)
}

// crashes are where a process may end.
var crashes = []string{"no", "after decide", "before post", "after post", "before posted"}

// crash returns the store and the summary of a process that ends where it is told.
func (w *world) crash(where string) (crashing, summary) {
	return crashing{w.store, where == "after decide", where == "before posted"}, summary{w, where == "before post", where == "after post"}
}

// matcher returns a matcher of the world at a time.
func (w *world) matcher(now time.Time, store Store, post Poster) *SiteMatcher {
	if now.After(w.latest) {
		w.latest = now
	}
	models := w.models
	// A decision is under way for half a minute.
	later := func() time.Time { return time.Now().Add(time.Minute) }
	return &SiteMatcher{
		Store: store, Stays: w.stays, Summaries: post, Window: w.window, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
		Models: func(context.Context, string) (parking.Models, error) { return models, nil },
		Repair: (&review.Reviewer{Events: w.store, Post: post.Post, Now: later}).Repair,
		Settle: func(context.Context, string) (time.Duration, error) { return settle, nil },
	}
}

// tick runs a tick, which may crash, but not fail otherwise.
func (w *world) tick(m *SiteMatcher) SiteCounts {
	c, err := m.Match(w.Context(), w.site)
	if err != nil && !errors.Is(err, errCrash) {
		w.Fatal(err)
	}
	w.crashed = err != nil
	return c
}

// deliver has an event recorded and its stays posted as a processor does, which crashes as
// it is told. The broker delivers it again then.
func (w *world) deliver(i int, post *summary) {
	w.note(w.events[i])
	w.unposted[i] = true
	switch err := w.process(w.events[i], post); {
	case err == nil:
		delete(w.unposted, i)
	case errors.Is(err, errCrash):
		w.crashed = true // what is withdrawn by the event is posted by the next tick
	default:
		w.Fatal(err)
	}
}

func (w *world) process(e parking.Event, post *summary) error {
	r := w.store.Record(w.Context(), []parking.Event{e})[0]
	if r.Err != nil {
		return fmt.Errorf("record %+v: %w", e, r.Err)
	}
	return post.Post(w.Context(), parking.Latest(r.Stays))
}

// note notes that a version of an event is recorded.
func (w *world) note(e parking.Event) {
	if !slices.ContainsFunc(w.recorded[e.ID], func(known parking.Event) bool { return known.Version == e.Version }) {
		w.recorded[e.ID] = append(w.recorded[e.ID], e)
	}
}

// current returns the events that count.
func (w *world) current() []parking.Event {
	return parking.Current(slices.Concat(slices.Collect(maps.Values(w.recorded))...))
}

// highest returns the version of a recorded event that counts, which may be void.
func (w *world) highest(id string) parking.Event {
	return slices.MaxFunc(w.recorded[id], func(a, b parking.Event) int { return cmp.Compare(a.Version, b.Version) })
}

// ids returns those of the recorded events of a kind, or of all.
func (w *world) ids(kinds ...parking.Kind) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(w.recorded)), func(id string) bool {
		return len(kinds) > 0 && !slices.Contains(kinds, w.highest(id).Kind)
	})
}

// erase has a plate erased as the summary does. The broker may deliver its events again.
func (w *world) erase(plate string) {
	stays, err := w.store.Affected(w.Context(), w.site, plate)
	if err == nil {
		err = (&summary{world: w}).Post(w.Context(), stays)
	}
	if err != nil {
		w.Fatal(err)
	}
	if _, err := w.store.ErasePlate(w.Context(), w.site, plate); err != nil {
		w.Fatal(err)
	}
	if _, err := w.stays.ErasePlate(w.Context(), w.site, plate); err != nil {
		w.Fatal(err)
	}
	// What is erased of a stay has no revision any more.
	maps.DeleteFunc(w.posted, func(_ string, revisions map[int64]string) bool {
		return slices.ContainsFunc(slices.Collect(maps.Values(revisions)), func(content string) bool {
			return strings.Contains(content, `"vehicle_plate":"`+plate+`"`)
		})
	})
	for id := range w.recorded {
		if e := w.highest(id); e.Void || e.Plate != plate {
			continue
		}
		delete(w.recorded, id)
		delete(w.posted, id)
		delete(w.known, id)
		maps.DeleteFunc(w.rejections, func(pair parking.Rejection, _ bool) bool { return pair.EntryID == id || pair.ExitID == id })
		w.decisions = slices.DeleteFunc(w.decisions, func(d review.Decision) bool { return slices.Contains(idsOf(&d), id) })
	}
}

// idsOf returns the reads that a decision names.
func idsOf(d *review.Decision) []string {
	if d.EventID != "" {
		return []string{d.EventID}
	}
	return []string{d.EntryID, d.ExitID}
}

// decide has a person decide, by a process that crashes as it is told, and notes what holds
// by that. again reports that the decision comes for another time.
func (w *world) decide(d review.Decision, again bool, post *summary) {
	_, err := (&review.Reviewer{Events: w.store, Post: post.Post}).Decide(w.Context(), w.site, d)
	w.decided(d, again, err)
}

func (w *world) decided(d review.Decision, again bool, err error) {
	conflict, isConflict := errors.AsType[*review.ConflictError](err)
	refused := isConflict || errors.Is(err, parking.ErrInvalid) || errors.Is(err, timeline.ErrNoEvent)
	if err != nil && !refused && !errors.Is(err, errCrash) {
		w.Fatal(err)
	}
	w.crashed = w.crashed || errors.Is(err, errCrash)
	changed := 0
	for _, id := range idsOf(&d) {
		e, err := w.store.Event(w.Context(), w.site, id)
		if errors.Is(err, timeline.ErrNoEvent) {
			continue
		}
		if err != nil {
			w.Fatal(err)
		}
		was := w.highest(id)
		if e.Version == was.Version {
			continue
		}
		if changed++; !e.Corrected() || e.Version < was.Version || d.Kind != review.Undo && e.Plate != parking.NormalizePlate(d.Plate) {
			w.Fatalf("by %+v event %+v becomes %+v", d, was, e)
		}
		w.note(e)
	}
	switch {
	case changed > 0 && (again || refused):
		w.Fatalf("%+v changes %d events, again %v, %v", d, changed, again, conflict)
	case changed == 1 && d.Kind == review.Same:
		w.Fatalf("half of %+v is made", d)
	case again || refused:
		return
	}
	pair := parking.Rejection{EntryID: d.EntryID, ExitID: d.ExitID}
	switch was := w.rejections[pair]; {
	case d.Kind == review.Different:
		w.rejections[pair] = true
		if s := w.stored()[d.ExitID]; err == nil && isNear(&s) && s.EntryID == d.EntryID {
			w.Fatalf("stay %+v is posted still, and was rejected", s)
		}
		if !was {
			changed++
		}
	case d.Kind == review.Undo && changed == 0:
		delete(w.rejections, pair)
		changed++
	}
	if changed > 0 {
		w.decisions = append(w.decisions, d)
	}
}

// stored returns the stays that were posted, but void ones, and checks what holds of them
// at any time: no revision falls, none was decided before it had settled, and no two have one
// entry, unless a process has crashed before it posted and nothing was repeated since.
func (w *world) stored() map[string]parking.Stay {
	found := make(map[string]parking.Stay)
	err := w.stays.Export(w.Context(), stay.Query{Sites: []string{w.site}}, func(page []stay.StoredStay) error {
		for _, k := range page {
			found[k.ID] = k.Stay
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	owners := make(map[string]string)
	for id, s := range found {
		if s.Revision < w.known[id] {
			w.Fatalf("the revision of stay %s falls from %d to %d", id, w.known[id], s.Revision)
		}
		w.known[id] = s.Revision
		if other, taken := owners[s.EntryID]; taken && s.EntryID != "" && !w.crashed && len(w.unposted) == 0 {
			w.Fatalf("two stays have the entry %s:\n%+v\n%+v", s.EntryID, s, found[other])
		}
		owners[s.EntryID] = id
		if s.Match != nil && s.ExitTime.After(w.latest.Add(-settle)) {
			w.Fatalf("stay %+v is decided, and the last tick was at %s", s, w.latest)
		}
	}
	return found
}

// near returns the ids of stays that were posted and decided otherwise than by the pairing
// rule, in order.
func near(stays map[string]parking.Stay) []string {
	var ids []string
	for id, s := range stays {
		if isNear(&s) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func isNear(s *parking.Stay) bool {
	return s.Match != nil && s.Match.Method != parking.Exact && s.Match.Method != parking.Corrected
}

// wanted is what should be posted.
type wanted struct {
	stays map[string]parking.Stay
	// exact are the stays of the pairing rule alone, and left the exits of its entries.
	exact map[string]parking.Stay
	left  map[string]time.Time
	near  map[string]bool // entries of near stays
	// inside are the entries of vehicles that are inside by the pairing rule.
	inside []string
}

func (w *world) wanted() *wanted {
	current := w.current()
	o := &wanted{stays: make(map[string]parking.Stay), exact: make(map[string]parking.Stay), left: make(map[string]time.Time), near: make(map[string]bool)}
	for _, s := range parking.Match(current, w.repeats, slices.Collect(maps.Keys(w.rejections)), w.models) {
		o.stays[s.ID] = s
	}
	lines := make(map[string][]parking.Event)
	for _, e := range current {
		if !e.NoPlate {
			lines[e.Plate] = append(lines[e.Plate], e)
		}
	}
	for _, line := range lines {
		t := parking.Pair(line, w.repeats)
		for _, s := range t.Stays {
			if o.exact[s.ID] = s; s.EntryID != "" {
				o.left[s.EntryID] = s.ExitTime
			}
		}
		if t.Inside != nil {
			o.inside = append(o.inside, t.Inside.ID)
		}
	}
	return o
}

// due reports whether a decided stay is of the window of a tick: both stays of a split are
// of it if the later one is.
func (w *world) due(o *wanted, s *parking.Stay) bool {
	at := s.ExitTime
	if left := o.left[s.EntryID]; left.After(at) {
		at = left
	}
	return !at.Before(w.now.Add(-w.window)) && !at.After(w.now.Add(-settle))
}

// checkStays checks that the posted stays are what they should be, once all has settled.
// What was decided of an exit before the window stays, and keeps its entry from others.
func (w *world) checkStays() (held bool) {
	got, o := w.stored(), w.wanted()
	old := make(map[string]bool) // entries that stays before the window have
	for _, s := range got {
		if isNear(&s) && !w.due(o, &s) {
			old[s.EntryID] = true
		}
	}
	for id := range got {
		if _, known := o.stays[id]; !known {
			w.Errorf("stay %+v is posted, and has no exit", got[id])
		}
	}
	for id, want := range o.stays {
		s, plain := got[id], o.exact[id]
		switch decided := contentOf(&want) != contentOf(&plain); {
		case decided && w.due(o, &want) && old[want.EntryID] && s.EntryID != want.EntryID:
			held = true
		case decided && w.due(o, &want):
		case (s.Match != nil || s.Disputed) && !w.due(o, &s):
			w.checkOld(&s)
			want = s
		default:
			want = plain
		}
		if contentOf(&s) != contentOf(&want) && !held {
			w.Errorf("posted is\n%s, want\n%s", contentOf(&s), contentOf(&want))
		}
	}
	entries := make(map[string]bool)
	for _, s := range got {
		entries[s.EntryID] = isNear(&s)
	}
	want := int64(0)
	for _, id := range o.inside {
		if !entries[id] {
			want++
		}
	}
	switch s, err := w.store.Site(w.Context(), w.site); {
	case err != nil:
		w.Fatal(err)
	case s.VehiclesInside != want:
		w.Errorf("%d vehicles are inside, want %d", s.VehiclesInside, want)
	}
	if w.Failed() {
		w.FailNow()
	}
	return held
}

// checkOld checks that what was decided of an exit before the window is no contradiction to
// the events and rejections.
func (w *world) checkOld(s *parking.Stay) {
	if w.rejections[parking.Rejection{EntryID: s.EntryID, ExitID: s.ID}] && isNear(s) {
		w.Errorf("stay %+v was rejected", *s)
	}
	for id, at := range map[string]time.Time{s.ID: s.ExitTime, s.EntryID: s.EntryTime} {
		if e, known := w.recorded[id]; !known || w.highest(id).Void || !w.highest(id).Time.Equal(at) {
			w.Errorf("stay %+v has a read that is not so: %+v", *s, e)
		}
	}
}
