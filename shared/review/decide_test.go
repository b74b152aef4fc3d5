package review

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	site      = "north"
	retention = 90 * 24 * time.Hour
)

// office is where a person decides, on a Redis of its own.
type office struct {
	*Reviewer
	t      *testing.T
	client *redis.Client
	stays  *stay.Store
	start  time.Time
	// meanwhile runs once while a decision is on its way.
	meanwhile func()
	// fails makes the posts fail.
	fails bool
}

func newOffice(t *testing.T) *office {
	t.Helper()
	client, err := redis.Open(redis.URL(instancetest.Redis(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	o := &office{t: t, client: client, stays: stay.New(client, retention), start: time.Now().UTC().Add(-48 * time.Hour).Truncate(time.Second)}
	o.Reviewer = &Reviewer{Events: timeline.New(client, retention), Post: func(ctx context.Context, stays []parking.Stay) error {
		if o.fails {
			return errors.New("the process ended")
		}
		_, err := o.stays.Upsert(ctx, stays)
		return err
	}, Now: func() time.Time {
		if meanwhile := o.meanwhile; meanwhile != nil { // it is asked just before the record
			o.meanwhile = nil
			meanwhile()
		}
		return time.Now()
	}}
	return o
}

// read returns a read in minutes after the start. A plate of "-" is none.
func (o *office) read(kind parking.Kind, id, plate string, minute int) parking.Event {
	o.t.Helper()
	e := parking.Event{ID: id, Kind: kind, Site: site, RawPlate: plate, Time: o.start.Add(time.Duration(minute) * time.Minute)}
	if plate == "-" {
		e.RawPlate, e.NoPlate = "", true
	}
	valid, err := parking.NewEvent(e)
	if err != nil {
		o.t.Fatal(err)
	}
	return valid
}

// seen records what cameras and persons send, as a processor does.
func (o *office) seen(events ...parking.Event) {
	o.t.Helper()
	for _, r := range o.Events.Record(o.t.Context(), events) {
		if r.Err != nil {
			o.t.Fatal(r.Err)
		}
		if _, err := o.stays.Upsert(o.t.Context(), r.Stays); err != nil {
			o.t.Fatal(err)
		}
	}
}

// shown returns the stays of some exits as they are shown: each as its entry, plate and
// revision.
func (o *office) shown(exits ...string) string {
	o.t.Helper()
	texts := make([]string, len(exits))
	for i, id := range exits {
		k, err := o.stays.Get(o.t.Context(), []string{site}, id)
		if err != nil {
			o.t.Fatal(err)
		}
		texts[i] = fmt.Sprintf("%s %s %s %d", k.Status(), k.EntryID, k.Plate, k.Revision)
	}
	return strings.Join(texts, ", ")
}

func (o *office) decide(d Decision) (Result, error) {
	d.By = "anna"
	return o.Decide(o.t.Context(), site, d)
}

// holding returns the reads of the pair, and the id of its rejection.
func (o *office) holding() (events []parking.Event, rejected string) {
	o.t.Helper()
	r, found, err := o.Events.RejectionOf(o.t.Context(), site, parking.Rejection{EntryID: "e", ExitID: "x"})
	if found && r.Withdrawn == nil {
		rejected = r.ID
	}
	for _, id := range []string{"e", "x"} {
		e, err2 := o.Events.Event(o.t.Context(), site, id)
		events, err = append(events, e), errors.Join(err, err2)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	return events, rejected
}

// made makes a decision, and requires whether it changes anything.
func (o *office) made(d Decision, changed bool) Result {
	o.t.Helper()
	got, err := o.decide(d)
	if err != nil || got.Changed != changed {
		o.t.Fatalf("%+v: changed %t, %v", d, got.Changed, err)
	}
	return got
}

func (o *office) wants(exits, want string) {
	o.t.Helper()
	if got := o.shown(strings.Split(exits, " ")...); got != want {
		o.t.Errorf("the stays of %s are %s, want %s", exits, got, want)
	}
}

func same(id, entry, exit, plate string) Decision {
	return Decision{ID: id, Kind: Same, EntryID: entry, ExitID: exit, Plate: plate}
}

func undo(id, of string) Decision {
	return Decision{ID: id, Kind: Undo, Of: of, EntryID: "e", ExitID: "x"}
}

// undoOf takes a decision back of one read only.
func undoOf(id, of, event string) Decision {
	return Decision{ID: id, Kind: Undo, Of: of, EventID: event}
}

func different(id string) Decision {
	return Decision{ID: id, Kind: Different, EntryID: "e", ExitID: "x"}
}

// A decision that two reads are of one vehicle makes a stay of them at once, whichever
// plate is right, and the camera changes nothing of that later. It can be taken back.
func TestSame(t *testing.T) {
	for plate, of := range map[string]string{"ka-01 ab 1234": "KA01AB1234", "KA01AB1284": "KA01AB1284", "KA01AB1234 ": "KA01AB1234", "MH12": "MH12"} {
		t.Run(plate, func(t *testing.T) {
			o := newOffice(t)
			o.seen(o.read(parking.Entry, "e", "KA01AB1284", 0), o.read(parking.Exit, "x", "KA01AB1234", 60))
			o.wants("x", "unmatched_exit  KA01AB1234 1")
			got := o.made(same("d1", "e", "x", plate), true)
			first := o.shown("x")
			if want := fmt.Sprintf("completed e %s ", of); !strings.HasPrefix(first, want) {
				t.Fatalf("%s, want %s", first, want)
			}
			for _, e := range got.Events {
				if e.Plate != of || e.Corrected() && (e.Correction.By != "anna" || e.Correction.ID != "d1") {
					t.Errorf("%+v", e)
				}
			}
			o.made(same("d1", "e", "x", plate), false)
			later := o.read(parking.Entry, "e", "KA01AB7777", 0)
			later.Version = time.Now().UnixMicro()
			o.seen(later)
			o.made(same("d1", "e", "x", plate), false)
			o.made(same("d2", "e", "x", of), false) // another one decides the same
			o.wants("x", first)

			o.made(undo("d3", "d1"), true)
			if got := o.shown("x"); !strings.HasPrefix(got, "unmatched_exit  KA01AB1234 ") {
				t.Errorf("taken back: %s", got)
			}
			undone := o.shown("x")
			o.made(undo("d3", "d1"), false)
			o.made(same("d1", "e", "x", plate), false) // it comes late
			o.wants("x", undone)
		})
	}
}

// What a decision changes beside its reads is shown at once, too: the exit that had the
// entry loses it, and an entry that was missed is found.
func TestOtherStays(t *testing.T) {
	o := newOffice(t)
	o.seen(
		o.read(parking.Entry, "e", "KA01", 0), o.read(parking.Exit, "x", "KA01", 60), // two visits as one
		o.read(parking.Exit, "y", "KA07", 20), o.read(parking.Entry, "f", "KA09", 30),
	)
	o.wants("x y", "completed e KA01 1, unmatched_exit  KA07 1")
	// The stay of e and x is not disputed, so the exit y cannot take e.
	if _, err := o.decide(same("d1", "e", "y", "KA01")); err == nil || !strings.Contains(err.Error(), "belongs to the exit x") {
		t.Errorf("%v", err)
	}
	o.made(Decision{ID: "d2", Kind: Plate, EventID: "y", Plate: "KA01"}, true)
	o.wants("x y", "unmatched_exit  KA01 2, completed e KA01 2")
	o.made(same("d3", "f", "x", "KA01"), true)
	o.wants("x y", "completed f KA01 3, completed e KA01 2")
}

// A read that was corrected may be told from one of another plate.
func TestDifferentAfterAPlate(t *testing.T) {
	o := newOffice(t)
	o.seen(o.read(parking.Entry, "e", "KA02", 0), o.read(parking.Exit, "x", "KA01", 60))
	o.made(Decision{ID: "d1", Kind: Plate, EventID: "e", Plate: "KA03"}, true)
	o.made(Decision{ID: "d2", Kind: Different, EntryID: "e", ExitID: "x"}, true)
}

// A read without a plate gets one, and loses it again.
func TestPlateOfARead(t *testing.T) {
	o := newOffice(t)
	o.seen(o.read(parking.Entry, "n", "-", 0), o.read(parking.Exit, "x", "KA01", 60))
	d := Decision{ID: "d1", Kind: Plate, EventID: "n", Plate: "ka 01"}
	o.made(d, true)
	o.made(d, false)
	o.wants("x", "completed n KA01 2")
	back := Decision{ID: "d2", Kind: Undo, EventID: "n", Of: "d1"}
	o.made(back, true)
	o.made(back, false)
	o.wants("x", "unmatched_exit  KA01 3")
	if e, err := o.Events.Event(t.Context(), site, "n"); err != nil || !e.NoPlate {
		t.Errorf("%+v, %v", e, err)
	}
	// The same by a pair.
	o.made(same("d3", "n", "x", "KA02"), true)
	o.wants("x", "completed n KA02 4")
}

// A sender may give a version as high as those of decisions, and decides nothing by it.
func TestAHighVersionIsNoDecision(t *testing.T) {
	o := newOffice(t)
	x := o.read(parking.Exit, "x", "KA01AB1234", 60)
	x.Version = parking.CorrectionVersion
	o.seen(o.read(parking.Entry, "e", "KA01AB1234", 0), x)
	o.made(Decision{ID: "d1", Kind: Different, EntryID: "e", ExitID: "x"}, true)
}

// A rejection holds until it is taken back, each by a decision of its own.
func TestDifferent(t *testing.T) {
	o := newOffice(t)
	o.seen(o.read(parking.Entry, "e", "KA01AB1284", 0), o.read(parking.Exit, "x", "KA01AB1234", 60))
	rejected := func(want bool) {
		t.Helper()
		r, found, err := o.Events.RejectionOf(t.Context(), site, parking.Rejection{EntryID: "e", ExitID: "x"})
		if err != nil || (found && r.Withdrawn == nil) != want || found && (r.By != "anna" || r.ID != "d1") {
			t.Errorf("rejected %t, want %t: %+v, %v", found, want, r, err)
		}
	}
	d := Decision{ID: "d1", Kind: Different, EntryID: "e", ExitID: "x"}
	o.made(d, true)
	o.made(d, false)
	again := d
	again.ID = "d5"
	o.made(again, false)
	rejected(true)
	if _, err := o.decide(same("d2", "e", "x", "KA01AB1234")); err == nil || !strings.Contains(err.Error(), "take that back first") {
		t.Errorf("%v", err)
	}
	o.made(undo("d3", "d1"), true)
	o.made(undo("d3", "d1"), false)
	rejected(false)
	o.made(d, false) // it comes late
	rejected(false)
	o.made(same("d4", "e", "x", "KA01AB1234"), true)
	if _, err := o.decide(Decision{ID: "d6", Kind: Different, EntryID: "e", ExitID: "x"}); err == nil || !strings.Contains(err.Error(), "anna decided that they are of one vehicle, by the decision d4") {
		t.Errorf("%v", err)
	}
}

// A pair that was decided to be of one vehicle by mistake is rejected after that was taken
// back, also if the cameras read one plate. It is decided again after the rejection was taken
// back.
func TestTakenBack(t *testing.T) {
	for _, plate := range []string{"KA01", "KA02"} {
		o := newOffice(t)
		o.seen(o.read(parking.Entry, "e", plate, 0), o.read(parking.Exit, "x", "KA01", 60))
		o.made(same("s", "e", "x", "KA01"), true)
		o.made(undo("u", "s"), true)
		o.made(different("d"), true)
		if _, err := o.decide(undo("v", "u")); !isConflict(err) {
			t.Fatalf("undo of the undo: %v", err)
		}
		o.made(undo("w", "d"), true)
		o.made(undo("v", "u"), true)
		if _, err := o.decide(different("f")); !isConflict(err) {
			t.Fatalf("different: %v", err)
		}
		o.made(undo("y", "v"), true)
		o.made(different("f"), true)
	}
}

// A decision about one read is not one about the pair: both reads may have one plate, and be
// of two visits.
func TestOnePlateOfARejectedPair(t *testing.T) {
	o := newOffice(t)
	o.seen(o.read(parking.Entry, "e", "KA02", 0), o.read(parking.Exit, "x", "KA01", 60))
	o.made(same("s", "e", "x", "KA03"), true)
	o.made(undo("u", "s"), true)
	o.made(different("d"), true)
	o.made(undoOf("v", "u", "e"), true)
	o.made(undoOf("w", "u", "x"), true)
	o.made(Decision{ID: "p", Kind: Plate, EventID: "e", Plate: "KA04"}, true)
	o.made(Decision{ID: "q", Kind: Plate, EventID: "x", Plate: "KA04"}, true)
	// Nor is one about a read that a camera read as the other one.
	o.made(undo("y", "d"), true)
	o.made(undoOf("z", "q", "x"), true)
	o.made(different("f"), true)
}

// Two undos by the pair that restore the plate of one read each are not both made if the pair
// is rejected, also at the same time.
func TestUndosOfEachRead(t *testing.T) {
	o := newOffice(t)
	o.seen(o.read(parking.Entry, "e", "KA02", 0), o.read(parking.Exit, "x", "KA01", 60))
	o.made(same("s", "e", "x", "KA03"), true)
	o.made(undoOf("u1", "s", "e"), true)
	o.made(undoOf("u2", "s", "x"), true)
	o.made(different("d"), true)
	late := &session{Reviewer: o.Reviewer, site: site, d: undo("v1", "u1")}
	if err := late.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.made(undo("v2", "u2"), true)
	if changed, err := late.decide(t.Context()); changed || !isConflict(err) {
		t.Errorf("changed %t, error %v", changed, err)
	}
	if _, err := o.decide(undo("v1", "u1")); err == nil || !strings.Contains(err.Error(), "by the decision d: take that back first") {
		t.Errorf("%v", err)
	}
}

// A near stay is taken back with its rejection, and gone with a correction.
func TestNearStay(t *testing.T) {
	for _, kind := range []Kind{Same, Different} {
		o := newOffice(t)
		e, x := o.read(parking.Entry, "e", "KA01AB1284", 0), o.read(parking.Exit, "x", "KA01AB1234", 60)
		o.seen(e, x)
		near := parking.Stay{ID: "x", Site: site, Plate: x.Plate, EntryID: "e", EntryTime: e.Time, ExitTime: x.Time, Match: &parking.Explanation{Method: parking.Edit}}
		decided, err := o.Events.Decide(t.Context(), site, []timeline.Change{{Stay: near, EntryPlate: e.Plate, ExitPlate: x.Plate}})
		if err != nil || decided[0].Refused != "" {
			t.Fatalf("%+v, %v", decided, err)
		}
		if _, err := o.stays.Upsert(t.Context(), []parking.Stay{decided[0].Stay}); err != nil {
			t.Fatal(err)
		}
		o.wants("x", "completed e KA01AB1234 2")
		if kind == Same {
			o.made(same("d", "e", "x", "KA01AB1234"), true)
			o.wants("x", "completed e KA01AB1234 3")
		} else {
			o.made(Decision{ID: "d", Kind: Different, EntryID: "e", ExitID: "x"}, true)
			o.wants("x", "unmatched_exit  KA01AB1234 3")
		}
		if left, err := o.Events.Decisions(t.Context(), site, time.Time{}); len(left) != 0 || err != nil {
			t.Errorf("%s: decisions left: %+v, %v", kind, left, err)
		}
	}
}

// A person gives the exit or the entry of a near stay to another read.
func TestReadsOfANearStay(t *testing.T) {
	for want, d := range map[string]Decision{
		"completed f KA01AB1234 3, unmatched_exit  KA01AB7777 1": same("d", "f", "x", "KA01AB1234"),
		"unmatched_exit  KA01AB1234 3, completed e KA01AB5555 2": same("d", "e", "y", "KA01AB5555"),
	} {
		o := newOffice(t)
		e, x := o.read(parking.Entry, "e", "KA01AB1284", 0), o.read(parking.Exit, "x", "KA01AB1234", 60)
		o.seen(e, x, o.read(parking.Entry, "f", "KA01AB9999", 10), o.read(parking.Exit, "y", "KA01AB7777", 70))
		near := parking.Stay{ID: "x", Site: site, Plate: x.Plate, EntryID: "e", EntryTime: e.Time, ExitTime: x.Time, Match: &parking.Explanation{Method: parking.Edit}}
		decided, err := o.Events.Decide(t.Context(), site, []timeline.Change{{Stay: near, EntryPlate: e.Plate, ExitPlate: x.Plate}})
		if err != nil || decided[0].Refused != "" {
			t.Fatalf("%+v, %v", decided, err)
		}
		o.made(d, true)
		o.wants("x y", want)
	}
}

// A person confirms what a camera read. That is a decision, once.
func TestConfirmed(t *testing.T) {
	o := newOffice(t)
	o.seen(o.read(parking.Entry, "e", "KA01", 0), o.read(parking.Exit, "x", "KA01", 60))
	o.made(Decision{ID: "d1", Kind: Plate, EventID: "e", Plate: "KA01"}, true)
	o.made(Decision{ID: "d2", Kind: Plate, EventID: "e", Plate: "KA01"}, false)
	o.made(same("d3", "e", "x", "KA01"), true)
	for _, e := range o.made(same("d4", "e", "x", "KA01"), false).Events {
		if !e.DecidedBy("d3") || !e.Corrected() {
			t.Errorf("%+v", e)
		}
	}
	o.wants("x", "completed e KA01 1")
}

// The plate before a decision was erased: the decision cannot be taken back.
func TestUndoOfAnErasedPlate(t *testing.T) {
	o := newOffice(t)
	o.seen(o.read(parking.Entry, "e", "KA02", 0))
	o.made(Decision{ID: "d1", Kind: Plate, EventID: "e", Plate: "KA01"}, true)
	if _, err := o.Events.ErasePlate(t.Context(), site, "KA02"); err != nil {
		t.Fatal(err)
	}
	if _, err := o.decide(Decision{ID: "d2", Kind: Undo, EventID: "e", Of: "d1"}); !isConflict(err) || !strings.Contains(err.Error(), "the event e was erased") {
		t.Errorf("%v", err)
	}
}

// A disputed stay is no more so as soon as a person confirms it, or rejects each pair that
// disputes it.
func TestDisputedStay(t *testing.T) {
	for _, kind := range []Kind{Same, Different} {
		o := newOffice(t)
		e, x := o.read(parking.Entry, "e", "KA01AB1234", 0), o.read(parking.Exit, "x", "KA01AB1234", 60)
		o.seen(e, x, o.read(parking.Exit, "y", "KA01AB1284", 30), o.read(parking.Exit, "z", "KA01AB1235", 40))
		disputed := parking.Stay{ID: "x", Site: site, Plate: x.Plate, EntryID: "e", EntryTime: e.Time, ExitTime: x.Time, Disputed: true, Match: &parking.Explanation{
			Method: parking.Exact, Alternatives: []parking.Alternative{{EntryID: "e", ExitID: "y", Weight: 700}, {EntryID: "e", ExitID: "z", Weight: 600}},
		}}
		decided, err := o.Events.Decide(t.Context(), site, []timeline.Change{{Stay: disputed, EntryPlate: e.Plate, ExitPlate: x.Plate, Exact: timeline.Place{ID: "e", Time: e.Time}}})
		if err != nil || decided[0].Refused != "" {
			t.Fatalf("%+v, %v", decided, err)
		}
		isDisputed := func(want bool) {
			t.Helper()
			d, found, err := o.Events.DecisionOf(t.Context(), site, "x")
			if err != nil || (found && d.Stay.Disputed) != want {
				t.Errorf("disputed: %+v, %v, want %t", d, err, want)
			}
		}
		isDisputed(true)
		if kind == Same {
			o.made(same("d", "e", "x", "KA01AB1234"), true)
		} else {
			o.made(Decision{ID: "d", Kind: Different, EntryID: "e", ExitID: "y"}, true)
			isDisputed(true)
			o.made(Decision{ID: "f", Kind: Different, EntryID: "e", ExitID: "z"}, true)
		}
		isDisputed(false)
		o.wants("x y", "completed e KA01AB1234 3, unmatched_exit  KA01AB1284 1")
	}
	// One that a person finds to be two visits.
	o := newOffice(t)
	o.seen(o.read(parking.Entry, "e", "KA01AB1234", 0), o.read(parking.Exit, "x", "KA01AB1234", 60), o.read(parking.Exit, "y", "KA01AB1284", 30))
	e, x := o.read(parking.Entry, "e", "KA01AB1234", 0), o.read(parking.Exit, "x", "KA01AB1234", 60)
	disputed := parking.Stay{ID: "x", Site: site, Plate: x.Plate, EntryID: "e", EntryTime: e.Time, ExitTime: x.Time, Disputed: true, Match: &parking.Explanation{
		Method: parking.Exact, Alternatives: []parking.Alternative{{EntryID: "e", ExitID: "y", Weight: 700}},
	}}
	if _, err := o.Events.Decide(t.Context(), site, []timeline.Change{{Stay: disputed, EntryPlate: e.Plate, ExitPlate: x.Plate, Exact: timeline.Place{ID: "e", Time: e.Time}}}); err != nil {
		t.Fatal(err)
	}
	o.made(same("d", "e", "y", "KA01AB1234"), true)
	o.wants("x y", "unmatched_exit  KA01AB1234 3, completed e KA01AB1234 2")
}

// A decision that comes again ends no dispute about stays that its reads have by now.
func TestOtherStaysRemainDisputed(t *testing.T) {
	o := newOffice(t)
	o.seen(o.read(parking.Entry, "e", "KA02", 0), o.read(parking.Exit, "x", "KA01", 60))
	o.made(same("d1", "e", "x", "KA01"), true)
	y, f := o.read(parking.Exit, "y", "KA01", 20), o.read(parking.Entry, "f", "KA01", 30)
	o.seen(y, f)
	o.wants("x y", "completed f KA01 4, completed e KA01 1")
	for entryID, exit := range map[string]parking.Event{"e": y, "f": o.read(parking.Exit, "x", "KA01", 60)} {
		entry, err := o.Events.Event(t.Context(), site, entryID)
		if err != nil {
			t.Fatal(err)
		}
		s := parking.Stay{ID: exit.ID, Site: site, Plate: exit.Plate, EntryID: entryID, EntryTime: entry.Time, ExitTime: exit.Time, Disputed: true, Match: &parking.Explanation{Method: parking.Exact}}
		change := timeline.Change{Stay: s, EntryPlate: s.Plate, ExitPlate: s.Plate, Exact: timeline.Place{ID: entryID, Time: entry.Time}}
		if decided, err := o.Events.Decide(t.Context(), site, []timeline.Change{change}); err != nil || decided[0].Refused != "" {
			t.Fatalf("%+v, %v", decided, err)
		}
	}
	o.made(same("d1", "e", "x", "KA01"), false)
	for _, id := range []string{"x", "y"} {
		if d, _, err := o.Events.DecisionOf(t.Context(), site, id); err != nil || !d.Stay.Disputed {
			t.Errorf("%s: %+v, %v", id, d, err)
		}
	}
}

// A decision that comes again after it was taken back ends no dispute that came since.
func TestTakenBackSettlesNothing(t *testing.T) {
	o := newOffice(t)
	e, x := o.read(parking.Entry, "e", "KA01AB1234", 0), o.read(parking.Exit, "x", "KA01AB1234", 60)
	o.seen(e, x)
	o.made(same("d", "e", "x", "KA01AB1234"), true)
	o.made(Decision{ID: "u", Kind: Undo, Of: "d", EntryID: "e", ExitID: "x"}, true)
	dispute := func() {
		t.Helper()
		s := parking.Stay{ID: "x", Site: site, Plate: x.Plate, EntryID: "e", EntryTime: e.Time, ExitTime: x.Time, Disputed: true, Match: &parking.Explanation{Method: parking.Exact}}
		change := timeline.Change{Stay: s, EntryPlate: e.Plate, ExitPlate: x.Plate, Exact: timeline.Place{ID: "e", Time: e.Time}}
		decided, err := o.Events.Decide(t.Context(), site, []timeline.Change{change})
		if err != nil || decided[0].Refused != "" {
			t.Fatalf("%+v, %v", decided, err)
		}
	}
	again := func(what string) {
		t.Helper()
		o.made(same("d", "e", "x", "KA01AB1234"), false)
		if d, found, err := o.Events.DecisionOf(t.Context(), site, "x"); err != nil || !found || !d.Stay.Disputed {
			t.Errorf("%s: %+v, %v", what, d, err)
		}
	}
	dispute()
	again("taken back")
	o.made(Decision{ID: "f", Kind: Different, EntryID: "e", ExitID: "x"}, true)
	again("rejected")
	for _, id := range []string{"e", "x"} { // of each read for itself
		o.made(Decision{ID: "v" + id, Kind: Undo, Of: "u", EventID: id}, true)
	}
	dispute()
	again("rejected, and of one plate")
}

// A stay has three of the pairs that dispute it. It is disputed until all are rejected that
// there are, but for those of reads that have a stay of their own by now.
func TestDisputedByMany(t *testing.T) {
	o := newOffice(t)
	e, x := o.read(parking.Entry, "e", "KA01AB1234", 0), o.read(parking.Exit, "x", "KA01AB1234", 90)
	o.seen(e, x)
	var alternatives []parking.Alternative
	for i, plate := range []string{"KA01AB1284", "KA01AB1235", "KA01A81234", "KA01AB1Z34", "KA0IAB1234"} {
		pair := parking.Alternative{EntryID: "e", ExitID: fmt.Sprint("y", i), Weight: 500}
		if i < 4 {
			o.seen(o.read(parking.Exit, pair.ExitID, plate, 30+5*i))
		} else {
			pair.EntryID, pair.ExitID = "f", "x"
			o.seen(o.read(parking.Entry, pair.EntryID, plate, 20))
		}
		alternatives = append(alternatives, pair)
	}
	change := func(entry, exit parking.Event, match parking.Explanation) timeline.Change {
		s := parking.Stay{ID: exit.ID, Site: site, Plate: exit.Plate, EntryID: entry.ID, EntryTime: entry.Time, ExitTime: exit.Time, Match: &match}
		return timeline.Change{Stay: s, EntryPlate: entry.Plate, ExitPlate: exit.Plate}
	}
	dispute := change(e, x, parking.Explanation{Method: parking.Exact, Alternatives: alternatives[:parking.MaxAlternatives]})
	dispute.Stay.Disputed, dispute.Exact = true, timeline.Place{ID: "e", Time: e.Time}
	near := []parking.Event{ // an exit and an entry that look like the stay's are of these
		o.read(parking.Entry, "e1", "KA01AB1739", 10), o.read(parking.Exit, "x1", "KA01AB1734", 60),
		o.read(parking.Entry, "e2", "KA01AB1034", 25), o.read(parking.Exit, "x2", "KA01AB1039", 85),
	}
	o.seen(near...)
	edit := parking.Explanation{Method: parking.Edit}
	decided, err := o.Events.Decide(t.Context(), site, []timeline.Change{dispute, change(near[0], near[1], edit), change(near[2], near[3], edit)})
	if err != nil || decided[0].Refused+decided[1].Refused+decided[2].Refused != "" {
		t.Fatalf("%+v, %v", decided, err)
	}
	for i, a := range alternatives {
		d, _, err := o.Events.DecisionOf(t.Context(), site, "x")
		if err != nil || !d.Stay.Disputed {
			t.Fatalf("after %d rejections: %+v, %v", i, d, err)
		}
		o.made(Decision{ID: fmt.Sprint("d", i), Kind: Different, EntryID: a.EntryID, ExitID: a.ExitID}, true)
	}
	if _, found, err := o.Events.DecisionOf(t.Context(), site, "x"); err != nil || found {
		t.Errorf("after the last rejection: %v, %v", found, err)
	}
	o.wants("x", "completed e KA01AB1234 3")
}

// A decision that does not fit what holds is refused and changes nothing, and the error has
// what holds.
func TestConflicts(t *testing.T) {
	void := func(e parking.Event) parking.Event { e.Version, e.Void = 2, true; return e }
	alike := func(o *office) []parking.Event { // both cameras read one plate
		e := o.read(parking.Entry, "e", "KA01", 0)
		e.Version = 2
		return []parking.Event{e}
	}
	for name, tt := range map[string]struct {
		seen  func(o *office) []parking.Event
		first []Decision
		d     Decision
		says  string
	}{
		"a void entry": {func(o *office) []parking.Event { return []parking.Event{void(o.read(parking.Entry, "e", "KA02", 0))} }, nil, same("d", "e", "x", "KA01"), "the event e is void"},
		"a void read":  {func(o *office) []parking.Event { return []parking.Event{void(o.read(parking.Entry, "e", "KA02", 0))} }, nil, Decision{ID: "d", Kind: Plate, EventID: "e", Plate: "KA01"}, "the event e is void"},
		"two exits": {func(o *office) []parking.Event {
			e := o.read(parking.Exit, "e", "KA02", 0)
			e.Version = 2
			return []parking.Event{e}
		}, nil, same("d", "e", "x", "KA01"), "e is no entry"},
		"two entries": {func(o *office) []parking.Event {
			e := o.read(parking.Entry, "x", "KA02", 60)
			e.Version = 2
			return []parking.Event{e}
		}, nil, same("d", "e", "x", "KA01"), "x is no exit"},
		"the exit is first": {func(o *office) []parking.Event {
			e := o.read(parking.Entry, "e", "KA02", 61)
			e.Version = 2
			return []parking.Event{e}
		}, nil, same("d", "e", "x", "KA01"), "before the entry"},
		"a late entry":                       {func(o *office) []parking.Event { return []parking.Event{o.read(parking.Entry, "late", "KA01", 30)} }, nil, same("d", "e", "x", "KA01"), "belongs to the entry late"},
		"a late exit":                        {func(o *office) []parking.Event { return []parking.Event{o.read(parking.Exit, "late", "KA02", 30)} }, nil, same("d", "e", "x", "KA01"), "belongs to the exit late"},
		"a read between":                     {func(o *office) []parking.Event { return []parking.Event{o.read(parking.Exit, "late", "KA01", 30)} }, nil, same("d", "e", "x", "KA01"), "late is between them"},
		"the id of another":                  {nil, []Decision{same("d", "e", "x", "KA01")}, same("d", "e", "x", "KA02"), "the id belongs to another decision"},
		"an undo's id":                       {nil, []Decision{same("d", "e", "x", "KA01"), undo("u", "d")}, undo("u", "v"), "the id belongs to another decision"},
		"undo of nothing":                    {nil, nil, undo("u", "d"), "not the last one"},
		"undo of a part":                     {nil, []Decision{same("d", "e", "x", "KA03"), {ID: "f", Kind: Plate, EventID: "x", Plate: "KA04"}}, undo("u", "d"), "not the last one"},
		"undo of an old one":                 {nil, []Decision{same("d", "e", "x", "KA01"), same("f", "e", "x", "KA03")}, undo("u", "d"), "not the last one"},
		"undo of an undo of a rejected pair": {nil, []Decision{same("d", "e", "x", "KA01"), undo("u", "d"), different("f")}, undo("v", "u"), "anna decided that they are not of one vehicle, by the decision f: take that back first"},
		"undo by the pair of that of a read": {nil, []Decision{same("d", "e", "x", "KA01"), undoOf("u", "d", "x"), different("f")}, undo("v", "u"), "not of one vehicle, by the decision f"},
		"different, and same is decided":     {alike, []Decision{same("d", "e", "x", "KA01")}, different("f"), "anna decided that they are of one vehicle, by the decision d: take that back first"},
		"different, and same is so again":    {alike, []Decision{same("d", "e", "x", "KA01"), undo("u", "d"), undo("v", "u")}, different("f"), "of one vehicle, by the decision v"},
		"different, and same once more":      {alike, []Decision{same("d", "e", "x", "KA01"), undo("u", "d"), same("g", "e", "x", "KA01")}, different("f"), "of one vehicle, by the decision g"},
		"different, and same before it is":   {alike, []Decision{same("d", "e", "x", "KA01"), same("g", "e", "x", "KA03"), undo("u", "g")}, different("f"), "of one vehicle, by the decision u"},
		"undo of another":                    {nil, []Decision{{ID: "d", Kind: Different, EntryID: "e", ExitID: "x"}}, undo("u", "v"), "not the last one"},
		"undo of an undone":                  {nil, []Decision{{ID: "d", Kind: Different, EntryID: "e", ExitID: "x"}, undo("u", "d")}, undo("w", "d"), "not the last one"},
		"the id of a plate":                  {nil, []Decision{{ID: "d", Kind: Plate, EventID: "e", Plate: "KA03"}, {ID: "f", Kind: Plate, EventID: "e", Plate: "KA04"}}, Decision{ID: "d", Kind: Different, EntryID: "e", ExitID: "x"}, "the id belongs to another decision"},
		"another rejection":                  {nil, []Decision{{ID: "d", Kind: Different, EntryID: "e", ExitID: "y"}}, Decision{ID: "d", Kind: Different, EntryID: "e", ExitID: "x"}, "the id belongs to another decision"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.seen(o.read(parking.Entry, "e", "KA02", 0), o.read(parking.Exit, "x", "KA01", 60), o.read(parking.Exit, "y", "KA05", 60))
			if tt.seen != nil {
				o.seen(tt.seen(o)...)
			}
			for _, d := range tt.first {
				if _, err := o.decide(d); err != nil {
					t.Fatal(err)
				}
			}
			before, _ := o.Events.Event(t.Context(), site, "e")
			_, err := o.decide(tt.d)
			conflict, ok := errors.AsType[*ConflictError](err)
			if !ok || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("%v, want %s", err, tt.says)
			}
			if len(conflict.Events) == 0 || conflict.Events[0].ID != "e" {
				t.Errorf("it holds %+v", conflict.Situation)
			}
			if after, _ := o.Events.Event(t.Context(), site, "e"); !cmp.Equal(before, after) {
				t.Errorf("e was %+v and is %+v", before, after)
			}
		})
	}
}

// Two persons decide at the same time, in every order of what they read and write. What one
// decides of two reads is decided of both or of none, and stays so when it comes again.
func TestAtTheSameTime(t *testing.T) {
	plateOf := func(id, event string) Decision { return Decision{ID: id, Kind: Plate, EventID: event, Plate: "KA03"} }
	o := newOffice(t)
	for name, tt := range map[string]struct {
		before []Decision
		one    Decision
		others []Decision
	}{
		"same": {nil, same("d1", "e", "x", "KA01"), []Decision{
			plateOf("d2", "e"), plateOf("d2", "x"), same("d2", "e", "x", "KA04"), same("d2", "f", "x", "KA05"), same("d2", "e", "y", "KA06"), same("d1", "e", "x", "KA01"),
			different("d2"),
		}},
		"undo": {[]Decision{same("d0", "e", "x", "KA01")}, undo("d1", "d0"), []Decision{
			plateOf("d2", "e"), plateOf("d2", "x"), same("d2", "e", "x", "KA04"), undo("d2", "d0"), undo("d1", "d0"), undoOf("d2", "d0", "x"),
		}},
		"undo of an undo": {[]Decision{same("d0", "e", "x", "KA01"), undo("u", "d0")}, undo("d1", "u"), []Decision{
			plateOf("d2", "e"), plateOf("d2", "x"), same("d2", "e", "x", "KA04"), undo("d2", "u"), undo("d1", "u"), undoOf("d2", "u", "x"), different("d2"),
		}},
	} {
		for i, other := range tt.others {
			for _, order := range []string{"rwRW", "rRwW", "rRWw", "RWrw", "RrWw", "RrwW"} {
				t.Run(fmt.Sprint(name, " ", i, " ", order), func(t *testing.T) {
					if err := o.client.Current().FlushAll(t.Context()).Err(); err != nil {
						t.Fatal(err)
					}
					o.t = t
					o.seen(o.read(parking.Entry, "e", "KA02", 0), o.read(parking.Exit, "x", "KA01", 60), o.read(parking.Entry, "f", "KA05", 10), o.read(parking.Exit, "y", "KA06", 70))
					for _, d := range tt.before {
						o.made(d, true)
					}
					// made returns how many of both reads a decision was made of.
					made := func(d Decision) (n int) {
						for _, id := range []string{d.EntryID, d.ExitID} {
							if e, err := o.Events.Event(t.Context(), site, id); err == nil && e.DecidedBy(d.ID) {
								n++
							}
						}
						return n
					}
					one, two := &session{Reviewer: o.Reviewer, site: site, d: tt.one}, &session{Reviewer: o.Reviewer, site: site, d: other}
					for _, step := range order {
						c := one
						if strings.ContainsRune("RW", step) {
							c = two
						}
						if strings.ContainsRune("rR", step) {
							if err := c.read(t.Context()); err != nil {
								t.Fatal(err)
							}
							continue
						}
						was := made(tt.one)
						changed, err := c.decide(t.Context())
						if err != nil && !isConflict(err) {
							t.Fatal(err)
						}
						if n := made(tt.one); n == 1 || c == one && (changed != (n == 2 && was == 0) || err != nil && n != was) {
							t.Fatalf("%c: changed %t, error %v: made of %d reads, before of %d", step, changed, err, n, was)
						}
						if events, rejected := o.holding(); rejected != "" && decidedSame(events) {
							t.Fatalf("%c: the pair is of one vehicle, and rejected", step)
						}
						if n := made(other); n == 1 && other.Kind == Same {
							t.Fatalf("%c: the other one is made of one read", step)
						}
					}
					before := made(tt.one)
					got, err := o.decide(tt.one)
					if n := made(tt.one); n == 1 || err == nil && got.Changed != (n > before) || before == 2 && err != nil {
						t.Errorf("again: %+v, error %v: made of %d reads, before of %d", got, err, n, before)
					}
				})
			}
		}
	}
}

// A decision that was made of one of both reads only is made of the other one when it comes
// again, or refused if there is a later one about the first.
func TestHalfOfADecision(t *testing.T) {
	o := newOffice(t)
	// half makes a decision of one read, as versions before could leave it.
	half := func(id string, by parking.Correction, plate string) {
		o.t.Helper()
		e, err := o.Events.Event(o.t.Context(), site, id)
		if err == nil {
			by.By, by.At = "anna", o.start
			e, err = e.Correct(plate, by)
		}
		if err != nil {
			o.t.Fatal(err)
		}
		o.seen(e)
	}
	for _, first := range []string{"e", "x"} {
		for _, d := range []Decision{same("d1", "e", "x", "KA01"), undo("d1", "d0")} {
			for _, later := range []bool{false, true} {
				t.Run(fmt.Sprint(first, " ", d.Kind, " later ", later), func(t *testing.T) {
					if err := o.client.Current().FlushAll(t.Context()).Err(); err != nil {
						t.Fatal(err)
					}
					o.t = t
					o.seen(o.read(parking.Entry, "e", "KA02", 0), o.read(parking.Exit, "x", "KA07", 60))
					want := "completed e KA01 "
					if d.Kind == Undo {
						o.made(same("d0", "e", "x", "KA05"), true)
						half(first, parking.Correction{ID: "d1", Undoes: "d0"}, map[string]string{"e": "KA02", "x": "KA07"}[first])
						want = "unmatched_exit  KA07 "
					} else {
						half(first, parking.Correction{ID: "d1"}, "KA01")
					}
					if later {
						o.made(Decision{ID: "d2", Kind: Plate, EventID: first, Plate: "KA09"}, true)
						before := o.shown("x")
						if _, err := o.decide(d); err == nil || !strings.Contains(err.Error(), "made of the event "+first+" only") {
							t.Errorf("%v", err)
						}
						o.wants("x", before)
						return
					}
					o.made(d, true)
					if got := o.shown("x"); !strings.HasPrefix(got, want) {
						t.Errorf("%s, want %s", got, want)
					}
					o.made(d, false)
				})
			}
		}
	}
}

// What is told with a conflict is what holds then, not what held when the decision began.
func TestAConflictTellsWhatHolds(t *testing.T) {
	o := newOffice(t)
	o.seen(o.read(parking.Entry, "e", "KA02", 0), o.read(parking.Exit, "x", "KA01", 60))
	o.meanwhile = func() {
		e, err := o.Events.Event(t.Context(), site, "e")
		if err == nil {
			e, err = e.Correct("KA09", parking.Correction{ID: "d2", By: "ben", At: o.start})
		}
		if err != nil {
			t.Error(err)
		}
		o.seen(e)
	}
	_, err := o.decide(same("d1", "e", "x", "KA01"))
	conflict, ok := errors.AsType[*ConflictError](err)
	if !ok || len(conflict.Events) != 2 || conflict.Events[0].Plate != "KA09" {
		t.Errorf("%v: %+v", err, conflict)
	}
}

// A process that ends before it posts leaves what the same decision posts, or a tick.
func TestRepair(t *testing.T) {
	for _, by := range []string{"the decision", "a tick"} {
		o := newOffice(t)
		o.seen(o.read(parking.Entry, "e", "KA02", 0), o.read(parking.Exit, "x", "KA01", 60), o.read(parking.Exit, "y", "KA02", 70))
		o.wants("x y", "unmatched_exit  KA01 1, completed e KA02 1")
		d := Decision{ID: "d", Kind: Plate, EventID: "e", Plate: "KA01"}
		o.fails = true
		if _, err := o.decide(d); err == nil {
			t.Fatal("the post has not failed")
		}
		o.wants("x y", "unmatched_exit  KA01 1, completed e KA02 1")
		o.fails = false
		if by == "a tick" {
			if _, err := o.Repair(t.Context(), site); err != nil { // too early: it may be under way
				t.Fatal(err)
			}
			o.wants("x y", "unmatched_exit  KA01 1, completed e KA02 1")
			o.Now = func() time.Time { return time.Now().Add(time.Minute) }
			if _, err := o.Repair(t.Context(), site); err != nil {
				t.Fatal(err)
			}
		} else {
			o.made(d, false)
		}
		o.wants("x y", "completed e KA01 2, unmatched_exit  KA02 2")
		// The decision that comes again does not know the mark of the first one: a tick posts
		// once more.
		if _, err := o.Repair(t.Context(), site); err != nil {
			t.Fatal(err)
		}
		o.Now = func() time.Time { return time.Now().Add(time.Minute) }
		if _, err := o.Repair(t.Context(), site); err != nil {
			t.Fatal(err)
		}
		o.wants("x y", "completed e KA01 2, unmatched_exit  KA02 2")
		if left, err := o.Events.Unfinished(t.Context(), site, time.Now().Add(time.Hour), 10); len(left) > 0 || err != nil {
			t.Errorf("after %s: %v, %v", by, left, err)
		}
	}
}

// A decision removes its own marks only: one that ends while another about the same read is
// recorded and not posted leaves that to be posted.
func TestMarksOfAnother(t *testing.T) {
	for name, ends := range map[string]Decision{
		"different":         {ID: "d2", Kind: Different, EntryID: "e", ExitID: "x"},
		"known":             {ID: "d0", Kind: Plate, EventID: "e", Plate: "KA05"},
		"so already":        {ID: "d3", Kind: Plate, EventID: "e", Plate: "KA05"},
		"of the other read": {ID: "d4", Kind: Plate, EventID: "x", Plate: "KA06"},
		"a repair":          {EventID: "e"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.seen(o.read(parking.Entry, "e", "KA02", 0), o.read(parking.Exit, "x", "KA07", 60), o.read(parking.Exit, "y", "KA08", 70))
			o.made(Decision{ID: "d0", Kind: Plate, EventID: "e", Plate: "KA05"}, true)
			ending := &session{Reviewer: o.Reviewer, site: site, d: ends}
			if name == "a repair" { // of a mark that was left
				o.fails = true
				if _, err := o.decide(Decision{ID: "d5", Kind: Plate, EventID: "e", Plate: "KA07"}); err == nil {
					t.Fatal("the post has not failed")
				}
				o.fails = false
				marks, err := o.Events.Unfinished(t.Context(), site, time.Now().Add(time.Minute), 10)
				if err != nil || len(marks) != 1 {
					t.Fatalf("%+v, %v", marks, err)
				}
				ending.marks = marks
			}
			if err := ending.read(t.Context()); err != nil {
				t.Fatal(err)
			}
			if name != "a repair" {
				if _, err := ending.decide(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			o.fails = true
			if _, err := o.decide(Decision{ID: "d1", Kind: Plate, EventID: "e", Plate: "KA08"}); err == nil {
				t.Fatal("the post has not failed")
			}
			o.fails = false
			if err := ending.post(t.Context()); err != nil {
				t.Fatal(err)
			}
			o.Now = func() time.Time { return time.Now().Add(time.Minute) }
			if _, err := o.Repair(t.Context(), site); err != nil {
				t.Fatal(err)
			}
			if got := o.shown("y"); !strings.HasPrefix(got, "completed e KA08 ") {
				t.Errorf("the stay of y is %s: what was not posted is lost", got)
			}
			if left, err := o.Events.Unfinished(t.Context(), site, o.Now(), 10); len(left) > 0 || err != nil {
				t.Errorf("left %+v, %v", left, err)
			}
		})
	}
}

// A decision whose stays cannot be posted holds up no other one, and is tried again. When
// nothing can be posted that ends.
func TestRepairOfOthers(t *testing.T) {
	o := newOffice(t)
	o.seen(o.read(parking.Exit, "x", "KA01", 60), o.read(parking.Exit, "y", "KA02", 70))
	o.fails = true
	for i, id := range []string{"x", "y"} {
		if _, err := o.decide(Decision{ID: fmt.Sprint("d", i), Kind: Plate, EventID: id, Plate: fmt.Sprint("KB0", i)}); err == nil {
			t.Fatal("the post has not failed")
		}
	}
	o.fails = false
	o.Now = func() time.Time { return time.Now().Add(time.Minute) }
	post, refused := o.Post, "x"
	o.Post = func(ctx context.Context, stays []parking.Stay) error {
		if slices.ContainsFunc(stays, func(s parking.Stay) bool { return s.ID == refused }) {
			return parking.Invalid("no such stay")
		}
		return post(ctx, stays)
	}
	u, err := o.Repair(t.Context(), site)
	if err != nil || u.Decisions != 1 || !errors.Is(u.First, parking.ErrInvalid) {
		t.Fatalf("%+v, %v", u, err)
	}
	o.wants("x y", "unmatched_exit  KA01 1, unmatched_exit  KB01 2")
	o.fails, refused = true, ""
	if u, err := o.Repair(t.Context(), site); err == nil || u.Decisions != 0 {
		t.Errorf("nothing can be posted: %+v, %v", u, err)
	}
	o.fails = false
	if u, err := o.Repair(t.Context(), site); err != nil || u.Decisions != 0 {
		t.Errorf("%+v, %v", u, err)
	}
	o.wants("x y", "unmatched_exit  KB00 2, unmatched_exit  KB01 2")
}

// An event that was erased meanwhile is nothing to repair.
func TestRepairOfNothing(t *testing.T) {
	o := newOffice(t)
	if _, err := o.Events.MarkUnfinished(t.Context(), site, []string{"gone"}); err != nil {
		t.Fatal(err)
	}
	o.Now = func() time.Time { return time.Now().Add(time.Minute) }
	if _, err := o.Repair(t.Context(), site); err != nil {
		t.Fatal(err)
	}
	if left, err := o.Events.Unfinished(t.Context(), site, o.Now(), 10); len(left) > 0 || err != nil {
		t.Errorf("%v, %v", left, err)
	}
}

// A read that changes while it is repaired is left to the next tick.
func TestRepairOfAReadThatChanges(t *testing.T) {
	o := newOffice(t)
	x := o.read(parking.Exit, "x", "KA01", 60)
	o.seen(x)
	o.fails = true
	if _, err := o.decide(Decision{ID: "d1", Kind: Plate, EventID: "x", Plate: "KA02"}); err == nil {
		t.Fatal("the post has not failed")
	}
	o.fails = false
	o.Now = func() time.Time { return time.Now().Add(time.Minute) }
	changing := true
	o.Events.Repeats = func(context.Context, string) (parking.Repeats, error) { // asked between the look and the record
		if changing {
			changing = false
			e, err := o.Events.Event(t.Context(), site, "x")
			if err == nil {
				e, err = e.Correct("KA03", parking.Correction{ID: "d2", By: "ben", At: o.start})
			}
			if err != nil {
				t.Error(err)
			}
			for _, r := range o.Events.Record(t.Context(), []parking.Event{e}) {
				if r.Err != nil {
					t.Error(r.Err)
				}
			}
		}
		return nil, nil
	}
	for _, want := range []string{"unmatched_exit  KA01 1", "unmatched_exit  KA03 3"} {
		if u, err := o.Repair(t.Context(), site); err != nil || u.Decisions != 0 {
			t.Errorf("%+v, %v", u, err)
		}
		o.wants("x", want)
	}
}

// An unknown event is none to decide about.
func TestUnknown(t *testing.T) {
	o := newOffice(t)
	o.seen(o.read(parking.Entry, "e", "KA02", 0))
	for field, d := range map[string]Decision{
		"exit_id": same("d", "e", "x", "KA01"), "entry_id": same("d", "f", "e", "KA01"), "event_id": {ID: "d", Kind: Plate, EventID: "f", Plate: "KA01"},
	} {
		if _, err := o.decide(d); !errors.Is(err, timeline.ErrNoEvent) || !strings.HasPrefix(err.Error(), field+": ") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := o.Decide(t.Context(), "south", Decision{ID: "d", Kind: Plate, EventID: "e", Plate: "KA01"}); !errors.Is(err, timeline.ErrNoEvent) {
		t.Errorf("at another site: %v", err)
	}
}

func TestCheck(t *testing.T) {
	long := strings.Repeat("i", 65)
	for says, d := range map[string]Decision{
		"decision is missing":       {ID: "d"},
		`decision is "maybe"`:       {ID: "d", Kind: "maybe"},
		"id is missing":             same("", "e", "x", "KA01"),
		"id has 65 bytes":           same(long, "e", "x", "KA01"),
		`id "a\n" has a character`:  same("a\n", "e", "x", "KA01"),
		"entry_id is missing":       same("d", "", "x", "KA01"),
		"exit_id: id has 129 bytes": same("d", "e", long+long[1:], "KA01"),
		"plate is missing":          same("d", "e", "x", ""),
		"no letter or digit":        same("d", "e", "x", "--"),
		"event_id is given":         {ID: "d", Kind: Same, EntryID: "e", ExitID: "x", Plate: "KA01", EventID: "e"},
		"plate is given":            {ID: "d", Kind: Different, EntryID: "e", ExitID: "x", Plate: "KA01"},
		"of is given":               {ID: "d", Kind: Plate, EventID: "e", Plate: "KA01", Of: "d"},
		"of is missing":             {ID: "d", Kind: Undo, EventID: "e"},
		"of is the id of this":      {ID: "d", Kind: Undo, EventID: "e", Of: "d"},
		"exit_id is given":          {ID: "d", Kind: Undo, EventID: "e", ExitID: "x", Of: "c"},
		"event_id is missing":       {ID: "d", Kind: Plate, Plate: "KA01"},
	} {
		if err := d.Check(); !errors.Is(err, parking.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, want %s", d, err, says)
		}
	}
	for _, d := range []Decision{same("d", "e", "x", "ka 01"), undo("d", "c"), {ID: "d", Kind: Undo, EventID: "e", Of: "c"}, {ID: "d", Kind: Plate, EventID: "e", Plate: "KA01"}, {ID: "d", Kind: Different, EntryID: "e", ExitID: "x"}} {
		if err := d.Check(); err != nil {
			t.Errorf("%+v: %v", d, err)
		}
	}
}

// A pair that is rejected once more after that was taken back is changed.
func TestRejectedOnceMore(t *testing.T) {
	o := newOffice(t)
	o.seen(o.read(parking.Entry, "e", "KA02", 0), o.read(parking.Exit, "x", "KA01", 60))
	d := Decision{ID: "d1", Kind: Different, EntryID: "e", ExitID: "x"}
	o.made(d, true)
	o.made(d, false)
	o.made(undo("d2", "d1"), true)
	o.made(undo("d2", "d1"), false)
	d.ID = "d3"
	o.made(d, true)
	d.ID = "d4"
	o.made(d, false)
	o.made(undo("d5", "d3"), true)
	o.made(d, false) // it came before that was taken back
}

// An undo takes back the rejection that it names, and not one that was made meanwhile.
func TestUndoOfAnother(t *testing.T) {
	o := newOffice(t)
	o.seen(o.read(parking.Entry, "e", "KA02", 0), o.read(parking.Exit, "x", "KA01", 60))
	d := Decision{ID: "d1", Kind: Different, EntryID: "e", ExitID: "x"}
	o.made(d, true)
	late := &session{Reviewer: o.Reviewer, site: site, d: undo("u1", "d1")}
	if err := late.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.made(undo("u2", "d1"), true)
	d.ID = "d3"
	o.made(d, true)
	if changed, err := late.decide(t.Context()); changed || !isConflict(err) {
		t.Errorf("changed %t, error %v", changed, err)
	}
	if r, _, err := o.Events.RejectionOf(t.Context(), site, parking.Rejection{EntryID: "e", ExitID: "x"}); err != nil || r.ID != "d3" || r.Withdrawn != nil {
		t.Errorf("%+v, error %v", r, err)
	}
}

// A thousand decisions that the summary refuses hold up no other one.
func TestRepairOfMany(t *testing.T) {
	o := newOffice(t)
	events := []parking.Event{o.read(parking.Exit, "y", "KA02", 70)}
	var refused []string
	for i := range 1000 {
		id := fmt.Sprint("x", i)
		events, refused = append(events, o.read(parking.Exit, id, fmt.Sprint("KB", i), 60)), append(refused, id)
	}
	o.seen(events...)
	if _, err := o.Events.MarkUnfinished(t.Context(), site, refused); err != nil {
		t.Fatal(err)
	}
	o.fails = true
	if _, err := o.decide(Decision{ID: "d1", Kind: Plate, EventID: "y", Plate: "KA03"}); err == nil {
		t.Fatal("the post has not failed")
	}
	o.fails = false
	o.Now = func() time.Time { return time.Now().Add(time.Minute) }
	post := o.Post
	o.Post = func(ctx context.Context, stays []parking.Stay) error {
		if slices.ContainsFunc(stays, func(s parking.Stay) bool { return s.ID != "y" }) {
			return parking.Invalid("no such stay")
		}
		return post(ctx, stays)
	}
	for _, want := range []int{1000, 999} {
		if u, err := o.Repair(t.Context(), site); err != nil || u.Decisions != want {
			t.Fatalf("%d were refused, want %d; error %v", u.Decisions, want, err)
		}
	}
	o.wants("y", "unmatched_exit  KA03 2")
}

// Reads that change while they are looked at are looked at again. If they change all the
// time that is a conflict, which tells the reads.
func TestReadsThatChange(t *testing.T) {
	for changes := range looks + 1 {
		o := newOffice(t)
		x := o.read(parking.Exit, "x", "KA01", 60)
		o.seen(x)
		left, changing := changes, false
		o.Events.Repeats = func(context.Context, string) (parking.Repeats, error) { // asked between the look and the record
			if left > 0 && !changing {
				left, changing = left-1, true
				x.Version++
				o.seen(x)
				changing = false
			}
			return nil, nil
		}
		got, err := o.decide(Decision{ID: "d1", Kind: Plate, EventID: "x", Plate: "KA02"})
		if changes < looks {
			if err != nil || !got.Changed {
				t.Errorf("%d changes: changed %t, error %v", changes, got.Changed, err)
			}
			continue
		}
		conflict, ok := errors.AsType[*ConflictError](err)
		if !ok || len(conflict.Events) != 1 || conflict.Events[0].ID != "x" {
			t.Errorf("%d changes: error %v, %+v", changes, err, conflict)
		}
	}
}
