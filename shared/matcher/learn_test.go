package matcher

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/evaluate"
	"parkstream/shared/learn"
	"parkstream/shared/model"
	"parkstream/shared/parking"
	"parkstream/shared/review"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// The preview of a model is what the next tick makes of it: the same stays change, in the
// same way, also those of plates with other stays, of reads with lists, makes and colours,
// of exits whose entries are older than what is learnt from, and corrected ones.
func TestThePreviewOfAModelIsWhatTheNextTickDoes(t *testing.T) {
	client := open(t)
	const retention = 90 * 24 * time.Hour
	store, stays, models := timeline.New(client, retention), stay.New(client, retention), model.New(client)
	scenario, err := evaluate.Scenario("worse+fleets+lists+looks", 4, 150, 8)
	if err != nil {
		t.Fatal(err)
	}
	data, err := evaluate.Simulate(scenario)
	if err != nil {
		t.Fatal(err)
	}
	events := data.Events
	shift := time.Since(data.Last()).Truncate(time.Second)
	for i := range events {
		events[i].Time = events[i].Time.Add(shift)
		if i%500 == 0 {
			corrected, err := events[i].Correct(events[i].RawPlate, parking.Correction{ID: fmt.Sprint("c", i), By: "ada", At: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, corrected)
		}
	}
	var made []parking.Stay
	for _, r := range store.Record(t.Context(), events) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		made = append(made, r.Stays...)
	}
	if _, err := stays.Upsert(t.Context(), parking.Latest(made)); err != nil {
		t.Fatal(err)
	}
	m := &SiteMatcher{
		Store: store, Stays: stays, Summaries: storing{stays}, Models: models.Models, Window: 144 * time.Hour, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Repair: func(context.Context, string) (none review.Unposted, err error) { return none, nil },
		Settle: func(context.Context, string) (time.Duration, error) { return 0, nil },
	}
	tick := func() map[string]parking.Stay {
		t.Helper()
		if _, err := m.Match(t.Context(), evaluate.Site); err != nil {
			t.Fatal(err)
		}
		all := make(map[string]parking.Stay)
		err := stays.Export(t.Context(), stay.Query{Sites: []string{evaluate.Site}}, func(page []stay.StoredStay) error {
			for i := range page {
				all[page[i].ID] = page[i].Stay
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := tick()
	l := &learn.Learner{Stays: stays, Events: store, Models: models, Match: Reader{store, stays}.match, Now: time.Now}
	r, err := l.Learn(t.Context(), learn.Request{Site: evaluate.Site, Days: 4, Margin: 50})
	if err != nil {
		t.Fatal(err)
	}
	_, err = models.Keep(t.Context(), evaluate.Site, r.Model, "ada")
	if err == nil {
		_, err = models.Activate(t.Context(), evaluate.Site, r.Model.Version, r.From.Add(-30*24*time.Hour), "ada", false)
	}
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for id, after := range tick() {
		was := before[id]
		if after.ExitTime.Before(r.From) || after.EntryID == was.EntryID && after.Disputed == was.Disputed {
			continue
		}
		want[id] = fmt.Sprintf("%q %v, then %q %v", was.EntryID, was.Disputed, after.EntryID, after.Disputed)
	}
	got := make(map[string]string)
	for _, c := range r.Changes {
		got[c.After.ID] = fmt.Sprintf("%q %v, then %q %v", c.Before.EntryID, c.Before.Disputed, c.After.EntryID, c.After.Disputed)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the tick (-) and the preview (+) of %d and %d changes differ:\n%s", len(want), len(got), diff)
	}
	kinds := make(map[string]int)
	for _, k := range r.Changed {
		kinds[k.Kind] = k.Stays
	}
	if kinds[learn.Gained] < 5 || kinds[learn.Disputed]+kinds[learn.Undisputed]+kinds[learn.Lost] < 3 {
		t.Errorf("too few changes to tell: %v of %v", kinds, slices.Sorted(maps.Keys(want)))
	}
}
