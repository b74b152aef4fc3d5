package simulate

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"parkstream/shared/parking"
)

// monday is a midnight in Berlin.
var monday = time.Date(2026, 11, 23, 0, 0, 0, 0, berlin)

var berlin = func() *time.Location {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return zone
}()

// result is all that a simulation tells.
type result struct {
	posts  []Post
	unseen []*Read
	visits []*Visit
}

// reads returns each read once.
func (r *result) reads() (reads []*Read) {
	for _, p := range r.posts {
		if !p.Again {
			reads = append(reads, p.Read)
		}
	}
	return append(reads, r.unseen...)
}

// simulated runs a scenario of four days that begin on a Monday.
func simulated(t *testing.T, seed uint64, change func(*Scenario)) *result {
	t.Helper()
	s := Base()
	s.Seed, s.Start, s.Duration, s.Visits, s.Location = seed, monday, 4*24*time.Hour, 2000, berlin
	if change != nil {
		change(&s)
	}
	simulation, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	r := new(result)
	for step := range simulation.Steps() {
		switch {
		case step.Post != nil:
			r.posts = append(r.posts, *step.Post)
		case step.Unseen != nil:
			r.unseen = append(r.unseen, step.Unseen)
		default:
			r.visits = append(r.visits, step.Over)
		}
	}
	return r
}

// digest returns a hash of all that was told.
func (r *result) digest(t *testing.T) string {
	t.Helper()
	h := sha256.New()
	if err := json.NewEncoder(h).Encode([]any{r.posts, r.unseen, r.visits}); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// near fails unless got is want, within a tolerance.
func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s: %.4f, want %.4f within %.4f", what, got, want, tolerance)
	}
}

// share returns how many of the items are as wanted.
func share[T any](items []T, is func(T) bool) float64 {
	n := 0
	for _, item := range items {
		if is(item) {
			n++
		}
	}
	return float64(n) / float64(len(items))
}

func only[T any](items []T, is func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(items), func(item T) bool { return !is(item) })
}

func TestAScenarioHasOneResult(t *testing.T) {
	everything := func(s *Scenario) {
		s.Duration, s.WarmUp, s.Candidates, s.Appearance = 12*time.Hour, 12*time.Hour, true, true
		s.NoPlate, s.Late, s.Repeated, s.Skew, s.Tailgating = 0.02, 0.02, 0.02, 3*time.Second, 0.02
	}
	first := simulated(t, 1, everything).digest(t)
	if again := simulated(t, 1, everything).digest(t); again != first {
		t.Error("the same scenario has another result")
	}
	if other := simulated(t, 2, everything).digest(t); other == first {
		t.Error("another seed has the same result")
	}
	later := func(s *Scenario) { everything(s); s.Start = s.Start.Add(time.Hour) }
	plates := make(map[string]bool)
	for _, v := range simulated(t, 1, everything).visits {
		plates[v.Plate] = true
	}
	if same := share(simulated(t, 1, later).visits, func(v *Visit) bool { return plates[v.Plate] }); same > 0.01 {
		t.Errorf("of another start %.2f of the vehicles are the same: two runs at one site would disturb each other", same)
	}
}

// The same vehicles come whatever the cameras are like, so that scenarios can be compared.
func TestCamerasDoNotChangeTheTraffic(t *testing.T) {
	visits := func(change func(*Scenario)) string {
		r := simulated(t, 3, func(s *Scenario) {
			s.Duration = 24 * time.Hour
			change(s)
		})
		r.posts, r.unseen = nil, nil
		return r.digest(t)
	}
	want := visits(func(*Scenario) {})
	for _, name := range []string{"mild", "harsh", "syntax", "lists", "looks", "better", "worse", "harsh+syntax+lists"} {
		if visits(func(s *Scenario) {
			if err := s.Vary(name); err != nil {
				t.Fatal(err)
			}
		}) != want {
			t.Errorf("%s: other visits", name)
		}
	}
	if visits(func(s *Scenario) { s.Fleets = 0.15 }) == want {
		t.Error("more fleets change nothing")
	}
}

// Posts come in their order and within the run, each read is told once, and each visit,
// with its reads between its beginning and end.
func TestStepsAreComplete(t *testing.T) {
	r := simulated(t, 4, func(s *Scenario) {
		s.Late, s.Repeated, s.WarmUp = 0.05, 0.05, 48*time.Hour
		for i := range s.Cameras {
			s.Cameras[i].Format = "axis"
		}
	})
	end := monday.Add(4 * 24 * time.Hour)
	if !slices.IsSortedFunc(r.posts, func(a, b Post) int { return a.At.Compare(b.At) }) {
		t.Error("posts are out of order")
	}
	numbers := make(map[int64]bool)
	passes := make(map[string]int)
	for _, read := range r.reads() {
		if numbers[read.Number] {
			t.Fatalf("read %d is told twice", read.Number)
		}
		numbers[read.Number] = true
		passes[fmt.Sprint(read.Visit.Number, read.Kind)]++
		after := read.Seen.Sub(read.Visit.Entry)
		if read.Kind == parking.Exit {
			after = read.Seen.Sub(read.Visit.Exit)
		}
		if after < 0 || after > 20*time.Second {
			t.Errorf("a read %s after the vehicle's passage", after)
		}
		if wrong := read.Plate != read.Visit.Plate; read.Fate == Dropped != (read.Track == 0) || read.Fate == NoPlate && (read.Plate != "" || !wrong) {
			t.Errorf("%+v", read)
		}
	}
	for n := range int64(len(numbers)) {
		if !numbers[n+1] {
			t.Fatalf("read %d is missing", n+1)
		}
	}
	for _, post := range r.posts {
		if post.At.After(end) || post.At.Before(post.Read.Seen) && post.At != end {
			t.Fatalf("a post at %s of what was seen at %s", post.At, post.Read.Seen)
		}
	}
	inside := 0
	visits := make(map[int64]bool)
	for _, v := range r.visits {
		visits[v.Number] = true
		want := 2
		if v.Exit.IsZero() {
			inside++
			want = 1
		} else if v.Exit.Sub(v.Entry) < time.Second || v.Exit.Before(monday) {
			t.Errorf("a visit from %s to %s", v.Entry, v.Exit)
		}
		if got := min(passes[fmt.Sprint(v.Number, parking.Entry)], 1) + min(passes[fmt.Sprint(v.Number, parking.Exit)], 1); got != want {
			t.Fatalf("visit %d has reads of %d passages, want %d", v.Number, got, want)
		}
	}
	if len(visits) != len(r.visits) || inside == 0 || r.visits[0].Entry.After(monday) {
		t.Errorf("%d visits, %d numbers, %d inside at the end, the first from %s", len(r.visits), len(visits), inside, r.visits[0].Entry)
	}
}

// A vehicle is in one place, and a plate belongs to one vehicle.
func TestVehicles(t *testing.T) {
	r := simulated(t, 5, func(s *Scenario) { s.Tailgating, s.Fleets = 0.05, 0.15 })
	slices.SortFunc(r.visits, func(a, b *Visit) int { return a.Entry.Compare(b.Entry) })
	last := make(map[int64]*Visit)
	of := make(map[string]int64)
	for _, v := range r.visits {
		if before := last[v.Vehicle]; before != nil && (before.Exit.IsZero() || v.Entry.Before(before.Exit)) {
			t.Errorf("vehicle %d drives in at %s, and out at %s", v.Vehicle, v.Entry, before.Exit)
		}
		last[v.Vehicle] = v
		if other := of[v.Plate]; other != 0 && other != v.Vehicle {
			t.Errorf("vehicles %d and %d have one plate", other, v.Vehicle)
		}
		of[v.Plate] = v.Vehicle
	}
}

func TestTraffic(t *testing.T) {
	r := simulated(t, 6, func(s *Scenario) { s.Duration = 14 * 24 * time.Hour })
	near(t, "visits a day", float64(len(r.visits))/14, 2000, 40)
	is := func(kind string) func(*Visit) bool { return func(v *Visit) bool { return v.Kind == kind } }
	again := make(map[string]int)
	for _, v := range r.visits {
		again[fmt.Sprint(v.Vehicle, v.Entry.In(berlin).YearDay())]++
	}
	near(t, "visits that are not the first of the day", 1-float64(len(again))/float64(len(r.visits)), 0.07, 0.015)
	near(t, "regulars", share(r.visits, is(regular)), 0.325, 0.015)
	near(t, "fleets", share(r.visits, is(fleet)), 0.037, 0.005)
	near(t, "overnight", share(r.visits, is(overnight)), 0.027, 0.01)
	near(t, "travellers", share(r.visits, is(traveller)), 0.012, 0.005)

	var stays []float64
	byHour, byDay := [24]int{}, [7]int{}
	for _, v := range r.visits {
		if v.Kind == short && !v.Exit.IsZero() {
			stays = append(stays, math.Log(v.Exit.Sub(v.Entry).Hours()))
		}
		local := v.Entry.In(berlin)
		byHour[local.Hour()]++
		byDay[local.Weekday()]++
	}
	slices.Sort(stays)
	near(t, "median of short stays, hours", math.Exp(stays[len(stays)/2]), 1.4, 0.05)
	near(t, "logarithmic spread of short stays", stays[len(stays)*84/100]-stays[len(stays)/2], 0.85, 0.04)
	if busy, quiet := byHour[8]+byHour[12], byHour[2]+byHour[4]; busy < 15*quiet {
		t.Errorf("%d entries in the busy hours and %d in the quiet ones", busy, quiet)
	}
	near(t, "Sundays against Wednesdays", float64(byDay[time.Sunday])/float64(byDay[time.Wednesday]), 0.55, 0.08)
}

// With a warm-up the car park is as full at the start as a week later at that hour.
func TestWarmUp(t *testing.T) {
	inside := func(r *result, at time.Time) int {
		return len(only(r.visits, func(v *Visit) bool { return !v.Entry.After(at) && (v.Exit.IsZero() || v.Exit.After(at)) }))
	}
	noon := monday.Add(11 * time.Hour)
	start := func(warmUp time.Duration) *result {
		return simulated(t, 7, func(s *Scenario) { s.Start, s.WarmUp, s.Duration = noon, warmUp, 8*24*time.Hour })
	}
	if n := inside(start(0), noon); n != 0 {
		t.Errorf("%d vehicles are inside at a start without warm-up", n)
	}
	r := start(72 * time.Hour)
	near(t, "inside at the start", float64(inside(r, noon))/float64(inside(r, noon.Add(7*24*time.Hour))), 1, 0.12)
	near(t, "posts of entries before the start", share(r.posts, func(p Post) bool { return p.At.Before(noon) && p.Read.Kind == parking.Exit }), 0, 0)
	// So the visits of a day are some two times the vehicles inside at the busiest hour.
	near(t, "busiest hour's vehicles to visits", 2000/float64(inside(r, noon.Add(26*time.Hour))), 2.1, 0.25)
}

func TestTailgating(t *testing.T) {
	none := share(simulated(t, 8, nil).visits, func(v *Visit) bool { return v.Tailgated })
	r := simulated(t, 8, func(s *Scenario) { s.Tailgating = 0.1 })
	near(t, "without", none, 0, 0)
	near(t, "with", share(r.visits, func(v *Visit) bool { return v.Tailgated }), 0.17, 0.03)
}

func TestFleets(t *testing.T) {
	for seed := range uint64(6) { // a home each
		r := simulated(t, seed, func(s *Scenario) { s.Fleets, s.Duration = 0.15, 24*time.Hour })
		plates := make(map[string]bool)
		for _, v := range r.visits {
			if v.Kind == fleet {
				plates[v.Plate] = true
			}
		}
		all := make([]string, 0, len(plates))
		for p := range plates {
			all = append(all, p)
		}
		neighbour := share(all, func(p string) bool {
			return slices.ContainsFunc(all, func(q string) bool { return distance(p, q) == 1 })
		})
		if neighbour < 0.9 || len(all) < 100 {
			t.Errorf("of %d plates of fleets such as %s %.2f have a neighbour", len(all), all[0], neighbour)
		}
	}
}

// What a car park of years needs is what one of days does.
func TestMemoryIsBounded(t *testing.T) {
	s := Base()
	s.Seed, s.Start, s.Duration, s.Visits, s.Late, s.Repeated = 9, monday, 30*24*time.Hour, 300, 0.02, 0.02
	p := newPark(&s)
	most, count := 0, 0
	p.run(func(Step) bool {
		count++
		most = max(most, len(p.arrivals.items)+len(p.exits.items)+len(p.posts.items)+len(p.plates.fleets))
		return true
	})
	if most > 1000 || count < 22_000 {
		t.Errorf("of %d steps %d were kept", count, most)
	}
}

// A caller who has enough gets no more.
func TestStopping(t *testing.T) {
	s := Base()
	s.Start, s.Dropped = monday, 0.5
	simulation, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	for enough := range 50 {
		n := 0
		for range simulation.Steps() {
			if n++; n > enough {
				break
			}
		}
		if n != enough+1 {
			t.Fatalf("%d steps, want %d", n, enough+1)
		}
	}
}

func TestMistakesOfScenarios(t *testing.T) {
	for want, change := range map[string]func(*Scenario){
		"accuracy: the share is 1.5":          func(s *Scenario) { s.Accuracy = 1.5 },
		"dropped reads: the share is NaN":     func(s *Scenario) { s.Dropped = math.NaN() },
		"regulars and fleets are 1.2":         func(s *Scenario) { s.Regulars, s.Fleets = 0.6, 0.6 },
		"composition of misreads adds up":     func(s *Scenario) { s.Composition.One = 0.9 },
		"0 visits a day":                      func(s *Scenario) { s.Visits = 0 },
		"the duration is 0s":                  func(s *Scenario) { s.Duration = 0 },
		"the time before the start is 200h":   func(s *Scenario) { s.WarmUp = 200 * time.Hour },
		"the skew of clocks is 2m":            func(s *Scenario) { s.Skew = 2 * time.Minute },
		"the zone is missing":                 func(s *Scenario) { s.Location = nil },
		`no plates of the country "XX"`:       func(s *Scenario) { s.Home = "XX" },
		`camera c: "polaroid" is no format`:   func(s *Scenario) { s.Cameras = append(s.Cameras, Camera{ID: "c", Role: Both, Format: "polaroid"}) },
		"a camera for entries and one for ex": func(s *Scenario) { s.Cameras = s.Cameras[:2] },
	} {
		s := Base()
		change(&s)
		if _, err := New(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	s := Base()
	if err := s.Vary("base+polite"); err == nil || !strings.Contains(err.Error(), `"polite" is no scenario: want some of base, better,`) {
		t.Errorf("an unknown scenario: %v", err)
	}
}
