package parking

import (
	"math"
	"math/bits"
	"sync"
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
	if text := charactersOf(plate, in); len(text) >= minText {
		return text
	}
	return nil
}

// charactersOf returns the characters of a plate, or nil if they are too many.
func charactersOf(plate string, in *[maxText]rune) []rune {
	n := 0
	for _, r := range plate {
		if n == maxText {
			return nil
		}
		in[n] = r
		n++
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
// similar texts something of that is equal. Most texts that are found so were read at another
// time: an item has the days of its text, so these cost no access to other memory. An index is
// safe for concurrent use.
type index struct {
	texts    [][]rune
	calendar calendar
	bits     uint
	starts   []uint32  // of buckets
	items    []item    // of each bucket the texts in descending order
	searches sync.Pool // of *search
}

// search tells which texts it has found. Another one follows it without clearing that.
type search struct {
	last []uint32 // the number of the search that found a text last
	n    uint32
}

// newSearch returns a search that has found nothing. It is put back when it is over.
func (x *index) newSearch() *search {
	s, ok := x.searches.Get().(*search)
	if !ok || s.n == math.MaxUint32 {
		s = &search{last: make([]uint32, len(x.texts))}
	}
	s.n++
	return s
}

// first reports whether a text is found for the first time.
func (s *search) first(text int32) bool {
	if s.last[text] == s.n {
		return false
	}
	s.last[text] = s.n
	return true
}

// item is a text in a bucket, with the rest of its hash and with when it was read.
type item struct {
	rest uint32
	text int32
	days days
}

// calendar divides a time into parts that two bytes count.
type calendar struct{ from, part int64 }

// days are the parts of a calendar from one to another, both included.
type days struct{ from, to uint16 }

// newCalendar returns a calendar of the time in which the texts were read.
func newCalendar(spans []times) calendar {
	whole := never
	for i := range spans {
		all := spans[i].all()
		whole = span{min(whole.from, all.from), max(whole.to, all.to)}
	}
	if whole.from > whole.to {
		return calendar{0, 1}
	}
	return calendar{whole.from, (whole.to-whole.from)/(math.MaxUint16+1) + 1}
}

// days returns the parts that a span meets, or the first or the last one if it is before or
// after all.
func (c calendar) days(s span) days {
	at := func(t int64) uint16 {
		return uint16(min(max(0, (t-c.from)/c.part), math.MaxUint16)) //nolint:gosec // bounded
	}
	return days{at(s.from), at(s.to)}
}

// newIndex returns an index of different texts that were read at such times.
func newIndex(texts [][]rune, spans []times) *index {
	x := &index{texts: texts, calendar: newCalendar(spans), bits: 4}
	var hashes [maxVariants]uint64
	n := 0
	for _, t := range texts {
		n += len(variants(t, &hashes))
	}
	for x.bits < 24 && 4<<x.bits < n { // some three a bucket: more buckets are more memory to wait for
		x.bits++
	}
	x.starts = make([]uint32, 1<<x.bits+1)
	for _, t := range texts {
		for _, hash := range variants(t, &hashes) {
			x.starts[hash>>(64-x.bits)]++
		}
	}
	sum := uint32(0)
	for i := range x.starts {
		sum += x.starts[i]
		x.starts[i] = sum // the end; filling moves it to the start
	}
	x.items = make([]item, n)
	for i, t := range texts {
		days := x.calendar.days(spans[i].all())
		for _, hash := range variants(t, &hashes) {
			at := &x.starts[hash>>(64-x.bits)]
			*at--
			x.items[*at] = item{uint32(hash), int32(i), days} //nolint:gosec // the low bits; as many texts as reads
		}
	}
	return x
}

// find calls each with the texts from the least on that may be similar and were read about
// then, the text itself included if it is there, each once.
func (x *index) find(text []rune, least int, when span, each func(i int)) {
	var hashes [maxVariants]uint64
	var buckets [maxVariants]struct{ start, end uint32 }
	found := variants(text, &hashes)
	for i, hash := range found { // at once: the processor waits for all of them together
		bucket := hash >> (64 - x.bits)
		buckets[i].start, buckets[i].end = x.starts[bucket], x.starts[bucket+1]
	}
	days := x.calendar.days(when)
	s := x.newSearch()
	defer x.searches.Put(s)
	for i, hash := range found {
		for _, it := range x.items[buckets[i].start:buckets[i].end] {
			if int(it.text) < least {
				break // those of a bucket descend
			}
			if it.rest == uint32(hash) && it.days.from <= days.to && it.days.to >= days.from && s.first(it.text) { //nolint:gosec // the low bits
				each(int(it.text))
			}
		}
	}
}

// maxVariants bounds the variants of a text.
const maxVariants = 1 + maxText + maxText*(maxText-1)/2

// variants returns the hashes of a text without up to two of its characters.
func variants(text []rune, in *[maxVariants]uint64) []uint64 {
	const seed, prime = 14695981039346656037, 1099511628211
	n, found := len(text), 0
	add := func(hash uint64, from int) { // of what precedes a place, with the rest of the text
		for _, r := range text[from:] {
			hash = (hash ^ uint64(r)) * prime //nolint:gosec // any bits do
		}
		in[found] = mixed(hash)
		found++
	}
	hash := uint64(seed)
	add(hash, 0)
	for i := range n { // hash is that of what precedes i
		if i == 0 || text[i] != text[i-1] {
			add(hash, i+1)
			first := hash
			for j := i + 1; j < n; j++ { // first is that of what precedes j, without i
				if j == i+1 || text[j] != text[j-1] {
					add(first, j+1)
				}
				first = (first ^ uint64(text[j])) * prime //nolint:gosec // any bits do
			}
		}
		hash = (hash ^ uint64(text[i])) * prime //nolint:gosec // any bits do
	}
	return in[:found]
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
