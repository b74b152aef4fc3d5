package parking

import (
	"math"
	"slices"
	"strings"
	"time"
)

// scorer weighs pairs by a model.
type scorer struct {
	*Model
	counts  [maxEdits]Weight
	missing Weight
	ascii   [128][128]int16
	shapes  map[shape]*places
}

// places are the weights of a shape's characters, at each place by character.
type places [maxText][128]Weight

func newScorer(m *Model) *scorer {
	s := &scorer{Model: m, counts: [maxEdits]Weight{m.Edits.One, m.Edits.Two}, missing: m.Edits.Missing, shapes: make(map[shape]*places)}
	for a := range rune(128) {
		for b := range rune(128) {
			s.ascii[a][b] = int16(m.substitution(a, b)) //nolint:gosec // bounded by maxWeight
		}
	}
	for i := range m.Texts.Shapes {
		sh := &m.Texts.Shapes[i]
		p := new(places)
		for at, place := range sh.Places {
			for c := range p[at] {
				p[at][c] = sh.Else
			}
			for text, w := range place {
				if c := text[0]; c < 128 {
					p[at][c] = w
				}
			}
		}
		p[0][0] = sh.Weight // no character is 0
		s.shapes[toShape(sh.Shape)] = p
	}
	return s
}

// substitution returns the weight of a character that is read as another one.
func (s *scorer) substitution(a, b rune) Weight {
	if a < 128 && b < 128 {
		return Weight(s.ascii[a][b])
	}
	return s.Model.substitution(a, b)
}

func (m *Model) substitution(a, b rune) Weight {
	if a > b {
		a, b = b, a
	}
	if w, ok := m.Edits.Confused[string([]rune{a, b})]; ok {
		return w
	}
	switch k := shapeOf([]rune{a, b}); {
	case k[0] != k[1]:
		return m.Edits.Mixed
	case k[0] == '0':
		return m.Edits.Digits
	}
	return m.Edits.Letters
}

// frequency returns how frequent a text is at the site.
func (s *scorer) frequency(text []rune) Weight {
	kind := shapeOf(text)
	sum := s.Texts.Other
	if p := s.shapes[kind]; p != nil {
		sum = p[0][0]
		for i, r := range text {
			if r < 128 {
				sum += p[i][r]
			} else {
				sum += s.Texts.Letter
			}
		}
		return max(sum, s.Texts.Rarest)
	}
	for i := range text {
		if kind[i] == '0' {
			sum += s.Texts.Digit
		} else {
			sum += s.Texts.Letter
		}
	}
	return max(sum, s.Texts.Rarest)
}

// Bounds of the time between the entry and the exit of a near stay.
const (
	minNear = time.Minute
	// MaxNear is the longest stay whose reads may differ.
	MaxNear = 5 * 24 * time.Hour
	// maxDoubt is how long before the exit of an exact stay a lone exit makes that doubtful:
	// vehicles that come each week are among those that do. Without a bound all reads there
	// ever were would matter.
	maxDoubt = 8 * 24 * time.Hour
	// Horizon is how long before an exit reads may be that its stay depends on: lone exits
	// that make it doubtful, and other entries of those.
	Horizon = maxDoubt + MaxNear
)

// weigh returns the parts of the weight of an entry and an exit.
func (s *scorer) weigh(entry, exit *read, al *alignment) *Parts {
	return &Parts{
		Text:       al.weight,
		Rarity:     -min(s.rarity(entry), s.rarity(exit)),
		Dwell:      s.dwell(exit.at - entry.at),
		Prior:      s.Prior,
		Lists:      s.lists(&entry.event.Details, &exit.event.Details, entry.event.Plate, exit.event.Plate, al.n),
		Appearance: s.appearance(&entry.event.Details, &exit.event.Details),
	}
}

// sum returns the weight.
func (p *Parts) sum() Weight { return p.Text + p.Rarity + p.Dwell + p.Prior + p.Lists + p.Appearance }

// rarity returns how frequent the text of a read is.
func (s *scorer) rarity(r *read) Weight {
	w := s.frequency(r.text)
	if r.known {
		w = max(w, s.Known)
	}
	return w
}

func (s *scorer) dwell(nanoseconds int64) Weight {
	i, _ := slices.BinarySearchFunc(s.Dwell, nanoseconds, func(d Dwell, n int64) int {
		if d.Seconds*int64(time.Second) < n {
			return -1
		}
		return 1
	})
	return s.Dwell[min(i, len(s.Dwell)-1)].Weight
}

// tooLong reports whether an exact stay is doubtful by its length, if its plate has others:
// the vehicle may have left and come again, and both reads of that were lost.
func (m *Model) tooLong(entry, exit time.Time) bool {
	return m.Long > 0 && exit.Sub(entry) > time.Duration(m.Long)*time.Second
}

// logarithms are those of 1, 2, ..., in hundredths.
var logarithms = func() (l [MaxCandidates + 1]Weight) {
	for i := 1; i < len(l); i++ {
		l[i] = Weight(math.Round(100 * math.Log(float64(i))))
	}
	return l
}()

// lists returns the weight of what two reads have as candidates.
func (s *scorer) lists(entry, exit *Details, a, b string, edits int) Weight {
	n, m := len(entry.Candidates), len(exit.Candidates)
	if n == 0 && m == 0 {
		return 0
	}
	first, second := others(entry, a), others(exit, b)
	best := MaxCandidates + 1 // the length of the shorter list that has the other text
	if slices.Contains(first, b) {
		best = len(first)
	}
	if slices.Contains(second, a) {
		best = min(best, len(second))
	}
	switch {
	case best <= MaxCandidates && edits > 1:
		return s.Lists.ListedTwo - logarithms[best]
	case best <= MaxCandidates:
		return s.Lists.Listed - logarithms[best]
	case slices.ContainsFunc(first, func(text string) bool { return slices.Contains(second, text) }):
		return s.Lists.Shared
	case n > 0 && m > 0:
		return s.Lists.Neither
	}
	return s.Lists.Missing
}

// others returns the candidates of a read other than its plate.
func others(d *Details, plate string) []string {
	var list []string
	for i := range d.Candidates {
		if text := NormalizePlate(d.Candidates[i].Plate); text != plate && text != "" && !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}

func (s *scorer) appearance(entry, exit *Details) Weight {
	a := &s.Appearance
	makes, sameMake := a.Makes.weigh(entry.Make, exit.Make)
	colors, sameColor := a.Colors.weigh(entry.Color, exit.Color)
	return makes + colors + a.Joint.weigh(sameMake, sameColor)
}

// agreement tells how the makes or the colours of two reads compare.
type agreement int

const (
	unknown agreement = iota // a read has none
	differ
	equal
)

func agree(a, b string) agreement {
	switch {
	case a == "" || b == "":
		return unknown
	case a != b:
		return differ
	}
	return equal
}

func (l *Look) weigh(a, b string) (Weight, agreement) {
	a, b = look(a), look(b)
	agreement := agree(a, b)
	switch agreement {
	case unknown:
		return 0, unknown
	case differ:
		return l.Differ, differ
	}
	if w, ok := l.Frequent[a]; ok {
		return w, equal
	}
	return l.Equal, equal
}

func (j *Joint) weigh(makes, colors agreement) Weight {
	switch {
	case makes == unknown || colors == unknown:
		return 0
	case makes != colors:
		return j.One
	case makes == equal:
		return j.Both
	}
	return j.Neither
}

// margin returns by how much a pair has to outweigh others.
func (m *Model) margin(method Method, parts *Parts) Weight {
	w := m.Margin
	if other, ok := m.Margins[method]; ok {
		w = other
	}
	if parts.Appearance != 0 {
		w -= w * m.Appearance.Relief / 100
	}
	return w
}

// look returns the form in which makes and colours are compared.
func look(text string) string { return strings.ToLower(strings.TrimSpace(text)) }

// posterior returns the share of right stays among those with such a margin.
func (m *Model) posterior(margin Weight) float64 {
	right := 0
	for _, p := range m.Posteriors {
		if margin >= p.Margin {
			right = p.Right
		}
	}
	return float64(right) / 10_000
}
