package summary

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// inert protects a text from being a formula in a spreadsheet, or in the cells that a
// spreadsheet splits it into. It inserts an apostrophe wherever a cell can begin and a
// formula follows. An apostrophe in such a place gets another one in front, so the text
// can be restored: remove one apostrophe from each place where a cell can begin with
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

// dangerousStart reports whether a cell that begins here would be a formula, after
// space and quotes, or begins with an apostrophe.
func dangerousStart(text string) bool {
	inner := strings.TrimLeftFunc(text, func(r rune) bool { return r == '"' || unicode.IsSpace(r) || !unicode.IsPrint(r) })
	for _, r := range inner {
		return dangerous(r)
	}
	return false
}

// separates reports whether a cell can begin after a character, for any separator and
// quote that a spreadsheet can be configured for.
func separates(r rune) bool {
	return strings.ContainsRune(`,;|:"`, r) || unicode.IsSpace(r) || !unicode.IsPrint(r)
}

// dangerous reports whether a character can begin a formula, in full width as well, or
// is an apostrophe.
func dangerous(r rune) bool {
	if r == '−' {
		return true
	}
	for _, folded := range norm.NFKC.String(string(r)) {
		return strings.ContainsRune("=+-@'", folded)
	}
	return false
}
