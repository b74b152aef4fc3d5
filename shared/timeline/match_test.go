package timeline

import (
	"errors"
	"fmt"
	"math/rand/v2"
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
	pair := parking.Rejection{EntryID: "e", ExitID: "x"}
	for i := range 2 { // it comes again: the stay may not be posted
		stays, changed, err := rejectNow(t, s, Rejection{Rejection: pair, ID: "d1", By: "ann", At: start})
		if diff := cmp.Diff([]parking.Stay{stayOf(nil, x, 3)}, stays); diff != "" || changed != (i == 0) || err != nil {
			t.Errorf("rejected, changed %t, error %v, -want +got:\n%s", changed, err, diff)
		}
	}
	if got := decide(t, s, c)[0]; got.Refused == "" {
		t.Errorf("%+v", got)
	}
	// A rejection that comes again after it was taken back changes nothing, and so does the
	// withdrawal of it.
	back := Rejection{Rejection: pair, ID: "d2", By: "ben", At: start}
	if err := unreject(t, s, back); err != nil {
		t.Error(err)
	}
	c.Was = 3
	if got := decide(t, s, c)[0]; got.Refused != "" || got.Stay.Revision != 4 {
		t.Errorf("%+v", got)
	}
	if stays, changed, err := rejectNow(t, s, Rejection{Rejection: pair, ID: "d1", By: "ann", At: start}); err != nil || changed || len(stays) != 0 {
		t.Errorf("rejected again: changed %t, %+v, error %v", changed, stays, err)
	}
	if err := unreject(t, s, back); err != nil {
		t.Error(err)
	}
	if d, found, err := s.DecisionOf(t.Context(), "default", "x"); err != nil || !found || d.Withdraws() || d.Stay.Revision != 4 {
		t.Errorf("withdrawn again: %+v, found %t, error %v", d, found, err)
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
	begun := of(expired, 1, func(e *parking.Event) { e.ID = "begun"; plated("KF01")(e) })
	ended := of(exit("ended", 1500), 1, plated("KF01"))
	events := []parking.Event{e, x, out, in, alone, left, other, twice, again, first, second, expired, fresh, begun, ended}

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
	elsewhere := nearLeft
	elsewhere.EntryPlate = "KA01"
	s, client := newStore(t)
	for name, c := range map[string]struct {
		before  []Change // they are made
		changes []Change
		refused []bool
	}{
		"a near stay":                                {nil, []Change{nearLeft}, []bool{false}},
		"a disputed one":                             {nil, []Change{disputed}, []bool{false}},
		"a split":                                    {nil, splits, []bool{false, false}},
		"a split, the other one first":               {nil, []Change{splits[1], splits[0]}, []bool{false, false}},
		"a part of a split":                          {nil, splits[1:], []bool{true}},
		"both of a split, of which one may not":      {nil, []Change{splits[1], was(splits[0], 7)}, []bool{true, true}},
		"the same again":                             {[]Change{nearLeft}, []Change{nearLeft}, []bool{false}},
		"the same again, of another plate":           {[]Change{nearLeft}, []Change{elsewhere}, []bool{true}},
		"the same again, of a paired exit":           {[]Change{nearLeft}, []Change{exactly(nearLeft, e)}, []bool{true}},
		"over another one that was not read":         {[]Change{nearLeft}, []Change{near(in, left, parking.OCR)}, []bool{true}},
		"over one that was read":                     {[]Change{nearLeft}, []Change{was(near(in, left, parking.OCR), 2)}, []bool{false}},
		"a withdrawal":                               {[]Change{nearLeft}, []Change{withdraws("left", 2)}, []bool{false}},
		"a late withdrawal":                          {[]Change{nearLeft}, []Change{withdraws("left", 1)}, []bool{true}},
		"a withdrawal of nothing":                    {nil, []Change{withdraws("left", 0)}, []bool{true}},
		"an entry for two":                           {nil, []Change{nearLeft, near(alone, other, parking.OCR)}, []bool{false, true}},
		"an entry that another exit has":             {[]Change{nearLeft}, []Change{near(alone, other, parking.OCR)}, []bool{true}},
		"an entry that another exit leaves":          {[]Change{nearLeft}, []Change{near(alone, other, parking.OCR), withdraws("left", 2)}, []bool{false, false}},
		"a withdrawal of a part of a split":          {splits, []Change{withdraws("x", 2)}, []bool{true}},
		"a withdrawal of both":                       {splits, []Change{withdraws("x", 2), withdraws("out", 2)}, []bool{false, false}},
		"a withdrawal of both, of which one may not": {splits, []Change{withdraws("x", 2), withdraws("out", 7)}, []bool{true, true}},
		"a dispute of a part of a split":             {splits, []Change{was(disputed, 2)}, []bool{true}},
		"a part of a split and a dispute":            {nil, []Change{splits[1], disputed}, []bool{true, false}},
		"a part of a split and the end of a dispute": {[]Change{disputed}, []Change{splits[1], withdraws("x", 2)}, []bool{true, false}},
		"an exit twice":                              {nil, []Change{nearLeft, near(in, left, parking.OCR)}, []bool{false, true}},
		"the exit is paired by now":                  {nil, []Change{near(alone, x, parking.OCR)}, []bool{true}},
		"the exit is paired otherwise":               {nil, []Change{exactly(near(in, x, parking.Split), alone)}, []bool{true}},
		"the exit is lone":                           {nil, []Change{exactly(nearLeft, alone)}, []bool{true}},
		"the exit is a repeat":                       {nil, []Change{near(alone, again, parking.OCR)}, []bool{true}},
		"the exit had an entry that expired":         {nil, []Change{near(alone, ended, parking.OCR)}, []bool{true}},
		"the entry is repeated":                      {nil, []Change{near(first, left, parking.OCR)}, []bool{true}},
		"the entry is the last one of repeats":       {nil, []Change{near(second, left, parking.OCR)}, []bool{false}},
		"the entry is paired":                        {nil, []Change{near(e, left, parking.OCR)}, []bool{true}},
		"the entry has another time":                 {nil, []Change{near(of(alone, 1, func(e *parking.Event) { e.Time = start }), left, parking.OCR)}, []bool{true}},
		"the entry has another plate":                {nil, []Change{near(of(alone, 1, plated("KA01")), left, parking.OCR)}, []bool{true}},
		"the exit has another plate":                 {nil, []Change{near(alone, of(left, 1, plated("KA01")), parking.OCR)}, []bool{true}},
		"the entry expired":                          {nil, []Change{near(expired, left, parking.OCR)}, []bool{true}},
		"the pair is rejected":                       {nil, []Change{near(alone, twice, parking.OCR)}, []bool{true}},
		"the pair is not rejected any more":          {nil, []Change{near(in, twice, parking.OCR)}, []bool{false}},
		"what is given depends on a refused one":     {[]Change{near(in, other, parking.OCR)}, splits[1:], []bool{true}},
		"one that depends on one that is refused":    {[]Change{near(in, other, parking.OCR)}, []Change{splits[1], splits[0]}, []bool{true, true}},
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
				if err := reject(t, s, r); err != nil {
					t.Fatal(err)
				}
				if r.ID += "-undone"; i == 1 {
					if err := unreject(t, s, r); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, d := range decide(t, s, c.before...) {
				if d.Refused != "" {
					t.Fatalf("before: %+v", d)
				}
			}
			kept := func() (all []map[string]string) {
				for _, key := range []string{defaultKeys.revisions(), defaultKeys.decisions(), defaultKeys.given()} {
					all = append(all, client.HGetAll(t.Context(), key).Val())
				}
				return all
			}
			before := kept()
			for i, d := range decide(t, s, c.changes...) {
				if (d.Refused != "") != c.refused[i] {
					t.Errorf("change %d of %s: %+v", i, c.changes[i].Stay.ID, d)
				}
			}
			if !slices.Contains(c.refused, false) {
				if diff := cmp.Diff(before, kept()); diff != "" {
					t.Errorf("refused, but changed (-want +got):\n%s", diff)
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
	s.Record(t.Context(), []parking.Event{exit("x", 100)}) // the site
	const n = 3*membersPerTrip + 10
	var want []string
	for from := 0; from < n; from += membersPerTrip {
		var exits, inside []goredis.Z
		for i := from; i < min(from+membersPerTrip, n); i++ {
			at := start.Add(time.Duration(i/25_000) * time.Millisecond) // more than a page
			plate := fmt.Sprintf("KA%05d", i)
			exits = append(exits, goredis.Z{Score: float64(at.UnixMilli()), Member: exitMember(fmt.Sprint(i), at) + "\n" + plate})
			exits = append(exits, goredis.Z{Score: -float64(at.UnixMilli()), Member: entryMember(fmt.Sprint("e", i), at) + "\n" + plate})
			inside = append(inside, goredis.Z{Score: float64(at.UnixMilli()), Member: plate})
			if !strings.HasSuffix(plate, "7") {
				want = append(want, plate)
			}
		}
		client.ZAdd(t.Context(), defaultKeys.lone(), exits...)
		client.ZAdd(t.Context(), defaultKeys.inside(), inside...)
	}
	plates := func(kind parking.Kind, from, to time.Time) (found []string) {
		t.Helper()
		reads, err := s.FindLone(t.Context(), "default", kind, from, to, func(plate string) bool { return !strings.HasSuffix(plate, "7") })
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range reads {
			if found = append(found, r.Plate); r.Kind != kind || r.ID != "" && strings.TrimLeft(r.Plate, "KA0") != strings.TrimLeft(strings.TrimLeft(r.ID, "e"), "0") {
				t.Fatalf("%+v", r)
			}
		}
		slices.Sort(found)
		return found
	}
	end := start.Add(time.Minute)
	if got := plates(parking.Exit, start.Add(1), end); !slices.Equal(got, want[25_000*9/10:]) {
		t.Errorf("%d exits after the first instant", len(got))
	}
	if got := plates(parking.Entry, start, end); !slices.Equal(slices.Compact(slices.Clone(got)), want) || len(got) != 2*len(want) {
		t.Errorf("%d entries", len(got))
	}
	if got := plates(parking.Entry, start, start.Add(time.Millisecond)); len(got) != 50_000*9/10 {
		t.Errorf("%d entries of the first millisecond", len(got))
	}
	r := s.loneReader("default", start, end)
	for _, kind := range []parking.Kind{parking.Entry, parking.Exit} {
		if got, more, err := r.members(t.Context(), kind); err != nil || more || len(got) != n {
			t.Errorf("%d members, %v, %v", len(got), more, err)
		}
	}
	if got, more, err := r.inside(t.Context()); err != nil || more || len(got) != n {
		t.Errorf("%d vehicles inside, %v, %v", len(got), more, err)
	}
}

// visit has the reads of a misread vehicle, and the change that makes a stay of them.
func visit() (e, x parking.Event, c Change) {
	e, x = of(entry("e", 0), 1, plated("KA0I")), of(exit("x", 60), 1, nil)
	return e, x, near(e, x, parking.OCR)
}

// decisionsOf returns what is kept of decisions and lone reads, by key.
func decisionsOf(t *testing.T, client goredis.UniversalClient) map[string][]string {
	t.Helper()
	kept := make(map[string][]string)
	for name, key := range map[string]string{"m": defaultKeys.decisions(), "me": defaultKeys.given(), "x": defaultKeys.rejections()} {
		if fields := client.HKeys(t.Context(), key).Val(); len(fields) > 0 {
			kept[name] = slices.Sorted(slices.Values(fields))
		}
	}
	listed := client.ZRange(t.Context(), defaultKeys.decided(), 0, -1).Val()
	if slices.Sort(listed); !slices.Equal(listed, kept["m"]) {
		t.Errorf("decided of %v, a tick finds %v", kept["m"], listed)
	}
	for name, key := range map[string]string{"g": defaultKeys.gone(), "l": defaultKeys.lone()} {
		for _, m := range client.ZRange(t.Context(), key, 0, -1).Val() {
			kept[name] = append(kept[name], m[strings.Index(m, "\n")+1:])
		}
	}
	return kept
}

// A stay that was posted before another decision leaves that one to be posted.
func TestPosted(t *testing.T) {
	s, _ := newStore(t)
	e, x, c := visit()
	s.Record(t.Context(), []parking.Event{e, x})
	old := decide(t, s, c)[0].Stay
	withdrawn := decide(t, s, Change{Stay: parking.Stay{ID: "x"}, Was: 2})[0].Stay
	for range 2 { // it comes again
		if diff := cmp.Diff(stayOf(nil, x, 3), withdrawn); diff != "" {
			t.Errorf("withdrawn, -want +got:\n%s", diff)
		}
		withdrawn = decide(t, s, Change{Stay: parking.Stay{ID: "x"}, Was: 2})[0].Stay
	}
	later := stayOf(nil, x, 4)
	for _, step := range []struct {
		posted parking.Stay
		left   int
	}{{old, 1}, {later, 1}, {withdrawn, 0}, {withdrawn, 0}} {
		if err := s.Posted(t.Context(), "default", []parking.Stay{step.posted}); err != nil {
			t.Error(err)
		}
		if got, err := s.Decisions(t.Context(), "default", time.Time{}); err != nil || len(got) != step.left {
			t.Errorf("revision %d posted: %+v, error %v", step.posted.Revision, got, err)
		}
	}
	again := decide(t, s, c)[0]
	for posted, stay := range []parking.Stay{old, again.Stay} {
		if err := s.Posted(t.Context(), "default", []parking.Stay{stayOf(nil, exit("other", 0), 1), stay}); err != nil {
			t.Error(err)
		}
		if d, found, err := s.DecisionOf(t.Context(), "default", "x"); err != nil || !found || d.Posted != (posted == 1) || d.Stay.Revision != again.Stay.Revision {
			t.Errorf("%+v, found %v, error %v", d, found, err)
		}
	}
}

// A tick reads the decisions about the exits of its time, and those that are not posted,
// however old these are.
func TestDecisionsFromAnInstantOn(t *testing.T) {
	s, _ := newStore(t)
	e, x, c := visit()
	s.Record(t.Context(), []parking.Event{e, x})
	found := func(step string, from time.Time, want int) {
		t.Helper()
		if got, err := s.Decisions(t.Context(), "default", from); err != nil || len(got) != want {
			t.Errorf("%s: %d decisions from %s on, error %v, want %d", step, len(got), from, err, want)
		}
	}
	later := x.Time.Add(time.Millisecond)
	decided := decide(t, s, c)[0].Stay
	found("decided", later, 1)
	if err := s.Posted(t.Context(), "default", []parking.Stay{decided}); err != nil {
		t.Error(err)
	}
	found("posted", x.Time, 1)
	found("posted", later, 0)
	withdrawn := decide(t, s, Change{Stay: parking.Stay{ID: "x"}, Was: decided.Revision})[0].Stay
	found("withdrawn", later, 1)
	if err := s.Posted(t.Context(), "default", []parking.Stay{withdrawn}); err != nil {
		t.Error(err)
	}
	found("forgotten", time.Time{}, 0)
}

// An erased plate is forgotten in decisions. The exit of another plate is without its entry,
// at a revision of its own that is to be posted.
func TestErasePlateForgetsDecisions(t *testing.T) {
	e, x, c := visit()
	s, client := newStore(t)
	for plate, want := range map[string]struct {
		kept   map[string][]string
		inside int64
		to     []parking.Stay
	}{
		"KA01": {map[string][]string{}, 1, nil},
		"KA0I": {map[string][]string{"m": {"x"}, "l": {"KA01"}}, 0, []parking.Stay{stayOf(nil, x, 3)}},
	} {
		do(t, client, "FLUSHALL")
		s.Record(t.Context(), []parking.Event{e, x})
		decide(t, s, c)
		if err := reject(t, s, Rejection{Rejection: parking.Rejection{EntryID: "e", ExitID: "other"}, ID: "d1", By: "ann", At: start}); err != nil {
			t.Error(err)
		}
		if err := reject(t, s, Rejection{Rejection: parking.Rejection{EntryID: "other", ExitID: "x"}, ID: "d2", By: "ann", At: start}); err != nil {
			t.Error(err)
		}
		left := map[string][]string{"KA01": {"\nd1", "e\nother"}, "KA0I": {"\nd2", "other\nx"}}[plate]
		want.kept["x"] = left
		if _, err := s.ErasePlate(t.Context(), "default", plate); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.kept, decisionsOf(t, client)); diff != "" {
			t.Errorf("%s, -want +got:\n%s", plate, diff)
		}
		for _, key := range keys(t, client) {
			if text := client.Dump(t.Context(), key).Val(); strings.Contains(text, plate) {
				t.Errorf("%s has %s: %q", key, plate, text)
			}
		}
		decisions, err := s.Decisions(t.Context(), "default", time.Time{})
		var to []parking.Stay
		for _, d := range decisions {
			to = append(to, d.Stay)
		}
		if diff := cmp.Diff(want.to, to); diff != "" || err != nil {
			t.Errorf("%s, to be posted, error %v, -want +got:\n%s", plate, err, diff)
		}
		if site, err := s.Site(t.Context(), "default"); err != nil || site.VehiclesInside != want.inside {
			t.Errorf("%s: %+v, error %v", plate, site, err)
		}
	}
}

// What was decided expires with the first of the two reads, and is forgotten with it.
func TestDecisionsExpire(t *testing.T) {
	s, client := newStore(t)
	e, x, c := visit()
	s.Record(t.Context(), []parking.Event{e, x})
	decide(t, s, c)
	for _, key := range keys(t, client) {
		if ttl := client.PTTL(t.Context(), key).Val(); key != "park:registry" && ttl <= 0 || ttl > 3*retention+time.Hour {
			t.Errorf("%s expires in %s", key, ttl)
		}
	}
	s.now = func() time.Time { return start.Add(retention + 30*time.Second) }
	if got, err := s.Decisions(t.Context(), "default", time.Time{}); err != nil || len(got) > 0 {
		t.Errorf("%+v, error %v", got, err)
	}
	if lone, _, err := s.Lone(t.Context(), "default", time.Time{}, s.now()); err != nil || len(lone) != 1 {
		t.Errorf("lone %+v, error %v", lone, err)
	}
	s.now = func() time.Time { return start.Add(retention + 3*time.Hour) }
	for i := range 3 { // the search for what expired
		late := entry(fmt.Sprint("late", i), int(retention.Seconds())+i)
		s.Record(t.Context(), []parking.Event{of(late, 1, plated(fmt.Sprint("KB0", i)))})
	}
	if diff := cmp.Diff(map[string][]string{}, decisionsOf(t, client)); diff != "" {
		t.Errorf("kept, -want +got:\n%s", diff)
	}
}

func TestRejections(t *testing.T) {
	s, _ := newStore(t)
	pair := parking.Rejection{EntryID: "e", ExitID: "x"}
	first := Rejection{Rejection: pair, ID: "d1", By: "ann", At: start}
	back := Rejection{Rejection: pair, ID: "d2", By: "ben", At: start.Add(time.Minute)}
	other := Rejection{Rejection: parking.Rejection{EntryID: "f", ExitID: "x"}, ID: "d1", By: "ann", At: start}
	withdrawn := first
	withdrawn.Withdrawn = &back
	for i, step := range []struct {
		do   func(*testing.T, *Store, Rejection) error
		with Rejection
		want error
		kept Rejection
	}{
		{reject, first, nil, first},
		{reject, first, nil, first},
		{reject, other, ErrDecided, first},
		{unreject, first, ErrDecided, first},
		{unreject, back, nil, withdrawn},
		{reject, first, nil, withdrawn}, // late
		{unreject, Rejection{Rejection: pair}, parking.ErrInvalid, withdrawn},
	} {
		if err := step.do(t, s, step.with); !errors.Is(err, step.want) {
			t.Errorf("step %d: error %v, want %v", i, err, step.want)
		}
		got, err := s.Rejections(t.Context(), "default")
		if diff := cmp.Diff([]Rejection{step.kept}, got); diff != "" || err != nil {
			t.Errorf("step %d, error %v, -want +got:\n%s", i, err, diff)
		}
	}
	if got, found, err := s.RejectionOf(t.Context(), "default", pair); err != nil || !found || got.Withdrawn == nil {
		t.Errorf("%+v, found %v, error %v", got, found, err)
	}
	s.now = func() time.Time { return time.Now().Add(retention + time.Minute) }
	if got, err := s.Rejections(t.Context(), "default"); err != nil || len(got) != 0 {
		t.Errorf("expired: %+v, error %v", got, err)
	}
	again := other
	again.ID = "d9"
	if err := reject(t, s, again); err != nil {
		t.Error(err)
	}
	if n := s.redis.Current().HLen(t.Context(), defaultKeys.rejections()).Val(); n != 2 {
		t.Errorf("%d fields are kept, want those of the new one", n)
	}
}

// rejectNow rejects a pair as it is now.
func rejectNow(t *testing.T, s *Store, r Rejection) (stays []parking.Stay, changed bool, err error) {
	t.Helper()
	events, err := s.Events(t.Context(), "default", []string{r.EntryID, r.ExitID})
	if err != nil {
		t.Fatal(err)
	}
	return s.Reject(t.Context(), "default", r, Versions{events[r.EntryID].Version, events[r.ExitID].Version})
}

func reject(t *testing.T, s *Store, r Rejection) error {
	t.Helper()
	_, _, err := rejectNow(t, s, r)
	return err
}

func unreject(t *testing.T, s *Store, r Rejection) error {
	t.Helper()
	now, _, err := s.RejectionOf(t.Context(), "default", r.Rejection)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Unreject(t.Context(), "default", r, now.ID)
	return err
}

// A rejection is of the events as they were looked at. A pair is rejected once, by one person,
// until that is withdrawn or expired, and withdrawn once.
func TestRejectionsOfVersions(t *testing.T) {
	e, x := of(entry("e", 0), 1, nil), of(exit("x", 1000), 1, plated("KA0I"))
	s, client := newStore(t)
	r := Rejection{Rejection: parking.Rejection{EntryID: "e", ExitID: "x"}, By: "ann", At: start}
	for name, tt := range map[string]struct {
		events []parking.Event
		of     Versions
		taken  bool
	}{
		"as they were looked at":    {[]parking.Event{e, x}, Versions{1, 1}, true},
		"as they were amended":      {[]parking.Event{of(e, 1<<50, plated("KA02")), of(x, 3, plated("KA03"))}, Versions{1 << 50, 3}, true},
		"one is not known":          {[]parking.Event{e}, Versions{1, 0}, true},
		"the entry was amended":     {[]parking.Event{of(e, 2, plated("KA02")), x}, Versions{1, 1}, false},
		"the exit was":              {[]parking.Event{e, of(x, 2, plated("KA02"))}, Versions{1, 1}, false},
		"the entry is a later one":  {[]parking.Event{of(e, 1<<50+1, nil), x}, Versions{1 << 50, 1}, false},
		"one is not known any more": {[]parking.Event{e}, Versions{1, 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			do(t, client, "FLUSHALL")
			record(t, s, tt.events...)
			r := r
			r.ID = "d1"
			before := dump(t, client)
			_, changed, err := s.Reject(t.Context(), "default", r, tt.of)
			if changed != tt.taken || errors.Is(err, parking.ErrConflict) == tt.taken || tt.taken && err != nil {
				t.Errorf("changed %t, error %v", changed, err)
			}
			if diff := cmp.Diff(before, dump(t, client)); !tt.taken && diff != "" {
				t.Errorf("refused, but changed (-want +got):\n%s", diff)
			}
		})
	}
	do(t, client, "FLUSHALL")
	record(t, s, e, x)
	for i, step := range []struct {
		id, of string // of the rejection that is withdrawn
		want   bool
		fails  error
	}{
		{"d1", "", true, nil},
		{"d1", "", false, nil},
		{"d2", "", false, nil}, // it is so
		{"u1", "d1", true, nil},
		{"u1", "d1", false, nil},
		{"u2", "d1", false, nil},
		{"d1", "", false, nil}, // late
		{"d2", "", false, nil},
		{"d3", "", true, nil},
		{"u1", "d1", false, nil},
		{"u3", "d1", false, parking.ErrConflict}, // the one to withdraw is another by now
		{"u3", "d3", true, nil},
	} {
		r.ID = step.id
		var changed bool
		var err error
		if step.of != "" {
			changed, err = s.Unreject(t.Context(), "default", r, step.of)
		} else {
			_, changed, err = rejectNow(t, s, r)
		}
		if changed != step.want || !errors.Is(err, step.fails) {
			t.Errorf("step %d: changed %t, want %t, error %v", i, changed, step.want, err)
		}
	}
	for _, id := range []string{"d4", "d5"} { // of which the first expires
		r.ID = id
		if _, changed, err := s.Reject(t.Context(), "default", r, Versions{1, 1}); !changed || err != nil {
			t.Errorf("%s: changed %t, error %v", id, changed, err)
		}
		now := s.now().Add(s.retention + time.Hour)
		s.now = func() time.Time { return now }
	}
}

// Rejections are forgotten when they expire, some with each one that comes, and with the
// events that they name, with all that finds them.
func TestRejectionsAreForgotten(t *testing.T) {
	s, client := newStore(t)
	now := time.Now()
	s.now = func() time.Time { return now }
	n := 0
	kept := func(want int) {
		t.Helper()
		fields := client.HKeys(t.Context(), defaultKeys.rejections()).Val()
		at := client.ZRange(t.Context(), string(defaultKeys)+"xt", 0, -1).Val()
		of := client.ZCard(t.Context(), string(defaultKeys)+"xe").Val()
		slices.Sort(fields)
		slices.Sort(at)
		if len(fields) != want || !slices.Equal(fields, at) || of != int64(2*want) {
			t.Errorf("%d fields, %d times and %d events, want %d, %d and %d", len(fields), len(at), of, want, want, 2*want)
		}
	}
	pair := func(entry, exit string, times int) {
		t.Helper()
		for i := range times {
			n++
			r := Rejection{Rejection: parking.Rejection{EntryID: entry, ExitID: exit}, ID: fmt.Sprint("d", n), By: "ann", At: start}
			var of Versions
			var err error
			if entry == "e" || entry == "f" { // they are known, also when they have expired
				of.Entry = 1
			}
			if i%2 == 0 {
				_, _, err = s.Reject(t.Context(), "default", r, of)
			} else {
				_, err = s.Unreject(t.Context(), "default", r, fmt.Sprint("d", n-1))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	record(t, s, entry("e", 0), of(entry("f", 0), 1, plated("KA02")))
	for i := range 70 {
		pair(fmt.Sprint("a", i), fmt.Sprint("x", i), 1)
	}
	kept(140)
	now = now.Add(retention)
	pair("e", "x", 3) // one field for the pair, and three for the decisions
	for i := range 3 {
		pair("e", fmt.Sprint("y", i), 1)
	}
	pair("f", "x", 1)
	kept(140 + 4 + 6 + 2)
	now = now.Add(time.Second)
	pair("f", "y", 1)
	kept(40 + 12 + 2)
	pair("f", "z", 1)
	kept(12 + 4)
	for i := range 501 {
		pair("e", fmt.Sprint("z", i), 1)
	}
	kept(12 + 4 + 1002)
	if _, err := s.ErasePlate(t.Context(), "default", "KA01"); err != nil {
		t.Fatal(err)
	}
	kept(2 + 4)
	for _, key := range []string{defaultKeys.rejections(), string(defaultKeys) + "xt", string(defaultKeys) + "xe"} {
		if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > 2*retention+25*time.Hour {
			t.Errorf("%s expires in %s", key, ttl)
		}
	}
}

// The newest of several kinds of reads are those of all, whatever kind they are of.
func TestNewest(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var of []ordered
		var all []int64
		times := make([][]int64, 1+random.IntN(3))
		for i := range times {
			for range random.IntN(8) {
				times[i] = append(times[i], 100+random.Int64N(12))
			}
			slices.Sort(times[i])
			slices.Reverse(times[i])
			of = append(of, ordered{len(times[i]), func(n int) int64 { return times[i][n] }})
			all = append(all, times[i]...)
		}
		most := random.IntN(12)
		// By the definition: the lowest instant from which there are at most so many.
		since, n := int64(100), func(at int64) int {
			return len(slices.DeleteFunc(slices.Clone(all), func(other int64) bool { return other < at }))
		}
		for n(since) > most {
			since++
		}
		want := make([]int, len(times))
		for i := range times {
			for _, at := range times[i] {
				if at >= since {
					want[i]++
				}
			}
		}
		if got := newest(most, 100, 112, of...); !slices.Equal(got, want) {
			t.Fatalf("the newest %d of %v: %v, want %v", most, times, got, want)
		}
	}
}

// Whether a plate with very many reads is known is told by the newest of them.
func TestKnownByTheNewestReads(t *testing.T) {
	for _, behind := range []int{maxSearched - 2*lonePerPage, maxSearched + 2*lonePerPage} {
		s, client := newStore(t)
		e, x := entry("e", -40_000), exit("x", -39_990)
		record(t, s, e, x)
		members := []string{member(&e), member(&x)}
		for i := range behind {
			again := exit(fmt.Sprint("again", i), -30_000+i)
			members = append(members, member(&again))
		}
		var older []goredis.Z
		for i, m := range members[:len(members)-8] {
			older = append(older, goredis.Z{Score: float64(e.Time.UnixMilli() + int64(i)), Member: m})
		}
		client.ZAdd(t.Context(), defaultKeys.older("KA01"), older...)
		client.HSet(t.Context(), defaultKeys.timelines(), "KA01", "+"+strings.Join(members[len(members)-8:], "\n"))
		last := exit("last", 0)
		record(t, s, last)
		lone, more, err := s.Lone(t.Context(), "default", start, start.Add(time.Hour))
		near := behind < maxSearched
		if err != nil || more || len(lone) != 1 || lone[0].Known != near {
			t.Errorf("%d reads after the stay: %+v, more %v, error %v", behind, lone, more, err)
		}
		counts, err := s.ExactStays(t.Context(), "default", []string{"KA01"})
		if err != nil || (counts["KA01"] == 1) != near {
			t.Errorf("%d reads after the stay: %v exact stays, error %v", behind, counts, err)
		}
	}
}
