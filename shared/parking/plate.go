package parking

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// NormalizePlate returns the key form of a plate: Unicode NFKC, upper case,
// letters and digits of any script and nothing else. It is idempotent. Letters
// of different scripts that look alike stay different. A plate without any
// letter or digit becomes empty.
func NormalizePlate(raw string) string {
	if isNormalASCII(raw) {
		return raw
	}
	plate := normalizeOnce(raw)
	// Dropping a character can bring two letters together that NFKC composes
	// (Hangul jamo around a blank), so one pass is not always a fixed point.
	for {
		again := normalizeOnce(plate)
		if again == plate {
			return plate
		}
		plate = again
	}
}

func normalizeOnce(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return r
	}, strings.ToUpper(norm.NFKC.String(s)))
}

func isNormalASCII(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// MaskPlate hides all but the last three characters of a plate, for logs. A
// plate of three characters or fewer is hidden whole.
func MaskPlate(plate string) string {
	runes := []rune(plate)
	shown := 3
	if len(runes) <= shown {
		shown = 0
	}
	hidden := len(runes) - shown
	return strings.Repeat("*", hidden) + string(runes[hidden:])
}
