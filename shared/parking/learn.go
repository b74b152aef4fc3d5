package parking

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"math"
	"slices"
	"time"
)

// LearntVersion begins the version of a learnt model.
const LearntVersion = "learnt-"

// Learnt tells what a model was made of.
type Learnt struct {
	// Exact are the exact stays, Near the stays of misread plates that were found and the
	// corrections, Lone the exits without an entry.
	Exact int `json:"exact"`
	Near  int `json:"near"`
	Lone  int `json:"lone_exits"`
	// Hours are from the first read to the last one.
	Hours int `json:"hours"`
}

// Pseudo-counts: how much the base model weighs against what is observed.
const (
	pseudoPairs   = 1000 // of how many pairs differ, and of dwell times
	pseudoEdits   = 200  // of missing characters, and of kinds of substitutions
	pseudoPair    = 40   // of what a character is read as
	pseudoHours   = 12   // of lone exits
	pseudoText    = 20   // of the characters at a place
	pseudoLook    = 100  // of makes and colours
	pseudoSimilar = 2    // of plates that differ in one character
	mostPlates    = 20_000
	rarerThan     = -700 // most texts are rarer than those next to a plate of a fleet
	leastOfShape  = 30   // reads of a shape that is told apart
	leastOfPair   = 3    // edits of a pair of characters that is told apart
	leastOfLook   = 20   // reads of a make or colour that is told apart
	manyShapes    = 64
	longOnes      = 100 // of so many stays of plates with several at most one is doubtful by its length
	leastLong     = 24 * 60 * 60
	mostLook      = 250  // fleets have similar plates and one make
	leastShare    = 1e-3 // of what is divided
	leastKnown    = 200  // by how much a known plate may be rarer than in the base model
)

// Learn makes a model of the reads of a site, mixed with a base model, which is what is
// left of it at a site with few reads. Its plates, dwell times, makes and colours are those
// of the reads and of the exact stays. With them the near rule finds stays of misread
// plates, and how cameras misread is counted in these, and in what persons corrected. The
// reads have every exact stay. Learn is a pure function of the set of reads.
func Learn(r *Reads, rejections []Rejection, base *Model) (*Model, Learnt) {
	l := newLearner(r)
	m := *base
	m.From, m.Version = time.Time{}, ""
	m.Margins = maps.Clone(base.Margins)
	m.Posteriors = slices.Clone(base.Posteriors)
	m.Texts = l.texts(&base.Texts)
	m.Dwell = l.dwell(base.Dwell)
	m.Long = l.long()
	m.Prior = l.prior(base.Prior)
	m.Known = l.known(base.Known)
	m.Appearance.Makes = l.look(&base.Appearance.Makes, func(d *Details) string { return d.Make })
	m.Appearance.Colors = l.look(&base.Appearance.Colors, func(d *Details) string { return d.Color })
	m.Appearance.Joint = l.joint(base.Appearance.Joint)
	l.settled(r.Match(rejections, Models{&m}))
	l.corrections(newScorer(&m))
	m.Edits = l.edits(&base.Edits)
	text, _ := json.Marshal(&m) // it has numbers and texts
	hash := fnv.New32a()
	_, _ = hash.Write(text)
	m.Version = fmt.Sprintf("%s%08x", LearntVersion, hash.Sum32())
	return &m, Learnt{Exact: len(r.Exact), Near: len(l.near), Lone: l.loneExits, Hours: int(l.span.Hours())}
}

// learner has what a model is learnt from.
type learner struct {
	*Reads
	near      [][]Difference // of near stays
	visits    map[string]int // exact stays of plates
	loneExits int
	knownOnes int // lone exits of known plates
	span      time.Duration
}

func newLearner(r *Reads) *learner {
	l := &learner{Reads: r, visits: make(map[string]int)}
	var first, last time.Time
	seen := func(e *Event) {
		if first.IsZero() || e.Time.Before(first) {
			first = e.Time
		}
		if last.Before(e.Time) {
			last = e.Time
		}
	}
	for i := range r.Exact {
		s := &r.Exact[i]
		seen(&s.Entry)
		seen(&s.Exit)
		l.visits[s.Exit.Plate]++
	}
	for i := range r.Lone {
		lone := &r.Lone[i]
		seen(&lone.Event)
		if lone.Kind == Exit {
			l.loneExits++
			if lone.Known {
				l.knownOnes++
			}
		}
	}
	l.span = last.Sub(first)
	return l
}

// settled takes what the near rule finds.
func (l *learner) settled(stays []Stay) {
	for i := range stays {
		if m := stays[i].Match; m != nil && len(m.Differences) > 0 && m.Method != Split {
			l.near = append(l.near, m.Differences)
		}
	}
}

// corrections takes what persons corrected and did not take back. Only the plate before the
// first decision that holds is one that a camera read.
func (l *learner) corrections(s *scorer) {
	take := func(e *Event) {
		if !e.Decided() || !e.Correction.wasAsRead() {
			return
		}
		var was, is [maxText]rune
		a, b := textOf(e.Correction.Was, &was), textOf(e.Plate, &is)
		if a == nil || b == nil {
			return
		}
		if al, ok := s.align(a, b); ok {
			l.near = append(l.near, al.differences())
		}
	}
	for i := range l.Exact {
		take(&l.Exact[i].Entry)
		take(&l.Exact[i].Exit)
	}
	for i := range l.Lone {
		take(&l.Lone[i].Event)
	}
}

// weightOf returns the weight of a probability.
func weightOf(p float64) Weight {
	return Weight(math.Round(100 * math.Log(max(p, math.Exp(-maxWeight/100)))))
}

// probability returns the inverse of weightOf.
func probability(w Weight) float64 { return math.Exp(float64(w) / 100) }

// mixedShare returns the share of n among all, with pseudo-counts of another share.
func mixedShare(n, all, share, pseudo float64) float64 {
	return (n + pseudo*share) / (all + pseudo)
}

// edits returns how the texts of one vehicle differ. How many of them differ in one or two
// characters is not learnt: of those that differ more fewer are found, and would be fewer
// still with what is learnt from that.
func (l *learner) edits(base *Edits) Edits {
	counts := make(map[string]float64) // of pairs of characters, in their order
	chars := make(map[rune]float64)
	var missing, all float64
	for _, differences := range l.near {
		for _, d := range differences {
			a, b := first(d.Entry), first(d.Exit)
			all++
			if a == 0 || b == 0 {
				missing++
				chars[max(a, b)]++
				continue
			}
			chars[a]++
			chars[b]++
			counts[string([]rune{min(a, b), max(a, b)})]++
		}
	}
	edits := *base
	edits.Missing = weightOf(mixedShare(missing, all, probability(base.Missing), pseudoEdits))

	// What is known of a pair of characters is told apart; the others are known by kind.
	edits.Confused = maps.Clone(base.Confused)
	if edits.Confused == nil {
		edits.Confused = make(map[string]Weight)
	}
	m := Model{Edits: *base}
	kinds := map[[2]byte]*[2]float64{{'A', 'A'}: {}, {'0', '0'}: {}, {'0', 'A'}: {}} // observed and expected
	kindOf := func(pair string) [2]byte {
		k := shapeOf([]rune(pair))
		return [2]byte{min(k[0], k[1]), max(k[0], k[1])}
	}
	for a := range alphabet {
		for b := a + 1; b < len(alphabet); b++ {
			pair := alphabet[a:a+1] + alphabet[b:b+1]
			if _, told := base.Confused[pair]; told || counts[pair] >= leastOfPair {
				continue
			}
			k := kinds[kindOf(pair)]
			k[0] += counts[pair]
			k[1] += (chars[rune(alphabet[a])] + chars[rune(alphabet[b])]) / 2 * probability(m.substitution(rune(alphabet[a]), rune(alphabet[b])))
		}
	}
	for _, kind := range []struct {
		kind   [2]byte
		weight *Weight
	}{{[2]byte{'A', 'A'}, &edits.Letters}, {[2]byte{'0', '0'}, &edits.Digits}, {[2]byte{'0', 'A'}, &edits.Mixed}} {
		k := kinds[kind.kind]
		*kind.weight += weightOf((k[0] + pseudoEdits*probability(*kind.weight)) / (k[1] + pseudoEdits*probability(*kind.weight)))
	}
	told := maps.Clone(edits.Confused)
	for pair, n := range counts {
		if n >= leastOfPair {
			told[pair] = 0
		}
	}
	for pair := range told {
		a, b := []rune(pair)[0], []rune(pair)[1]
		n, share := counts[pair], probability(m.substitution(a, b))
		edits.Confused[pair] = weightOf((mixedShare(n, chars[a], share, pseudoPair) + mixedShare(n, chars[b], share, pseudoPair)) / 2)
	}
	return edits
}

// alphabet has the characters of most plates, in their order.
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// first returns the character of a text, or 0 if it is empty.
func first(text string) rune {
	for _, r := range text {
		return r
	}
	return 0
}

// plates calls each with the plates of all reads, also with those that are too short to be
// compared: two of these may be parts of different plates.
func (l *learner) plates(each func(text []rune)) {
	var in [maxText]rune
	do := func(plate string) {
		if text := charactersOf(plate, &in); len(text) > 0 {
			each(text)
		}
	}
	for i := range l.Exact {
		do(l.Exact[i].Entry.Plate)
		do(l.Exact[i].Exit.Plate)
	}
	for i := range l.Lone {
		do(l.Lone[i].Plate)
	}
}

// texts returns how frequent texts are.
func (l *learner) texts(base *Texts) Texts {
	shapes := make(map[shape]float64)
	var all float64
	l.plates(func(text []rune) {
		shapes[shapeOf(text)]++
		all++
	})
	lone, allLone := l.loneShapes()
	frequent := slices.SortedFunc(maps.Keys(shapes), func(a, b shape) int {
		return cmp.Or(cmp.Compare(shapes[b], shapes[a]), slices.Compare(a[:], b[:]))
	})
	var told float64
	n := 0
	for n < min(len(frequent), manyShapes) && shapes[frequent[n]] >= leastOfShape {
		told += shapes[frequent[n]]
		n++
	}
	frequent = frequent[:n]
	t := *base
	t.Shapes = nil
	if n == 0 {
		t.Shapes = slices.Clone(base.Shapes)
		return t
	}
	t.Rarest = l.rarest(base.Rarest)
	t.Other = weightOf((all - told + leastOfShape) / (all + leastOfShape))
	at := make(map[shape]int)
	counts := make([][maxText]map[rune]float64, n)
	for i, s := range frequent {
		at[s] = i
	}
	l.plates(func(text []rune) {
		i, found := at[shapeOf(text)]
		if !found {
			return
		}
		for place, r := range text {
			if r >= 128 {
				continue
			}
			if counts[i][place] == nil {
				counts[i][place] = make(map[rune]float64)
			}
			counts[i][place][r]++
		}
	})
	for i, s := range frequent {
		length := len(string(s[:]))
		for length > 0 && s[length-1] == 0 {
			length--
		}
		sh := Shape{Shape: string(s[:length]), Weight: weightOf(max(shapes[s]/(all+leastOfShape), lone[s]/(allLone+leastOfShape)))}
		least := 1.0
		for place := range length {
			kinds := 26.0
			if s[place] == '0' {
				kinds = 10
			}
			share := func(n float64) float64 { return mixedShare(n, shapes[s], 1/kinds, pseudoText) }
			chars := make(map[string]Weight)
			for r, n := range counts[i][place] {
				chars[string(r)] = weightOf(share(n))
			}
			least = min(least, share(0))
			sh.Places = append(sh.Places, chars)
		}
		sh.Else = weightOf(least)
		t.Shapes = append(t.Shapes, sh)
	}
	return t
}

// loneShapes returns how many lone reads have each shape. Among these, which are compared,
// shapes that only misreads have, as halves of plates, are more frequent than among all.
func (l *learner) loneShapes() (shapes map[shape]float64, all float64) {
	shapes = make(map[shape]float64)
	var in [maxText]rune
	for i := range l.Lone {
		if text := charactersOf(l.Lone[i].Plate, &in); len(text) > 0 {
			shapes[shapeOf(text)]++
			all++
		}
	}
	return shapes, all
}

// rarest returns how frequent the rarest text is. Characters are not independent: fleets
// have consecutive numbers. So it is how frequent a text is that differs in one character
// from a plate of the site, by the plates that have exact stays, and rarerThan that.
func (l *learner) rarest(base Weight) Weight {
	plates := slices.Sorted(maps.Keys(l.visits))
	if len(plates) > mostPlates {
		step := len(plates) / mostPlates
		for i := range mostPlates {
			plates[i] = plates[i*step]
		}
		plates = plates[:mostPlates]
	}
	var in [maxText]rune
	var texts [][]rune
	var neighbours float64 // texts that differ in one character from one of them
	for _, plate := range plates {
		text := textOf(plate, &in)
		if text == nil {
			continue
		}
		texts = append(texts, slices.Clone(text))
		for _, kind := range shapeOf(text) {
			switch kind {
			case 'A':
				neighbours += 25
			case '0':
				neighbours += 9
			}
		}
	}
	var similar float64
	seen := make(map[string]float64) // texts without one of their characters
	for _, text := range texts {
		for i, r := range text {
			text[i] = 0
			similar += 2 * seen[string(text)]
			seen[string(text)]++
			text[i] = r
		}
	}
	return max(-maxWeight, rarerThan+weightOf((similar+pseudoSimilar)/(neighbours*float64(len(texts))+pseudoSimilar/probability(base-rarerThan))))
}

// dwell returns how long stays are.
func (l *learner) dwell(base []Dwell) []Dwell {
	hours := func(i int) float64 {
		from := int64(0)
		if i > 0 {
			from = base[i-1].Seconds
		}
		return float64(base[i].Seconds-from) / 3600
	}
	counts := make([]float64, len(base))
	var all, mass float64
	for i := range l.Exact {
		d := l.Exact[i].Exit.Time.Sub(l.Exact[i].Entry.Time)
		at, _ := slices.BinarySearchFunc(base, d, func(b Dwell, d time.Duration) int {
			return cmp.Compare(time.Duration(b.Seconds)*time.Second, d)
		})
		if at < len(base) {
			counts[at]++
		}
		all++
	}
	for i := range base {
		mass += probability(base[i].Weight) * hours(i)
	}
	learnt := slices.Clone(base)
	for i := range base {
		share := mixedShare(counts[i], all, probability(base[i].Weight)*hours(i)/max(mass, 1), pseudoPairs)
		learnt[i].Weight = weightOf(share / hours(i))
	}
	return learnt
}

// long returns how long stays of plates that have several are, but for the longest ones, or
// 0 if there are too few of them.
func (l *learner) long() int64 {
	var seconds []int64
	for i := range l.Exact {
		if s := &l.Exact[i]; l.visits[s.Exit.Plate] > 1 {
			seconds = append(seconds, int64(math.Ceil(s.Exit.Time.Sub(s.Entry.Time).Seconds())))
		}
	}
	if len(seconds) < longOnes {
		return 0
	}
	slices.Sort(seconds)
	return max(leastLong, seconds[len(seconds)-1-len(seconds)/longOnes])
}

// prior returns how many lone exits there are an hour, negative.
func (l *learner) prior(base Weight) Weight {
	return -weightOf((float64(l.loneExits) + pseudoHours*probability(-base)) / (l.span.Hours() + pseudoHours))
}

// known returns how frequent a plate with stays of its own is among the lone exits.
func (l *learner) known(base Weight) Weight {
	var stays, size float64 // of the plates of known lone exits
	for i := range l.Lone {
		if e := &l.Lone[i]; e.Kind == Exit && e.Known {
			size += float64(l.visits[e.Plate])
			stays++
		}
	}
	if stays < leastOfShape {
		return base
	}
	share := size / stays / float64(max(len(l.Exact), 1)) * float64(l.knownOnes) / float64(l.loneExits)
	return max(base-leastKnown, weightOf(share))
}

// look returns how much makes or colours tell.
func (l *learner) look(base *Look, of func(*Details) string) Look {
	counts := make(map[string]float64)
	var both, equal, all float64
	for i := range l.Exact {
		a, b := look(of(&l.Exact[i].Entry.Details)), look(of(&l.Exact[i].Exit.Details))
		for _, text := range []string{a, b} {
			if text != "" {
				counts[text]++
				all++
			}
		}
		if a != "" && b != "" {
			both++
			if a == b {
				equal++
			}
		}
	}
	learnt := *base
	learnt.Frequent = maps.Clone(base.Frequent)
	if both < pseudoLook {
		return learnt
	}
	var chance, rest, kinds float64
	for _, text := range slices.Sorted(maps.Keys(counts)) {
		chance += counts[text] / all * counts[text] / all
		if counts[text] < leastOfLook {
			rest += counts[text]
			kinds++
		}
	}
	const usual = 0.75 // of the reads of one vehicle that are equal
	same := mixedShare(equal, both, usual, pseudoLook)
	learnt.Differ = weightOf((1 - same) / max(1-chance, 0.01))
	learnt.Equal = mostLook
	if kinds > 0 {
		learnt.Equal = min(mostLook, weightOf(same/max(rest/kinds/all, 1e-6)))
	}
	learnt.Frequent = make(map[string]Weight)
	frequent := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for _, text := range frequent[:min(len(frequent), maxFrequent)] {
		if counts[text] >= leastOfLook {
			learnt.Frequent[text] = min(mostLook, weightOf(same/(counts[text]/all)))
		}
	}
	return learnt
}

// joint returns how much more or less makes and colours tell together than each by itself.
func (l *learner) joint(base Joint) Joint {
	type looks [2]string // make and colour
	makes, colors, seen := make(map[string]float64), make(map[string]float64), make(map[looks]float64)
	var stays, sameMakes, sameColors float64
	var counts [3]float64 // of stays of whose makes and colours so many are equal
	for i := range l.Exact {
		var both [2]looks
		for k, d := range [...]*Details{&l.Exact[i].Entry.Details, &l.Exact[i].Exit.Details} {
			both[k] = looks{look(d.Make), look(d.Color)}
		}
		a, b := agree(both[0][0], both[1][0]), agree(both[0][1], both[1][1])
		if a == unknown || b == unknown {
			continue
		}
		n := 0
		if a == equal {
			sameMakes++
			n++
		}
		if b == equal {
			sameColors++
			n++
		}
		counts[n]++
		stays++
		for _, l := range both {
			makes[l[0]]++
			colors[l[1]]++
			seen[l]++
		}
	}
	if stays < pseudoLook {
		return base
	}
	byChance := func(of iter.Seq[float64]) (share float64) {
		for _, n := range slices.Sorted(of) { // sums depend on the order
			share += n / (2 * stays) * n / (2 * stays)
		}
		return share
	}
	m, c, both := byChance(maps.Values(makes)), byChance(maps.Values(colors)), byChance(maps.Values(seen))
	chance := [...]float64{1 - m - c + both, m + c - 2*both, both}
	apart := func(m, c float64) [3]float64 { return [...]float64{(1 - m) * (1 - c), m*(1-c) + c*(1-m), m * c} }
	chanceApart, sameApart := apart(m, c), apart(sameMakes/stays, sameColors/stays)
	var w [3]Weight
	for n := range w {
		same := mixedShare(counts[n], stays, sameApart[n], pseudoLook)
		ratio := func(together, apart float64) Weight {
			return weightOf(max(together, leastShare) / max(apart, leastShare))
		}
		w[n] = min(max(ratio(same, sameApart[n])-ratio(chance[n], chanceApart[n]), -mostLook), mostLook)
	}
	return Joint{Neither: w[0], One: w[1], Both: w[2]}
}
