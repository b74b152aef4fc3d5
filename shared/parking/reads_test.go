package parking

import (
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestReadsOf(t *testing.T) {
	at := func(kind Kind, id, plate string, minutes int) Event {
		e := at(kind, id, minutes)
		e.Plate, e.RawPlate, e.Camera = plate, plate, "c"
		return e
	}
	after := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	e0, e9, x20, x20b, x40, e50, e60, x70 := at(Entry, "e0", "A", 0), at(Entry, "e9", "A", 9), at(Exit, "x20", "A", 20), at(Exit, "x20b", "A", 20),
		at(Exit, "x40", "A", 40), at(Entry, "e50", "A", 50), at(Entry, "e60", "A", 60), at(Exit, "x70", "A", 70)
	b1, b5, c5 := at(Exit, "b1", "B", 1), at(Entry, "b5", "B", 5), at(Exit, "c5", "C", 5)
	none := at(Entry, "none", "", 5)
	none.NoPlate = true
	c0 := at(Entry, "c0", "C", 0)
	got := ReadsOf([]Event{x70, e60, e50, x40, x20b, x20, e9, e0, b1, b5, c5, c0, none}, nil)
	slices.SortFunc(got.Lone, func(a, b Lone) int { return compare(a.Event, b.Event) })
	slices.SortFunc(got.Exact, func(a, b ExactStay) int { return compare(a.Exit, b.Exit) })
	want := &Reads{
		Lone: []Lone{
			{Event: e0, Next: after(9), Known: true},
			{Event: b1},
			{Event: b5},
			{Event: x40, Previous: after(20), Known: true},
			{Event: e50, Next: after(60), Known: true},
		},
		Exact: []ExactStay{{c0, c5, false}, {e9, x20, true}, {e60, x70, true}}, // C has no other one
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Two plates that both have exact stays are two vehicles; the rarer one counts otherwise.
func TestRarity(t *testing.T) {
	s := newScorer(&Model{Dwell: []Dwell{{60, 0}}, Known: -5, Texts: Texts{Letter: -2, Digit: -1, Rarest: -1000}})
	for _, tt := range []struct {
		entry, exit           string
		entryKnown, exitKnown bool
		want                  Weight
	}{
		{"AAAAA", "AAAA1", false, false, 10},
		{"AAAAA", "AAAA1", true, false, 9},
		{"AAAAA", "AAAA1", false, true, 10},
		{"AAAAA", "AAAA1", true, true, 5},
	} {
		e, x := at(Entry, "e", 0), at(Exit, "x", 5)
		e.Plate, x.Plate = tt.entry, tt.exit
		if got := s.weigh(newRead(&e, tt.entryKnown), newRead(&x, tt.exitKnown), &alignment{}).Rarity; got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}

// A lone read that another stay has, or another read of its passage, disputes no stay.
func TestAReadOfAnotherStayDisputesNone(t *testing.T) {
	read := func(kind Kind, id, plate string, seconds int) Event {
		e := seen(kind, id, "", "g", seconds)
		e.Plate, e.RawPlate = plate, plate
		return e
	}
	stay := []Event{read(Entry, "e", "MAB1234", 0), read(Exit, "x", "MAB1234", 200_000)}
	lone := []Event{read(Exit, "x1", "MA81Z34", 100_000), read(Exit, "x2", "MA81234", 100_010)}
	entry := read(Entry, "e1", "MA8IZ34", 96_000)
	entry.Details.Candidates = []Candidate{{Plate: "MA81Z34"}}
	disputed := func(events ...[]Event) (ids []string) {
		for _, s := range Match(slices.Concat(events...), nil, nil, Models{eager()}) {
			if s.Disputed {
				ids = append(ids, s.ID)
			}
		}
		return ids
	}
	if got := disputed(stay, lone); !slices.Equal(got, []string{"x"}) {
		t.Errorf("lone reads dispute %v", got)
	}
	if got := disputed(stay, lone, []Event{entry}); len(got) > 0 {
		t.Errorf("reads of a stay of their own dispute %v", got)
	}
}

func TestSuggest(t *testing.T) {
	read := func(kind Kind, id, plate string, minutes int) Event {
		e := at(kind, id, minutes)
		e.Plate, e.RawPlate = plate, plate
		return e
	}
	reads := ReadsOf([]Event{
		read(Exit, "x", "MAB1234", 100), read(Entry, "alike", "MA81234", 0), read(Entry, "digit", "MAB1294", 10),
		read(Entry, "two", "MA81294", 20), read(Entry, "later", "MA81235", 200), read(Entry, "other", "HH1234", 0),
	}, nil)
	ids := func(s []Suggestion) (ids []string) {
		for i := range s {
			ids = append(ids, s[i].EntryID+">"+s[i].ExitID)
		}
		return ids
	}
	s := reads.Suggest("x", nil, nil)
	if got := ids(s); !slices.Equal(got, []string{"alike>x", "digit>x", "two>x"}) {
		t.Fatalf("suggested %v", got)
	}
	if s[0].Margin != min(s[0].Weight, s[0].Weight-s[1].Weight) || s[1].Margin != s[1].Weight-s[0].Weight || s[0].Method != OCR || s[2].Method != TwoEdits {
		t.Errorf("%+v", s)
	}
	if got := ids(reads.Suggest("x", []Rejection{{"alike", "x"}}, nil)); !slices.Equal(got, []string{"digit>x", "two>x"}) {
		t.Errorf("after a rejection %v", got)
	}
	if got := ids(reads.Suggest("digit", nil, nil)); !slices.Equal(got, []string{"digit>x"}) {
		t.Errorf("for an entry %v", got)
	}
	if got := reads.Suggest("unknown", nil, nil); got != nil {
		t.Errorf("for an unknown read %v", got)
	}
}

// What concerns an exact stay is searched again if that is another one by now.
func TestWhatConcernsAStayThatChanged(t *testing.T) {
	read := func(kind Kind, id, plate string, minutes int) Event {
		e := at(kind, id, minutes)
		e.Plate, e.RawPlate = plate, plate
		return e
	}
	lone := []Lone{{Event: read(Exit, "x1", "MA81234", 30)}, {Event: read(Exit, "x2", "MAB1Z34", 90)}, {Event: read(Exit, "x3", "HHS5678", 30)}}
	m := NewMatching(lone, nil, nil)
	for _, tt := range []struct {
		plate       string
		entry, exit int
		want        []string
	}{
		{"MAB1234", 0, 60, []string{"x1"}},
		{"MAB1234", 0, 120, []string{"x1", "x2"}},
		{"MAB1234", 60, 120, []string{"x2"}},
		{"HHS5679", 60, 120, nil},
		{"HHS5679", 0, 120, []string{"x3"}},
	} {
		var got []string
		for _, r := range m.of(&ExactStay{Entry: read(Entry, "e", tt.plate, tt.entry), Exit: read(Exit, "x", tt.plate, tt.exit)}) {
			got = append(got, r.event.ID)
		}
		if slices.Sort(got); !slices.Equal(got, tt.want) {
			t.Errorf("%s from %d to %d: %v, want %v", tt.plate, tt.entry, tt.exit, got, tt.want)
		}
	}
}
