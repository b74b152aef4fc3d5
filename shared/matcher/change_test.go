package matcher

import (
	"fmt"
	"testing"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/timeline"
)

// Work that shares an entry is done at once, whatever is between it, and no batch is too
// large.
func TestBatches(t *testing.T) {
	const n = 3 * timeline.MaxChanges
	todo := make([]work, 2*n)
	for i := range todo { // i and i+n share an entry
		todo[i].Stay.ID = fmt.Sprint(i)
		todo[i].entries[i%3] = fmt.Sprint("e", i%n)
	}
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
}

// What was decided of an exit that left the window stays, and is posted if it was not.
func TestDecisionsBeforeTheWindow(t *testing.T) {
	now := time.Now()
	decision := func(id string, age time.Duration, posted bool) timeline.Decision {
		s := parking.Stay{ID: id, ExitTime: now.Add(-age), EntryID: "e" + id, EntryTime: now.Add(-age - time.Hour), Match: &parking.Explanation{Method: parking.OCR}, Revision: 7}
		return timeline.Decision{Change: timeline.Change{Stay: s, Was: 7}, Posted: posted}
	}
	span := &Span{Decisions: []timeline.Decision{
		decision("a", 49*time.Hour, true), decision("b", 49*time.Hour, false), decision("c", 47*time.Hour, true), decision("d", 23*time.Hour, true),
	}}
	todo, err := compare(span, nil, now.Add(-48*time.Hour), now.Add(-24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, w := range todo {
		got += fmt.Sprintf("%s %v %v %d, ", w.Stay.ID, w.postOnly, w.Withdraws(), w.Was)
	}
	if want := "b true false 7, c false true 7, "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
