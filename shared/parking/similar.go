package parking

import (
	"math/bits"
	"unicode"
	"unicode/utf8"
)

// Bounds of the plates that are compared: of shorter ones too many look alike, and there
// are no longer ones.
const (
	minText  = 5
	maxText  = 12
	maxEdits = 2
)

// Similar reports whether two normalised plates differ in one or two characters, so that
// they may be reads of one plate. Plates of fewer than 5 or more than 12 characters are
// similar to none.
func Similar(a, b string) bool {
	if d := len(a) - len(b); a == b || (d > maxEdits || d < -maxEdits) && ascii(a) && ascii(b) {
		return false
	}
	var ta, tb [maxText]rune
	x, y := textOf(a, &ta), textOf(b, &tb)
	return x != nil && y != nil && within(x, y, maxEdits)
}

// SimilarTo returns a function that reports whether a plate is similar to this one, as
// [Similar] does. It is for many plates: most are told from this one by what characters
// they have. It is safe for concurrent use.
func SimilarTo(plate string) func(other string) bool {
	has := characters(plate)
	return func(other string) bool {
		others := characters(other)
		return bits.OnesCount64(has&^others) <= maxEdits && bits.OnesCount64(others&^has) <= maxEdits && Similar(plate, other)
	}
}

// characters returns the set of the characters of a plate, some as one: by an edit at most
// one leaves it and at most one comes.
func characters(plate string) (set uint64) {
	for _, r := range plate {
		set |= 1 << (r & 63)
	}
	return set
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// textOf returns the characters of a plate, or nil if they are too few or too many.
func textOf(plate string, in *[maxText]rune) []rune {
	n := 0
	for _, r := range plate {
		if n == maxText {
			return nil
		}
		in[n] = r
		n++
	}
	if n < minText {
		return nil
	}
	return in[:n]
}

// short reports whether a plate has so few characters that it is similar to none.
func short(plate string) bool {
	return len(plate) < minText || !ascii(plate) && utf8.RuneCountInString(plate) < minText
}

// within reports whether at most that many edits make one text of another.
func within(a, b []rune, edits int) bool {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	d := len(a) - len(b)
	switch {
	case max(len(a), len(b)) <= edits:
		return true
	case edits == 0 || d > edits || d < -edits:
		return false
	case len(a) > 0 && len(b) > 0 && within(a[1:], b[1:], edits-1):
		return true
	}
	return len(a) > 0 && within(a[1:], b, edits-1) || len(b) > 0 && within(a, b[1:], edits-1)
}

// edit is a character in which two texts differ, 0 if it is missing in one of them, and
// its places there.
type edit struct {
	a, b   rune
	at, to int8
}

// alignment are the edits that make one text of another, and what they weigh.
type alignment struct {
	edits  [maxEdits]edit
	n      int
	weight Weight
}

// aligner finds the alignment that weighs most.
type aligner struct {
	*scorer
	a, b       []rune
	this, best alignment
}

// align returns the alignment of two different texts that weighs most, or ok false if
// they differ in more than two characters.
func (s *scorer) align(a, b []rune) (best alignment, ok bool) {
	if d := len(a) - len(b); d > maxEdits || d < -maxEdits {
		return alignment{}, false
	}
	al := aligner{scorer: s, a: a, b: b}
	al.from(0, 0)
	return al.best, al.best.n > 0
}

// from aligns what follows two places. Characters that are equal are never aligned with
// others: that would weigh no more, because every missing character weighs the same.
func (al *aligner) from(i, j int) {
	for i < len(al.a) && j < len(al.b) && al.a[i] == al.b[j] {
		i, j = i+1, j+1
	}
	left, right := len(al.a)-i, len(al.b)-j
	if left == 0 && right == 0 {
		if n := al.this.n; n > 0 {
			if w := al.this.weight + al.counts[n-1]; al.best.n == 0 || w > al.best.weight {
				al.best = al.this
				al.best.weight = w
			}
		}
		return
	}
	if d, rest := left-right, maxEdits-al.this.n; rest == 0 || d > rest || d < -rest {
		return
	}
	if left > 0 && right > 0 {
		al.with(edit{al.a[i], al.b[j], int8(i), int8(j)}, al.substitution(al.a[i], al.b[j]), i+1, j+1) //nolint:gosec // places below maxText
	}
	if left > 0 {
		al.with(edit{al.a[i], 0, int8(i), int8(j)}, al.missing, i+1, j) //nolint:gosec // as above
	}
	if right > 0 {
		al.with(edit{0, al.b[j], int8(i), int8(j)}, al.missing, i, j+1) //nolint:gosec // as above
	}
}

func (al *aligner) with(e edit, w Weight, i, j int) {
	al.this.edits[al.this.n] = e
	al.this.n++
	al.this.weight += w
	al.from(i, j)
	al.this.n--
	al.this.weight -= w
}

// differences returns the edits for people.
func (al *alignment) differences() []Difference {
	d := make([]Difference, al.n)
	shift := 0 // of places in the longer text
	for i, e := range al.edits[:al.n] {
		d[i] = Difference{Position: 1 + max(int(e.at), int(e.to)) + shift, Entry: character(e.a), Exit: character(e.b)}
	}
	return d
}

func character(r rune) string {
	if r == 0 {
		return ""
	}
	return string(r)
}

// lookAlikes are the characters that nearly every reader confuses.
var lookAlikes = func() map[[2]rune]bool {
	pairs := make(map[[2]rune]bool)
	for _, group := range []string{"0ODQ", "1IL", "2Z", "5S", "8B", "6G", "UV", "VY"} {
		for _, a := range group {
			for _, b := range group {
				pairs[[2]rune{a, b}] = a != b
			}
		}
	}
	return pairs
}()

// method returns the name of how two plates differ.
func (al *alignment) method() Method {
	switch {
	case al.n > 1:
		return TwoEdits
	case lookAlikes[[2]rune{al.edits[0].a, al.edits[0].b}]:
		return OCR
	}
	return Edit
}

// index finds similar texts by what is left of them without up to two characters: of
// similar texts something of that is equal.
type index struct {
	texts  [][]rune
	bits   uint
	starts []uint32 // of buckets
	items  []item   // of each bucket the texts in descending order
	seen   []uint32 // the search that found a text last
	search uint32
}

// item is a text in a bucket, with the rest of its hash.
type item struct {
	rest uint32
	text int32
}

// newIndex returns an index of different texts.
func newIndex(texts [][]rune) *index {
	x := &index{texts: texts, bits: 4, seen: make([]uint32, len(texts))}
	n := 0
	for _, t := range texts {
		variants(t, func(uint64) { n++ })
	}
	for x.bits < 24 && 1<<x.bits < n {
		x.bits++
	}
	x.starts = make([]uint32, 1<<x.bits+1)
	for _, t := range texts {
		variants(t, func(hash uint64) { x.starts[hash>>(64-x.bits)]++ })
	}
	sum := uint32(0)
	for i := range x.starts {
		sum += x.starts[i]
		x.starts[i] = sum // the end; filling moves it to the start
	}
	x.items = make([]item, n)
	for i, t := range texts {
		variants(t, func(hash uint64) {
			at := &x.starts[hash>>(64-x.bits)]
			*at--
			x.items[*at] = item{uint32(hash), int32(i)} //nolint:gosec // the low bits; as many texts as reads
		})
	}
	return x
}

// find calls each with the texts from the least on that may be similar, the text itself
// included if it is there, each once.
func (x *index) find(text []rune, least int, each func(i int)) {
	x.search++
	variants(text, func(hash uint64) {
		bucket := hash >> (64 - x.bits)
		for _, it := range x.items[x.starts[bucket]:x.starts[bucket+1]] {
			if int(it.text) < least {
				break // those of a bucket descend
			}
			if it.rest == uint32(hash) && x.seen[it.text] != x.search { //nolint:gosec // the low bits
				x.seen[it.text] = x.search
				each(int(it.text))
			}
		}
	})
}

// variants calls each with the hashes of a text without up to two of its characters.
func variants(text []rune, each func(hash uint64)) {
	const seed, prime = 14695981039346656037, 1099511628211
	n := len(text)
	rest := func(hash uint64, from, without int) uint64 {
		for k := from; k < n; k++ {
			if k != without {
				hash = (hash ^ uint64(text[k])) * prime //nolint:gosec // any bits do
			}
		}
		return mixed(hash)
	}
	hash := uint64(seed)
	each(rest(hash, 0, n))
	for i := range n { // hash is that of what precedes i
		if i == 0 || text[i] != text[i-1] {
			each(rest(hash, i+1, n))
		}
		first := hash
		for j := i + 1; j < n; j++ { // first is that of what precedes j, without i
			if (i == 0 || text[i] != text[i-1]) && (j == i+1 || text[j] != text[j-1]) {
				each(rest(first, j+1, n))
			}
			first = (first ^ uint64(text[j])) * prime //nolint:gosec // any bits do
		}
		hash = (hash ^ uint64(text[i])) * prime //nolint:gosec // any bits do
	}
}

// mixed spreads each bit of a hash over all bits.
func mixed(x uint64) uint64 {
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	return x ^ x>>32
}

// shape is what a text has at each place: "A" a letter, "0" a digit.
type shape [maxText]byte

func shapeOf(text []rune) (s shape) {
	for i, r := range text {
		s[i] = 'A'
		if unicode.IsDigit(r) {
			s[i] = '0'
		}
	}
	return s
}

func toShape(text string) (s shape) {
	copy(s[:], text)
	return s
}
