package matcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// errCrash ends a step as a crash would: what was done before it stays done.
var errCrash = errors.New("crash")

// world is one site with what is recorded, decided and posted of it.
type world struct {
	*rapid.T
	site   string
	store  *timeline.Store
	stays  *stay.Store
	base   time.Time
	events []parking.Event // all versions
	// delivered are those that were recorded and posted once.
	delivered  map[int]bool
	unposted   map[int]bool // recorded, and not posted since
	latest     time.Time    // of the ticks
	rejections map[parking.Rejection]bool
	models     parking.Models

	mu     sync.Mutex
	posted map[string]string // id and revision of a stay -> its content
	known  map[string]int64  // id of a stay -> its revision in the stay store
}

// summary is the stay store, which fails or crashes as it is told.
type summary struct {
	*world
	before, after bool // crash before the stays are stored, or after
}

// Post implements Poster. One revision of a stay has one content, whichever process posts it.
func (s *summary) Post(ctx context.Context, stays []parking.Stay) error {
	if s.before {
		return errCrash
	}
	if len(stays) > timeline.MaxChanges && s.before == s.after {
		return fmt.Errorf("%d stays are not stored at once", len(stays))
	}
	s.mu.Lock()
	for i := range stays {
		key := fmt.Sprintf("%s %d", stays[i].ID, stays[i].Revision)
		content := contentOf(&stays[i])
		if known, found := s.posted[key]; found && known != content {
			s.mu.Unlock()
			return fmt.Errorf("revision %s of a stay is posted as\n%s, and was posted as\n%s", key, content, known)
		}
		s.posted[key] = content
		if err := stays[i].CheckMatch(); err != nil {
			s.mu.Unlock()
			return fmt.Errorf("the summary refuses %+v: %w", stays[i], err)
		}
	}
	s.mu.Unlock()
	if _, err := s.stays.Upsert(ctx, stays); err != nil {
		return err
	}
	if s.after {
		return errCrash
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

// plates are look-alikes of three vehicles, and others.
var plates = []string{
	"KA01AB1234", "KA01A81234", "KA01AB1Z34", "KA01AB123", "KA01AB1235",
	"MH12XY9876", "MH12XV9876", "MH12XY987G", "DL8CAF5031", "DL8CAF5O31", "HR26DK8337", "M1", "M1",
}

func drawEvents(t *rapid.T, site string, base time.Time) []parking.Event {
	var events []parking.Event
	for i := range rapid.IntRange(2, 14).Draw(t, "ids") {
		id := fmt.Sprint("e", i)
		versions := rapid.SampledFrom([]int64{1, 1, 1, 1, 2, 3}).Draw(t, "versions")
		for version := range versions {
			e := parking.Event{ID: id, Site: site, Version: version + 1, Kind: rapid.SampledFrom([]parking.Kind{parking.Entry, parking.Exit}).Draw(t, "kind")}
			if version > 0 && rapid.IntRange(0, 5).Draw(t, "void") == 0 {
				e.Void = true
			} else {
				e.RawPlate = rapid.SampledFrom(plates).Draw(t, "plate")
				e.NoPlate = rapid.IntRange(0, 15).Draw(t, "no plate") == 0
				e.Gate = rapid.SampledFrom([]string{"", "g1", "g2"}).Draw(t, "gate")
				e.Time = base.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "hour"))*time.Hour + time.Duration(rapid.SampledFrom([]int{0, 10, 300}).Draw(t, "seconds"))*time.Second)
			}
			made, err := parking.NewEvent(e)
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, made)
		}
		if e := events[len(events)-1]; !e.Void && rapid.IntRange(0, 5).Draw(t, "corrected") == 0 {
			by := parking.Correction{ID: "c" + e.ID, By: "ada", At: base}
			made, err := e.Correct(rapid.SampledFrom(plates).Draw(t, "right plate"), by)
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, made)
		}
	}
	return events
}

// checkSettled checks that no exit is decided before it has settled at any tick.
func (w *world) checkSettled(stays map[string]parking.Stay) {
	for _, s := range stays {
		if s.Match != nil && s.ExitTime.After(w.latest.Add(-24*time.Hour)) {
			w.Fatalf("stay %+v is decided, and the last tick was at %s", s, w.latest)
		}
	}
}

// matcher returns a matcher of the world at a time.
func (w *world) matcher(now time.Time, store Store, post Poster) *SiteMatcher {
	if now.After(w.latest) {
		w.latest = now
	}
	return &SiteMatcher{
		Store: store, Stays: w.stays, Summaries: post, Window: 144 * time.Hour, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
		Models: func(context.Context, string) (parking.Models, error) { return w.models, nil },
		Repair: func(context.Context, string) error { return nil },
		Settle: func(context.Context, string) (time.Duration, error) { return 24 * time.Hour, nil },
	}
}

// deliver records an event and posts its stays as a processor does, and crashes as it is
// told. The broker delivers it again then.
func (w *world) deliver(i int, recordOnly bool, post *summary) {
	r := w.store.Record(w.Context(), w.events[i:i+1])[0]
	if r.Err != nil {
		w.Fatalf("record %+v: %v", w.events[i], r.Err)
	}
	w.unposted[i] = true
	if recordOnly {
		return
	}
	switch err := post.Post(w.Context(), parking.Latest(r.Stays)); {
	case err == nil:
		w.delivered[i] = true
		delete(w.unposted, i)
	case !errors.Is(err, errCrash):
		w.Fatal(err)
	}
}

// tick runs a tick, which may crash, but not fail otherwise.
func (w *world) tick(m *SiteMatcher) SiteCounts {
	c, err := m.Match(w.Context(), w.site)
	if err != nil && !errors.Is(err, errCrash) {
		w.Fatal(err)
	}
	return c
}

// stored returns the stays that were posted, but void ones, and checks that no revision
// falls.
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
	for id, s := range found {
		if s.Revision < w.known[id] {
			w.Fatalf("the revision of stay %s falls from %d to %d", id, w.known[id], s.Revision)
		}
		w.known[id] = s.Revision
	}
	return found
}

// checkEntries checks that no two stays have one entry.
func (w *world) checkEntries(stays map[string]parking.Stay) {
	owners := make(map[string]string)
	for id, s := range stays {
		if other, taken := owners[s.EntryID]; taken && s.EntryID != "" {
			w.Fatalf("stays %s and %s have the entry %s", id, other, s.EntryID)
		}
		owners[s.EntryID] = id
	}
}

func (w *world) drawCrash(label string) (c crashing, post summary) {
	c, post = crashing{Store: w.store}, summary{world: w}
	switch rapid.SampledFrom([]string{"no", "no", "no", "after decide", "before post", "after post", "before posted"}).Draw(w.T, label) {
	case "after decide":
		c.afterDecide = true
	case "before post":
		post.before = true
	case "after post":
		post.after = true
	case "before posted":
		c.beforePosted = true
	}
	return c, post
}

// reject has a person reject a pair, or take that back, and posts as the summary does.
func (w *world) reject(n int) {
	entry, exit := rapid.SampledFrom(w.events).Draw(w.T, "entry").ID, rapid.SampledFrom(w.events).Draw(w.T, "exit").ID
	pair := parking.Rejection{EntryID: entry, ExitID: exit}
	r := timeline.Rejection{Rejection: pair, ID: fmt.Sprint("d", n), By: "ada", At: time.Now()}
	if w.rejections[pair] {
		delete(w.rejections, pair)
		if err := w.store.Unreject(w.Context(), w.site, r); err != nil {
			w.Fatal(err)
		}
		return
	}
	stays, err := w.store.Reject(w.Context(), w.site, r)
	if err == nil {
		err = (&summary{world: w}).Post(w.Context(), stays)
	}
	if err == nil {
		err = w.store.Posted(w.Context(), w.site, stays)
	}
	if errors.Is(err, parking.ErrInvalid) {
		return // a pair that was rejected before
	}
	if err != nil {
		w.Fatal(err)
	}
	w.rejections[pair] = true
}

// modelsOf returns models that decide otherwise than each other.
func modelsOf(base time.Time, n int) parking.Models {
	if n == 0 {
		return nil
	}
	easy := *parking.DefaultModel()
	easy.Version, easy.From, easy.Margin = fmt.Sprint("m", n), base.Add(time.Duration(n-1)*12*time.Hour), parking.Weight(50*n)
	return parking.Models{&easy}
}

// The guarantee: once every exit is older than the time to settle and a tick has run, the
// posted stays equal Match of the set of events, the rejections and the models, whatever
// the order, repetition or crashes. On the way one revision of a stay has one content, no
// revision falls, and no two stays have one entry after a tick that nothing disturbed.
func TestGuarantee(t *testing.T) {
	client := open(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		guarantee(rt, client, fmt.Sprint("s", n))
	})
}

func guarantee(t *rapid.T, client *redis.Client, site string) {
	const retention = 90 * 24 * time.Hour
	base := time.Now().Add(-96 * time.Hour).Truncate(time.Second).UTC()
	w := &world{
		T: t, site: site, store: timeline.New(client, retention), stays: stay.New(client, retention), base: base, events: drawEvents(t, site, base),
		delivered: make(map[int]bool), unposted: make(map[int]bool), rejections: make(map[parking.Rejection]bool), posted: make(map[string]string), known: make(map[string]int64),
	}
	order := rapid.Permutation(indices(len(w.events))).Draw(t, "order")
	for step := range rapid.IntRange(len(order), 2*len(order)+4).Draw(t, "steps") {
		now := base.Add(time.Duration(rapid.IntRange(20, 90).Draw(t, "now")) * time.Hour)
		switch rapid.SampledFrom([]string{"deliver", "deliver", "deliver", "again", "tick", "two ticks", "reject", "models"}).Draw(t, "what") {
		case "deliver":
			if len(order) > 0 {
				_, post := w.drawCrash("crash")
				w.deliver(order[0], rapid.IntRange(0, 6).Draw(t, "record only") == 0, &post)
				order = order[1:]
			}
		case "again":
			if i := rapid.IntRange(0, len(w.events)-1).Draw(t, "event"); !slices.Contains(order, i) {
				w.deliver(i, false, &summary{world: w})
			}
		case "tick":
			c, post := w.drawCrash("crash")
			counts := w.tick(w.matcher(now, &c, &post))
			undisturbed := !c.afterDecide && !c.beforePosted && !post.before && !post.after
			if got := w.stored(); undisturbed && len(w.unposted) == 0 {
				w.checkEntries(got)
				w.checkSettled(got)
				if counts.Refused != 0 {
					t.Fatalf("%d changes of a tick are refused that nothing disturbs", counts.Refused)
				}
			}
		case "two ticks":
			var ticks sync.WaitGroup
			for _, label := range []string{"one", "other"} {
				c, post := w.drawCrash(label)
				m := w.matcher(now, &c, &post)
				ticks.Go(func() {
					if _, err := m.Match(t.Context(), site); err != nil && !errors.Is(err, errCrash) {
						t.Errorf("%v", err)
					}
				})
			}
			ticks.Wait()
		case "reject":
			w.reject(step)
		case "models":
			w.models = modelsOf(base, rapid.IntRange(0, 3).Draw(t, "model"))
		}
	}
	for _, i := range rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)).Perm(len(w.events)) {
		if !w.delivered[i] {
			w.deliver(i, false, &summary{world: w})
		}
	}
	crashed, post := w.drawCrash("last")
	w.tick(w.matcher(time.Now(), &crashed, &post))
	c := w.tick(w.matcher(time.Now(), w.store, &summary{world: w}))
	if c.Refused != 0 {
		t.Fatalf("%d changes of an undisturbed tick are refused", c.Refused)
	}
	got := w.stored()
	w.checkEntries(got)
	current := parking.Current(w.events)
	want := make(map[string]string)
	nearIn := make(map[string]bool)
	for _, s := range parking.Match(current, nil, slices.Collect(maps.Keys(w.rejections)), w.models) {
		want[s.ID] = contentOf(&s)
		nearIn[s.EntryID] = s.Match != nil && s.Match.Method != parking.Exact && s.Match.Method != parking.Corrected
	}
	posted := make(map[string]string)
	for id, s := range got {
		posted[id] = contentOf(&s)
	}
	if diff := cmp.Diff(want, posted); diff != "" {
		t.Fatalf("posted otherwise than by Match (-want +got):\n%s", diff)
	}
	w.checkOccupancy(current, nearIn)
	// Another tick has nothing to do.
	if c := w.tick(w.matcher(time.Now(), w.store, &summary{world: w})); c.decided()+c.Withdrawn+c.Refused+c.Posted != 0 {
		t.Fatalf("the next tick does %+v", c)
	}
}

// checkOccupancy checks that vehicles whose stay is near-matched are not inside.
func (w *world) checkOccupancy(current []parking.Event, near map[string]bool) {
	lines := make(map[string][]parking.Event)
	for _, e := range current {
		if !e.NoPlate {
			lines[e.Plate] = append(lines[e.Plate], e)
		}
	}
	want := int64(0)
	for _, line := range lines {
		if in := parking.Pair(line, nil).Inside; in != nil && !near[in.ID] {
			want++
		}
	}
	s, err := w.store.Site(w.Context(), w.site)
	if err != nil {
		w.Fatal(err)
	}
	if s.VehiclesInside != want {
		w.Fatalf("%d vehicles are inside, want %d", s.VehiclesInside, want)
	}
}

// A stay of eight hours that was two visits: both are decided when the second exit has
// settled, after a crash, too. They stay so at the next tick, although what is posted is no
// exact stay any more.
func TestSplit(t *testing.T) {
	client := open(t)
	rapid.Check(t, func(rt *rapid.T) {
		const retention = 90 * 24 * time.Hour
		site := fmt.Sprintf("split%d", time.Now().UnixNano())
		base := time.Now().Add(-96 * time.Hour).Truncate(time.Second).UTC()
		at := func(id string, kind parking.Kind, plate string, minutes int) parking.Event {
			e, err := parking.NewEvent(parking.Event{ID: id, Kind: kind, Site: site, RawPlate: plate, Time: base.Add(time.Duration(minutes) * time.Minute)})
			if err != nil {
				rt.Fatal(err)
			}
			return e
		}
		w := &world{
			T: rt, site: site, store: timeline.New(client, retention), stays: stay.New(client, retention), base: base,
			events: []parking.Event{
				at("e1", parking.Entry, "KA01AB1234", 0), at("x1", parking.Exit, "KA01A81234", 60), at("e2", parking.Entry, "KA01AB1Z34", 420), at("x2", parking.Exit, "KA01AB1234", 480),
			},
			delivered: make(map[int]bool), unposted: make(map[int]bool), rejections: make(map[parking.Rejection]bool), posted: make(map[string]string), known: make(map[string]int64),
		}
		for _, i := range rapid.Permutation(indices(len(w.events))).Draw(rt, "order") {
			w.deliver(i, false, &summary{world: w})
		}
		split := func() bool {
			got := w.stored()
			x1, x2 := got["x1"], got["x2"]
			return x1.EntryID == "e1" && x2.EntryID == "e2" && x1.Method() == parking.Split && x2.Method() == parking.Split
		}
		// The first exit has settled, the second has not.
		c := w.tick(w.matcher(base.Add(28*time.Hour), w.store, &summary{world: w}))
		if c.decided()+c.Refused != 0 {
			rt.Fatalf("before the second exit has settled: %+v", c)
		}
		crashed, post := w.drawCrash("crash")
		w.tick(w.matcher(time.Now(), &crashed, &post))
		w.tick(w.matcher(time.Now(), w.store, &summary{world: w}))
		if !split() {
			rt.Fatalf("not split: %+v", w.stored())
		}
		if c := w.tick(w.matcher(time.Now(), w.store, &summary{world: w})); c.decided()+c.Withdrawn+c.Posted != 0 || !split() {
			rt.Fatalf("the next tick does %+v: %+v", c, w.stored())
		}
	})
}

func indices(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
