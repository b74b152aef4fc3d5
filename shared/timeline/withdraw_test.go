package timeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"parkstream/shared/parking"
)

// Whatever changes what a given entry means takes it from the exit at once, and tells that
// in its answer. What changes nothing of that leaves it.
func TestWithdrawnAtOnce(t *testing.T) {
	minute := func(n int) int { return 60 * n }
	gate := func(name string) func(*parking.Event) { return func(e *parking.Event) { e.Gate = name } }
	both := func(changes ...func(*parking.Event)) func(*parking.Event) {
		return func(e *parking.Event) {
			for _, change := range changes {
				change(e)
			}
		}
	}
	at := func(kind parking.Kind, id, plate string, second int) parking.Event {
		return of(event(kind, id, second), 1, both(plated(plate), gate("g")))
	}
	e, x := at(parking.Entry, "e", "KB01", minute(10)), at(parking.Exit, "x", "KB0I", minute(40))
	then := at(parking.Entry, "then", "KB01", minute(10)+10)
	// What looks like one stay is two: e1 and out, in and x2.
	e1, out := at(parking.Entry, "e1", "KA01", minute(1)), at(parking.Exit, "out", "KA0I", minute(20))
	in, x2 := at(parking.Entry, "in", "K401", minute(30)), at(parking.Exit, "x2", "KA01", minute(50))
	split := []parking.Event{e1, out, in, x2}
	moved := func(minutes int) func(*parking.Event) {
		return func(e *parking.Event) { e.Time = start.Add(time.Duration(minutes) * time.Minute) }
	}
	corrected := func(e parking.Event, plate string) parking.Event {
		t.Helper()
		c, err := e.Correct(plate, parking.Correction{ID: "d", By: "anna", At: start})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	s, client := newStore(t)
	now := time.Now()
	s.now = func() time.Time { return now }
	for name, tt := range map[string]struct {
		also []parking.Event // recorded before the decisions, with e, x and those of the split
		then []parking.Event
		told string // the stays of x, out and x2 that are told: the entry and the revision of each
		left string // what is decided then: the entry of each exit
		gone string // plates
		// ended are the exits whose decision is no more, because they mean something else
		// themselves. The other ones that are not left are withdrawn.
		ended string
	}{
		"the entry is void":                    {nil, []parking.Event{of(e, 2, voided)}, "x  3", "out e1, x2 in", "K401", ""},
		"has another plate":                    {nil, []parking.Event{of(e, 2, plated("KC01"))}, "x  3", "out e1, x2 in", "K401", ""},
		"has the plate of the exit":            {nil, []parking.Event{of(e, 2, plated("KB0I"))}, "x e 3", "out e1, x2 in", "K401", "x"},
		"has no plate":                         {nil, []parking.Event{of(e, 2, noPlates)}, "x  3", "out e1, x2 in", "K401", ""},
		"has another time":                     {nil, []parking.Event{of(e, 2, moved(11))}, "x  3", "out e1, x2 in", "K401", ""},
		"is an exit":                           {nil, []parking.Event{of(e, 2, func(e *parking.Event) { e.Kind = parking.Exit })}, "x  3", "out e1, x2 in", "K401", ""},
		"a person corrects it":                 {nil, []parking.Event{corrected(e, "KC01")}, "x  3", "out e1, x2 in", "K401", ""},
		"a person confirms it":                 {nil, []parking.Event{corrected(e, "KB01")}, "", "out e1, x e, x2 in", "K401 KB01", ""},
		"has another gate":                     {nil, []parking.Event{of(e, 2, gate("h"))}, "", "out e1, x e, x2 in", "K401 KB01", ""},
		"is void and is not":                   {nil, []parking.Event{of(e, 2, voided), of(e, 3, nil)}, "", "out e1, x e, x2 in", "K401 KB01", ""},
		"comes again":                          {nil, []parking.Event{e}, "", "out e1, x e, x2 in", "K401 KB01", ""},
		"an exit follows":                      {nil, []parking.Event{at(parking.Exit, "y", "KB01", minute(60))}, "x  3", "out e1, x2 in", "K401", ""},
		"an exit follows that had no plate":    {[]parking.Event{of(at(parking.Exit, "y", "KB01", minute(60)), 1, noPlates)}, []parking.Event{of(at(parking.Exit, "y", "KB01", minute(60)), 2, nil)}, "x  3", "out e1, x2 in", "K401", ""},
		"an exit follows, and is void":         {nil, []parking.Event{at(parking.Exit, "y", "KB01", minute(60)), of(at(parking.Exit, "y", "KB01", minute(60)), 2, voided)}, "", "out e1, x e, x2 in", "K401 KB01", ""},
		"an entry follows":                     {nil, []parking.Event{at(parking.Entry, "y", "KB01", minute(60))}, "", "out e1, x e, x2 in", "K401", ""},
		"a repeat follows":                     {nil, []parking.Event{then}, "x  3", "out e1, x2 in", "K401", ""},
		"one at another gate":                  {nil, []parking.Event{of(then, 1, gate("h"))}, "", "out e1, x e, x2 in", "K401", ""},
		"one that becomes a repeat":            {[]parking.Event{of(then, 1, gate("h"))}, []parking.Event{of(then, 2, nil)}, "x  3", "out e1, x2 in", "K401", ""},
		"it becomes one that is repeated":      {[]parking.Event{of(then, 1, gate("h"))}, []parking.Event{of(e, 2, gate("h"))}, "x  3", "out e1, x2 in", "K401", ""},
		"it repeats one":                       {nil, []parking.Event{at(parking.Entry, "y", "KB01", minute(10)-10)}, "", "out e1, x e, x2 in", "K401 KB01", ""},
		"an exit is before it":                 {nil, []parking.Event{at(parking.Exit, "y", "KB01", minute(9))}, "", "out e1, x e, x2 in", "K401 KB01", ""},
		"the exit is void":                     {nil, []parking.Event{of(x, 2, voided)}, "x v 3", "out e1, x2 in", "K401", "x"},
		"the exit has an entry":                {nil, []parking.Event{at(parking.Entry, "y", "KB0I", minute(30))}, "x y 3", "out e1, x2 in", "K401", "x"},
		"of a split, the second entry is void": {nil, []parking.Event{of(in, 2, voided)}, "out  3, x2 e1 3", "x e", "KB01", ""},
		"the second entry has an exit":         {nil, []parking.Event{at(parking.Exit, "y", "K401", minute(60))}, "out  3, x2 e1 3", "x e", "KB01", ""},
		"the first exit is void":               {nil, []parking.Event{of(out, 2, voided)}, "out v 3", "x e, x2 in", "K401 KB01", "out"},
		"the second exit is void":              {nil, []parking.Event{of(x2, 2, voided)}, "x2 v 3", "out e1, x e", "KA01 KB01", "x2"},
		"the second exit has another plate":    {nil, []parking.Event{of(x2, 2, plated("KC01"))}, "x2  3", "out e1, x e", "KA01 KB01", "x2"},
		"the second exit has another gate":     {nil, []parking.Event{of(x2, 2, gate("h"))}, "x2 in 2", "out e1, x e, x2 in", "K401 KB01", ""},
		"the first entry is void":              {nil, []parking.Event{of(e1, 2, voided)}, "out  3, x2  3", "x e", "KB01", "x2"},
		"an exit is between":                   {nil, []parking.Event{at(parking.Exit, "y", "KA01", minute(5))}, "out  3, x2  3", "x e", "KB01", "x2"},
		"an entry is between":                  {nil, []parking.Event{at(parking.Entry, "y", "KA01", minute(5))}, "x2 y 3", "out e1, x e", "KB01", "x2"},
		"both entries are void":                {nil, []parking.Event{of(in, 2, voided), of(e1, 2, voided)}, "out  3, x2  3", "x e", "KB01", "x2"},
		"both, the other one first":            {nil, []parking.Event{of(e1, 2, voided), of(in, 2, voided)}, "out  3, x2  3", "x e", "KB01", "x2"},
	} {
		for _, long := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", long ", long), func(t *testing.T) {
				do(t, client, "FLUSHALL")
				gone := tt.gone
				record(t, s, e, x)
				record(t, s, split...)
				record(t, s, tt.also...)
				if long { // all that is decided of is among the older members
					gone = strings.TrimPrefix(gone, "KA01 ")
					var events []parking.Event
					for _, plate := range []string{"KA01", "KA0I", "KB0I"} {
						kind := parking.Entry
						for i := range 20 {
							events = append(events, at(kind, fmt.Sprint(plate, i), plate, minute(55)+i))
							kind = parking.Exit
						}
					}
					record(t, s, events...)
				}
				var posted []parking.Stay
				exact := near(in, x2, parking.Split)
				exact.Exact = Place{e1.ID, e1.Time}
				changes := []Change{near(e, x, parking.OCR), near(e1, out, parking.Split), exact}
				if long { // the latest entry is the first that is given
					slices.Reverse(changes)
				}
				for _, d := range decide(t, s, changes...) {
					if d.Refused != "" {
						t.Fatalf("%+v", d)
					}
					posted = append(posted, d.Stay)
				}
				if err := s.Posted(t.Context(), "default", posted); err != nil {
					t.Fatal(err)
				}
				told := record(t, s, tt.then...)
				if got := toldOf(told, "x", "out", "x2"); got != tt.told {
					t.Errorf("told %q, want %q", got, tt.told)
				}
				decisions, err := s.Decisions(t.Context(), "default", time.Time{})
				if err != nil {
					t.Fatal(err)
				}
				var left []string
				var unposted []parking.Stay
				for _, d := range decisions {
					if d.Withdraws() {
						unposted = append(unposted, d.Stay)
					} else {
						left = append(left, d.Stay.ID+" "+d.Stay.EntryID)
					}
				}
				slices.Sort(left)
				if got := strings.Join(left, ", "); got != tt.left {
					t.Errorf("decided is %q, want %q", got, tt.left)
				}
				if want := 3 - len(left) - len(strings.Fields(tt.ended)); len(unposted) != want {
					t.Errorf("%d are withdrawn, want %d: %+v", len(unposted), want, unposted)
				}
				// What is withdrawn is kept as it is told until it is posted.
				for _, w := range unposted {
					if i := slices.IndexFunc(parking.Latest(told), func(s parking.Stay) bool { return s.ID == w.ID }); i < 0 {
						t.Errorf("%+v is not told", w)
					} else if diff := cmp.Diff(parking.Latest(told)[i], w); diff != "" {
						t.Errorf("told and kept differ (-told +kept):\n%s", diff)
					}
				}
				plates := client.ZRange(t.Context(), defaultKeys.gone(), 0, -1).Val()
				slices.Sort(plates)
				if diff := cmp.Diff(strings.Fields(gone), plates, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("gone (-want +got):\n%s", diff)
				}
				before := dump(t, client)
				record(t, s, tt.then[len(tt.then)-1])
				if diff := cmp.Diff(before, dump(t, client)); diff != "" {
					t.Errorf("recorded again, changed (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// A rejection or an erasure by which an exit has its entry by the pairing rule again takes
// that from the exit that was given it.
func TestWithdrawnWithAnother(t *testing.T) {
	e, out := of(entry("e", 0), 1, nil), of(exit("out", 1000), 1, plated("KA0I"))
	in, x := of(entry("in", 2000), 1, plated("K401")), of(exit("x", 3000), 1, nil)
	split := near(in, x, parking.Split)
	split.Exact = Place{e.ID, e.Time}
	s, client := newStore(t)
	for name, tt := range map[string]struct {
		do   func() ([]parking.Stay, error)
		want []parking.Stay
		told bool
		left map[string][]string
	}{
		"the second pair is rejected": {func() ([]parking.Stay, error) {
			stays, _, err := s.Reject(t.Context(), "default", Rejection{Rejection: parking.Rejection{EntryID: "in", ExitID: "x"}, ID: "d", By: "ann", At: start}, Versions{1, 1})
			return stays, err
		}, []parking.Stay{stayOf(&e, x, 3), stayOf(nil, out, 3)}, true, map[string][]string{"m": {"out", "x"}, "x": {"\nd", "in\nx"}, "l": {"KA0I"}}},
		"the first pair is": {func() ([]parking.Stay, error) {
			stays, _, err := s.Reject(t.Context(), "default", Rejection{Rejection: parking.Rejection{EntryID: "e", ExitID: "out"}, ID: "d", By: "ann", At: start}, Versions{1, 1})
			return stays, err
		}, []parking.Stay{stayOf(nil, out, 3)}, true, map[string][]string{"m": {"out", "x"}, "me": {"in"}, "g": {"K401"}, "x": {"\nd", "e\nout"}, "l": {"KA0I"}}},
		"the second entry is erased": {func() ([]parking.Stay, error) {
			_, err := s.ErasePlate(t.Context(), "default", "K401")
			return nil, err
		}, []parking.Stay{stayOf(&e, x, 3), stayOf(nil, out, 3)}, false, map[string][]string{"m": {"out", "x"}, "l": {"KA0I"}}},
		"the first entry is": {func() ([]parking.Stay, error) {
			_, err := s.ErasePlate(t.Context(), "default", "KA01")
			return nil, err
		}, []parking.Stay{stayOf(nil, out, 3)}, false, map[string][]string{"m": {"out"}, "l": {"KA0I"}}},
		"the first exit is": {func() ([]parking.Stay, error) {
			_, err := s.ErasePlate(t.Context(), "default", "KA0I")
			return nil, err
		}, nil, false, map[string][]string{"m": {"x"}, "me": {"in"}, "g": {"K401"}}},
	} {
		t.Run(name, func(t *testing.T) {
			do(t, client, "FLUSHALL")
			record(t, s, e, out, in, x)
			for _, d := range decide(t, s, near(e, out, parking.Split), split) {
				if d.Refused != "" {
					t.Fatalf("%+v", d)
				}
			}
			told, err := tt.do()
			var want []parking.Stay
			if tt.told {
				want = tt.want
			}
			if diff := cmp.Diff(want, told); diff != "" || err != nil {
				t.Errorf("told, error %v (-want +got):\n%s", err, diff)
			}
			decisions, err := s.Decisions(t.Context(), "default", time.Time{})
			var withdrawn []parking.Stay
			for _, d := range decisions {
				if d.Withdraws() {
					withdrawn = append(withdrawn, d.Stay)
				}
			}
			byID := cmpopts.SortSlices(func(a, b parking.Stay) bool { return a.ID < b.ID })
			if diff := cmp.Diff(tt.want, withdrawn, byID); diff != "" || err != nil {
				t.Errorf("to be posted, error %v (-want +got):\n%s", err, diff)
			}
			if diff := cmp.Diff(tt.left, decisionsOf(t, client)); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
		})
	}
}

// An exit has its entry by the pairing rule again, unless that expired. A rejection of that
// pair changes nothing of the stay, and tells it.
func TestRejectedAsItIsAgain(t *testing.T) {
	e, out := of(entry("e", 0), 1, nil), of(exit("out", 1000), 1, plated("KA0I"))
	in, x := of(entry("in", 2000), 1, plated("K401")), of(exit("x", 3000), 1, nil)
	split := near(in, x, parking.Split)
	split.Exact = Place{e.ID, e.Time}
	for want, now := range map[string]time.Time{"x e 3": time.Now(), "x  3": e.Time.Add(retention + time.Second)} {
		s, _ := newStore(t)
		record(t, s, e, out, in, x)
		decide(t, s, near(e, out, parking.Split), split)
		s.now = func() time.Time { return now }
		for _, id := range []string{"in", "e"} {
			r := Rejection{Rejection: parking.Rejection{EntryID: id, ExitID: "x"}, ID: "d" + id, By: "ann", At: start}
			stays, changed, err := s.Reject(t.Context(), "default", r, Versions{1, 1})
			if got := toldOf(stays, "x"); got != want || !changed || err != nil {
				t.Errorf("%s is rejected: changed %t, told %q, want %q, error %v", id, changed, got, want, err)
			}
		}
	}
}

// A rejection leaves what is decided of the exit with another entry, and that its exact stay
// is disputed.
func TestRejectedOtherwise(t *testing.T) {
	e, x := of(entry("e", 0), 1, nil), of(exit("x", 3000), 1, nil)
	in, out := of(entry("in", 2000), 1, plated("KB01")), of(exit("out", 2500), 1, plated("KB0I"))
	disputed := near(e, x, parking.Exact)
	disputed.Stay.Disputed, disputed.Exact = true, Place{e.ID, e.Time}
	s, _ := newStore(t)
	record(t, s, e, x, in, out)
	decide(t, s, disputed, near(in, out, parking.OCR))
	for i, pair := range []parking.Rejection{{EntryID: "e", ExitID: "x"}, {EntryID: "e", ExitID: "out"}} {
		stays, changed, err := rejectNow(t, s, Rejection{Rejection: pair, ID: fmt.Sprint("d", i), By: "ann", At: start})
		if len(stays) > 0 || !changed || err != nil {
			t.Errorf("%+v is rejected: changed %t, told %+v, error %v", pair, changed, stays, err)
		}
		if d, found, err := s.DecisionOf(t.Context(), "default", pair.ExitID); !found || d.Withdraws() || err != nil {
			t.Errorf("%+v is rejected: %+v, found %t, error %v", pair, d, found, err)
		}
	}
}

// toldOf returns the last that is told of some exits: the entry of each, v of a void stay,
// and the revision.
func toldOf(stays []parking.Stay, ids ...string) string {
	var texts []string
	for _, s := range parking.Latest(stays) {
		if s.Void {
			s.EntryID = "v"
		}
		if slices.Contains(ids, s.ID) {
			texts = append(texts, fmt.Sprint(s.ID, " ", s.EntryID, " ", s.Revision))
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

// The id of an entry that expired is that of another entry by now: what that one means is
// nothing to the exit that was given the first.
func TestAnIDUsedAgainWithdrawsNothing(t *testing.T) {
	s, _ := newStore(t)
	now := time.Now()
	s.now = func() time.Time { return now }
	at := func(kind parking.Kind, id, plate string, hours float64) parking.Event {
		return of(event(kind, id, 0), 1, func(e *parking.Event) {
			plated(plate)(e)
			e.Time = start.Add(time.Duration(hours * float64(time.Hour)))
		})
	}
	day := retention.Hours()
	e, x := at(parking.Entry, "e", "KB01", 2-day), at(parking.Exit, "x", "KB0I", -1)
	f, z := at(parking.Entry, "f", "KD01", 10.5), at(parking.Exit, "z", "KD0I", 10.6)
	record(t, s, e, x, f, z)
	for _, d := range decide(t, s, near(e, x, parking.OCR), near(f, z, parking.OCR)) {
		if d.Refused != "" {
			t.Fatalf("%+v", d)
		}
	}
	now = now.Add(12 * time.Hour)
	told := record(t, s, at(parking.Entry, "e", "KC01", 10), at(parking.Exit, "y", "KC01", 10.2))
	if got := toldOf(told, "x", "y"); got != "y e 1" {
		t.Errorf("told %q", got)
	}
}
