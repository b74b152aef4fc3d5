package review

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"parkstream/shared/parking"
	"parkstream/shared/timeline"
)

// What is suggested for a read is what the near rule suggests among all events of the site.
func TestSuggestionsAreThoseAmongAllReads(t *testing.T) {
	o := newOffice(t)
	cases := 0
	rapid.Check(t, func(rt *rapid.T) {
		cases++
		at := fmt.Sprint("site-", cases)
		plates := rapid.SampledFrom([]string{"MAB1234", "MAB1234", "MA81234", "MAB123", "HHX9876"})
		gates := rapid.SampledFrom([]string{"", "g"}) // at one gate some repeat others
		kinds := rapid.SampledFrom([]parking.Kind{parking.Entry, parking.Entry, parking.Exit})
		// Some are at one instant, or at the ends of the times between which a stay may be.
		offsets := rapid.SampledFrom([]time.Duration{0, 1, time.Minute, time.Hour, 9 * time.Hour, parking.MaxNear, parking.MaxNear + 1})
		fractions := rapid.SampledFrom([]time.Duration{0, 0, 0, time.Millisecond, time.Millisecond - 1, 300_001})
		var events []parking.Event
		for i := range rapid.IntRange(1, 14).Draw(rt, "events") {
			e := parking.Event{ID: fmt.Sprint("e", i), Kind: kinds.Draw(rt, "kind"), Site: at, RawPlate: plates.Draw(rt, "plate"), Gate: gates.Draw(rt, "gate")}
			e.Time = o.start.Add(-10 * 24 * time.Hour).Add(offsets.Draw(rt, "after")).Add(fractions.Draw(rt, "fraction"))
			valid, err := parking.NewEvent(e)
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, valid)
		}
		for _, r := range o.Events.Record(t.Context(), events) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		reads := parking.ReadsOf(events, nil)
		lone := make(map[string]bool)
		for i := range reads.Lone {
			lone[reads.Lone[i].ID] = true
		}
		for i := range events {
			found, err := o.Suggest(t.Context(), at, events[i].ID, nil)
			if err != nil {
				rt.Fatal(err)
			}
			var got []parking.Suggestion
			for _, s := range found.Suggestions {
				got = append(got, parking.Suggestion{EntryID: s.EntryID, ExitID: s.ExitID, Explanation: s.Match})
			}
			if diff := cmp.Diff(reads.Suggest(events[i].ID, nil, nil), got, cmpopts.EquateEmpty()); diff != "" || found.Lone != lone[events[i].ID] {
				rt.Fatalf("%s of %+v: lone %v, suggestions (-want +got):\n%s", events[i].ID, events, found.Lone, diff)
			}
		}
	})
}

// A page of the list has at most as many exits as were asked for, also if very many are of
// one instant, and all pages together have each exit with suggestions once.
func TestUnmatchedPages(t *testing.T) {
	o := newOffice(t)
	var want []string
	var events []parking.Event
	for i := range scannedPerPage + 30 {
		id, plate := fmt.Sprintf("x%03d", i), fmt.Sprintf("K%cB%cC%03d", 'A'+i%26, 'A'+i/7%26, (i*389)%1000)
		if i%3 > 0 {
			events = append(events, o.read(parking.Entry, "e"+id, plate[:7]+"Z", 0))
			want = append(want, id)
		} else {
			plate = fmt.Sprintf("QQQQ%03d", i)
		}
		events = append(events, o.read(parking.Exit, id, plate, 60+i/scannedPerPage))
	}
	slices.Reverse(want)
	o.seen(events...)
	for _, limit := range []int{7, 100} {
		var got []string
		before := &timeline.Place{Time: o.start.Add(24 * time.Hour)}
		for before != nil {
			list, next, err := o.Unmatched(t.Context(), site, *before, limit, nil)
			if err != nil || len(list) > limit || len(got) > len(want) {
				t.Fatalf("a page of %d exits after %d, %v", len(list), len(got), err)
			}
			for _, s := range list {
				got = append(got, s.Read.ID)
			}
			before = next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("by %d (-want +got):\n%s", limit, diff)
		}
	}
}
