package matcher

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parkstream/shared/parking"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// fewLone is a source of lone reads of which the oldest are left out.
type fewLone struct {
	Source

	lone []parking.Lone
}

func (s fewLone) Lone(context.Context, string, time.Time, time.Time) ([]parking.Lone, bool, error) {
	return s.lone, true, nil
}

func (fewLone) Decisions(context.Context, string, time.Time) ([]timeline.Decision, error) {
	return nil, nil
}

func (fewLone) Rejections(context.Context, string) ([]timeline.Rejection, error) { return nil, nil }

func (fewLone) Corrected(context.Context, string, time.Time, time.Time) ([]string, error) {
	return nil, nil
}

func (fewLone) ExactStays(context.Context, string, []string) (map[string]int, error) { return nil, nil }

type noStays struct{}

func (noStays) Export(context.Context, stay.Query, func([]stay.StoredStay) error) error { return nil }

// If the oldest lone reads are left out, all are there from the oldest of the others on,
// whatever its kind: a site that is empty at night has no old vehicle inside.
func TestReadsThatAreLeftOut(t *testing.T) {
	now := time.Date(2026, 11, 28, 8, 0, 0, 0, time.UTC)
	lone := func(id string, kind parking.Kind, age time.Duration, next bool) parking.Lone {
		l := parking.Lone{Event: parking.Event{ID: id, Kind: kind, Site: "s", Plate: "AB12CD" + id, Time: now.Add(-age)}}
		if next {
			l.Next = now
		}
		return l
	}
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		lone []parking.Lone
		want time.Time
	}{
		"an exit":          {[]parking.Lone{lone("1", parking.Exit, 18*day, false), lone("2", parking.Entry, time.Hour, false)}, now.Add(-18*day + time.Millisecond)},
		"an entry":         {[]parking.Lone{lone("1", parking.Exit, day, false), lone("2", parking.Entry, 2*day, true)}, now.Add(-2*day + time.Millisecond)},
		"a vehicle inside": {[]parking.Lone{lone("1", parking.Entry, 3*day, false)}, now.Add(-3*day + time.Millisecond)},
		"none":             {nil, now.Add(time.Millisecond)},
	} {
		span, err := Reader{fewLone{lone: tt.lone}, noStays{}}.Read(t.Context(), "s", now.Add(-20*day), now, nil)
		if err != nil || !span.Complete.Equal(tt.want) {
			t.Errorf("%s: complete from %s, want %s (%v)", name, span.Complete, tt.want, err)
		}
	}
}

// A preview tells no exit for which reads may be missing, as a tick decides none.
func TestPreviewOfReadsThatAreLeftOut(t *testing.T) {
	now := time.Date(2026, 11, 28, 8, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	var lone []parking.Lone
	for _, visit := range []struct {
		id  string
		age time.Duration
	}{{"old", parking.Horizon + 10*day}, {"new", 2 * day}} {
		for i, kind := range []parking.Kind{parking.Entry, parking.Exit} {
			plate := []string{"KA01AB1284", "KA01AB1234"}[i]
			lone = append(lone, parking.Lone{Event: parking.Event{
				ID: visit.id + string(kind), Kind: kind, Site: "s", Version: 1, Plate: plate, RawPlate: plate, Time: now.Add(time.Duration(i)*time.Hour - visit.age),
			}})
		}
	}
	lone[0].Next = lone[2].Time // the vehicle came again
	oldest := lone[0].Time.Add(parking.Horizon + time.Millisecond)
	for from, want := range map[time.Duration]time.Time{parking.Horizon + 12*day: oldest, 4 * day: now.Add(-4 * day)} {
		stays, first, err := Reader{fewLone{lone: lone}, noStays{}}.match(t.Context(), "s", now.Add(-from), now, nil)
		if err != nil || !first.Equal(want) || len(stays) != 1 || stays[0].ID != "new"+string(parking.Exit) {
			t.Errorf("from %s: the first instant is %s, want %s; error %v, stays %+v", from, first, want, err, stays)
		}
	}
}

// endlessStays has no end of exact stays.
type endlessStays struct{}

func (endlessStays) Export(_ context.Context, _ stay.Query, yield func([]stay.StoredStay) error) error {
	page := make([]stay.StoredStay, pairsAtOnce)
	for i := range page {
		page[i].ID, page[i].EntryID, page[i].Plate = "x", "e", "AB1" // short: it may matter
	}
	for {
		if err := yield(page); err != nil {
			return err
		}
	}
}

// noEvents cannot read events.
type noEvents struct {
	fewLone

	err error
}

func (s noEvents) Events(context.Context, string, []string) (map[string]parking.Event, error) {
	return nil, s.err
}

// If the events of exact stays cannot be read, nothing goes on being read.
func TestReadEndsWithTheFirstError(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	broken := errors.New("no events")
	if _, err := (Reader{noEvents{err: broken}, endlessStays{}}).Read(t.Context(), "s", time.Now().Add(-time.Hour), time.Now(), nil); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}
