package simulate

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"parkstream/shared/parking"
)

func right(r *Read) bool   { return r.Plate == r.Visit.Plate }
func wrong(r *Read) bool   { return !right(r) }
func plated(r *Read) bool  { return r.Plate != "" }
func seen(r *Read) bool    { return r.Fate != Dropped }
func changes(r *Read) int  { return distance(r.Plate, r.Visit.Plate) }
func isAlpha(c byte) bool  { return c >= 'A' && c <= 'Z' }
func chance(x int) float64 { return float64(x) / 100 }

func TestAccuracy(t *testing.T) {
	for _, accuracy := range []int{80, 92, 97} {
		r := simulated(t, 1, func(s *Scenario) { s.Accuracy, s.Duration = chance(accuracy), 4*24*time.Hour })
		near(t, fmt.Sprintf("right of %d %%", accuracy), share(only(r.reads(), plated), right), chance(accuracy), 0.012)
	}
}

// Cameras differ: in how many plates they misread, and in which characters they confuse.
func TestCamerasDiffer(t *testing.T) {
	r := simulated(t, 1, nil)
	rates := []float64{}
	for _, camera := range []string{"in-1", "in-2", "out-1", "out-2"} {
		rates = append(rates, share(only(r.reads(), func(r *Read) bool { return r.Camera.ID == camera && plated(r) }), wrong))
	}
	slices.Sort(rates)
	if rates[3]/rates[0] < 1.2 {
		t.Errorf("all cameras misread alike: %v", rates)
	}
	random := rand.New(rand.NewPCG(3, 3))
	one, other := newConfusions(false, random), newConfusions(false, random)
	apart := 0.0
	for c, row := range one {
		first := func(weights []float64) float64 { return weights[0] / weights[len(weights)-1] }
		apart += max(first(row.weights)-first(other[c].weights), first(other[c].weights)-first(row.weights)) / float64(len(one))
	}
	near(t, "how far two cameras differ in their most frequent confusion", apart, 0.22, 0.06)
}

// substitutionsOf returns the share of each pair of characters among the reads with one.
func substitutionsOf(reads []*Read) map[string]float64 {
	pairs, n := make(map[string]float64), 0.0
	for _, r := range reads {
		if len(r.Plate) != len(r.Visit.Plate) || changes(r) != 1 {
			continue
		}
		for i := range len(r.Plate) {
			if r.Plate[i] != r.Visit.Plate[i] {
				pairs[r.Visit.Plate[i:i+1]+r.Plate[i:i+1]]++
				n++
			}
		}
	}
	for pair := range pairs {
		pairs[pair] /= n
	}
	return pairs
}

func TestComposition(t *testing.T) {
	for name, want := range compositions {
		r := simulated(t, 2, func(s *Scenario) { s.Composition, s.Accuracy = want, 0.8 })
		// The same misread of a stubborn vehicle counts once.
		met := make(map[string]bool)
		misreads := only(r.reads(), func(r *Read) bool {
			again := met[r.Visit.Plate+r.Plate]
			met[r.Visit.Plate+r.Plate] = true
			return plated(r) && wrong(r) && !again
		})
		near(t, name+", one", share(misreads, func(r *Read) bool { return changes(r) == 1 }), want.One, 0.035)
		near(t, name+", two", share(misreads, func(r *Read) bool { return changes(r) == 2 }), want.Two, 0.035)
		near(t, name+", more", share(misreads, func(r *Read) bool { return changes(r) > 2 }), want.More, 0.035)
		halves := only(misreads, func(r *Read) bool {
			return changes(r) > 2 && (strings.HasPrefix(r.Visit.Plate, r.Plate) || strings.HasSuffix(r.Visit.Plate, r.Plate))
		})
		near(t, name+", half missing", float64(len(halves))/float64(len(misreads)), want.More/2, 0.035)
		if r, found := shortest(halves); found && 2*len(r.Plate) < len(r.Visit.Plate) {
			t.Errorf("%s: of %s only %s is left", name, r.Visit.Plate, r.Plate)
		}

		ones := only(misreads, func(r *Read) bool { return changes(r) == 1 })
		near(t, name+", too short", share(ones, func(r *Read) bool { return len(r.Plate) < len(r.Visit.Plate) }), 0.08, 0.02)
		near(t, name+", too long", share(ones, func(r *Read) bool { return len(r.Plate) > len(r.Visit.Plate) }), 0.07, 0.02)
		similar := 0.0
		for pair, n := range substitutionsOf(ones) {
			if strings.Contains(lookalikes[pair[0]], pair[1:]) {
				similar += n
			}
		}
		near(t, name+", by similarity", similar, 0.75+0.25*0.13, 0.04)
	}
}

// shortest returns the read that has the smallest part of its plate.
func shortest(reads []*Read) (*Read, bool) {
	if len(reads) == 0 {
		return nil, false
	}
	return slices.MinFunc(reads, func(a, b *Read) int {
		return cmp.Compare(len(a.Plate)*len(b.Visit.Plate), len(b.Plate)*len(a.Visit.Plate))
	}), true
}

func TestSyntax(t *testing.T) {
	mixed := func(syntax bool) float64 {
		sum := 0.0
		r := simulated(t, 3, func(s *Scenario) { s.Syntax, s.Accuracy = syntax, 0.8 })
		for pair, n := range substitutionsOf(only(r.reads(), wrong)) {
			if isDigit(pair[0]) == isAlpha(pair[1]) {
				sum += n
			}
		}
		return sum
	}
	if with, without := mixed(true), mixed(false); with != 0 || without < 0.3 {
		t.Errorf("letters become digits in %.2f of the cases with syntax, %.2f without", with, without)
	}
}

func TestShares(t *testing.T) {
	r := simulated(t, 4, func(s *Scenario) {
		s.NoPlate, s.Dropped, s.Doubled, s.Late, s.Repeated, s.Skew = 0.02, 0.03, 0.05, 0.04, 0.06, 4*time.Second
		s.Cameras = nil
		for i := range 40 {
			s.Cameras = append(s.Cameras, Camera{ID: fmt.Sprint(i), Role: Both, Format: "own"})
		}
	})
	reads := r.reads()
	passes := 0
	for _, v := range r.visits {
		passes++
		if !v.Exit.IsZero() {
			passes++
		}
	}
	of := func(fate Fate) float64 {
		return float64(len(only(reads, func(r *Read) bool { return r.Fate == fate }))) / float64(passes)
	}
	near(t, "dropped", of(Dropped), 0.03, 0.004)
	near(t, "no-plates", of(NoPlate), 0.02, 0.004)
	near(t, "repeats", of(Repeat), 0.05*0.84, 0.006)
	near(t, "doubled", float64(len(reads)-passes)/float64(passes), 0.048, 0.005)
	near(t, "posted again", share(r.posts, func(p Post) bool { return p.Again }), 0.057, 0.006)
	near(t, "late", share(r.posts, func(p Post) bool { return !p.Again && p.At.Sub(p.Read.Seen) > time.Minute }), 0.038, 0.006)

	skews := map[string]time.Duration{}
	for _, read := range only(reads, seen) {
		skew := read.Time.Sub(read.Seen)
		if before, known := skews[read.Camera.ID]; known && (skew-before).Abs() > time.Microsecond {
			t.Fatalf("the clock of camera %s is off by %s, then by %s", read.Camera.ID, before, skew)
		}
		skews[read.Camera.ID] = skew
	}
	square := 0.0
	for _, skew := range skews {
		square += skew.Seconds() * skew.Seconds()
	}
	near(t, "mean square of the clocks' skew", square/40, 16, 7)
}

// Of two reads of one passage that agree, the pairing rule makes the repeat that the truth
// tells.
func TestRepeatsAreThoseOfTheRule(t *testing.T) {
	r := simulated(t, 5, func(s *Scenario) { s.Doubled, s.Dropped = 0.2, 0 })
	byPlate := make(map[string][]parking.Event)
	repeat := make(map[string]bool)
	for _, read := range only(r.reads(), plated) {
		if len(read.Visit.Plate) == len(read.Plate) && wrong(read) {
			continue // it may be the plate of another vehicle
		}
		byPlate[read.Plate] = append(byPlate[read.Plate], read.Event("s"))
		repeat[read.EventID()] = read.Fate == Repeat
	}
	repeats := 0
	for _, events := range byPlate {
		timeline := parking.Pair(events, nil)
		got := make(map[string]bool)
		for _, e := range timeline.RepeatedEntries {
			got[e.ID] = true
		}
		for _, s := range timeline.Stays {
			got[s.ID] = s.Status() == parking.Repeated
		}
		for _, e := range events {
			if got[e.ID] != repeat[e.ID] {
				t.Fatalf("event %+v is a repeat: %v, and the truth is %v", e, got[e.ID], repeat[e.ID])
			}
			if got[e.ID] {
				repeats++
			}
		}
	}
	if repeats < 1000 {
		t.Errorf("%d repeats", repeats)
	}
}

// Cameras that track vehicles post several reads of one, which are versions of one event.
func TestVersions(t *testing.T) {
	r := simulated(t, 6, func(s *Scenario) {
		for i := range s.Cameras {
			s.Cameras[i].Format = "axis"
		}
	})
	tracks := make(map[string][]*Read)
	for _, read := range only(r.reads(), seen) {
		tracks[read.EventID()] = append(tracks[read.EventID()], read)
	}
	for id, reads := range tracks {
		slices.SortFunc(reads, func(a, b *Read) int { return a.Order - b.Order })
		for i, read := range reads {
			if last := i == len(reads)-1; read.Order != i+1 || read.Reads != len(reads) || (read.Fate == Version) == last || i > 0 && !read.Time.After(reads[i-1].Time) {
				t.Fatalf("read %d of %s: %+v", i+1, id, read)
			}
		}
	}
	near(t, "reads of a vehicle", float64(len(only(r.reads(), seen)))/float64(len(tracks)), 2, 0.03)
}

func TestStubbornVehicles(t *testing.T) {
	r := simulated(t, 7, func(s *Scenario) { s.Duration = 14 * 24 * time.Hour })
	misreads := make(map[int64]map[string]int)
	for _, read := range only(r.reads(), func(r *Read) bool { return plated(r) && wrong(r) }) {
		if misreads[read.Visit.Vehicle] == nil {
			misreads[read.Visit.Vehicle] = make(map[string]int)
		}
		misreads[read.Visit.Vehicle][read.Plate]++
	}
	stubborn := 0
	for _, texts := range misreads {
		for _, n := range texts {
			if n >= 4 && len(texts) == 1 {
				stubborn++
			}
		}
	}
	if stubborn < 20 {
		t.Errorf("%d vehicles are misread the same way each time", stubborn)
	}
}

func TestCandidates(t *testing.T) {
	r := simulated(t, 8, func(s *Scenario) { s.Candidates, s.Accuracy = true, 0.8 })
	lists := only(r.reads(), plated)
	holds := func(r *Read) bool {
		return slices.ContainsFunc(r.Candidates, func(c parking.Candidate) bool { return c.Plate == r.Visit.Plate })
	}
	near(t, "the truth in lists of misreads by one or two", share(only(lists, func(r *Read) bool { return changes(r) == 1 || changes(r) == 2 }), holds), 0.70, 0.03)
	near(t, "of worse ones", share(only(lists, func(r *Read) bool { return changes(r) > 2 }), holds), 0, 0)
	for _, read := range lists {
		c := read.Candidates
		if len(c) == 0 || len(c) > 4 || c[0].Plate != read.Plate || *c[0].Confidence != read.Confidence {
			t.Fatalf("the list of %s is %v", read.Plate, c)
		}
		for i := range c[1:] {
			if *c[i+1].Confidence > *c[i].Confidence {
				t.Fatalf("confidence grows in the list of %s", read.Plate)
			}
		}
	}
	mean := func(reads []*Read) float64 {
		sum := 0.0
		for _, r := range reads {
			sum += r.Confidence
		}
		return sum / float64(len(reads))
	}
	near(t, "confidence in right reads", mean(only(lists, right)), 0.915, 0.01)
	near(t, "confidence in misreads", mean(only(lists, wrong)), 0.68, 0.01)
}

func TestAppearance(t *testing.T) {
	r := simulated(t, 9, func(s *Scenario) { s.Appearance = true })
	looks := make(map[int64]map[string]int)
	first, n := 0.0, 0.0
	for _, read := range only(r.reads(), seen) {
		if looks[read.Visit.Vehicle] == nil {
			looks[read.Visit.Vehicle] = make(map[string]int)
		}
		looks[read.Visit.Vehicle][read.Make+" "+read.Color]++
		if n++; read.Make == makes[0] && read.Color == colors[0] {
			first++
		}
	}
	agree, pairs := 0.0, 0.0
	for _, seen := range looks {
		total := 0
		for _, count := range seen {
			agree += float64(count * (count - 1))
			total += count
		}
		pairs += float64(total * (total - 1))
	}
	// Both right, or by chance.
	near(t, "two reads of a vehicle agree", agree/pairs, 0.85*0.85+0.06, 0.05)
	near(t, "the most frequent appearance", first/n, 1/zipf[appearances-1], 0.03)
	for _, read := range simulated(t, 9, nil).reads() {
		if read.Make != "" || read.Color != "" {
			t.Fatal("cameras tell make and colour without being asked")
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"AB12", "AB12", 0}, {"AB12", "A812", 1}, {"AB12", "AB2", 1}, {"AB12", "AB112", 1}, {"AB12", "BA12", 2}, {"AB", "", 2}, {"KITTEN", "SITTING", 3}} {
		if got := distance(tt.a, tt.b); got != tt.want || distance(tt.b, tt.a) != got {
			t.Errorf("%s and %s: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// A local time that comes twice means the later one.
func TestLater(t *testing.T) {
	lordHowe, err := time.LoadLocation("Australia/Lord_Howe") // clocks are set back by half an hour
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		zone     *time.Location
		at, want string
	}{
		{berlin, "2026-10-24T23:59:59Z", "2026-10-24T23:59:59Z"},
		{berlin, "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"}, // 02:00 in summer
		{berlin, "2026-10-25T00:59:59Z", "2026-10-25T01:59:59Z"},
		{berlin, "2026-10-25T01:00:00Z", "2026-10-25T01:00:00Z"}, // 02:00 in winter
		{berlin, "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"},
		{lordHowe, "2026-04-04T14:29:00Z", "2026-04-04T14:29:00Z"},
		{lordHowe, "2026-04-04T14:30:00Z", "2026-04-04T15:00:00Z"},
		{lordHowe, "2026-04-04T15:00:00Z", "2026-04-04T15:00:00Z"},
		{time.UTC, "2026-10-25T00:30:00Z", "2026-10-25T00:30:00Z"},
	} {
		at, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		got := later(at, tt.zone)
		if got.UTC().Format(time.RFC3339) != tt.want || got.In(tt.zone).Format(time.DateTime) != at.In(tt.zone).Format(time.DateTime) {
			t.Errorf("%s in %s: %s, want %s", tt.at, tt.zone, got.UTC().Format(time.RFC3339), tt.want)
		}
	}
}

func TestPermutation(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, n := range []uint64{1, 2, 3, 100, 1000, 4096} {
		p := newPermutation(n, random)
		met := make([]bool, n)
		fixed := 0
		for i := range n {
			to := p.at(i)
			if met[to] {
				t.Fatalf("%d of %d comes twice", to, n)
			}
			met[to] = true
			if to == i {
				fixed++
			}
		}
		if n >= 100 && fixed > 10 {
			t.Errorf("%d of %d stay where they are", fixed, n)
		}
	}
}

func TestPlates(t *testing.T) {
	met := make(map[string]string)
	for i := range countries {
		c := &countries[i]
		for j := range c.series {
			s := &c.series[j]
			order := newPermutation(s.size, rand.New(rand.NewPCG(2, uint64(i))))
			for n := range min(s.size, 20_000) {
				plate := s.plate(order.at(n))
				if other := met[plate]; other != "" {
					t.Fatalf("%s is of %s and of %s", plate, c.code, other)
				}
				met[plate] = c.code
				if parking.NormalizePlate(plate) != plate || len(plate) < 6 {
					t.Fatalf("%s of %s is no plate", plate, c.code)
				}
			}
			if s.size < 100_000 {
				t.Errorf("%s has a series of %d plates only", c.code, s.size)
			}
		}
	}
	for code, want := range map[string][2]string{"GB": {"LK02AAA", "LK02AAB"}, "DE": {"MAA1000", "MAA1001"}, "FR": {"FA000AA", "FA001AA"}, "ES": {"0000LBB", "0001LBB"}, "IN": {"KA01AA0000", "KA01AA0001"}, "US": {"7AAA000", "7AAA001"}} {
		i := slices.IndexFunc(countries, func(c country) bool { return c.code == code })
		if s := &countries[i].series[0]; s.plate(0) != want[0] || s.plate(1) != want[1] {
			t.Errorf("%s begins with %s and %s, want %s", code, s.plate(0), s.plate(1), want)
		}
	}
}

// An event of a site goes through the domain's checks.
func TestEvents(t *testing.T) {
	r := simulated(t, 10, func(s *Scenario) { s.NoPlate, s.Candidates, s.Appearance, s.Duration = 0.05, true, true, 24*time.Hour })
	ids := make(map[string]bool)
	for _, read := range only(r.reads(), seen) {
		e := read.Event("north")
		checked, err := parking.NewEvent(e)
		if err != nil || checked.Plate != read.Plate || checked.NoPlate != (read.Plate == "") || !checked.Time.Equal(read.Time) || ids[e.ID] {
			t.Fatalf("%+v: %v", e, err)
		}
		ids[e.ID] = true
	}
}
