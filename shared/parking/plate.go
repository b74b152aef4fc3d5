package parking

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// NormalizePlate returns the key form of a plate, in Unicode NFKC. It keeps letters, in
// upper case, with the marks that spell them, and digits, those of every script as 0 to
// 9. It drops all other characters. It is idempotent and returns the same for every
// Unicode normalisation form of a plate. Letters of different scripts that look alike
// stay different. A plate without letters and digits becomes empty. ADR 6 lists the
// rules and their reasons.
func NormalizePlate(raw string) string {
	if isNormalASCII(raw) {
		return raw
	}
	var k plateKey
	// In decomposed form every rule is about single characters. The characters kept
	// have no decomposition, so one pass is enough. Next to bytes that are not UTF-8 norm
	// leaves a character as it is.
	for _, r := range norm.NFKD.String(strings.ToValidUTF8(raw, "\ufffd")) {
		k.add(r)
	}
	if !k.spelled {
		return ""
	}
	return norm.NFKC.String(k.text.String())
}

// maxMarks bounds the marks on one letter. No script needs as many. Without a bound a
// run of more than 30 marks would have several normal forms.
const maxMarks = 8

// plateKey builds a key form.
type plateKey struct {
	text    strings.Builder
	spelled bool // there is a letter or digit
	last    rune // of text
	// onLetter reports whether the next marks directly follow a letter. marks is the
	// number of marks already on that letter.
	onLetter bool
	marks    int
}

// add processes the next character of the plate in NFKD.
func (k *plateKey) add(r rune) {
	switch r = capital(r); {
	case invisible(r):
	case unicode.IsLetter(r):
		k.write(foldLetter(r))
		k.spelled, k.onLetter, k.marks = true, true, 0
	case unicode.IsNumber(r):
		k.write(foldDigit(r))
		k.spelled, k.onLetter, k.marks = true, false, 0
	case unicode.IsMark(r):
		if k.spells(r) && k.marks < maxMarks {
			k.write(r)
			k.marks++
		}
	default:
		k.onLetter = false
	}
}

func (k *plateKey) write(r rune) {
	k.text.WriteRune(r)
	k.last = r
}

// spells reports whether a mark is part of the plate's spelling.
func (k *plateKey) spells(mark rune) bool {
	switch {
	case unicode.Is(unicode.Me, mark), isPoint(mark): // enclosing: a keycap, a circle
		return false
	case unicode.In(mark, unicode.Inherited, unicode.Common): // accents
		return k.onLetter && (mark != dotAbove || k.last != 'I')
	}
	return true // vowel signs, tone marks, viramas of one script
}

// dotAbove is part of the Turkish capital of i, which others write as I.
const dotAbove = '\u0307'

// capital returns a letter in upper case. Both cases of a letter give the same result,
// even if Unicode maps no small letter to the capital (ẞ).
func capital(r rune) rune { return unicode.ToUpper(unicode.ToLower(unicode.ToUpper(r))) }

// invisible reports whether a character has no shape of its own: joiners, direction
// marks, soft hyphens, variation selectors, fillers, and the stroke that stretches
// Arabic and N'Ko letters.
func invisible(r rune) bool {
	return r == '\u0640' || r == '\u07fa' || r == '\u034f' ||
		unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// isPoint reports whether a mark is a vowel point of the Arabic or the Hebrew script.
// Vowel points are optional in writing. Hamza and madda are excluded, because they form
// other letters.
func isPoint(mark rune) bool {
	const madda, hamzaBelow = '\u0653', '\u0655'
	if mark >= madda && mark <= hamzaBelow {
		return false
	}
	return mark >= '\u064b' && mark <= '\u0670' || unicode.In(mark, unicode.Arabic, unicode.Hebrew)
}

// foldLetter returns one letter for all letters that look alike in print but differ
// between Arabic, Persian and Urdu keyboards.
func foldLetter(r rune) rune {
	switch r {
	case '\u06a9': // keheh
		return '\u0643' // kaf
	case '\u06cc', '\u0649': // Farsi yeh, alef maksura
		return '\u064a' // yeh
	case '\u06be', '\u06c1': // heh doachashmee, heh goal
		return '\u0647' // heh
	}
	return r
}

// foldDigit returns a decimal digit of any script as 0 to 9, and any other number
// unchanged.
func foldDigit(r rune) rune {
	if r <= '9' {
		return r
	}
	// Unicode orders the digits of a script by value, and Go's table has whole sets of
	// ten.
	for _, digits := range unicode.Nd.R16 {
		if lo, hi := rune(digits.Lo), rune(digits.Hi); r >= lo && r <= hi {
			return '0' + (r-lo)%10
		}
	}
	for _, digits := range unicode.Nd.R32 {
		if lo, hi := rune(digits.Lo), rune(digits.Hi); r >= lo && r <= hi {
			return '0' + (r-lo)%10
		}
	}
	return r
}

func isNormalASCII(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// MaskPlate hides a plate for logs. It shows the last three of at least nine letters
// and digits, the last two of at least six, and none of fewer: never more than a third.
// A letter and its marks count as one.
func MaskPlate(plate string) string {
	var starts []int // of letters with their marks
	for i, r := range plate {
		if i == 0 || !unicode.IsMark(r) {
			starts = append(starts, i)
		}
	}
	const most, least = 3, 6
	shown := min(most, len(starts)/3)
	if len(starts) < least {
		shown = 0
	}
	hidden := len(starts) - shown
	if shown == 0 {
		return strings.Repeat("*", hidden)
	}
	return strings.Repeat("*", hidden) + plate[starts[hidden]:]
}

// MaskPlateIn masks a plate wherever it occurs in a text, in any spelling, such as
// within the id of an event. If what remains still has the part of the plate that
// [MaskPlate] hides, the mask replaces the whole text: in a text that is
// percent-encoded, without the end of the plate, with other marks, or as a part of a
// character, as 1 is of ㍢.
func MaskPlateIn(text, plate string) string {
	key := NormalizePlate(plate)
	if key == "" || !reveals(text, key) {
		return text
	}
	masked := maskSpellings(text, key)
	if reveals(masked, key) {
		return MaskPlate(key)
	}
	return masked
}

// MaskReadsIn is [MaskPlateIn] for a text that may contain a misread plate instead, as the
// id of an event whose plate was corrected does: a plate that differs from it in one
// letter of six to eight, or two of more, is masked with the whole text.
func MaskReadsIn(text, plate string) string {
	masked := MaskPlateIn(text, plate)
	if key := NormalizePlate(plate); masked == text && resembles([]rune(spelling(text)), []rune(spelling(key))) {
		return MaskPlate(key)
	}
	return masked
}

// resembles reports whether a part of a text can be changed into a plate by few
// insertions, removals and replacements of letters.
func resembles(text, key []rune) bool {
	const few, some = 6, 9
	most := 2
	switch {
	case len(key) < few:
		return false
	case len(key) < some:
		most = 1
	}
	// changes[i] is how many turn a part that ends here into the first i letters of the plate.
	changes := make([]int, len(key)+1)
	for i := range changes {
		changes[i] = i
	}
	for _, letter := range text {
		before := 0
		for i, want := range key {
			cost := before
			if letter != want {
				cost = 1 + min(before, changes[i], changes[i+1])
			}
			before, changes[i+1] = changes[i+1], cost
		}
		if changes[len(key)] <= most {
			return true
		}
	}
	return false
}

// reveals reports whether a text has the letters of a plate that MaskPlate hides.
func reveals(text, key string) bool {
	shown := strings.TrimLeft(MaskPlate(key), "*")
	hidden := spelling(strings.TrimSuffix(key, shown))
	const encodings = 3 // within one another
	for range encodings {
		if strings.Contains(spelling(text), hidden) {
			return true
		}
		if !strings.Contains(text, "%") {
			return false
		}
		text = percentEncoded.ReplaceAllStringFunc(text, func(one string) string {
			decoded, _ := url.PathUnescape(one) // the expression matches valid ones only
			return decoded
		})
	}
	return false
}

var percentEncoded = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// spelling returns the key form of a text without the marks on its letters.
func spelling(text string) string {
	letters := make([]byte, 0, len(text))
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
			letters = append(letters, c)
		case c >= 'a' && c <= 'z':
			letters = append(letters, c-'a'+'A')
		case c >= utf8.RuneSelf:
			return strings.Map(func(r rune) rune {
				if unicode.IsMark(r) {
					return -1
				}
				return r
			}, norm.NFKD.String(NormalizePlate(text)))
		}
	}
	return string(letters)
}

// maskSpellings masks the spellings of a plate in a text. key is the plate's key form.
func maskSpellings(text, key string) string {
	var b strings.Builder
	shown := 0 // where the part of b begins that follows the last mask
	contains := func() bool { return strings.Contains(NormalizePlate(b.String()[shown:]), key) }
	for text != "" {
		if n := spelled(text, key); n > 0 {
			if contains() {
				return MaskPlate(key)
			}
			b.WriteString(MaskPlate(key))
			shown, text = b.Len(), text[n:]
			continue
		}
		_, size := utf8.DecodeRuneInString(text)
		b.WriteString(text[:size])
		text = text[size:]
	}
	if contains() {
		return MaskPlate(key)
	}
	return b.String()
}

// spelled returns the length of the spelling of a plate at the start of a text, or 0 if
// the text begins with something else. key is the plate's key form.
func spelled(text, key string) int {
	if r, _ := utf8.DecodeRuneInString(text); !unicode.IsLetter(r) && !unicode.IsNumber(r) {
		return 0
	}
	for i, r := range text {
		if i == 0 || unicode.IsMark(r) { // a mark belongs to the letter before it
			continue
		}
		switch got := NormalizePlate(text[:i]); {
		case got == key:
			return i
		case len(got) > 2*len(key): // the next mark may change the last letter
			return 0
		}
	}
	if NormalizePlate(text) == key {
		return len(text)
	}
	return 0
}
