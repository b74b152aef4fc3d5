package matcher

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"parkstream/shared/instance/instancetest"
	"parkstream/shared/model"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/review"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// storing is a poster that stores.
type storing struct{ *stay.Store }

func (s storing) Post(ctx context.Context, stays []parking.Stay) error {
	_, err := s.Upsert(ctx, stays)
	return err
}

// A model that another process makes valid decides by the next tick, of the exits observed
// from its instant on. One from the past decides of earlier ones again, and the default one
// takes that back. Nothing is started again.
func TestAModelDecidesByTheNextTick(t *testing.T) {
	client, err := redis.Open(redis.URL(instancetest.Redis(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	const retention = 90 * 24 * time.Hour
	now := time.Now().UTC().Truncate(time.Second)
	store, stays := timeline.New(client, retention), stay.New(client, retention)
	post := storing{stays}
	mine, others := model.New(client), model.New(client)
	m := &SiteMatcher{
		Store: store, Stays: stays, Summaries: post, Models: mine.Models, Window: 144 * time.Hour, Log: slog.New(slog.DiscardHandler),
		Repair: func(context.Context, string) (u review.Unposted, err error) { return u, nil },
		Settle: func(context.Context, string) (time.Duration, error) { return 24 * time.Hour, nil },
		Now:    func() time.Time { return now },
	}
	var events []parking.Event
	for i, plates := range [][2]string{{"KA01AB1234", "KA01A81234"}, {"MH12XY9876", "MH12XV9876"}} {
		for kind, plate := range map[parking.Kind]string{parking.Entry: plates[0], parking.Exit: plates[1]} {
			at := now.Add(time.Duration(i-4) * 24 * time.Hour) // exits of four and of three days ago
			if kind == parking.Entry {
				at = at.Add(-time.Hour)
			}
			e, err := parking.NewEvent(parking.Event{ID: fmt.Sprintf("%s%d", kind, i), Kind: kind, Site: "north", RawPlate: plate, Time: at})
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, e)
		}
	}
	for _, r := range store.Record(t.Context(), events) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if err := post.Post(t.Context(), r.Stays); err != nil {
			t.Fatal(err)
		}
	}
	for _, strict := range []bool{false, true} {
		version := map[bool]string{false: "lenient", true: "strict"}[strict]
		one := parking.DefaultModel()
		one.Version, one.Margins, one.Prior = version, nil, 2000
		if strict {
			one.Margin, one.Prior = 9000, -2000
		}
		if _, err := others.Keep(t.Context(), "north", one, "anna"); err != nil {
			t.Fatal(err)
		}
	}
	matched := func(step string, want ...string) {
		t.Helper()
		if _, err := m.Match(t.Context(), "north"); err != nil {
			t.Fatal(err)
		}
		got := []string{"", ""}
		err := stays.Export(t.Context(), stay.Query{Sites: []string{"north"}}, func(page []stay.StoredStay) error {
			for _, s := range page {
				if s.Match != nil {
					got[map[string]int{"exit0": 0, "exit1": 1}[s.ID]] = s.Match.Model
				}
			}
			return nil
		})
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: the exits are matched by %q, want %q; %v", step, got, want, err)
		}
	}
	activate := func(version string, from time.Time) {
		t.Helper()
		if _, err := others.Activate(t.Context(), "north", version, from, "anna", false); err != nil {
			t.Fatal(err)
		}
	}
	activate("strict", now.Add(-10*24*time.Hour))
	matched("a strict one", "", "")
	activate("lenient", now.Add(-3*24*time.Hour))
	matched("a lenient one from the second exit on", "", "lenient")
	activate("lenient", now.Add(-5*24*time.Hour))
	matched("the lenient one from before both", "lenient", "lenient")
	activate("strict", now.Add(-3*24*time.Hour))
	matched("the strict one again for the second", "lenient", "")
	activate("strict", now.Add(-10*24*time.Hour))
	matched("the strict one for both", "", "")
}
