package parking

import (
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

func TestNormalizePlate(t *testing.T) {
	for raw, want := range map[string]string{
		"KA01AB1234":              "KA01AB1234",
		" ka 01-ab·1234 ":         "KA01AB1234",
		"ＫＡ０１":                    "KA01", // full-width forms
		"m-ö 99":                  "MÖ99",
		"M-O\u0308 99":            "MÖ99", // o and a combining diaeresis
		"أ ب ج ١٢٣":               "أبج١٢٣",
		"京A·12345":                "京A12345",
		"А123":                    "А123", // Cyrillic А is not the Latin A
		"---":                     "",
		"\u1112\u1161 \u11ab1":    "한1", // jamo that compose when the blank goes
		"bad\xff\xfeutf8":         "BADUTF8",
		"straße":                  "STRAßE", // ß has no upper case letter in Unicode's simple mapping
		strings.Repeat("a b ", 2): "ABAB",
	} {
		if got := NormalizePlate(raw); got != want {
			t.Errorf("NormalizePlate(%q) = %q, want %q", raw, got, want)
		}
	}
}

func TestNormalizePlateIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.String().Draw(t, "raw")
		plate := NormalizePlate(raw)
		if again := NormalizePlate(plate); again != plate {
			t.Fatalf("%q becomes %q becomes %q", raw, plate, again)
		}
		for _, r := range plate {
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
				t.Fatalf("%q keeps %q", raw, r)
			}
		}
	})
}

func TestMaskPlate(t *testing.T) {
	for plate, want := range map[string]string{"KA01AB1234": "*******234", "ABC": "***", "京A12345": "****345", "": ""} {
		if got := MaskPlate(plate); got != want {
			t.Errorf("MaskPlate(%q) = %q, want %q", plate, got, want)
		}
	}
}
