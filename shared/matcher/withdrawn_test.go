package matcher

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
	"parkstream/shared/review"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// poster posts to the stay store.
type poster struct{ *stay.Store }

func (p poster) Post(ctx context.Context, stays []parking.Stay) error {
	_, err := p.Upsert(ctx, stays)
	return err
}

// A decision is withdrawn, and the process ends before it posts that. The next tick posts
// what the near rule makes of the stay, which may be an exact one by now, and the one after
// it has nothing to do.
func TestWithdrawnAndNotPosted(t *testing.T) {
	const retention = 90 * 24 * time.Hour
	client := open(t)
	base := time.Now().Add(-96 * time.Hour).Truncate(time.Second).UTC()
	store, stays := timeline.New(client, retention), stay.New(client, retention)
	for i, what := range []string{"void", "rejected", "erased", "exactly paired"} {
		t.Run(what, func(t *testing.T) {
			site := fmt.Sprint("withdrawn", i)
			at := func(id string, kind parking.Kind, plate string, minutes int) parking.Event {
				e, err := parking.NewEvent(parking.Event{ID: id, Kind: kind, Site: site, RawPlate: plate, Time: base.Add(time.Duration(minutes) * time.Minute)})
				if err != nil {
					t.Fatal(err)
				}
				return e
			}
			record := func(events ...parking.Event) (told []parking.Stay) {
				for _, r := range store.Record(t.Context(), events) {
					if r.Err != nil {
						t.Fatal(r.Err)
					}
					told = append(told, r.Stays...)
				}
				return told
			}
			tick := func() SiteCounts {
				t.Helper()
				m := &SiteMatcher{
					Store: store, Stays: stays, Summaries: poster{stays}, Window: 144 * time.Hour, Log: slog.New(slog.DiscardHandler), Now: time.Now,
					Models: func(context.Context, string) (parking.Models, error) { return nil, nil },
					Repair: func(context.Context, string) (u review.Unposted, err error) { return u, nil },
					Settle: func(context.Context, string) (time.Duration, error) { return 24 * time.Hour, nil },
				}
				c, err := m.Match(t.Context(), site)
				if err != nil || c.Refused != 0 {
					t.Fatalf("%+v, error %v", c, err)
				}
				return c
			}
			shown := func() map[string]string {
				t.Helper()
				found := make(map[string]string)
				if err := stays.Export(t.Context(), stay.Query{Sites: []string{site}}, func(page []stay.StoredStay) error {
					for i := range page {
						found[page[i].ID] = contentOf(&page[i].Stay)
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				return found
			}
			in := at("in", parking.Entry, "KA01AB1Z34", 420)
			events := []parking.Event{at("e", parking.Entry, "KA01AB1234", 0), at("out", parking.Exit, "KA01A81234", 60), in, at("x", parking.Exit, "KA01AB1234", 480)}
			if _, err := stays.Upsert(t.Context(), parking.Latest(record(events...))); err != nil {
				t.Fatal(err)
			}
			if c := tick(); c.Decided[parking.Split] != 2 {
				t.Fatalf("not split: %+v", c)
			}
			var rejected []parking.Rejection
			switch what { // what follows is not posted
			case "void":
				in.Version, in.Void, in.RawPlate, in.Plate, in.Time = 2, true, "", "", time.Time{}
				events = append(events, in)
				record(in)
			case "rejected":
				rejected = []parking.Rejection{{EntryID: "in", ExitID: "x"}}
				if _, _, err := store.Reject(t.Context(), site, timeline.Rejection{Rejection: rejected[0], ID: "d", By: "ada", At: base}, timeline.Versions{Entry: 1, Exit: 1}); err != nil {
					t.Fatal(err)
				}
			case "erased":
				events = append(events[:2], events[3])
				if _, err := store.ErasePlate(t.Context(), site, in.Plate); err != nil {
					t.Fatal(err)
				}
			default:
				y := at("y", parking.Exit, in.Plate, 500)
				events = append(events, y)
				if _, err := stays.Upsert(t.Context(), record(y)[:1]); err != nil { // its own is posted when it comes again
					t.Fatal(err)
				}
			}
			tick()
			want := make(map[string]string)
			for _, s := range parking.Match(parking.Current(events), nil, rejected, nil) {
				want[s.ID] = contentOf(&s)
			}
			if diff := cmp.Diff(want, shown()); diff != "" {
				t.Errorf("posted (-want +got):\n%s", diff)
			}
			if c := tick(); c.decided()+c.Withdrawn+c.Posted != 0 {
				t.Errorf("the next tick does %+v", c)
			}
		})
	}
}
