package parking

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// eager is the default model for a site of few vehicles: more pairs are stays.
func eager() *Model {
	m := DefaultModel()
	m.Version, m.Prior, m.Margin, m.Margins = "eager", 300, 100, map[Method]Weight{TwoEdits: 150}
	return m
}

// look-alikes: of one plate, of its neighbour, of a short one and of a foreign one.
var alikes = []string{"MAB1234", "MA81234", "MAB123", "MAB1Z34", "HAB1Z34", "MAB1235", "MAB71235", "MA8I235", "AB1", "MÄB1234"}

// drawEvents returns events of few plates that look alike, as in [Current].
func drawEvents(t *rapid.T) []Event {
	var events []Event
	for i := range rapid.IntRange(0, 14).Draw(t, "events") {
		e := Event{
			ID: fmt.Sprintf("%02d", i), Site: DefaultSite, Version: 1,
			Kind:  rapid.SampledFrom([]Kind{Entry, Exit}).Draw(t, "kind"),
			Gate:  rapid.SampledFrom([]string{"", "g"}).Draw(t, "gate"),
			Plate: rapid.SampledFrom(alikes).Draw(t, "plate"),
			Time:  noon.Add(time.Duration(rapid.SampledFrom([]int{0, 10, 20, 21, 60, 3600, 3610, 7200, 20000, 40000, 86400, 200000, 440000, 1000000}).Draw(t, "seconds")) * time.Second),
		}
		e.RawPlate = strings.ToLower(e.Plate)
		if rapid.IntRange(0, 9).Draw(t, "corrected") == 0 {
			e.Version = CorrectionVersion
		}
		if rapid.IntRange(0, 3).Draw(t, "list") == 0 {
			e.Details.Candidates = []Candidate{{Plate: rapid.SampledFrom(alikes).Draw(t, "candidate")}}
		}
		if rapid.Bool().Draw(t, "looks") {
			e.Details.Make = rapid.SampledFrom([]string{"Fiat", "fiat", "Opel"}).Draw(t, "make")
			e.Details.Color = rapid.SampledFrom([]string{"", "red", "blue"}).Draw(t, "color")
		}
		events = append(events, e)
	}
	if rapid.Bool().Draw(t, "two visits") { // of which each camera misreads one
		for i, minutes := range []int{400, 460, 2200, 2280} {
			plate := "HAB1Z34"
			if i == 1 || i == 2 {
				plate = rapid.SampledFrom(alikes).Draw(t, "misread")
			}
			events = append(events, Event{
				ID: fmt.Sprint("v", i), Site: DefaultSite, Version: 1, Kind: Entry + Kind(i%2), Plate: plate, RawPlate: plate,
				Time: noon.Add(time.Duration(minutes) * time.Minute),
			})
		}
	}
	return events
}

func drawRejections(t *rapid.T, events []Event) (r []Rejection) {
	for range rapid.IntRange(0, 2).Draw(t, "rejections") {
		if len(events) > 0 {
			r = append(r, Rejection{rapid.SampledFrom(events).Draw(t, "entry").ID, rapid.SampledFrom(events).Draw(t, "exit").ID})
		}
	}
	return r
}

func drawModels(t *rapid.T) Models {
	cautious := DefaultModel()
	cautious.From, cautious.Long = noon.Add(2*time.Hour), 24*3600
	return rapid.SampledFrom([]Models{nil, {eager()}, {eager()}, {eager(), cautious}}).Draw(t, "models")
}

// outcome is what is decided of an exit.
type outcome struct {
	Entry    string
	Method   Method
	Disputed bool
}

func outcomes(stays []Stay) map[string]outcome {
	o := make(map[string]outcome)
	for _, s := range stays {
		if s.Match == nil {
			o[s.ID] = outcome{s.EntryID, "", s.Disputed}
		} else {
			o[s.ID] = outcome{s.EntryID, s.Match.Method, s.Disputed}
		}
	}
	return o
}

// naive is the rule as it is written down, for few events.
type naive struct {
	lone       []Lone
	exact      []ExactStay
	rejections []Rejection
	models     Models
	pairs      []naivePair
}

type naivePair struct {
	entry, exit *Event
	weight      Weight
	looks       bool // make and colour weigh something
	edits       int
	ocr, guard  bool
	alone       bool // of a guard pair: no two visits
	stay        int  // of a guard pair
}

// naiveWeight tries each alignment, also such as part equal characters.
func naiveWeight(s *scorer, a, b []rune, edits int) (best Weight, n int) {
	const none = -1_000_000
	if len(a) == 0 && len(b) == 0 {
		if edits == 0 {
			return s.Edits.None, 0
		}
		return s.counts[edits-1], edits
	}
	best = none
	try := func(w Weight, a, b []rune, edits int) {
		if edits > maxEdits {
			return
		}
		if rest, k := naiveWeight(s, a, b, edits); rest > none && rest+w > best {
			best, n = rest+w, k
		}
	}
	if len(a) > 0 && len(b) > 0 {
		if a[0] == b[0] {
			try(0, a[1:], b[1:], edits)
		} else {
			try(s.substitution(a[0], b[0]), a[1:], b[1:], edits+1)
		}
	}
	if len(a) > 0 {
		try(s.Edits.Missing, a[1:], b, edits+1)
	}
	if len(b) > 0 {
		try(s.Edits.Missing, a, b[1:], edits+1)
	}
	return best, n
}

// levenshtein returns the number of edits.
func levenshtein(a, b []rune) int {
	switch {
	case len(a) == 0 || len(b) == 0:
		return len(a) + len(b)
	case a[0] == b[0]:
		return levenshtein(a[1:], b[1:])
	}
	return 1 + min(levenshtein(a[1:], b[1:]), levenshtein(a[1:], b), levenshtein(a, b[1:]))
}

func naiveSimilar(a, b string) bool {
	x, y := []rune(a), []rune(b)
	return a != b && min(len(x), len(y)) >= 5 && max(len(x), len(y)) <= 12 && levenshtein(x, y) <= 2
}

func naivePassage(a, b *Event) bool {
	return a.Kind == b.Kind && a.Gate == b.Gate && a.Time.Sub(b.Time).Abs() <= 20*time.Second && (a.Plate == b.Plate && len(a.Plate) >= 5 || naiveSimilar(a.Plate, b.Plate))
}

// weigh returns the pair of two reads, or ok false if there is none.
func (n *naive) weigh(e, x *Event, eKnown, xKnown bool) (p naivePair, ok bool) {
	d := x.Time.Sub(e.Time)
	if !naiveSimilar(e.Plate, x.Plate) || d < time.Minute || d > MaxNear || e.Corrected() && x.Corrected() || slices.Contains(n.rejections, Rejection{e.ID, x.ID}) {
		return p, false
	}
	s := newScorer(n.models.At(x.Time))
	w, edits := naiveWeight(s, []rune(e.Plate), []rune(x.Plate), 0)
	al := &alignment{weight: w, n: edits}
	entry, exit := newRead(e, eKnown), newRead(x, xKnown)
	parts := s.weigh(entry, exit, al)
	p = naivePair{entry: e, exit: x, weight: parts.sum(), looks: parts.Appearance != 0, edits: edits}
	best, _ := s.align([]rune(e.Plate), []rune(x.Plate))
	p.ocr = best.method() == OCR
	return p, true
}

func (p *naivePair) method() Method {
	switch {
	case p.guard:
		return Split
	case p.edits == 2:
		return TwoEdits
	case p.ocr:
		return OCR
	}
	return Edit
}

func (n *naive) margin(p *naivePair) Weight {
	m := n.models.At(p.exit.Time)
	w, ok := m.Margins[p.method()]
	if !ok {
		w = m.Margin
	}
	if p.looks {
		return w - w*m.Appearance.Relief/100
	}
	return w
}

func (n *naive) same(a, b *Event) bool {
	lone := func(e *Event) bool { return slices.ContainsFunc(n.lone, func(l Lone) bool { return l.ID == e.ID }) }
	return a.ID == b.ID || lone(a) && lone(b) && naivePassage(a, b)
}

func (n *naive) outweighs(p *naivePair) bool {
	if p.alone || p.weight < n.margin(p) {
		return false
	}
	for i := range n.pairs {
		q := &n.pairs[i]
		sameEntry, sameExit := n.same(p.entry, q.entry), n.same(p.exit, q.exit)
		switch {
		case p.entry.ID == q.entry.ID && p.exit.ID == q.exit.ID || !sameEntry && !sameExit:
		case q.alone:
			if p.weight-q.weight < n.margin(p)/2 {
				return false
			}
		case sameEntry && sameExit:
			if cmp.Or(cmp.Compare(p.weight, q.weight), -strings.Compare(p.entry.ID, q.entry.ID), -strings.Compare(p.exit.ID, q.exit.ID)) < 0 {
				return false
			}
		case p.weight-q.weight < n.margin(p):
			return false
		}
	}
	return true
}

// inCommon returns the length of the longest text that is left of both.
func inCommon(a, b []rune) int {
	switch {
	case len(a) == 0 || len(b) == 0:
		return 0
	case a[0] == b[0]:
		return 1 + inCommon(a[1:], b[1:])
	}
	return max(inCommon(a[1:], b), inCommon(a, b[1:]))
}

// naiveCrowded reports whether more than some reads are like one.
func naiveCrowded(lone []Lone, l *Lone, most int) bool {
	n := 0
	for i := range lone {
		a, b := []rune(l.Plate), []rune(lone[i].Plate)
		if lone[i].ID != l.ID && len(b) >= 5 && lone[i].Time.Sub(l.Time).Abs() <= MaxNear && inCommon(a, b) >= max(len(a), len(b))-2 {
			n++
		}
	}
	return n > most
}

// naiveMatch returns what is otherwise than by Pair.
func naiveMatch(events []Event, repeats Repeats, rejections []Rejection, models Models, most int) map[string]outcome {
	reads := ReadsOf(events, repeats) // tested by itself
	n := &naive{exact: reads.Exact, rejections: rejections, models: models}
	for _, l := range reads.Lone {
		if !naiveCrowded(reads.Lone, &l, most) && !slices.ContainsFunc(n.exact, func(s ExactStay) bool { return naivePassage(&s.Entry, &l.Event) || naivePassage(&s.Exit, &l.Event) }) {
			n.lone = append(n.lone, l)
		}
	}
	for i := range n.lone {
		for j := range n.lone {
			e, x := &n.lone[i], &n.lone[j]
			if e.Kind != Entry || x.Kind != Exit || !e.Next.IsZero() && !x.Time.Before(e.Next) || !x.Previous.IsZero() && !e.Time.After(x.Previous) {
				continue
			}
			if p, ok := n.weigh(&e.Event, &x.Event, e.Known, x.Known); ok && p.weight > 0 {
				n.pairs = append(n.pairs, p)
			}
		}
	}
	entries, exits := make(map[int][]naivePair), make(map[int][]naivePair)
	for i := range n.exact {
		s := &n.exact[i]
		if s.Entry.Corrected() || s.Exit.Corrected() {
			continue
		}
		add := func(to map[int][]naivePair, p naivePair, ok bool) {
			model := newScorer(models.At(p.exitTime()))
			if ok && p.weight-model.dwell(int64(s.Exit.Time.Sub(s.Entry.Time))) >= model.Doubt {
				p.guard, p.stay = true, i
				to[i] = append(to[i], p)
			}
		}
		for j := range n.lone {
			l := &n.lone[j]
			switch {
			case l.Kind == Exit && (l.Previous.IsZero() || l.Previous.Before(s.Entry.Time)):
				if l.Time.Before(s.Exit.Time) && s.Exit.Time.Sub(l.Time) <= 8*24*time.Hour {
					p, ok := n.weigh(&s.Entry, &l.Event, s.Known, l.Known)
					add(exits, p, ok)
				}
			case l.Kind == Entry && (l.Next.IsZero() || l.Next.After(s.Exit.Time)):
				if l.Time.After(s.Entry.Time) {
					p, ok := n.weigh(&l.Event, &s.Exit, l.Known, s.Known)
					add(entries, p, ok)
				}
			}
		}
		for _, p := range exits[i] { // those that may be one of two visits are rivals
			p.alone = !slices.ContainsFunc(entries[i], func(q naivePair) bool { return p.exit.Time.Before(q.entry.Time) })
			n.pairs = append(n.pairs, p)
		}
		for _, q := range entries[i] {
			q.alone = !slices.ContainsFunc(exits[i], func(p naivePair) bool { return p.exit.Time.Before(q.entry.Time) })
			n.pairs = append(n.pairs, q)
		}
	}
	result := make(map[string]outcome)
	var used []*Event
	for i := range n.pairs {
		if p := &n.pairs[i]; !p.guard && n.outweighs(p) {
			result[p.exit.ID] = outcome{p.entry.ID, p.method(), false}
			used = append(used, p.entry, p.exit)
		}
	}
	split := make(map[int]bool)
	for i := range n.pairs {
		for j := range n.pairs {
			p, q := &n.pairs[i], &n.pairs[j]
			if p.guard && q.guard && p.stay == q.stay && p.entry.ID == n.exact[p.stay].Entry.ID && q.exit.ID == n.exact[p.stay].Exit.ID &&
				p.exit.Time.Before(q.entry.Time) && n.outweighs(p) && n.outweighs(q) {
				result[p.exit.ID], result[q.exit.ID] = outcome{p.entry.ID, Split, false}, outcome{q.entry.ID, Split, false}
				used = append(used, p.exit, q.entry)
				split[p.stay] = true
			}
		}
	}
	free := func(e *Event) bool { return !slices.ContainsFunc(used, func(u *Event) bool { return n.same(u, e) }) }
	for i, s := range n.exact {
		method := Exact
		disputed := slices.ContainsFunc(exits[i], func(p naivePair) bool { return free(p.exit) }) ||
			slices.ContainsFunc(entries[i], func(p naivePair) bool { return free(p.entry) })
		if slices.Contains(rejections, Rejection{s.Entry.ID, s.Exit.ID}) {
			disputed = true
		}
		model := newScorer(models.At(s.Exit.Time))
		if len([]rune(s.Exit.Plate)) < 5 && model.weigh(newRead(&s.Entry, false), newRead(&s.Exit, false), &alignment{weight: model.Edits.None}).sum() < model.Margin {
			disputed = true
		}
		if s.Known && model.Long > 0 && s.Exit.Time.Sub(s.Entry.Time) > time.Duration(model.Long)*time.Second {
			disputed = true
		}
		if s.Entry.Corrected() || s.Exit.Corrected() {
			method, disputed = Corrected, slices.Contains(rejections, Rejection{s.Entry.ID, s.Exit.ID})
		}
		if !split[i] && (disputed || method == Corrected) {
			result[s.Exit.ID] = outcome{s.Entry.ID, method, disputed}
		}
	}
	return result
}

func (p *naivePair) exitTime() time.Time {
	if p.exit == nil {
		return noon
	}
	return p.exit.Time
}

// matchCase are the arguments of [Match].
type matchCase struct {
	events     []Event
	rejections []Rejection
	models     Models
	most       int // of reads that are alike
}

func drawCase(t *rapid.T) matchCase {
	events := drawEvents(t)
	return matchCase{events, drawRejections(t, events), drawModels(t), drawMost(t)}
}

func drawMost(t *rapid.T) int {
	return rapid.SampledFrom([]int{mostAlike, mostAlike, mostAlike, 1, 2, 4, 6, 8}).Draw(t, "most that are alike")
}

// The rule finds without an order of work what it finds with an index and neighbours.
func TestMatchIsTheRuleAsItIsWritten(t *testing.T) {
	seen := make(map[outcome]int)
	check := func(t rapid.TB, c matchCase) {
		got := outcomes(ReadsOf(c.events, nil).match(c.rejections, c.models, c.most))
		if diff := gocmp.Diff(naiveMatch(c.events, nil, c.rejections, c.models, c.most), got); diff != "" {
			t.Fatalf("of %+v: -want +got:\n%s", c, diff)
		}
		for _, o := range got {
			o.Entry = ""
			seen[o]++
		}
	}
	rapid.Check(t, func(t *rapid.T) { check(t, drawCase(t)) })
	cases := rapid.Custom(drawCase)
	for seed := range 300 { // the same ones each time, which have everything
		check(t, cases.Example(seed))
	}
	for _, o := range []outcome{{"", OCR, false}, {"", Edit, false}, {"", TwoEdits, false}, {"", Split, false}, {"", Corrected, false}, {"", Exact, true}} {
		if seen[o] < 3 {
			t.Errorf("%d cases had %+v: %v", seen[o], o, seen)
		}
	}
}

func TestPropertiesOfMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		rejections, models, most := drawRejections(t, events), drawModels(t), drawMost(t)
		want := Match(events, nil, rejections, models)

		again := append(slices.Clone(events), events[:len(events)/2]...)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		if diff := gocmp.Diff(want, Match(again, nil, append(rejections, rejections...), models)); diff != "" {
			t.Fatalf("another order gives another result:\n%s", diff)
		}

		exact := make(map[string]Stay) // by the rule of exact plates
		reads := ReadsOf(events, nil)
		for _, s := range reads.Exact {
			exact[s.Exit.ID] = stayOf(&s.Entry, &s.Exit, nil)
		}
		used := make(map[string]bool)
		for _, s := range want {
			if err := s.CheckMatch(); err != nil {
				t.Errorf("the match of %+v: %v", s, err)
			}
			for _, id := range []string{s.ID, s.EntryID} {
				if used[id] && id != "" {
					t.Fatalf("read %s is in two stays", id)
				}
				used[id] = true
			}
			method := s.Method()
			if e, ok := exact[s.ID]; ok && method != Split && e.EntryID != s.EntryID {
				t.Errorf("the exact stay %+v became %+v", e, s)
			} else if !ok && method == Exact {
				t.Errorf("%+v is no exact stay", s)
			}
			if s.EntryID != "" && method != Exact && method != Corrected && slices.Contains(rejections, Rejection{s.EntryID, s.ID}) {
				t.Errorf("%+v was rejected", s)
			}
			if method != "" && method != Exact && method != Corrected && (s.Match.Parts.sum() != s.Match.Weight || s.Match.Margin > s.Match.Weight || s.Match.Margin <= 0) {
				t.Errorf("parts %+v of %+v", s.Match.Parts, s.Match)
			}
		}

		// What is refused is not needed. Several may ask at once.
		m := newCrowdedMatching(reads.Lone, rejections, models, most)
		refused := make([]bool, len(reads.Exact))
		var asking sync.WaitGroup
		for i := range reads.Exact {
			asking.Go(func() {
				s := &reads.Exact[i]
				refused[i] = !s.Entry.Corrected() && !s.Exit.Corrected() && !slices.Contains(rejections, Rejection{s.Entry.ID, s.Exit.ID}) &&
					(!m.Concern(s.Exit.ID, s.Exit.Plate, s.Entry.Time, s.Exit.Time) || !m.Remain(s))
			})
		}
		asking.Wait()
		var concerned []ExactStay
		for i, s := range reads.Exact {
			if !refused[i] {
				concerned = append(concerned, s)
			}
		}
		whole := reads.match(rejections, models, most)
		if diff := gocmp.Diff(whole, m.Match(concerned)); diff != "" {
			t.Fatalf("without exact stays that are of no concern:\n%s", diff)
		}
		twice := &Reads{Lone: append(reads.Lone, reads.Lone...), Exact: append(concerned, concerned...)}
		if diff := gocmp.Diff(whole, twice.match(rejections, models, most)); diff != "" {
			t.Fatalf("with all reads two times:\n%s", diff)
		}
	})
}

// What fails in a goroutine fails in the caller, which may go on with another site.
func TestMatchPanicsInTheCaller(t *testing.T) {
	defer func() {
		if text := fmt.Sprint(recover()); !strings.Contains(text, "index out of range") || !strings.Contains(text, "dwell") {
			t.Errorf("the panic is %s", text)
		}
	}()
	entry, exit := at(Entry, "e", 0), at(Exit, "x", 60)
	entry.Plate, exit.Plate = "MAB1234", "MA81234"
	reads := &Reads{Lone: []Lone{{Event: entry}, {Event: exit}}}
	reads.Match(nil, Models{{Version: "without a dwell"}})
}

// An event of a plate changes only the stays of reads that are few steps away: reads of a
// plate, of similar ones, and of the times in between.
func TestMatchIsLocal(t *testing.T) {
	const apart = Horizon
	rapid.Check(t, func(t *rapid.T) {
		events, others, models := drawEvents(t), drawEvents(t), drawModels(t)
		far := rapid.Bool().Draw(t, "far in time, not in text")
		for i := range others {
			o := &others[i]
			o.ID = "other" + o.ID
			if far {
				o.Time = o.Time.Add(1_000_000*time.Second + apart)
				o.Plate = strings.NewReplacer("A", "E", "Ä", "E").Replace(o.Plate)
			} else {
				o.Plate = strings.NewReplacer("M", "X", "H", "U", "8", "Q", "A", "Y", "Ä", "V", "B", "W").Replace(o.Plate)
			}
		}
		want := outcomes(append(ReadsOf(events, nil).Match(nil, models), ReadsOf(others, nil).Match(nil, models)...))
		if diff := gocmp.Diff(want, outcomes(ReadsOf(slices.Concat(events, others), nil).Match(nil, models))); diff != "" {
			t.Fatalf("reads of others change what is decided:\n%s", diff)
		}
	})
}

// An exact stay of a plate with others is doubtful if it is longer than a day; that of a
// plate that was there once is not, and neither is one that a person decided.
func TestLongStays(t *testing.T) {
	visits := func(plate string, hours ...float64) (events []Event) {
		for i, h := range hours {
			events = append(events, reading(fmt.Sprint(plate, i), Entry+Kind(i%2), plate, h))
		}
		return events
	}
	confirmed := visits("DDD4444", 0, 2, 24, 57)
	confirmed[2].Version, confirmed[3].Version = CorrectionVersion, CorrectionVersion
	other := DefaultModel()
	other.Long = 40 * 3600
	day := DefaultModel()
	day.Long = 24 * 3600
	events := slices.Concat(visits("AAA1111", 0, 2, 24, 48), visits("BBB2222", 0, 2, 24, 48.001), visits("CCC3333", 0, 60), confirmed, visits("EEE5555", 0, 50, 60, 61))
	for name, tt := range map[string]struct {
		models Models
		want   []string
	}{
		"a day":    {Models{day}, []string{"BBB22223", "EEE55551"}},
		"40 hours": {Models{other}, []string{"EEE55551"}},
		"any":      {nil, nil},
	} {
		var got []string
		for _, s := range Match(events, nil, nil, tt.models) {
			if s.Disputed {
				got = append(got, s.ID)
				entry, exit := reading(s.EntryID, Entry, s.Plate, s.EntryTime.Sub(noon).Hours()), reading(s.ID, Exit, s.Plate, s.ExitTime.Sub(noon).Hours())
				if m := NewMatching(nil, nil, tt.models); !m.Concern(s.ID, s.Plate, entry.Time, exit.Time) || !m.Remain(&ExactStay{Entry: entry, Exit: exit}) {
					t.Errorf("%s: %s is of no concern", name, s.ID)
				}
				if m := s.Match; m.Method != Exact || m.Weight != 0 || m.Parts.Dwell >= 0 || m.Parts.sum() != m.Parts.Dwell || m.Model == "" {
					t.Errorf("%s: explained by %+v", name, m)
				}
			}
		}
		if diff := gocmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

// reading returns a read of a plate some hours after noon.
func reading(id string, kind Kind, plate string, hours float64) Event {
	return Event{ID: id, Site: DefaultSite, Version: 1, Kind: kind, Plate: plate, RawPlate: plate, Time: noon.Add(time.Duration(hours * float64(time.Hour)))}
}

// The first of two visits ends before the second begins: the exit and the entry that weigh
// most do not split a stay if the exit is the later one.
func TestASplitHasAnOrder(t *testing.T) {
	stay := []Event{reading("e", Entry, "MAB1234", 0), reading("x", Exit, "MAB1234", 20)}
	for name, tt := range map[string]struct {
		exit, entry float64 // of the reads that weigh most
		want        map[string]outcome
	}{
		"one after the other": {6, 8, map[string]outcome{"best exit": {"e", Split, false}, "x": {"best entry", Split, false}}},
		"across each other":   {8, 6, map[string]outcome{"x": {"e", Exact, true}}},
	} {
		events := append(slices.Clone(stay),
			reading("exit", Exit, "NAB1Z34", 3), reading("best exit", Exit, "MA81234", tt.exit),
			reading("best entry", Entry, "MAB1Z34", tt.entry), reading("entry", Entry, "HAB1244", 12))
		model := eager()
		model.Margin, model.Margins = 50, map[Method]Weight{Edit: 2000, OCR: 2000, TwoEdits: 2000}
		got := outcomes(ReadsOf(events, nil).Match(nil, Models{model}))
		if diff := gocmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

// A pair with a read of an exact stay that makes no two visits of it has to be outweighed by
// half of the margin, whichever read of the stay it is; any other pair by all of it.
func TestAPairOfAnExactStayIsALookAlike(t *testing.T) {
	for name, tt := range map[string]struct {
		pair   []Event // and the third, which its entry or exit has in common with the stay's
		common string
	}{
		"a lone entry": {[]Event{reading("a", Entry, "MA81234", 2), reading("b", Exit, "MA81Z34", 5)}, "a"},
		"a lone exit":  {[]Event{reading("a", Entry, "MA81Z34", 1), reading("b", Exit, "MA81234", 5)}, "b"},
	} {
		events := append([]Event{reading("e", Entry, "MAB1234", 0), reading("x", Exit, "MAB1234", 9)}, tt.pair...)
		near := func(margin Weight) *Stay {
			model := eager()
			model.Margin, model.Margins, model.Doubt = margin, nil, 1
			for _, s := range ReadsOf(events, nil).Match(nil, Models{model}) {
				if s.ID == "b" {
					return &s
				}
			}
			return nil
		}
		s := near(1)
		if s == nil || len(s.Match.Alternatives) == 0 {
			t.Fatalf("%s: %+v", name, s)
		}
		more := s.Match.Weight - s.Match.Alternatives[0].Weight
		if more < 2 {
			t.Fatalf("%s: outweighs by %d", name, more)
		}
		if near(2*more) == nil {
			t.Errorf("%s: no stay though it outweighs by half of the margin", name)
		}
		if near(2*more+2) != nil {
			t.Errorf("%s: a stay though it outweighs by less than half of the margin", name)
		}
	}
}
