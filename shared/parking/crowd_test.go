package parking

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The reads that are counted as crowded are those that the rule as it is written leaves out.
func TestCrowdedReads(t *testing.T) {
	seen := 0
	rapid.Check(t, func(t *rapid.T) {
		lone := ReadsOf(drawEvents(t), nil).Lone
		most := rapid.IntRange(0, 6).Draw(t, "most")
		want := make(map[string]bool)
		for i := range lone {
			if l := &lone[i]; len([]rune(l.Plate)) >= minText && !naiveCrowded(lone, l, most) {
				want[l.ID] = true
			}
		}
		all := newTable(lone)
		left, crowded := all.uncrowded(most)
		got := make(map[string]bool)
		for i := range left.reads {
			r := &left.reads[i]
			got[r.event.ID] = true
			if string(r.text) != r.event.Plate || string(left.texts[r.line]) != r.event.Plate {
				t.Errorf("%s is the text of %s", string(left.texts[r.line]), r.event.Plate)
			}
		}
		if diff := gocmp.Diff(want, got); diff != "" || crowded != len(all.reads)-len(got) {
			t.Fatalf("of %d reads %d are crowded, -want +got:\n%s", len(all.reads), crowded, diff)
		}
		if crowded > 0 && len(got) > 0 {
			seen++
		}
	})
	if seen == 0 {
		t.Error("never were some reads crowded and others not")
	}
}

// alike returns lone reads of two gates, one a second, and exact stays that last as long.
func alike(n int, plate func(i int) string, gap time.Duration, exact bool) *Reads {
	r := new(Reads)
	for i := range n {
		e := Event{ID: fmt.Sprintf("%05d", i), Site: DefaultSite, Version: 1, Kind: Entry + Kind(i%2), Gate: "g", Plate: plate(i), Time: noon.Add(time.Duration(i) * gap)}
		e.RawPlate = e.Plate
		r.Lone = append(r.Lone, Lone{Event: e})
		if exact {
			in, out := e, e
			in.ID, in.Kind, out.ID, out.Kind, out.Time = "in"+e.ID, Entry, "out"+e.ID, Exit, e.Time.Add(time.Hour)
			r.Exact = append(r.Exact, ExactStay{Entry: in, Exit: out, Known: true})
		}
	}
	return r
}

// A camera that reads the same text again and again, with other characters, or a stranger
// who makes plates up, stops nothing: each of these took minutes, or more memory than there
// is. None of it becomes a stay.
func TestManyReadsThatAreAlike(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, r := range map[string]*Reads{
		"nine plates":          alike(10_000, func(i int) string { return fmt.Sprintf("AAAAA%d", 1+i%9) }, time.Second, true),
		"nine plates at once":  alike(10_000, func(i int) string { return fmt.Sprintf("AAAAA%d", 1+i%9) }, 0, true),
		"one plate":            alike(10_000, func(int) string { return "AAAAA1" }, time.Second, false),
		"one other character":  alike(50_000, func(i int) string { return "AAAAA" + string(rune(0x4e00+i%20_000)) }, time.Second, false),
		"two other characters": alike(10_000, func(i int) string { return fmt.Sprintf("AAAA%c%c", 0x4e00+i%250, 0x4e00+i/250) }, 0, false),
		"two, anywhere":        alike(15_000, func(i int) string { return changed(random, "ABCDEF", 20_000) }, time.Second, false),
		"numbers":              alike(10_000, func(i int) string { return fmt.Sprintf("M%04d", i) }, time.Second, true),
	} {
		t.Run(name, func(t *testing.T) {
			if m := NewMatching(r.Lone, nil, nil); m.Crowded < len(r.Lone)-mostAlike {
				t.Errorf("%d of %d reads are crowded", m.Crowded, len(r.Lone))
			}
			if stays := r.Match(nil, Models{eager()}); len(stays) > 0 {
				t.Errorf("%d stays are otherwise than exact ones", len(stays))
			}
			Learn(r, nil, DefaultModel())
			if s := r.Suggest(r.Lone[len(r.Lone)-1].ID, nil, nil); len(s) > MaxSuggestions {
				t.Errorf("%d suggestions", len(s))
			}
		})
	}
}

// changed returns a text with two other characters.
func changed(random *rand.Rand, text string, kinds int) string {
	r := []rune(text)
	for range 2 {
		r[random.IntN(len(r))] = rune(0x4e00 + random.IntN(kinds))
	}
	return string(r)
}

// A crowd hides no one else.
func TestACrowdIsLocal(t *testing.T) {
	r := alike(5_000, func(i int) string { return fmt.Sprintf("AAAAA%d", 1+i%9) }, time.Second, false)
	read := func(kind Kind, id, plate string, at time.Time) Lone {
		e := Event{ID: id, Site: DefaultSite, Version: 1, Kind: kind, Plate: plate, RawPlate: plate, Time: at}
		return Lone{Event: e}
	}
	later := noon.Add(5_000*time.Second + MaxNear + time.Hour)
	r.Lone = append(r.Lone, read(Entry, "e", "MAB1234", noon), read(Exit, "x", "MA81234", noon.Add(time.Hour)),
		read(Entry, "e2", "AAAAA1", later), read(Exit, "x2", "AAAAAI", later.Add(time.Hour)))
	var got []string
	for _, s := range r.Match(nil, Models{eager()}) {
		got = append(got, s.EntryID+">"+s.ID)
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"e2>x2", "e>x"}) {
		t.Errorf("stays %v", got)
	}
}

// Of very many groups that are each just no crowd fewer reads may be alike. Few such groups,
// and other reads, are compared as ever.
func TestManyGroupsThatAreAlike(t *testing.T) {
	for groups, want := range map[int]int{8: 0, 30: 30 * (mostAlike - 1)} {
		r := &Reads{Lone: []Lone{
			{Event: Event{ID: "e", Site: DefaultSite, Version: 1, Kind: Entry, Plate: "MAB1234", RawPlate: "MAB1234", Time: noon}},
			{Event: Event{ID: "x", Site: DefaultSite, Version: 1, Kind: Exit, Plate: "MA81234", RawPlate: "MA81234", Time: noon.Add(time.Hour)}},
		}}
		for g := range groups {
			this := alike(mostAlike-1, func(i int) string { return fmt.Sprintf("%[1]c%[1]c%[1]c12345678%[2]c", 0x3041+g, 0x4e00+i) }, time.Second, false)
			for i := range this.Lone {
				this.Lone[i].ID = fmt.Sprint(g, "-", i)
			}
			r.Lone = append(r.Lone, this.Lone...)
		}
		if m := NewMatching(r.Lone, nil, nil); m.Crowded != want || m.Crowded == len(r.Lone) {
			t.Errorf("of %d groups %d reads are crowded, want %d", groups, m.Crowded, want)
		}
	}
}
