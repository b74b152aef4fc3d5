package parking

import (
	"strings"
	"time"
)

// ParseTime parses a date-time of RFC 3339, section 5.6, and returns it in UTC. Its
// error is an [ErrInvalid] that quotes the text and names the fault.
//
// Go's own parser takes times that the RFC does not know (an hour of one digit, a
// comma before the fraction, offsets of 24 hours or 60 minutes) and refuses some
// that it does. What the RFC leaves open:
//
//   - "t" and "z" are read as "T" and "Z".
//   - A blank instead of "T" is refused: the grammar has no other separator.
//   - A fraction may have any number of digits. Those beyond nanoseconds are cut off.
//   - A leap second is the first second of the next day, as in POSIX. It is accepted
//     only at a time that can have one: 23:59:60 UTC on the last day of a month.
//   - The offset "-00:00", which means UTC at an unknown place, is UTC.
func ParseTime(text string) (time.Time, error) {
	t, wrong := parseTime(text)
	if wrong != "" {
		return time.Time{}, Invalid("%s is no RFC 3339 time with a zone, such as 2026-11-23T08:15:00Z: %s", quote(text), wrong)
	}
	return t, nil
}

// Timestamp is a time in the syntax of [ParseTime]. It is written in UTC, with as many
// digits of the fraction as it has.
type Timestamp time.Time

// AppendText implements encoding.TextAppender.
func (t Timestamp) AppendText(to []byte) ([]byte, error) { return time.Time(t).UTC().AppendText(to) }

// MarshalText implements encoding.TextMarshaler.
func (t Timestamp) MarshalText() ([]byte, error) { return t.AppendText(nil) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Timestamp) UnmarshalText(text []byte) error {
	parsed, err := ParseTime(string(text))
	*t = Timestamp(parsed)
	return err
}

// Forms of the parts of a date-time. Each 0 stands for a digit.
const (
	dateTimeForm = "0000-00-00T00:00:00"
	offsetForm   = "00:00"
)

// parseTime returns the fault as a text instead of an error.
func parseTime(text string) (_ time.Time, wrong string) {
	if !hasForm(text, dateTimeForm) {
		return time.Time{}, "want YYYY-MM-DDThh:mm:ss before the fraction and the zone"
	}
	year, month, day := number(text[0:4]), number(text[5:7]), number(text[8:10])
	hour, minute, second := number(text[11:13]), number(text[14:16]), number(text[17:19])
	switch {
	case month < 1 || month > 12:
		return time.Time{}, "want a month from 01 to 12"
	case day < 1 || day > daysIn(year, month):
		return time.Time{}, "the month has no such day"
	case hour > 23 || minute > 59 || second > 60:
		return time.Time{}, "want hours to 23, minutes to 59 and seconds to 59"
	}
	nanoseconds, rest, wrong := cutFraction(text[len(dateTimeForm):])
	if wrong != "" {
		return time.Time{}, wrong
	}
	offset, wrong := parseOffset(rest)
	if wrong != "" {
		return time.Time{}, wrong
	}
	// An hour's 60th minute and a minute's 60th second are normalised by time.Date.
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanoseconds, time.UTC).Add(-offset)
	if second == 60 && (t.Day() != 1 || t.Truncate(time.Second) != time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)) {
		return time.Time{}, "a leap second is possible only at 23:59:60 UTC on the last day of a month"
	}
	return t, ""
}

// cutFraction parses the fraction of a second, if any.
func cutFraction(text string) (nanoseconds int, rest, wrong string) {
	rest, found := strings.CutPrefix(text, ".")
	if !found {
		return 0, text, ""
	}
	digits := 0
	for unit := int(time.Second) / 10; digits < len(rest) && isDigit(rest[digits]); unit /= 10 {
		nanoseconds += unit * int(rest[digits]-'0')
		digits++
	}
	if digits == 0 {
		return 0, "", "want digits after the dot"
	}
	return nanoseconds, rest[digits:], ""
}

// parseOffset parses the offset.
func parseOffset(text string) (_ time.Duration, wrong string) {
	switch {
	case text == "Z" || text == "z":
		return 0, ""
	case text == "":
		return 0, "the zone is missing"
	case text[0] != '+' && text[0] != '-' || len(text) != 1+len(offsetForm) || !hasForm(text[1:], offsetForm):
		return 0, "want Z or an offset such as +05:30 as the zone"
	}
	hours, minutes := number(text[1:3]), number(text[4:6])
	if hours > 23 || minutes > 59 {
		return 0, "want an offset of at most 23:59"
	}
	offset := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if text[0] == '-' {
		offset = -offset
	}
	return offset, ""
}

// hasForm reports whether text begins with form. "t" matches "T".
func hasForm(text, form string) bool {
	if len(text) < len(form) {
		return false
	}
	for i := range len(form) {
		switch c := text[i]; form[i] {
		case '0':
			if !isDigit(c) {
				return false
			}
		case 'T':
			if c != 'T' && c != 't' {
				return false
			}
		default:
			if c != form[i] {
				return false
			}
		}
	}
	return true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// number returns the value of ASCII digits.
func number(digits string) int {
	n := 0
	for i := range len(digits) {
		n = 10*n + int(digits[i]-'0')
	}
	return n
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}
