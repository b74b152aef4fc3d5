package matcher

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"parkstream/shared/parking"
	"parkstream/shared/review"
)

// vehicles are the plates of some vehicles, each with look-alikes.
var vehicles = [][]string{
	{"KA01AB1234", "KA01A81234", "KA01AB1Z34", "KA01AB123", "KA01AB1235"},
	{"MH12XY9876", "MH12XV9876", "MH12XY987G"},
	{"DL8CAF5031", "DL8CAF5O31", "DL8CAF503"},
	{"HR26DK8337", "HR26OK8337", "HR26DK833T"},
}

// drawPlate draws the plate of a read; of a short one many plates are read.
func (w *world) drawPlate() string {
	if rapid.IntRange(0, 9).Draw(w.draw, "short") == 9 {
		return "M1"
	}
	return rapid.SampledFrom(rapid.SampledFrom(vehicles).Draw(w.draw, "vehicle")).Draw(w.draw, "plate")
}

// drawTime draws the time of a read: mostly of four days ago, else of up to 16.
func (w *world) drawTime() time.Time {
	day := rapid.SampledFrom([]int{4, 4, 4, 4, 4, 4, 8, 12, 16}).Draw(w.draw, "days ago")
	at := w.now.AddDate(0, 0, -day).Add(time.Duration(rapid.IntRange(0, 40).Draw(w.draw, "hour")) * time.Hour)
	return at.Add(time.Duration(rapid.SampledFrom([]int{0, 10, 300}).Draw(w.draw, "seconds")) * time.Second)
}

// send has a camera send a version of an event.
func (w *world) send(e parking.Event) int {
	e.Site = w.site
	made, err := parking.NewEvent(e)
	if err != nil {
		w.Fatal(err)
	}
	w.events = append(w.events, made)
	return len(w.events) - 1
}

func (w *world) nextID() string { return fmt.Sprint("e", len(w.events)) }

// sendRead has a camera send a read of any vehicle.
func (w *world) sendRead() {
	w.send(parking.Event{
		ID: w.nextID(), Kind: rapid.SampledFrom([]parking.Kind{parking.Entry, parking.Exit}).Draw(w.draw, "kind"), RawPlate: w.drawPlate(), Time: w.drawTime(),
		NoPlate: rapid.IntRange(0, 15).Draw(w.draw, "no plate") == 0, Gate: rapid.SampledFrom([]string{"", "g1", "g2"}).Draw(w.draw, "gate"),
	})
}

// sendVisit has cameras send an entry and an exit of one vehicle, of which mostly one is
// misread.
func (w *world) sendVisit() {
	plates := rapid.Permutation(rapid.SampledFrom(vehicles).Draw(w.draw, "vehicle")).Draw(w.draw, "plates")
	if rapid.IntRange(0, 3).Draw(w.draw, "right") == 3 {
		plates[1] = plates[0]
	}
	at := w.drawTime()
	w.send(parking.Event{ID: w.nextID(), Kind: parking.Entry, RawPlate: plates[0], Time: at, Gate: "in"})
	at = at.Add(time.Duration(rapid.IntRange(1, 9).Draw(w.draw, "hours")) * time.Hour)
	w.send(parking.Event{ID: w.nextID(), Kind: parking.Exit, RawPlate: plates[1], Time: at, Gate: "out"})
}

// sendRepeat has a camera read a vehicle once more, within the time of a repeat or later.
func (w *world) sendRepeat() {
	e := rapid.SampledFrom(w.events).Draw(w.draw, "repeated")
	if e.Void {
		return
	}
	e.ID, e.Version = w.nextID(), 1
	e.Time = e.Time.Add(time.Duration(rapid.SampledFrom([]int{15, 50, 200}).Draw(w.draw, "after")) * time.Second)
	w.send(e)
}

// sendVersion has a camera send the next version of one of its events.
func (w *world) sendVersion(e parking.Event) int {
	for i := range w.events {
		if of := &w.events[i]; of.ID == e.ID && of.Version > e.Version {
			e = *of
		}
	}
	e.Version++
	switch what := rapid.SampledFrom([]string{"plate", "plate", "void", "time", "kind", "no plate", "the same"}).Draw(w.draw, "amended"); {
	case what == "void":
		e = parking.Event{ID: e.ID, Kind: e.Kind, Version: e.Version, Void: true}
	case e.Void, what == "plate":
		e.Void, e.NoPlate, e.RawPlate, e.Time = false, false, w.drawPlate(), w.drawTime()
	case what == "time":
		e.Time = e.Time.Add(time.Duration(rapid.SampledFrom([]int{-5, -1, 1, 5}).Draw(w.draw, "moved")) * time.Hour)
	case what == "kind":
		e.Kind ^= parking.Entry ^ parking.Exit
	case what == "no plate":
		e.NoPlate = true
	}
	return w.send(e)
}

// sendEvents has cameras send events, with versions, and puts them into any order.
func (w *world) sendEvents() {
	for range rapid.IntRange(3, 10).Draw(w.draw, "sendings") {
		switch what := rapid.SampledFrom([]string{"visit", "visit", "visit", "visit", "read", "repeat", "version"}).Draw(w.draw, "what"); {
		case what == "visit":
			w.sendVisit()
		case what == "read" || len(w.events) == 0:
			w.sendRead()
		case what == "repeat":
			w.sendRepeat()
		default:
			w.sendVersion(rapid.SampledFrom(w.events).Draw(w.draw, "of"))
		}
	}
	w.queue = rapid.Permutation(indices(len(w.events))).Draw(w.draw, "order")
}

// disturb has a read come that changes what the reads of a near stay mean: another version
// of one of them, or one of the same plate that is next to it.
func (w *world) disturb() {
	stays := w.stored()
	ids := near(stays)
	if len(ids) == 0 {
		return
	}
	s := stays[rapid.SampledFrom(ids).Draw(w.draw, "near stay")]
	id := rapid.SampledFrom([]string{s.ID, s.EntryID}).Draw(w.draw, "read")
	if len(w.recorded[id]) == 0 {
		return // it was erased
	}
	e := w.highest(id)
	var sent int
	switch what := rapid.SampledFrom([]string{"version", "after", "before"}).Draw(w.draw, "disturbed by"); {
	case what == "version" || e.Void:
		sent = w.sendVersion(e)
	default:
		e.ID, e.Version, e.Correction = w.nextID(), 1, nil
		e.Kind = rapid.SampledFrom([]parking.Kind{parking.Entry, parking.Exit}).Draw(w.draw, "kind")
		by := time.Duration(rapid.SampledFrom([]int{15, 3600, 7200}).Draw(w.draw, "seconds")) * time.Second
		if what == "before" {
			by = -by
		}
		e.Time = e.Time.Add(by)
		sent = w.send(e)
	}
	w.drawDelivery(sent)
}

func (w *world) drawDelivery(i int) {
	crash := rapid.SampledFrom([]string{"no", "no", "no", "no", "no", "no", "before post", "after post"}).Draw(w.draw, "crash")
	w.deliver(i, &summary{world: w, before: crash == "before post", after: crash == "after post"})
}

// drawDecision draws what a person decides, mostly of reads of which it can be true.
func (w *world) drawDecision(id string) (d review.Decision, again, drawn bool) {
	entries, exits, stays := w.ids(parking.Entry), w.ids(parking.Exit), w.stored()
	if len(entries) == 0 || len(exits) == 0 {
		return d, false, false
	}
	kind := rapid.SampledFrom([]string{"same", "different", "different", "plate", "undo", "again"}).Draw(w.draw, "decision")
	if len(w.decisions) > 0 && (kind == "undo" || kind == "again") {
		d = rapid.SampledFrom(w.decisions).Draw(w.draw, "earlier")
		if kind == "again" {
			return d, true, true
		}
		d.ID, d.Kind, d.Of, d.Plate = id, review.Undo, d.ID, ""
		return d, false, true
	}
	d = review.Decision{ID: id, Kind: review.Kind(kind), By: "ada", EntryID: rapid.SampledFrom(entries).Draw(w.draw, "entry"), ExitID: rapid.SampledFrom(exits).Draw(w.draw, "exit")}
	if s := stays[d.ExitID]; s.EntryID != "" && rapid.Bool().Draw(w.draw, "of the stay") {
		d.EntryID = s.EntryID
	}
	switch kind {
	case "same":
		d.Plate = rapid.SampledFrom([]string{w.highest(d.EntryID).Plate, w.highest(d.ExitID).Plate, "GJ05CL0007"}).Draw(w.draw, "right plate")
	case "plate":
		d.EventID, d.EntryID, d.ExitID = rapid.SampledFrom(w.ids()).Draw(w.draw, "event"), "", ""
		d.Plate = w.drawPlate()
	case "different":
	default:
		return d, false, false
	}
	return d, false, kind != "same" || d.Plate != ""
}

// drawCrash draws where a process ends, if it does.
func (w *world) drawCrash(label string) (crashing, summary) {
	return w.crash(rapid.SampledFrom(append([]string{"no", "no", "no"}, crashes...)).Draw(w.draw, label))
}

// drawModels draws a model that decides otherwise than others, mostly an easy one.
func (w *world) drawModels(base time.Time) {
	w.models = nil
	n := rapid.IntRange(0, 3).Draw(w.draw, "model")
	if n == 0 {
		return
	}
	easy := *parking.DefaultModel()
	easy.Version, easy.Margin, easy.Margins, easy.Prior = fmt.Sprint("m", n), parking.Weight(20*n), nil, 0
	if n == 3 {
		easy.From = base.Add(12 * time.Hour)
	}
	w.models = parking.Models{&easy}
}

// The guarantee: once every exit is older than the time to settle and a tick has run, the
// posted stays equal Match of the set of events, the rejections and the models, whatever
// the order, repetition or crashes. On the way one revision of a stay has one content, no
// revision falls, and no two stays have one entry.
func TestGuarantee(t *testing.T) {
	client := open(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		w := newWorld(rt, client, fmt.Sprint("s", n))
		w.draw = rt
		guarantee(w)
	})
}

func guarantee(w *world) {
	t, base := w.draw, w.now.Add(-96*time.Hour)
	w.window = time.Duration(rapid.SampledFrom([]int{144, 144, 72, 400}).Draw(t, "window")) * time.Hour
	if rapid.Bool().Draw(t, "repeats") {
		w.repeats = parking.Repeats{{From: base.Add(20 * time.Hour), Within: 5 * time.Minute}}
	}
	w.drawModels(base)
	w.sendEvents()
	for step := range rapid.IntRange(len(w.queue), 2*len(w.queue)).Draw(t, "steps") {
		w.step(fmt.Sprint("d", step), base)
		w.stored()
	}
	for i := range w.events {
		if slices.Contains(w.queue, i) || w.unposted[i] {
			w.deliver(i, &summary{world: w})
		}
	}
	w.crashed = true
	var c SiteCounts
	for w.crashed { // until a tick ends by itself
		crashed, post := w.drawCrash("last")
		c = w.tick(w.matcher(w.now, &crashed, &post))
	}
	held := w.checkStays()
	if c.Refused != 0 && !held {
		t.Fatalf("%d changes of an undisturbed tick are refused", c.Refused)
	}
	// Another tick has nothing to do.
	if c := w.tick(w.matcher(w.now, w.store, &summary{world: w})); c.decided()+c.Withdrawn+c.Posted != 0 || c.Refused != 0 && !held {
		t.Fatalf("the next tick does %+v", c)
	}
}

// step draws something that happens at the site.
func (w *world) step(id string, base time.Time) {
	t := w.draw
	now := base.Add(time.Duration(rapid.SampledFrom([]int{40, 60, 90, 96}).Draw(t, "now")) * time.Hour)
	switch rapid.SampledFrom([]string{"deliver", "deliver", "deliver", "deliver", "again", "disturb", "disturb", "tick", "tick", "two ticks", "decide", "decide", "decide in a tick", "erase", "models"}).Draw(t, "step") {
	case "deliver":
		some := w.queue[:min(len(w.queue), 2)]
		w.queue = w.queue[len(some):]
		for _, i := range some {
			w.drawDelivery(i)
		}
	case "again":
		for i := range w.events { // what was not posted, and another one
			if w.unposted[i] {
				w.deliver(i, &summary{world: w})
			}
		}
		if i := rapid.IntRange(0, len(w.events)-1).Draw(t, "event"); !slices.Contains(w.queue, i) {
			w.deliver(i, &summary{world: w})
		}
	case "disturb":
		w.disturb()
	case "tick":
		c, post := w.drawCrash("crash")
		w.tick(w.matcher(now, &c, &post))
	case "two ticks":
		c, post := w.drawCrash("crash")
		one := w.matcher(now, &c, &post)
		w.drawModels(base) // one of them reads the models before that, and is late
		other := w.matcher(now.Add(time.Hour), w.store, &summary{world: w})
		w.tickAnd(one, func() error {
			_, err := other.Match(t.Context(), w.site)
			return err
		})
	case "decide":
		if d, again, drawn := w.drawDecision(id); drawn {
			_, post := w.drawCrash("crash")
			w.decide(d, again, &post)
		}
	case "decide in a tick":
		if d, again, drawn := w.drawDecision(id); drawn {
			var err error
			c, post := w.drawCrash("crash")
			w.tickAnd(w.matcher(now, &c, &post), func() error {
				_, err = (&review.Reviewer{Events: w.store, Post: (&summary{world: w}).Post}).Decide(t.Context(), w.site, d)
				return nil
			})
			w.decided(d, again, err)
		}
	case "erase":
		w.erase(w.drawPlate())
	case "models":
		w.drawModels(base)
	}
}

// tickAnd runs a tick, which may crash, and something else at the same time.
func (w *world) tickAnd(m *SiteMatcher, other func() error) {
	var both sync.WaitGroup
	var one, two error
	both.Go(func() { _, one = m.Match(w.Context(), w.site) })
	both.Go(func() { two = other() })
	both.Wait()
	w.crashed = w.crashed || one != nil
	for _, err := range []error{one, two} {
		if err != nil && !errors.Is(err, errCrash) {
			w.Fatal(err)
		}
	}
}

// A stay of eight hours that was two visits: both are decided when the second exit has
// settled, after a crash, too. They stay so at the next tick, although what is posted is no
// exact stay any more.
func TestSplit(t *testing.T) {
	client := open(t)
	for n, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {0, 3, 1, 2}, {2, 1, 0, 3}, {1, 3, 2, 0}} {
		w := newWorld(t, client, fmt.Sprint("split", n))
		base := w.now.Add(-96 * time.Hour)
		at := func(id string, kind parking.Kind, plate string, minutes int) {
			w.send(parking.Event{ID: id, Kind: kind, RawPlate: plate, Time: base.Add(time.Duration(minutes) * time.Minute)})
		}
		at("e1", parking.Entry, "KA01AB1234", 0)
		at("x1", parking.Exit, "KA01A81234", 60)
		at("e2", parking.Entry, "KA01AB1Z34", 420)
		at("x2", parking.Exit, "KA01AB1234", 480)
		for _, i := range order {
			w.deliver(i, &summary{world: w})
		}
		split := func() bool {
			got := w.stored()
			x1, x2 := got["x1"], got["x2"]
			return x1.EntryID == "e1" && x2.EntryID == "e2" && x1.Method() == parking.Split && x2.Method() == parking.Split
		}
		// The first exit has settled, the second has not.
		c := w.tick(w.matcher(base.Add(28*time.Hour), w.store, &summary{world: w}))
		if c.decided()+c.Refused != 0 {
			t.Fatalf("before the second exit has settled: %+v", c)
		}
		crashed, post := w.crash(crashes[n%len(crashes)])
		w.tick(w.matcher(w.now, &crashed, &post))
		w.tick(w.matcher(w.now, w.store, &summary{world: w}))
		if !split() {
			t.Fatalf("not split: %+v", w.stored())
		}
		if c := w.tick(w.matcher(w.now, w.store, &summary{world: w})); c.decided()+c.Withdrawn+c.Posted != 0 || !split() {
			t.Fatalf("the next tick does %+v: %+v", c, w.stored())
		}
		// What was withdrawn and not posted is an exact stay to the next tick already.
		strict := *parking.DefaultModel()
		strict.Margin, strict.Margins, strict.Doubt = 9000, nil, 9000
		w.models = parking.Models{&strict}
		crashed, post = w.crash("after decide")
		w.tick(w.matcher(w.now, &crashed, &post))
		w.models = nil
		if c := w.tick(w.matcher(w.now, w.store, &summary{world: w})); c.decided() != 2 || !split() {
			t.Fatalf("after a withdrawal without a post the next tick does %+v: %+v", c, w.stored())
		}
	}
}

func indices(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
