package camera

import "testing"

func TestPlate(t *testing.T) {
	for text, want := range map[string]string{
		"KA01AB1234": "KA01AB1234", " SGX 7923G\r\n": "SGX 7923G", "M-ÖX 99": "M-ÖX 99", "京A12345": "京A12345", "SGX\n7923G": "SGX\n7923G",
		"": "", " ": "", "-": "", "--": "", "???": "", "_____": "", "*": "", "\u3000": "", "\x00": "",
		"unknown": "", "Unknown": "", "UNKNOWN": "", "NOPLATE": "", "NoPlate": "", "no plate": "", "no_plate": "", "NO-PLATE": "", "n/a": "", "N.A.": "",
		"none": "", "null": "", "undefined": "", "not recognized": "", "Unlicensed": "", "无车牌": "", "No License Plate": "", "NO_READ": "",
		// Plates that only look like such words.
		"UNKNOWN1": "UNKNOWN1", "NA 1": "NA 1", "NO": "NO", "NULL99": "NULL99", "0": "0", "NOP1ATE": "NOP1ATE",
	} {
		if got := Plate(text); got != want {
			t.Errorf("Plate(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestConfidence(t *testing.T) {
	const none = -1
	for _, tt := range []struct {
		text  string
		scale float64
		want  float64
	}{
		{"0.719034", ofOne, 0.719034},
		{"0", ofOne, 0},
		{"1", ofOne, 1},
		{"1.5", ofOne, none},
		{"92.5", ofHundred, 0.925},
		{"100", ofHundred, 1},
		{"92 %", ofHundred, 0.92},
		{"101", ofHundred, none},
		{"0.92", ofEither, 0.92},
		{"92", ofEither, 0.92},
		{"1", ofEither, 1},
		{"101", ofEither, none},
		{"-1", ofEither, none},
		{"-", ofOne, none},
		{"", ofOne, none},
		{"NaN", ofOne, none},
		{"Inf", ofHundred, none},
		{"high", ofOne, none},
	} {
		got := confidence(tt.text, tt.scale)
		if tt.want == none && got != nil || tt.want != none && (got == nil || *got != tt.want) {
			t.Errorf("confidence(%q, %v) = %v, want %v", tt.text, tt.scale, got, tt.want)
		}
	}
}
