package timeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
)

// near returns the change that gives an exit an entry.
func near(e, x parking.Event, method parking.Method) Change {
	stay := stayOf(&e, x, 0)
	stay.Match = &parking.Explanation{Method: method, EntryPlate: e.RawPlate, ExitPlate: x.RawPlate, Weight: 700, Margin: 500, Model: "default"}
	return Change{Stay: stay, EntryPlate: e.Plate, ExitPlate: x.Plate}
}

func decide(t *testing.T, s *Store, changes ...Change) []Decided {
	t.Helper()
	decided, err := s.Decide(t.Context(), "default", changes)
	if err != nil {
		t.Fatal(err)
	}
	return decided
}

// An exit is given the entry of a misread plate. Whatever is told of its stay from then on
// is that.
func TestDecide(t *testing.T) {
	s, _ := newStore(t)
	e, x := of(entry("e", 0), 1, plated("KA0I")), of(exit("x", 60), 1, nil)
	s.Record(t.Context(), []parking.Event{e, x})
	lone, more, err := s.Lone(t.Context(), "default", start, start.Add(time.Hour))
	if diff := cmp.Diff([]parking.Lone{{Event: x}, {Event: e}}, lone); diff != "" || more || err != nil {
		t.Errorf("lone, more %v, error %v, -want +got:\n%s", more, err, diff)
	}
	c := near(e, x, parking.OCR)
	want := c.Stay
	want.Revision = 2
	for i := range 2 {
		got := decide(t, s, c)[0]
		if diff := cmp.Diff(want, got.Stay); diff != "" || got.Refused != "" || got.Posted {
			t.Errorf("decided %d, %+v, -want +got:\n%s", i, got, diff)
		}
	}
	if diff := cmp.Diff([]parking.Stay{want}, s.Record(t.Context(), []parking.Event{x})[0].Stays); diff != "" {
		t.Errorf("told, -want +got:\n%s", diff)
	}
	if err := s.Posted(t.Context(), "default", []parking.Stay{want}); err != nil {
		t.Error(err)
	}
	stays, err := s.Reject(t.Context(), "default", Rejection{Rejection: parking.Rejection{EntryID: "e", ExitID: "x"}, ID: "d1", By: "ann", At: start})
	if diff := cmp.Diff([]parking.Stay{stayOf(nil, x, 3)}, stays); diff != "" || err != nil {
		t.Errorf("rejected, error %v, -want +got:\n%s", err, diff)
	}
	if got := decide(t, s, c)[0]; got.Refused == "" {
		t.Errorf("%+v", got)
	}
}

// A change is refused unless all that it builds on holds, and with it what depends on it.
func TestDecideRefuses(t *testing.T) {
	// Between the reads of an exact stay are an exit and an entry of a plate like it.
	e, x := of(entry("e", 0), 1, nil), of(exit("x", 4000), 1, nil)
	out, in := of(exit("out", 1000), 1, plated("KA0I")), of(entry("in", 2000), 1, plated("KA0I"))
	alone, left := of(entry("alone", 100), 1, plated("KB01")), of(exit("left", 1200), 1, plated("KB0I"))
	other := of(exit("other", 1300), 1, plated("K801"))
	twice := of(exit("twice", 1400), 1, func(e *parking.Event) { plated("KC01")(e); seenAt("c")(e) })
	again := of(twice, 1, func(e *parking.Event) { e.ID, e.Time = "again", e.Time.Add(time.Second) })
	first := of(entry("first", 200), 1, func(e *parking.Event) { plated("KD01")(e); seenAt("c")(e) })
	second := of(first, 1, func(e *parking.Event) { e.ID, e.Time = "second", e.Time.Add(time.Second) })
	expired := of(entry("expired", -int(retention.Seconds())+3500), 1, plated("KE01"))
	fresh := of(expired, 1, func(e *parking.Event) { e.ID, e.Time = "fresh", start })
	events := []parking.Event{e, x, out, in, alone, left, other, twice, again, first, second, expired, fresh}

	exactly := func(c Change, e parking.Event) Change {
		c.Exact = Place{e.ID, e.Time}
		return c
	}
	was := func(c Change, revision int64) Change {
		c.Was = revision
		return c
	}
	withdraws := func(id string, revision int64) Change { return Change{Stay: parking.Stay{ID: id}, Was: revision} }
	disputed := exactly(near(e, x, parking.Exact), e)
	splits := []Change{exactly(near(in, x, parking.Split), e), near(e, out, parking.Split)}
	nearLeft := near(alone, left, parking.OCR)
	s, client := newStore(t)
	for name, c := range map[string]struct {
		before  []Change // they are made
		changes []Change
		refused []bool
	}{
		"a near stay":                             {nil, []Change{nearLeft}, []bool{false}},
		"a disputed one":                          {nil, []Change{disputed}, []bool{false}},
		"a split":                                 {nil, splits, []bool{false, false}},
		"a split, the other one first":            {nil, []Change{splits[1], splits[0]}, []bool{false, false}},
		"a part of a split":                       {nil, splits[1:], []bool{true}},
		"both of a split, of which one may not":   {nil, []Change{splits[1], was(splits[0], 7)}, []bool{true, true}},
		"the same again":                          {[]Change{nearLeft}, []Change{nearLeft}, []bool{false}},
		"over another one that was not read":      {[]Change{nearLeft}, []Change{near(in, left, parking.OCR)}, []bool{true}},
		"over one that was read":                  {[]Change{nearLeft}, []Change{was(near(in, left, parking.OCR), 2)}, []bool{false}},
		"a withdrawal":                            {[]Change{nearLeft}, []Change{withdraws("left", 2)}, []bool{false}},
		"a late withdrawal":                       {[]Change{nearLeft}, []Change{withdraws("left", 1)}, []bool{true}},
		"a withdrawal of nothing":                 {nil, []Change{withdraws("left", 0)}, []bool{true}},
		"an entry for two":                        {nil, []Change{nearLeft, near(alone, other, parking.OCR)}, []bool{false, true}},
		"an entry that another exit has":          {[]Change{nearLeft}, []Change{near(alone, other, parking.OCR)}, []bool{true}},
		"an entry that another exit leaves":       {[]Change{nearLeft}, []Change{near(alone, other, parking.OCR), withdraws("left", 2)}, []bool{false, false}},
		"an exit twice":                           {nil, []Change{nearLeft, near(in, left, parking.OCR)}, []bool{false, true}},
		"the exit is paired by now":               {nil, []Change{near(alone, x, parking.OCR)}, []bool{true}},
		"the exit is paired otherwise":            {nil, []Change{exactly(near(in, x, parking.Split), alone)}, []bool{true}},
		"the exit is lone":                        {nil, []Change{exactly(nearLeft, alone)}, []bool{true}},
		"the exit is a repeat":                    {nil, []Change{near(alone, again, parking.OCR)}, []bool{true}},
		"the entry is repeated":                   {nil, []Change{near(first, left, parking.OCR)}, []bool{true}},
		"the entry is the last one of repeats":    {nil, []Change{near(second, left, parking.OCR)}, []bool{false}},
		"the entry is paired":                     {nil, []Change{near(e, left, parking.OCR)}, []bool{true}},
		"the entry has another time":              {nil, []Change{near(of(alone, 1, func(e *parking.Event) { e.Time = start }), left, parking.OCR)}, []bool{true}},
		"the entry has another plate":             {nil, []Change{near(of(alone, 1, plated("KA01")), left, parking.OCR)}, []bool{true}},
		"the exit has another plate":              {nil, []Change{near(alone, of(left, 1, plated("KA01")), parking.OCR)}, []bool{true}},
		"the entry expired":                       {nil, []Change{near(expired, left, parking.OCR)}, []bool{true}},
		"the pair is rejected":                    {nil, []Change{near(alone, twice, parking.OCR)}, []bool{true}},
		"the pair is not rejected any more":       {nil, []Change{near(in, twice, parking.OCR)}, []bool{false}},
		"what is given depends on a refused one":  {[]Change{near(in, other, parking.OCR)}, splits[1:], []bool{true}},
		"one that depends on one that is refused": {[]Change{near(in, other, parking.OCR)}, []Change{splits[1], splits[0]}, []bool{true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			do(t, client, "FLUSHALL")
			s.now = func() time.Time { return start.Add(3000 * time.Second) }
			s.Record(t.Context(), events)
			s.now = func() time.Time { return start.Add(4000 * time.Second) }
			for i, r := range []Rejection{
				{Rejection: parking.Rejection{EntryID: "alone", ExitID: "twice"}},
				{Rejection: parking.Rejection{EntryID: "in", ExitID: "twice"}},
			} {
				r.ID, r.By, r.At = fmt.Sprint("r", i), "ann", start
				if _, err := s.Reject(t.Context(), "default", r); err != nil {
					t.Fatal(err)
				}
				if r.ID += "-undone"; i == 1 {
					if err := s.Unreject(t.Context(), "default", r); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, d := range decide(t, s, c.before...) {
				if d.Refused != "" {
					t.Fatalf("before: %+v", d)
				}
			}
			revisions := client.HGetAll(t.Context(), defaultKeys.revisions()).Val()
			for i, d := range decide(t, s, c.changes...) {
				if (d.Refused != "") != c.refused[i] {
					t.Errorf("change %d of %s: %+v", i, c.changes[i].Stay.ID, d)
				}
			}
			if !slices.Contains(c.refused, false) {
				if diff := cmp.Diff(revisions, client.HGetAll(t.Context(), defaultKeys.revisions()).Val()); diff != "" {
					t.Errorf("revisions, -want +got:\n%s", diff)
				}
			}
		})
	}
}

// What people corrected is listed, until it expires or its plate is erased.
func TestCorrected(t *testing.T) {
	s, _ := newStore(t)
	var events []parking.Event
	for i := range 4 {
		e := entry(fmt.Sprint("e", i), i)
		events = append(events, e, of(e, parking.CorrectionVersion-int64(i%2), plated(fmt.Sprint("KB0", i))))
	}
	s.Record(t.Context(), events)
	list := func() []string {
		t.Helper()
		ids, err := s.Corrected(t.Context(), "default", start, start.Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if got := list(); !slices.Equal(got, []string{"e0", "e2"}) {
		t.Errorf("corrected %q", got)
	}
	if _, err := s.ErasePlate(t.Context(), "default", "KB02"); err != nil {
		t.Error(err)
	}
	if got := list(); !slices.Equal(got, []string{"e0"}) {
		t.Errorf("after the erasure %q", got)
	}
	s.now = func() time.Time { return start.Add(retention + time.Millisecond) }
	if got := list(); len(got) != 0 {
		t.Errorf("expired %q", got)
	}
}

// Lone reads are listed in pages, also if many are of one millisecond, and from one instant
// until before another.
func TestLoneReadsInPages(t *testing.T) {
	s, client := newStore(t)
	s.Record(t.Context(), []parking.Event{exit("x", 0)}) // the site
	const n = 3*membersPerTrip + 10
	var want []string
	for from := 0; from < n; from += membersPerTrip {
		var exits, inside []goredis.Z
		for i := from; i < min(from+membersPerTrip, n); i++ {
			at := start.Add(time.Duration(i/12_000) * time.Millisecond) // more than a page
			plate := fmt.Sprintf("KA%05d", i)
			exits = append(exits, goredis.Z{Score: float64(at.UnixMilli()), Member: exitMember(fmt.Sprint(i), at) + "\n" + plate})
			exits = append(exits, goredis.Z{Score: -float64(at.UnixMilli()), Member: entryMember(fmt.Sprint("e", i), at) + "\n" + plate})
			inside = append(inside, goredis.Z{Score: float64(at.UnixMilli()), Member: plate})
			want = append(want, plate)
		}
		client.ZAdd(t.Context(), defaultKeys.lone(), exits...)
		client.ZAdd(t.Context(), defaultKeys.inside(), inside...)
	}
	plates := func(reads []LoneRead, err error) (found []string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range reads {
			if found = append(found, r.Plate); r.ID != "" && strings.TrimLeft(r.Plate, "KA0") != strings.TrimLeft(strings.TrimLeft(r.ID, "e"), "0") {
				t.Fatalf("%+v", r)
			}
		}
		slices.Sort(found)
		return found
	}
	end := start.Add(time.Minute)
	if got := plates(s.LoneExits(t.Context(), "default", start.Add(1), end)); !slices.Equal(got, want[12_000:]) {
		t.Errorf("%d exits after the first instant", len(got))
	}
	if got := plates(s.LoneEntries(t.Context(), "default", start, end)); !slices.Equal(slices.Compact(slices.Clone(got)), want) || len(got) != 2*n {
		t.Errorf("%d entries", len(got))
	}
	if got := plates(s.LoneEntries(t.Context(), "default", start, start.Add(time.Millisecond))); len(got) != 24_000 {
		t.Errorf("%d entries of the first millisecond", len(got))
	}
}
