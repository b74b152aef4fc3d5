package parking

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// site makes up events for [Learn]: visits whose plates are AB12 and three letters, and of
// which some are misread.
type site struct {
	random *rand.Rand
	events []Event
	at     time.Time
	stay   time.Duration
	every  time.Duration // between visits
	entry  func(plate string) string
	exit   func(plate string) string
	detail func(e *Event)
}

func newSite(seed uint64) *site {
	same := func(plate string) string { return plate }
	return &site{random: rand.New(rand.NewPCG(seed, 1)), at: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), stay: 2 * time.Hour, every: 5 * time.Minute, entry: same, exit: same, detail: func(*Event) {}} //nolint:gosec // it is to be the same again
}

// plate returns one of some 25,000 plates.
func (s *site) plate() string {
	const letters = "ACEHKLMNPRTUVWXY"
	b := []byte(fmt.Sprintf("AB%d%d", 1+s.random.IntN(6), s.random.IntN(10)))
	for range 3 {
		b = append(b, letters[s.random.IntN(len(letters))])
	}
	return string(b)
}

func (s *site) visit(plate string) {
	s.at = s.at.Add(s.every)
	texts := map[Kind]string{Entry: s.entry(plate), Exit: s.exit(plate)}
	for _, kind := range []Kind{Entry, Exit} {
		text := texts[kind]
		if text == "" {
			continue
		}
		at := s.at
		if kind == Exit {
			at = at.Add(s.stay)
		}
		e := Event{ID: fmt.Sprintf("%s%d", kind, len(s.events)), Kind: kind, Site: "s", Version: 1, RawPlate: text, Plate: text, Time: at}
		s.detail(&e)
		s.events = append(s.events, e)
	}
}

func (s *site) visits(n int) *site {
	for range n {
		s.visit(s.plate())
	}
	return s
}

func (s *site) learn(t *testing.T) (*Model, Learnt) {
	t.Helper()
	m, learnt := Learn(ReadsOf(Current(s.events), nil), nil, DefaultModel())
	if err := m.Check(); err != nil {
		t.Fatalf("the model is not valid: %v", err)
	}
	return m, learnt
}

// sometimes returns a misread of every nth plate.
func sometimes(n int, misread func(plate string) string) func(string) string {
	i := 0
	return func(plate string) string {
		if i++; i%n != 0 {
			return plate
		}
		return misread(plate)
	}
}

// What cameras confuse at a site weighs less against a pair there than elsewhere, and what
// they never do weighs more.
func TestLearnConfusions(t *testing.T) {
	s := newSite(1)
	s.exit = sometimes(8, func(plate string) string { // K is read as H, if there is one
		i := strings.LastIndexByte(plate, 'K')
		if i < 4 {
			return plate
		}
		return plate[:i] + "H" + plate[i+1:]
	})
	m, learnt := s.visits(1500).learn(t)
	if learnt.Near < 20 || learnt.Exact < 1000 || learnt.Hours < 100 {
		t.Fatalf("learnt of %+v", learnt)
	}
	base := DefaultModel()
	if got, before := m.Edits.Confused["HK"], base.Edits.Confused["HK"]; got <= before+20 {
		t.Errorf("H and K weigh %d, in the base model %d", got, before)
	}
	if got, before := m.Edits.Letters, base.Edits.Letters; got >= before {
		t.Errorf("other letters weigh %d, in the base model %d", got, before)
	}
	if got, before := m.Edits, base.Edits; got.One != before.One || got.Two != before.Two {
		t.Errorf("one and two differences weigh %d and %d, want %d and %d: what is found depends on them", got.One, got.Two, before.One, before.Two)
	}
	if got, before := m.Edits.Missing, base.Edits.Missing; got >= before {
		t.Errorf("a missing character weighs %d, in the base model %d", got, before)
	}
}

// A character that is often missing at a site weighs less against a pair there.
func TestLearnMissing(t *testing.T) {
	s := newSite(2)
	s.exit = sometimes(8, func(plate string) string { return plate[1:] })
	m, learnt := s.visits(1500).learn(t)
	if got, before := m.Edits.Missing, DefaultModel().Edits.Missing; learnt.Near < 20 || got <= before+50 {
		t.Errorf("a missing character weighs %d, in the base model %d, by %+v", got, before, learnt)
	}
}

// What persons corrected counts as what the near rule found, unless they took it back or
// corrected what a person had decided.
func TestLearnCorrections(t *testing.T) {
	s := newSite(3).visits(800)
	_, without := s.learn(t)
	for i := range s.events {
		e := &s.events[i]
		if j := strings.IndexByte(e.Plate, 'W'); j > 0 && i%3 == 0 {
			was := e.Plate[:j] + "X" + e.Plate[j+1:]
			e.Version, e.Correction = CorrectionVersion, &Correction{ID: "d" + e.ID, By: "anna", Was: was}
		}
	}
	m, learnt := s.learn(t)
	if got, before := m.Edits.Confused["WX"], DefaultModel().Edits.Letters; learnt.Near < 60 || got <= before+100 {
		t.Errorf("W and X weigh %d, in the base model %d, by %+v", got, before, learnt)
	}
	for name, change := range map[string]func(*Correction){
		"taken back":                  func(c *Correction) { c.AsRead, c.WasAsRead = true, true },
		"corrections of a correction": func(c *Correction) { c.AsRead, c.WasAsRead, c.Earlier = false, false, []string{"a"} },
	} {
		for i := range s.events {
			if c := s.events[i].Correction; c != nil {
				change(c)
			}
		}
		if _, learnt := s.learn(t); learnt.Near != without.Near {
			t.Errorf("%s: %d near stays are learnt from, want %d", name, learnt.Near, without.Near)
		}
	}
}

// Texts are as frequent as they are at the site: others are rarer.
func TestLearnTexts(t *testing.T) {
	m, _ := newSite(4).visits(1500).learn(t)
	scorer := newScorer(m)
	weight := func(text string) Weight { return scorer.frequency([]rune(text)) }
	usual, unusual, other := weight("AB12KLM"), weight("XY77KLM"), weight("KLM12AB")
	if usual < -1300 || usual > -900 { // one of 25,000 plates, of 245,760 possible ones
		t.Errorf("a text of the site weighs %d", usual)
	}
	if unusual >= usual-100 && unusual != m.Texts.Rarest {
		t.Errorf("a text from elsewhere weighs %d, one of the site %d", unusual, usual)
	}
	if other >= usual {
		t.Errorf("a text of another shape weighs %d, one of the site %d", other, usual)
	}
	if m.Texts.Shapes[0].Shape != "AA00AAA" || len(m.Texts.Shapes) != 1 {
		t.Errorf("the shapes are %v", m.Texts.Shapes)
	}
}

// The rarest text is believed to be less rare where plates are similar, as those of fleets.
func TestLearnFleets(t *testing.T) {
	alone, fleets := newSite(5), newSite(5)
	for i := range 1000 {
		plate := fmt.Sprintf("%c%c%02d%c%c%c", 'A'+rune(alone.random.IntN(26)), 'A'+rune(alone.random.IntN(26)), alone.random.IntN(100), 'A'+rune(alone.random.IntN(26)), 'A'+rune(alone.random.IntN(26)), 'A'+rune(alone.random.IntN(26)))
		alone.visit(plate)
		if i%8 == 0 {
			for n := range 8 {
				fleets.visit(plate[:3] + fmt.Sprint(n) + plate[4:])
			}
		}
	}
	a, _ := alone.learn(t)
	f, _ := fleets.learn(t)
	if f.Texts.Rarest <= a.Texts.Rarest+50 {
		t.Errorf("the rarest text weighs %d with fleets, %d without", f.Texts.Rarest, a.Texts.Rarest)
	}
}

// Stays that are as long as those of the site weigh more, others less.
func TestLearnDwell(t *testing.T) {
	base := newScorer(DefaultModel())
	for stay, other := range map[time.Duration]time.Duration{20 * time.Minute: 8 * time.Hour, 8 * time.Hour: 20 * time.Minute} {
		s := newSite(6)
		s.stay = stay
		m, _ := s.visits(800).learn(t)
		scorer := newScorer(m)
		if got, before := scorer.dwell(int64(stay)), base.dwell(int64(stay)); got <= before+100 {
			t.Errorf("a stay of %s weighs %d, in the base model %d", stay, got, before)
		}
		if got, before := scorer.dwell(int64(other)), base.dwell(int64(other)); got >= before-50 {
			t.Errorf("where stays take %s, one of %s weighs %d, in the base model %d", stay, other, got, before)
		}
	}
}

// Where vehicles that come again stay for days, few of their stays are doubtful by their
// length; elsewhere those of more than a day are, also if there are some.
func TestLearnLong(t *testing.T) {
	long := func(stays map[time.Duration]int, plates int) int64 {
		s := newSite(15)
		for stay, n := range stays {
			s.stay = stay
			for i := range n {
				s.visit(fmt.Sprintf("AB%02dCDE", i%plates))
				s.at = s.at.Add(s.stay)
			}
		}
		m, _ := s.learn(t)
		return m.Long
	}
	const hour, day = time.Hour, 24 * time.Hour
	for _, tt := range []struct {
		stays  map[time.Duration]int
		plates int
		want   time.Duration
	}{
		{map[time.Duration]int{hour: 300}, 10, day},
		{map[time.Duration]int{hour: 300, 33 * hour: 2}, 10, day},
		{map[time.Duration]int{hour: 300, 33 * hour: 4}, 10, 33 * hour},
		{map[time.Duration]int{3 * day: 100}, 10, 3 * day},
		{map[time.Duration]int{3 * day: 99}, 10, 0}, // too few
		{map[time.Duration]int{3 * day: 99}, 99, 0}, // each plate once
	} {
		if got := long(tt.stays, tt.plates); got != int64(tt.want/time.Second) {
			t.Errorf("of %v with %d plates: %d seconds, want %s", tt.stays, tt.plates, got, tt.want)
		}
	}
}

// Parts of plates are frequent if many are read, so that two equal ones tell little.
func TestLearnShortTexts(t *testing.T) {
	s := newSite(17)
	s.exit = sometimes(20, func(plate string) string { return plate[:4] })
	m, _ := s.visits(2000).learn(t)
	if got := newScorer(m).frequency([]rune("AB12")); got < -700 {
		t.Errorf("half of a plate weighs %d", got)
	}
}

// The fewer exits without an entry a site has, the more a pair weighs.
func TestLearnPrior(t *testing.T) {
	prior := func(lost int) Weight {
		s := newSite(7)
		s.entry = sometimes(lost, func(string) string { return "" })
		m, _ := s.visits(1000).learn(t)
		return m.Prior
	}
	if few, many := prior(100), prior(2); few <= many+40 {
		t.Errorf("few lone exits weigh %d, many %d", few, many)
	}
}

// A plate that comes often is more frequent among the lone exits than one that comes
// once, unless there are too few to tell.
func TestLearnKnown(t *testing.T) {
	known := func(plates int) Weight {
		s := newSite(8)
		var regulars []string
		for range plates {
			regulars = append(regulars, s.plate())
		}
		s.entry = sometimes(9, func(string) string { return "" })
		for i := range 1000 {
			s.visit(regulars[i%plates])
			s.at = s.at.Add(s.stay)
		}
		m, _ := s.learn(t)
		return m.Known
	}
	if few, many := known(20), known(500); few <= many+150 {
		t.Errorf("one of 20 weighs %d, one of 500 %d", few, many)
	}
}

// Makes that are frequent tell less than rare ones, and different ones tell against a pair.
func TestLearnLooks(t *testing.T) {
	s := newSite(9)
	s.detail = func(e *Event) {
		e.Details.Make = []string{"Ford", "ford ", "Ford", "Saab"}[len(e.Plate)*int(e.Plate[4])%4]
		if s.random.IntN(20) == 0 {
			e.Details.Make = "Ford"
		}
	}
	m, _ := s.visits(800).learn(t)
	makes := m.Appearance.Makes
	if makes.Frequent["ford"] >= makes.Frequent["saab"] || makes.Frequent["ford"] <= 0 || makes.Differ >= 0 {
		t.Errorf("makes weigh %+v", makes)
	}
	if diff := cmp.Diff(DefaultModel().Appearance.Colors, m.Appearance.Colors); diff != "" {
		t.Errorf("colours without any read (-want +got):\n%s", diff)
	}
}

// Makes and colours that are mistaken together tell against a pair once, those that are
// mistaken apart each for itself.
func TestLearnJoint(t *testing.T) {
	joint := func(together bool) Appearance {
		s := newSite(13)
		s.detail = func(e *Event) {
			n := int(e.Plate[4]) + int(e.Plate[5])
			e.Details.Make, e.Details.Color = []string{"Ford", "Saab", "Fiat", "Opel"}[n%4], []string{"red", "blue", "grey"}[n/4%3]
			wrong := s.random.IntN(6) == 0
			if wrong {
				e.Details.Make = "Jeep"
			}
			if !together {
				wrong = s.random.IntN(6) == 0
			}
			if wrong {
				e.Details.Color = "pink"
			}
		}
		m, _ := s.visits(2000).learn(t)
		return m.Appearance
	}
	together, apart := joint(true), joint(false)
	for name, w := range map[string]Weight{"both": apart.Joint.Both, "one": apart.Joint.One, "neither": apart.Joint.Neither} {
		if w < -25 || w > 25 {
			t.Errorf("%s: %d is added if they are mistaken apart", name, w)
		}
	}
	if j := together.Joint; j.Neither < 60 || j.One > -60 {
		t.Errorf("if they are mistaken together, %+v is added", j)
	}
	if a := together; a.Makes.Differ+a.Colors.Differ+a.Joint.Neither >= 0 {
		t.Errorf("two that differ tell for a pair: %+v", a)
	}
}

// Texts of a shape that hardly any plate has are less rare than they seem, if it is that of
// many lone reads: these are what is compared.
func TestLearnLoneShapes(t *testing.T) {
	share := func(misread func(plate string) string) float64 {
		s := newSite(14)
		s.exit = sometimes(20, misread)
		m, _ := s.visits(2000).learn(t)
		for _, sh := range m.Texts.Shapes {
			if sh.Shape == "AA00A" {
				return probability(sh.Weight)
			}
		}
		t.Fatalf("the shapes are %v", m.Texts.Shapes)
		return 0
	}
	// Of 4,000 reads 100 are so, of some 200 lone ones half.
	if got := share(func(plate string) string { return plate[:5] }); got < 0.3 || got > 0.6 {
		t.Errorf("halves of plates are %.3f of the reads that are compared", got)
	}
}

// Of nothing nothing is learnt, and of little no more than little: most weights are near
// those of the base model, also if all that there is are misreads.
func TestLearnOfLittle(t *testing.T) {
	base := DefaultModel()
	none, learnt := Learn(&Reads{}, nil, base)
	if none.Version = base.Version; learnt != (Learnt{}) || cmp.Diff(base.Edits, none.Edits) != "" || cmp.Diff(base.Texts, none.Texts) != "" || none.Prior != base.Prior || none.Known != base.Known {
		t.Errorf("of nothing is learnt %+v, %+v", none, learnt)
	}
	s := newSite(10)
	s.exit = sometimes(2, func(plate string) string { return plate[:6] + "M" })
	little, _ := s.visits(20).learn(t)
	for name, pair := range map[string][2]Weight{
		"one": {base.Edits.One, little.Edits.One}, "two": {base.Edits.Two, little.Edits.Two}, "missing": {base.Edits.Missing, little.Edits.Missing},
		"letters": {base.Edits.Letters, little.Edits.Letters}, "0O": {base.Edits.Confused["0O"], little.Edits.Confused["0O"]},
		"dwell": {base.Dwell[5].Weight, little.Dwell[5].Weight}, "known": {base.Known, little.Known}, "prior": {base.Prior, little.Prior},
	} {
		if d := pair[0] - pair[1]; d > 60 || d < -60 {
			t.Errorf("%s weighs %d, in the base model %d", name, pair[1], pair[0])
		}
	}
}

// The model has no plate of the site: an erasure would have to find it there.
func TestAModelHasNoPlate(t *testing.T) {
	s := newSite(11).visits(500)
	for range 200 {
		s.visit("LONGPLATE42")
	}
	m, _ := s.learn(t)
	text, err := json.Marshal(m)
	if err != nil || len(text) > MaxModel {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	for _, e := range s.events {
		if strings.Contains(string(text), e.Plate) || strings.Contains(string(text), e.Plate[:4]) {
			t.Fatalf("the model has %s", e.Plate)
		}
	}
}

// Learn depends on the set of reads only, leaves its arguments alone, and its model is one
// that can be read again, whatever the plates are.
func TestLearnIsAFunctionOfASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plates := rapid.SliceOfN(rapid.StringMatching(`[A-Z0-9ÄЖ中]{3,14}|AB1[0-9]CD[EF]`), 1, 20).Draw(t, "plates")
		s := newSite(12)
		s.every = rapid.SampledFrom([]time.Duration{0, time.Second, time.Hour, 100 * 24 * time.Hour}).Draw(t, "every")
		pick := func(string) string { return rapid.SampledFrom(append(plates, "")).Draw(t, "read") }
		s.entry, s.exit = pick, pick
		s.detail = func(e *Event) {
			e.Details.Make = rapid.SampledFrom([]string{"", "Ford", "Saab"}).Draw(t, "make")
		}
		for range rapid.IntRange(0, 60).Draw(t, "visits") {
			s.visit(plates[0])
		}
		reads := ReadsOf(Current(s.events), nil)
		base := DefaultModel()
		base.From = s.at
		before, _ := json.Marshal(base)
		first, _ := Learn(reads, nil, base)
		shuffled := &Reads{Lone: slices.Clone(reads.Lone), Exact: slices.Clone(reads.Exact)}
		s.random.Shuffle(len(shuffled.Lone), func(i, j int) {
			shuffled.Lone[i], shuffled.Lone[j] = shuffled.Lone[j], shuffled.Lone[i]
		})
		s.random.Shuffle(len(shuffled.Exact), func(i, j int) {
			shuffled.Exact[i], shuffled.Exact[j] = shuffled.Exact[j], shuffled.Exact[i]
		})
		again, _ := Learn(shuffled, nil, base)
		if diff := cmp.Diff(first, again); diff != "" {
			t.Fatalf("in another order:\n%s", diff)
		}
		if after, _ := json.Marshal(base); string(after) != string(before) {
			t.Fatal("the base model was changed")
		}
		text, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		if parsed, err := ParseModel(text); err != nil || cmp.Diff(first, parsed) != "" {
			t.Fatalf("%v\n%s", err, cmp.Diff(first, parsed))
		}
	})
}

// Two models of different content have different versions.
func TestVersionsOfModels(t *testing.T) {
	versions := make(map[string]bool)
	for seed := range uint64(5) {
		m, _ := newSite(seed).visits(200).learn(t)
		versions[m.Version] = true
	}
	if len(versions) != 5 || !strings.HasPrefix(slices.Sorted(maps.Keys(versions))[0], LearntVersion) {
		t.Errorf("the versions are %v", versions)
	}
}
