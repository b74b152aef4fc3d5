package parking

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/unicode/runenames"
	"pgregory.net/rapid"
)

func TestNormalizePlate(t *testing.T) {
	for raw, want := range map[string]string{
		"KA01AB1234":              "KA01AB1234",
		" ka 01-ab·1234 ":         "KA01AB1234",
		"ＫＡ０１":                    "KA01", // full-width forms
		"m-ö 99":                  "MÖ99",
		"M-O\u0308 99":            "MÖ99", // o and a combining diaeresis
		"أ ب ج ١٢٣":               "أبج123",
		"京A·12345":                "京A12345",
		"А123":                    "А123", // Cyrillic А is not the Latin A
		"---":                     "",
		"\u1112\u1161 \u11ab1":    "한1", // jamo that compose when the blank goes
		"bad\xff\xfeutf8":         "BADUTF8",
		"straße":                  "STRAßE", // ß has no upper case letter in Unicode's simple mapping
		"STRAẞE":                  "STRAßE",
		strings.Repeat("a b ", 2): "ABAB",
		"②Ⅳ½":                     "2IV12", // what NFKC makes of them
		"፩፪ 〇":                    "፩፪〇",   // numbers that are no decimal digits stay
		"\u093e\u0947 \u0e31":     "",      // marks alone are no plate
		"KA´01¨AB\u03081˚":        "KA01AB\u03081",
		"\u0301KA01\u0301":        "KA01", // accents on nothing and on digits
		"a\u034f\u0308":           "Ä",    // an invisible character between letter and mark
		"A" + strings.Repeat("\u0316", 40) + strings.Repeat("\u0301", 40) + "1": "A" + strings.Repeat("\u0316", 8) + "1",
	} {
		if got := NormalizePlate(raw); got != want {
			t.Errorf("NormalizePlate(%q) = %q (%+[2]q), want %q (%+[3]q)", raw, got, want)
		}
	}
}

// plates has a line for each script: the key form of a plate and other spellings of
// publishers.
var plates = []struct {
	script, key string
	spellings   []string
}{
	{"Latin, India", "KA01AB1234", []string{"ka-01 ab 1234", "ＫＡ０１ＡＢ１２３４", "KA\u00a001\u200bAB\u20111234", "\ufeffKA01AB1234\u200e", "KA\u00ad01AB1234"}},
	{"Latin, Germany", "MÖX99", []string{"M-ÖX 99", "M\u00b7O\u0308X 99", "m öx 99"}},
	{"Latin, Serbia", "ČA123ŠŽ", []string{"ča 123-šž", "C\u030cA 123-S\u030cZ\u030c"}},
	{"Latin, Vietnam", "29Đ112345", []string{"29-đ1 123.45", "29Đ1\n12345"}},
	{"Latin, Turkey", "34IB1234", []string{"34 ıb 1234", "34 ib 1234", "34 İB 1234", "34 I\u0307B 1234", "34 IB 1234"}},
	{"Greek", "ΙΣΟ1234", []string{"ισο-1234", "ΙΣΟ 1234"}},
	{"Greek, final sigma", "ΒΣ12", []string{"βς-12", "βσ-12"}},
	{"Cyrillic, Russia", "А123ВС77", []string{"а 123 вс 77", "А123ВС-77"}},
	{"Cyrillic, Ukraine", "ЇЙ1234АІ", []string{"їй 1234 аі", "І\u0308И\u0306 1234 АІ"}},
	{"Cyrillic, Mongolia", "1234УБӨ", []string{"12-34 убө"}},
	{"Armenian", "12ԱԲ345", []string{"12 աբ 345"}},
	{"Georgian", "ᲗᲑᲚ123", []string{"თბლ-123", "თბლ 123"}},
	{"Hebrew, police", "12345מ", []string{"12-345-מ", "\u200f12-345-מ\u200f", "12345מ\u05bc"}},
	{"Arabic, Egypt", "أبي123", []string{"أ ب ى ١٢٣", "أ ب ي 123", "أ ب ی ۱۲۳", "\u0627\u0654 ب ى ١٢٣", "أَ بِ ىٰ 123", "أـبـى ١٢٣"}},
	{"Arabic, Saudi Arabia", "هكط1234", []string{"هـ ك ط ١٢٣٤", "ه ک ط 1234", "ھ ك ط 1234", "\u202bه ك ط ١٢٣٤\u202c", "ﻫﻜﻂ 1234"}},
	{"Arabic, Morocco", "12345أ6", []string{"12345|أ|6", "12345-\u200fأ\u200f-6"}},
	{"Arabic, Iraq", "بغداد12345", []string{"بغداد ١٢٣٤٥", "بَغداد 12345"}},
	{"Persian, Iran", "12ب34567", []string{"۱۲ ب ۳۴۵ - ۶۷", "١٢ ب ٣٤٥ ٦٧", "12 ب 345 67", "\u200f۱۲\u200fب\u200f۳۴۵\u200f۶۷"}},
	{"Persian, Iran, heh", "12ه34567", []string{"۱۲ هـ ۳۴۵ ۶۷", "۱۲ ه\u200d ۳۴۵ ۶۷", "12 ه 345 67"}},
	{"Persian, Afghanistan", "كابلش312345", []string{"کابل ش ۳ ۱۲۳۴۵", "كابل ش 3-12345"}},
	{"Devanagari, Nepal", "मे1च1234", []string{"मे १ च १२३४", "मे 1 च 1234", "मे१च१२३४", "मे-१-च-१२३४"}},
	{"Devanagari, Nepal, province", "प्रदेश302001प1234", []string{"प्रदेश ३-०२-००१ प १२३४", "प्\u200dरदेश 3 02 001 प 1234", "प्\u200cरदेश 302001प1234"}},
	{"Devanagari, nukta", "क\u093c12", []string{"\u0958 १२", "क\u093c १२"}},
	{"Bengali, Bangladesh", "ঢাকামেট্রোগ123456", []string{"ঢাকা মেট্রো-গ ১২-৩৪৫৬", "ঢাকা মেট\u09cdরো গ 12-3456", "ঢাকা মেট্র\u09c7\u09be গ ১২৩৪৫৬"}},
	{"Gujarati", "જીજે01એબી1234", []string{"જીજે ૦૧ એબી ૧૨૩૪"}},
	{"Gurmukhi", "ਪੀਬੀ101234", []string{"ਪੀਬੀ ੧੦ ੧੨੩੪"}},
	{"Odia", "ଓଡ଼021234", []string{"ଓଡ\u0b3c ୦୨ ୧୨୩୪", "ଓ\u0b5c 02 1234"}},
	{"Tamil", "தொ01கோ1234", []string{"தொ ௦௧ கோ ௧௨௩௪", "த\u0bc6\u0bbe 01 க\u0bc7\u0bbe 1234"}},
	{"Telugu", "ఏపీ091234", []string{"ఏపీ ౦౯ ౧౨౩౪"}},
	{"Kannada", "ಕೆಎ011234", []string{"ಕೆಎ ೦೧ ೧೨೩೪"}},
	{"Malayalam", "കെഎൽ011234", []string{"കെഎൽ ൦൧ ൧൨൩൪"}},
	{"Sinhala, Sri Lanka", "ශ්රී1234", []string{"ශ්\u200dරී 1234", "ශ්රී 1234", "ශ්\u200dරී-෧෨෩෪"}},
	{"Thai", "กข1234กรุงเทพมหานคร", []string{"กข 1234 กรุงเทพมหานคร", "กข ๑๒๓๔ กรุงเทพมหานคร", "กข\u200b1234\u200bกรุงเทพมหานคร"}},
	{"Thai, sara am", "บก12ลํ\u0e32พูน", []string{"บก ๑๒ ล\u0e33พูน", "บก 12 ล\u0e4d\u0e32พูน"}},
	{"Lao", "ກຂ1234ກ\u0ecd\u0eb2ແພງ", []string{"ກຂ ໑໒໓໔ ກ\u0eb3ແພງ", "ກຂ 1234 ກ\u0ecd\u0eb2ແພງ"}},
	{"Khmer", "ភ្នំពេញ2A1234", []string{"ភ្នំពេញ 2A-1234", "ភ្នំពេញ ២a-១២៣៤", "ភ្នំ\u200bពេញ 2A.1234"}},
	{"Burmese", "ရန်ကုန်1A1234", []string{"ရန်ကုန် ၁A-၁၂၃၄", "ရန်ကုန် 1a/1234"}},
	{"Tibetan", "བོད12", []string{"བོད ༡༢", "བོད་12"}},
	{"Thaana", "އަ1234", []string{"އަ-1234"}},
	{"Ethiopic", "አአ312345", []string{"አአ 3-12345"}},
	{"N'Ko", "ߒ12", []string{"ߒߺ ߁߂"}},
	{"Hangul", "서울12가3456", []string{"서울 12가 3456", "\u1109\u1165\u110b\u116e\u11af 12\u1100\u1161 3456", "서울１２가３４５６", "서울12가\u31643456"}},
	{"Chinese", "京A12345", []string{"京A·12345", "京ａ•１２３４５", "京A・12345", "京\ufe00A12345", "京\U000e0100A12345"}},
	{"Chinese, Hong Kong and mainland", "粤Z1234港", []string{"粤Z·1234港"}},
	{"Japanese", "品川300さ1234", []string{"品川 300 さ 12-34", "品川３００さ１２−３４", "品川300\u3000さ・・1234"}},
	{"Japanese, half-width kana", "品川300ガ1234", []string{"品川 300 ｶﾞ 12-34", "品川 300 カ\u3099 12-34", "品川 300 ガ 12-34"}},
}

func TestPlatesOfAllScripts(t *testing.T) {
	for _, p := range plates {
		for _, raw := range append(p.spellings, p.key) {
			for form, f := range map[string]norm.Form{"NFC": norm.NFC, "NFD": norm.NFD, "NFKC": norm.NFKC, "NFKD": norm.NFKD} {
				if got := NormalizePlate(f.String(raw)); got != p.key {
					t.Errorf("%s: %q in %s becomes %q (%+[4]q), want %q (%+[5]q)", p.script, raw, form, got, p.key)
				}
			}
			if _, err := NewEvent(Event{ID: "1", Kind: Entry, RawPlate: raw, Time: noon}); err != nil {
				t.Errorf("%s: %q: %v", p.script, raw, err)
			}
		}
	}
}

// TestPlatesStayApart has pairs of plates of two vehicles.
func TestPlatesStayApart(t *testing.T) {
	for _, pair := range [][2]string{
		{"मे १ च १२३४", "म १ च १२३४"},          // a vowel sign
		{"को १ प १", "का १ प १"},               // two vowel signs
		{"क १२", "क\u093c १२"},                 // nukta
		{"ত ১২", "তা ১২"},                      // Bengali
		{"ක 12", "කි 12"},                      // Sinhala
		{"க 12", "கு 12"},                      // Tamil
		{"ก 12", "กุ 12"},                      // Thai vowel
		{"กา 12", "ก่า 12"},                    // Thai tone
		{"ក 12", "ក្ក 12"},                     // Khmer coeng
		{"က ၁", "ကျ ၁"},                        // Burmese medial
		{"ނަ 12", "ނު 12"},                     // Thaana
		{"ا 123", "أ 123"},                     // hamza is printed
		{"و 123", "ؤ 123"},                     // so it is on waw
		{"ه 123", "ة 123"},                     // ta marbuta is another letter
		{"ب 123", "پ 123"},                     // so is peh
		{"MO 99", "MÖ 99"},                     // umlaut
		{"CA 123", "ČA 123"},                   // caron
		{"И 123", "Й 123"},                     // Cyrillic breve
		{"А123", "A123"},                       // Cyrillic and Latin
		{"さ 12", "ざ 12"},                       // kana voicing
		{"가 12", "각 12"},                       // Hangul
		{"〇 1", "1"},                           // a number that is no digit
		{"፩ 1", "1"},                           // Ethiopic
		{"১২", "১৩"},                           // digits
		{"D 12", "Đ 12"},                       // stroke
		{"X\u030c 12", "X 12"},                 // a letter that Unicode has no single character for
		{"\u0e01\u0e31 12", "\u0e01\u0e34 12"}, // Thai again: two signs of one place
	} {
		if a, b := NormalizePlate(pair[0]), NormalizePlate(pair[1]); a == b {
			t.Errorf("%q and %q both become %q", pair[0], pair[1], a)
		}
	}
}

// TestDigitsOfAllScripts compares with the names that Unicode gives digits.
func TestDigitsOfAllScripts(t *testing.T) {
	values := map[string]string{
		"ZERO": "0", "ONE": "1", "TWO": "2", "THREE": "3", "FOUR": "4", "FIVE": "5", "SIX": "6", "SEVEN": "7", "EIGHT": "8", "NINE": "9",
	}
	digits := 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !unicode.IsDigit(r) {
			continue
		}
		digits++
		name := strings.Fields(runenames.Name(r))
		if got, want := NormalizePlate(string(r)), values[name[len(name)-1]]; got != want || want == "" {
			t.Errorf("%U %v becomes %q, want %q", r, name, got, want)
		}
	}
	if digits < 600 {
		t.Errorf("only %d digits", digits)
	}
}

// check fails if a key form is invalid: it is no fixed point, differs between
// normalisation forms, or contains characters that separate fields in stores and logs.
func check(t interface{ Fatalf(string, ...any) }, raw string) {
	plate := NormalizePlate(raw)
	if again := NormalizePlate(plate); again != plate {
		t.Fatalf("%+q becomes %+q becomes %+q", raw, plate, again)
	}
	for _, r := range plate {
		if !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) || invisible(r) || capital(r) != r {
			t.Fatalf("%+q keeps %+q", raw, r)
		}
	}
	// A longer run of marks has more than one normal form.
	if utf8.RuneCountInString(raw) <= 30 && utf8.ValidString(raw) {
		for _, f := range []norm.Form{norm.NFC, norm.NFD, norm.NFKC, norm.NFKD} {
			if other := NormalizePlate(f.String(raw)); other != plate {
				t.Fatalf("%+q becomes %+q, in another form %+q", raw, plate, other)
			}
		}
	}
}

// TestEveryCharacter leaves out ideographs and Hangul syllables, which are a hundred
// thousand alike.
func TestEveryCharacter(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z, unicode.Cf) || unicode.In(r, unicode.Han, unicode.Hangul) {
			continue
		}
		check(t, "A"+string(r)+"1")
	}
}

func TestNormalizePlateIsIdempotent(t *testing.T) {
	marks := rapid.StringOf(rapid.RuneFrom(nil, unicode.M, unicode.Cf, unicode.Nd, unicode.Devanagari, unicode.Arabic, unicode.Hangul, unicode.Latin))
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.String().Draw(t, "raw"))
		check(t, marks.Draw(t, "marks"))
	})
}

func FuzzNormalizePlate(f *testing.F) {
	for _, p := range plates {
		for _, raw := range p.spellings {
			f.Add(raw)
		}
	}
	f.Add("\xf1\u0140")
	f.Fuzz(func(t *testing.T, raw string) { check(t, raw) })
}

func TestMaskPlate(t *testing.T) {
	for plate, want := range map[string]string{
		"": "", "A": "*", "AB": "**", "ABC": "***", "AB12": "****", "AB123": "*****",
		"AB1234": "****34", "京A12345": "*****45", "AB123456": "******56", "AB1234567": "******567", "KA01AB1234": "*******234",
		"मे1च1234": "*****34", // a letter with its vowel sign is one
		"ภ1ก\u0e31ก\u0e34ก\u0e38ข\u0e31": "****ก\u0e38ข\u0e31",
		"\u093e\u093e": "*", // marks alone cannot be a plate
	} {
		if got := MaskPlate(plate); got != want {
			t.Errorf("MaskPlate(%q) = %q, want %q", plate, got, want)
		}
	}
	for n := range 33 {
		plate := strings.Repeat("7", n)
		if shown := len(strings.TrimLeft(MaskPlate(plate), "*")); shown > n/3 || len(MaskPlate(plate)) != n {
			t.Errorf("of %d characters %d are shown", n, shown)
		}
	}
}

func TestMaskPlateIn(t *testing.T) {
	const plate = "KA01AB1234"
	for _, tt := range []struct{ text, plate, want string }{
		{"", plate, ""},
		{"cam1-7", plate, "cam1-7"},
		{plate, plate, "*******234"},
		{"cam1/" + plate + "/7", plate, "cam1/*******234/7"},
		{"cam1:ka-01 ab 1234:7", plate, "cam1:*******234:7"},
		{"KA01AB1234KA01AB1234", plate, "*******234*******234"},
		{"xKA01AB12345", plate, "x*******2345"},
		{"KA01AB-7", plate, "KA01AB-7"},
		// What MaskPlate hides is enough to know the plate.
		{"KA01AB123", plate, "*******234"},
		{"cam1-ka 01 ab 1", plate, "*******234"},
		{"cam1-KA%2001%20AB%201234", plate, "*******234"},
		{"100%-cam1-%4B%2541%301AB1234", plate, "*******234"},
		{"K̊A01AB1234-7", plate, "*******234"},
		{"cam1-1234", plate, "cam1-1234"},
		{"cam1-١٢", "12", "cam1-**"},
		{"cam1-2", "12", "cam**"},                   // over-masked: another number
		{"KA01KA01AB1234", plate, "KA01*******234"}, // it begins twice
		{"ＫＡ０１ＡＢ１２３４ at two", plate, "*******234 at two"},
		{"K\u200bA01AB1234", plate, "*******234"},
		{"id ka-01-ab-1234!", "ka 01 ab 1234", "id *******234!"},
		{"id-12 ب 345-1", "۱۲ ب ۳۴۵", "id-****45-1"},
		{"id-\u0915\u093e12345-1", "\u0915\u093e12345", "id-****45-1"},
		{"\u0915\u093e", "\u0915", "*"}, // over-masked: another letter
		{"at 1 ㍢", "1", "*"},
		{"e\u0301A1", "ÉA1", "***"},
		{"x-AB-y", "AB", "x-**-y"},
		{"plate %", "", "plate %"},
		{"--", "--", "--"},
		{"\xffKA01AB1234\xff", plate, "\xff*******234\xff"},
	} {
		if got := MaskPlateIn(tt.text, tt.plate); got != tt.want {
			t.Errorf("MaskPlateIn(%q, %q) = %q, want %q", tt.text, tt.plate, got, tt.want)
		}
	}
}

// No spelling of a plate stays in a text.
func TestMaskPlateInLeavesNoPlate(t *testing.T) {
	letters := rapid.SampledFrom([]string{"A", "b", "1", "é", "e\u0301", "क\u093e", "٣", "ß", "京", "Ａ"})
	noise := rapid.SampledFrom([]string{"", "-", " ", "/", ".", "\u200d", "%", "\xff"})
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(letters, 1, 8).Draw(t, "plate")
		spelling := ""
		for _, p := range parts {
			spelling += p + noise.Draw(t, "noise")
		}
		text := rapid.String().Draw(t, "before") + " " + spelling + " " + rapid.String().Draw(t, "after")
		got := MaskPlateIn(text, strings.Join(parts, ""))
		key := NormalizePlate(strings.Join(parts, ""))
		for shown := range strings.SplitSeq(got, "*") {
			if strings.Contains(NormalizePlate(shown), key) {
				t.Fatalf("%q of %q in %q shows the plate", got, key, text)
			}
		}
	})
}

// The key form of ASCII has a short way.
func TestSpellingOfASCII(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom(nil, &unicode.RangeTable{R16: []unicode.Range16{{Lo: 0, Hi: unicode.MaxASCII, Stride: 1}}, LatinOffset: 1})).Draw(t, "text")
		if got, want := spelling(text), NormalizePlate(text); got != want {
			t.Fatalf("%q: %q, want %q", text, got, want)
		}
	})
}

// A text with a misread plate is masked, one with another number is not.
func TestMaskReadsIn(t *testing.T) {
	const plate = "KA01AB1234"
	for text, want := range map[string]string{
		"cam-KA01AB1234-1": "cam-*******234-1",
		"cam-KA01AB1284-1": "*******234", "cam-ka 01 ab 123-1": "*******234", "KAO1AB12E4": "*******234", "xKA01AB12345x": "x*******2345x",
		"KA0AB1234": "*******234", "01AB1234": "*******234", "KA01MB12E5": "KA01MB12E5", "in-1234567890": "in-1234567890", "": "", "7": "7",
	} {
		if got := MaskReadsIn(text, plate); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	for _, c := range []struct{ text, plate, want string }{
		{"M-AB-123", "MAB124", "****24"}, {"M-AC-134", "MAB124", "M-AC-134"}, {"in-1235", "1234", "in-1235"}, {"x-\u0643\u064a12345", "\u0643\u064a12346", "*****46"}, {"x", "", "x"},
	} {
		if got := MaskReadsIn(c.text, c.plate); got != c.want {
			t.Errorf("%q of %q became %q, want %q", c.text, c.plate, got, c.want)
		}
	}
}
