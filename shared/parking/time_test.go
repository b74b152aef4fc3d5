package parking

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
)

// accepted are date-times of RFC 3339 with the same instant in Go's form.
var accepted = map[string]string{
	"2026-11-23T06:15:00Z":                                 "2026-11-23T06:15:00Z",
	"2026-11-23t06:15:00z":                                 "2026-11-23T06:15:00Z",
	"2026-11-23T06:15:00z":                                 "2026-11-23T06:15:00Z",
	"2026-11-23t06:15:00+05:30":                            "2026-11-23T00:45:00Z",
	"2026-11-23T06:15:00-05:45":                            "2026-11-23T12:00:00Z",
	"2026-11-23T06:15:00+23:59":                            "2026-11-22T06:16:00Z",
	"2026-11-23T06:15:00-23:59":                            "2026-11-24T06:14:00Z",
	"2026-11-23T06:15:00+00:00":                            "2026-11-23T06:15:00Z",
	"2026-11-23T06:15:00-00:00":                            "2026-11-23T06:15:00Z",
	"2026-11-23T06:15:00.5Z":                               "2026-11-23T06:15:00.5Z",
	"2026-11-23T06:15:00.000000001Z":                       "2026-11-23T06:15:00.000000001Z",
	"2026-11-23T06:15:00.9999999999+01:00":                 "2026-11-23T05:15:00.999999999Z",
	"2026-11-23T06:15:00." + strings.Repeat("1", 40) + "Z": "2026-11-23T06:15:00.111111111Z",
	"2024-02-29T23:59:59Z":                                 "2024-02-29T23:59:59Z",
	"2000-02-29T00:00:00Z":                                 "2000-02-29T00:00:00Z",
	"0000-01-01T00:00:00Z":                                 "0000-01-01T00:00:00Z",
	"9999-12-31T23:59:59Z":                                 "9999-12-31T23:59:59Z",
	// The leap seconds of the RFC's own examples, and one with a fraction.
	"1990-12-31T23:59:60Z":          "1991-01-01T00:00:00Z",
	"1990-12-31T15:59:60-08:00":     "1991-01-01T00:00:00Z",
	"2015-07-01T05:29:60+05:30":     "2015-07-01T00:00:00Z",
	"2016-12-31T23:59:60.25Z":       "2017-01-01T00:00:00.25Z",
	"1996-12-19T16:39:57-08:00":     "1996-12-20T00:39:57Z",
	"1937-01-01T12:00:27.87+00:20":  "1937-01-01T11:40:27.87Z",
	"1985-04-12T23:20:50.52Z":       "1985-04-12T23:20:50.52Z",
	"2016-06-30T23:59:60.99999999Z": "2016-07-01T00:00:00.99999999Z",
}

// refused are texts in no form of RFC 3339, with a part of the reason.
var refused = map[string]string{
	"":                      "want YYYY",
	"now":                   "want YYYY",
	"1764054900":            "want YYYY",
	"2026-11-23":            "want YYYY",
	"2026-11-23T6:15:00Z":   "want YYYY",
	"2026-11-23T06:15Z":     "want YYYY",
	"2026-11-23T06:15:0Z":   "want YYYY",
	"2026-11-23 06:15:00Z":  "want YYYY",
	"2026-11-23_06:15:00Z":  "want YYYY",
	"2026-1-23T06:15:00Z":   "want YYYY",
	"2026/11/23T06:15:00Z":  "want YYYY",
	"20261123T061500Z":      "want YYYY",
	"2026-W48-1T06:15:00Z":  "want YYYY",
	"2026-327T06:15:00Z":    "want YYYY",
	"+2026-11-23T06:15:00Z": "want YYYY",
	"-2026-11-23T06:15:00Z": "want YYYY",
	"02026-11-23T06:15:00Z": "want YYYY",
	"12026-11-23T06:15:00Z": "want YYYY",
	" 2026-11-23T06:15:00Z": "want YYYY",
	"२०२६-११-२३T०६:१५:००Z":           "want YYYY",
	"2026-11-23T０6:15:00Z":           "want YYYY",
	"Mon, 23 Nov 2026 06:15:00 GMT":  "want YYYY",
	"2026-00-23T06:15:00Z":           "month",
	"2026-13-23T06:15:00Z":           "month",
	"2026-11-00T06:15:00Z":           "day",
	"2026-11-31T06:15:00Z":           "day",
	"2026-02-29T06:15:00Z":           "day",
	"1900-02-29T06:15:00Z":           "day",
	"2026-11-23T24:00:00Z":           "hours",
	"2026-11-23T06:60:00Z":           "minutes",
	"2026-11-23T06:15:61Z":           "seconds",
	"2026-11-23T06:15:60Z":           "leap second",
	"2026-11-23T23:59:60Z":           "leap second",
	"2016-12-31T22:59:60Z":           "leap second",
	"2016-12-31T23:58:60Z":           "leap second",
	"2016-12-31T23:59:60-08:00":      "leap second",
	"2026-11-23T06:15:00":            "zone is missing",
	"2026-11-23T06:15:00.5":          "zone is missing",
	"2026-11-23T06:15:00,5Z":         "as the zone",
	"2026-11-23T06:15:00.Z":          "digits",
	"2026-11-23T06:15:00.-5Z":        "digits",
	"2026-11-23T06:15:00.5.5Z":       "as the zone",
	"2026-11-23T06:15:00Z ":          "as the zone",
	"2026-11-23T06:15:00ZZ":          "as the zone",
	"2026-11-23T06:15:00Z\n":         "as the zone",
	"2026-11-23T06:15:00+0530":       "as the zone",
	"2026-11-23T06:15:00+5:30":       "as the zone",
	"2026-11-23T06:15:00+05":         "as the zone",
	"2026-11-23T06:15:00+05:30Z":     "as the zone",
	"2026-11-23T06:15:00+05:30:00":   "as the zone",
	"2026-11-23T06:15:00 +05:30":     "as the zone",
	"2026-11-23T06:15:00 05:30":      "as the zone", // a plus sign in a URL that was not escaped
	"2026-11-23T06:15:00−05:30":      "as the zone", // U+2212
	"2026-11-23T06:15:00UTC":         "as the zone",
	"2026-11-23T06:15:00[Asia/Kol]":  "as the zone",
	"2026-11-23T06:15:00Z[u-ca=iso]": "as the zone",
	"2026-11-23T06:15:00+24:00":      "at most 23:59",
	"2026-11-23T06:15:00-24:00":      "at most 23:59",
	"2026-11-23T06:15:00+00:60":      "at most 23:59",
	"2026-11-23T06:15:00+99:99":      "at most 23:59",
}

func TestParseTime(t *testing.T) {
	for text, want := range accepted {
		got, err := ParseTime(text)
		if err != nil || got.Format(time.RFC3339Nano) != want || got.Location() != time.UTC {
			t.Errorf("ParseTime(%q) = %v, %v, want %s", text, got, err, want)
		}
	}
	for text, reason := range refused {
		got, err := ParseTime(text)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), reason) || !got.IsZero() {
			t.Errorf("ParseTime(%q) = %v, %v, want an ErrInvalid with %q", text, got, err, reason)
		}
	}
}

// TestStayTimes: a posted stay's times are read by the same rule, whichever package
// reads the JSON.
func TestStayTimes(t *testing.T) {
	read := func(text string) []error {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		body := []byte(`{"id":"x","exit_id":"x","exit_date_time":` + string(quoted) + `}`)
		var one, two Stay
		errs := []error{json.Unmarshal(body, &one), nil}
		var public StayJSON
		if errs[1] = jsonv2.Unmarshal(body, &public); errs[1] == nil {
			two, errs[1] = public.Stay()
		}
		if one != two {
			t.Errorf("%q is read as %+v and %+v", text, one, two)
		}
		return errs
	}
	for text := range accepted {
		for _, err := range read(text) {
			if err != nil {
				t.Errorf("%q is refused: %v", text, err)
			}
		}
	}
	for text, reason := range refused {
		for _, err := range read(text) {
			if err == nil || !strings.Contains(err.Error(), reason) {
				t.Errorf("%q: error %v, want %q", text, err, reason)
			}
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for text := range accepted {
		f.Add(text)
	}
	for text := range refused {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseTime(text)
		theirs, theirErr := time.Parse(time.RFC3339, strings.ToUpper(text))
		switch {
		case err != nil:
			if !got.IsZero() || !errors.Is(err, ErrInvalid) || !utf8.ValidString(err.Error()) {
				t.Fatalf("time %v, error %q", got, err)
			}
		case theirErr != nil: // only a leap second is ours alone
			if text[17:19] != "60" {
				t.Fatalf("ParseTime(%q) = %v, time.Parse: %v", text, got, theirErr)
			}
		case !got.Equal(theirs):
			t.Fatalf("ParseTime(%q) = %v, time.Parse %v", text, got, theirs)
		}
		if again, err2 := ParseTime(got.Format(time.RFC3339Nano)); err == nil && got.Year() >= 0 && got.Year() <= 9999 && (err2 != nil || !again.Equal(got)) {
			t.Fatalf("%v is read back as %v, %v", got, again, err2)
		}
		// Every time that Go writes is accepted.
		if theirErr == nil && theirs.Year() >= 0 {
			if again, err := ParseTime(theirs.UTC().Format(time.RFC3339Nano)); theirs.UTC().Year() >= 0 && theirs.UTC().Year() <= 9999 && (err != nil || !again.Equal(theirs)) {
				t.Fatalf("%v is read as %v, %v", theirs, again, err)
			}
		}
	})
}
