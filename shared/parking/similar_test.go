package parking

import (
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestSimilar(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"MAB1234", "MAB1234", false}, // they do not differ
		{"MAB1234", "MA81234", true},
		{"MAB1234", "HA81234", true},
		{"MAB1234", "HA81235", false},
		{"MAB1234", "MAB123", true},
		{"MAB1234", "AB123", true},
		{"MAB1234", "B123", false}, // too short
		{"MAB1234", "MB12334", true},
		{"MAB1234", "MAB2134", true}, // exchanged: two edits
		{"MÄB1234", "MAB1234", true},
		{"ABCDEFGHIJKL", "ABCDEFGHIJK1", true},
		{"ABCDEFGHIJKLM", "ABCDEFGHIJKLN", false}, // too long
		{"", "MAB12", false},
	} {
		if got, back := Similar(tt.a, tt.b), Similar(tt.b, tt.a); got != tt.want || back != tt.want {
			t.Errorf("%s and %s: %v, the other way round %v", tt.a, tt.b, got, back)
		}
	}
}

// Of many plates the same are similar as one by one.
func TestSimilarTo(t *testing.T) {
	plate := rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]rune("0p8XBÄ@\U0001f697")), 0, maxText+1).Draw(t, "characters")) // some are one in a set
	})
	rapid.Check(t, func(t *rapid.T) {
		this := plate.Draw(t, "this")
		similar := SimilarTo(this)
		for _, other := range rapid.SliceOfN(plate, 1, 30).Draw(t, "others") {
			if got, want := similar(other), Similar(this, other); got != want {
				t.Fatalf("%q and %q: %v, want %v", this, other, got, want)
			}
		}
		if other := misread(t, this); similar(other) != Similar(this, other) {
			t.Fatalf("%q and %q: %v", this, other, similar(other))
		}
	})
}

// misread returns a text with up to two edits.
func misread(t *rapid.T, text string) string {
	r := []rune(text)
	for range rapid.IntRange(0, maxEdits).Draw(t, "edits") {
		at := rapid.IntRange(0, len(r)).Draw(t, "at")
		to := slices.Concat(r[:at], rapid.SliceOfN(rapid.SampledFrom([]rune("01Z\u00e9")), 0, 1).Draw(t, "to"))
		r = append(to, r[min(len(r), at+rapid.IntRange(0, 1).Draw(t, "replaced")):]...)
	}
	return string(r)
}

// Alignments by hand: the sum of what the model has of each difference, and of their number.
func TestAlign(t *testing.T) {
	s := newScorer(&Model{Edits: Edits{One: -100, Two: -300, Missing: -20, Confused: map[string]Weight{"8B": -1, "0Ä": -2}, Letters: -7, Digits: -8, Mixed: -9}})
	for _, tt := range []struct {
		entry, exit string
		want        Weight
		method      Method
		differences []Difference
	}{
		{"MAB1234", "MA81234", -101, OCR, []Difference{{3, "B", "8"}}},
		{"MA81234", "MAB1234", -101, OCR, []Difference{{3, "8", "B"}}},
		{"MAB1234", "MAC1234", -107, Edit, []Difference{{3, "B", "C"}}},
		{"MAB1234", "MAB1235", -108, Edit, []Difference{{7, "4", "5"}}},
		{"MAB1234", "MABX234", -109, Edit, []Difference{{4, "1", "X"}}},
		{"MÄB1234", "M0B1234", -102, Edit, []Difference{{2, "Ä", "0"}}},
		{"MAB1234", "MAB134", -120, Edit, []Difference{{5, "2", ""}}},
		{"MAB134", "MAB1234", -120, Edit, []Difference{{5, "", "2"}}},
		{"MAB1234", "AC1234", -327, TwoEdits, []Difference{{1, "M", ""}, {3, "B", "C"}}},
		{"MAB1234", "M8C1234", -316, TwoEdits, []Difference{{2, "A", "8"}, {3, "B", "C"}}},
		// Two that are exchanged are two substitutions, which weigh more than a missing and
		// an extra one; here they weigh less.
		{"MAB1234", "MBA1234", -314, TwoEdits, []Difference{{2, "A", "B"}, {3, "B", "A"}}},
		{"MAB1234", "MAB12345A", -340, TwoEdits, []Difference{{8, "", "5"}, {9, "", "A"}}},
	} {
		al, ok := s.align([]rune(tt.entry), []rune(tt.exit))
		if !ok || al.weight != tt.want || al.method() != tt.method {
			t.Errorf("%s and %s: %d by %s, want %d by %s", tt.entry, tt.exit, al.weight, al.method(), tt.want, tt.method)
		}
		if diff := gocmp.Diff(tt.differences, al.differences()); diff != "" {
			t.Errorf("%s and %s: -want +got:\n%s", tt.entry, tt.exit, diff)
		}
	}
	if _, ok := s.align([]rune("MAB1234"), []rune("HA81235")); ok {
		t.Error("three differences were aligned")
	}
}

// drawText returns one of few texts, so that many are similar.
func drawText(t *rapid.T, name string) []rune {
	return rapid.SliceOfN(rapid.SampledFrom([]rune("0OB8Ä")), minText, 9).Draw(t, name)
}

func TestAlignmentsAreTheBestOfAll(t *testing.T) {
	s := newScorer(DefaultModel())
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawText(t, "a"), drawText(t, "b")
		al, ok := s.align(a, b)
		if n := levenshtein(a, b); ok != (n == 1 || n == 2) || within(a, b, maxEdits) != (n <= 2) {
			t.Fatalf("%s and %s differ in %d, aligned: %v, within: %v", string(a), string(b), n, ok, within(a, b, maxEdits))
		}
		if !ok {
			return
		}
		if want, _ := naiveWeight(s, a, b, 0); al.weight != want {
			t.Fatalf("%s and %s: %d, want %d", string(a), string(b), al.weight, want)
		}
		if back, _ := s.align(b, a); back.weight != al.weight {
			t.Fatalf("%s and %s: %d, the other way round %d", string(a), string(b), al.weight, back.weight)
		}
	})
}

func TestIndexFindsAllSimilarTexts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawSpan := func(name string) span {
			// Instants of a day, far apart and near to each other.
			from := noon.UnixNano() + rapid.SampledFrom([]int64{0, 1, 1000, int64(time.Hour), int64(time.Hour) + 1}).Draw(t, name)
			return span{from, from + rapid.SampledFrom([]int64{0, 1, int64(time.Hour), int64(24 * time.Hour)}).Draw(t, name+" until")}
		}
		var texts [][]rune
		var when []times
		for range rapid.IntRange(0, 30).Draw(t, "texts") {
			text := drawText(t, "text")
			if slices.ContainsFunc(texts, func(other []rune) bool { return slices.Equal(text, other) }) {
				continue
			}
			texts = append(texts, text)
			read := times{drawSpan("entries"), drawSpan("exits")}
			switch rapid.IntRange(0, 2).Draw(t, "kinds") {
			case 0:
				read.entries = never
			case 1:
				read.exits = never
			}
			when = append(when, read)
		}
		x := newIndex(texts, when)
		for range 2 { // a search leaves nothing behind
			text := drawText(t, "what is looked for")
			least := rapid.IntRange(0, 30).Draw(t, "least")
			about := drawSpan("about").widened(rapid.SampledFrom([]time.Duration{0, time.Second, MaxNear}).Draw(t, "widened"))
			found := make(map[int]int)
			x.find(text, least, about, func(i int) { found[i]++ })
			for i := range texts {
				similar := levenshtein(text, texts[i]) <= maxEdits && (when[i].entries.meets(about) || when[i].exits.meets(about))
				if similar && i >= least && found[i] != 1 || found[i] > 1 || i < least && found[i] > 0 {
					t.Fatalf("%s was found %d times for %s", string(texts[i]), found[i], string(text))
				}
			}
		}
	})
}

// Of what was read at another time nothing else is looked at: the search would be too slow.
func TestIndexFindsWhatWasReadThen(t *testing.T) {
	day := func(n int) span {
		from := noon.Add(time.Duration(n) * 24 * time.Hour).UnixNano()
		return span{from, from}
	}
	x := newIndex([][]rune{[]rune("MAB1234"), []rune("MAB1235")}, []times{{day(0), never}, {never, day(4)}})
	for n, want := range map[int][]int{0: {0}, 1: nil, 4: {1}} {
		var found []int
		x.find([]rune("MAB1236"), 0, day(n).widened(time.Hour), func(i int) { found = append(found, i) })
		if !slices.Equal(found, want) {
			t.Errorf("on day %d %v were found, want %v", n, found, want)
		}
	}
}
