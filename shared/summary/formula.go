package summary

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// inert keeps a spreadsheet from taking a text, or what it makes a cell of by itself,
// for a formula: it puts an apostrophe wherever a cell can begin and a formula
// follows. One that stands there already gets another one in front of it, so that
// the text can be told again: of every apostrophe where a cell can begin, leave out
// one.
func inert(text string) string {
	if !strings.ContainsFunc(text, dangerous) {
		return text
	}
	var b strings.Builder
	begin := true
	for i, r := range text {
		if begin && dangerousStart(text[i:]) {
			b.WriteByte('\'')
		}
		b.WriteRune(r)
		begin = separates(r)
	}
	return b.String()
}

// dangerousStart reports whether a cell that began here would be a formula, after
// space and quotes, or begins with an apostrophe.
func dangerousStart(text string) bool {
	inner := strings.TrimLeftFunc(text, func(r rune) bool { return r == '"' || unicode.IsSpace(r) || !unicode.IsPrint(r) })
	for _, r := range inner {
		return dangerous(r)
	}
	return false
}

// separates reports whether a cell can begin after a character, with any of the
// separators and quotes that spreadsheets can be told.
func separates(r rune) bool {
	return strings.ContainsRune(`,;|:"`, r) || unicode.IsSpace(r) || !unicode.IsPrint(r)
}

// dangerous reports whether a formula can begin with a character, in full width as
// well, or it is an apostrophe.
func dangerous(r rune) bool {
	if r == '−' {
		return true
	}
	for _, folded := range norm.NFKC.String(string(r)) {
		return strings.ContainsRune("=+-@'", folded)
	}
	return false
}
