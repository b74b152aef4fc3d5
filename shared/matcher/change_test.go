package matcher

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
	"parkstream/shared/timeline"
)

// Work that shares an entry is done at once, whatever is between it, and no batch is too
// large.
func TestBatches(t *testing.T) {
	const n, linked = 3 * timeline.MaxChanges, 100
	todo := make([]work, 2*n, 2*n+linked)
	for i := range todo { // i and i+n share an entry
		todo[i].Stay.ID = fmt.Sprint(i)
		todo[i].entries[i%3] = fmt.Sprint("e", i%n)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range linked { // each shares one with the one before
		todo = append(todo, work{entries: [3]string{fmt.Sprint("l", i), fmt.Sprint("l", i+1)}})
		todo[2*n+i].Stay.ID = fmt.Sprint("linked", i)
	}
	random.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
	where, count := make(map[string]int), 0
	for b, batch := range batches(todo) {
		if len(batch) > timeline.MaxChanges {
			t.Errorf("batch %d has %d changes", b, len(batch))
		}
		for i := range batch {
			where[batch[i].Stay.ID] = b
			count++
		}
	}
	if count != len(todo) || len(where) != len(todo) {
		t.Fatalf("%d changes of %d stays, want %d", count, len(where), len(todo))
	}
	for i := range n {
		if a, b := where[fmt.Sprint(i)], where[fmt.Sprint(i+n)]; a != b {
			t.Fatalf("%d is in batch %d, and %d in %d", i, a, i+n, b)
		}
	}
	for i := range linked {
		if a, b := where["linked0"], where[fmt.Sprint("linked", i)]; a != b {
			t.Fatalf("the first that are linked are in batch %d, number %d in %d", a, i, b)
		}
	}
}

// What was decided of an exit that left the window stays, and is posted if it was not. An
// entry that another exit has by the pairing rule is of the window if the later exit is.
func TestDecisionsBeforeTheWindow(t *testing.T) {
	now := time.Now()
	decision := func(id string, age time.Duration, posted bool) timeline.Decision {
		s := parking.Stay{ID: id, ExitTime: now.Add(-age), EntryID: "e" + id, EntryTime: now.Add(-age - time.Hour), Match: &parking.Explanation{Method: parking.OCR}, Revision: 7}
		return timeline.Decision{Change: timeline.Change{Stay: s, Was: 7}, Posted: posted}
	}
	paired := func(id string, age time.Duration) parking.ExactStay {
		return parking.ExactStay{Entry: parking.Event{ID: "e" + id}, Exit: parking.Event{ID: "of e" + id, Time: now.Add(-age)}}
	}
	withdrawn := decision("h", 47*time.Hour, false)
	withdrawn.Stay.Match, withdrawn.Stay.EntryID = nil, ""
	span := &Span{Decisions: []timeline.Decision{
		decision("a", 49*time.Hour, true), decision("b", 49*time.Hour, false), decision("c", 47*time.Hour, true), decision("d", 23*time.Hour, true),
		decision("f", 48*time.Hour, true), decision("g", 24*time.Hour, true), withdrawn, decision("i", 47*time.Hour, true), decision("j", 49*time.Hour, true),
	}}
	span.Exact = []parking.ExactStay{paired("i", 49*time.Hour), paired("j", 47*time.Hour)}
	todo, err := compare(span, nil, now.Add(-48*time.Hour), now.Add(-24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, w := range todo {
		got += fmt.Sprintf("%s %v %v %d, ", w.Stay.ID, w.postOnly, w.Withdraws(), w.Was)
	}
	if want := "b true false 7, c false true 7, f false true 7, g false true 7, h true true 7, i false true 7, j false true 7, "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Work names the entries that an exit has, and those that it leaves and is given.
func TestEntriesOfWork(t *testing.T) {
	now := time.Now()
	stay := func(id, entry string) parking.Stay {
		return parking.Stay{ID: id, ExitTime: now, EntryID: entry, EntryTime: now.Add(-time.Hour), Match: &parking.Explanation{Method: parking.Split}}
	}
	exactly := func(s parking.Stay) timeline.Decision {
		return timeline.Decision{Change: timeline.Change{Stay: s, Exact: timeline.Place{ID: s.ID + "-exact"}}, Posted: true}
	}
	span := &Span{Decisions: []timeline.Decision{exactly(stay("a", "left")), exactly(stay("b", "left"))}}
	span.Exact = []parking.ExactStay{{Entry: parking.Event{ID: "c-exact"}, Exit: parking.Event{ID: "c", Time: now}}}
	todo, err := compare(span, []parking.Stay{stay("a", "given"), stay("c", "given")}, now, now)
	if err != nil {
		t.Fatal(err)
	}
	var got [][3]string
	for _, w := range todo {
		got = append(got, w.entries)
	}
	want := [][3]string{{"a-exact", "left", "given"}, {"b-exact", "left", ""}, {"c-exact", "given", ""}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// A decision is the same as before if all that it builds on and all that it makes is.
func TestSameDecision(t *testing.T) {
	at := time.Now()
	decided := func() timeline.Change {
		s := parking.Stay{ID: "x", Plate: "KA01", ExitTime: at, EntryID: "e", EntryTime: at, Match: &parking.Explanation{Method: parking.Split, Margin: 500}, Revision: 7}
		return timeline.Change{Stay: s, EntryPlate: "KA01", ExitPlate: "KA01", Exact: timeline.Place{ID: "e", Time: at}, Was: 7}
	}
	for name, change := range map[string]func(*timeline.Change){
		"":                      func(c *timeline.Change) { c.Stay.Revision, c.Was, c.Stay.EntryTime = 0, 0, at.UTC() },
		"entry":                 func(c *timeline.Change) { c.Stay.EntryID = "f" },
		"time of the entry":     func(c *timeline.Change) { c.Stay.EntryTime = at.Add(1) },
		"plate":                 func(c *timeline.Change) { c.Stay.Plate = "KA02" },
		"dispute":               func(c *timeline.Change) { c.Stay.Disputed = true },
		"no match":              func(c *timeline.Change) { c.Stay.Match = nil },
		"margin":                func(c *timeline.Change) { c.Stay.Match.Margin++ },
		"plate of the entry":    func(c *timeline.Change) { c.EntryPlate = "KA02" },
		"plate of the exit":     func(c *timeline.Change) { c.ExitPlate = "KA02" },
		"exact entry":           func(c *timeline.Change) { c.Exact.ID = "f" },
		"time of the exact one": func(c *timeline.Change) { c.Exact.Time = at.Add(1) },
	} {
		before, now := decided(), decided()
		change(&now)
		if got, err := same(&now, &before); got != (name == "") || err != nil {
			t.Errorf("with another %s: the same %t, error %v", name, got, err)
		}
	}
}
