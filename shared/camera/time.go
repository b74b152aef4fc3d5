package camera

import (
	"math"
	"strconv"
	"strings"
	"time"

	"parkstream/shared/parking"
)

// clock is a time of a camera. The zero clock is that of a read without a time.
type clock struct {
	Time time.Time // in UTC
	// Ambiguous reports that the text was a local time of the hour that comes twice.
	Ambiguous bool
}

// mostAhead is how far ahead of ours a camera's clock may be. The processors accept as
// much by default.
const mostAhead = 2 * time.Minute

// readTime parses the text of a time by the first of the layouts of package time that
// fits. Without a layout it is [isoTime]. A time without a zone is one of zone, which is
// UTC if it is nil; received decides which of two that could be meant. An empty text and
// one of dashes and zeros give the zero clock. The error is a [parking.ErrInvalid].
func readTime(text string, zone *time.Location, received time.Time, layouts ...string) (clock, error) {
	text = strings.TrimSpace(text)
	if strings.Trim(text, "-/.: 0TZ") == "" {
		return clock{}, nil
	}
	if len(layouts) == 0 {
		return isoTime(text, zone, received)
	}
	if zone == nil {
		zone = time.UTC
	}
	for _, layout := range layouts {
		if zoned(layout) {
			t, err := time.ParseInLocation(layout, text, zone)
			if err != nil || !known(t, zone) {
				continue
			}
			return clock{Time: t.UTC()}, nil
		}
		if t, err := time.Parse(layout, text); err == nil {
			return localTime(t, zone, received), nil
		}
	}
	return clock{}, parking.Invalid("%s is no time such as %s", quote(text), layouts[0])
}

// zoned reports whether a layout has a zone.
func zoned(layout string) bool {
	return strings.Contains(layout, "Z07") || strings.Contains(layout, "-07") || strings.Contains(layout, "MST")
}

// known reports whether a parsed time has a zone that is known. Package time gives an
// abbreviation that it does not know the offset 0.
func known(t time.Time, zone *time.Location) bool {
	name, offset := t.Zone()
	return offset != 0 || t.Location() == zone || name == "" || name == "UTC" || name == "GMT"
}

// localTime returns the instant at which the clocks of a zone show what wall shows,
// whose own zone is ignored.
//
// When the hour comes twice, it is the later one unless that is in the future. When the
// clocks skip it, the camera's clock was not yet set forward: it is read by the offset
// that was valid before.
func localTime(wall time.Time, zone *time.Location, received time.Time) clock {
	if zone == nil {
		zone = time.UTC
	}
	year, month, day := wall.Date()
	hour, minute, second := wall.Clock()
	guess := time.Date(year, month, day, hour, minute, second, wall.Nanosecond(), zone)
	shown := time.Date(year, month, day, hour, minute, second, wall.Nanosecond(), time.UTC)

	var meant []time.Time // every instant with that local time, in order
	start, end := guess.ZoneBounds()
	for _, near := range []time.Time{guess, before(start), end} {
		if near.IsZero() {
			continue
		}
		_, offset := near.Zone()
		t := shown.Add(-time.Duration(offset) * time.Second)
		if _, has := t.In(zone).Zone(); has == offset && (len(meant) == 0 || !meant[0].Equal(t)) {
			meant = append(meant, t)
		}
	}
	switch {
	case len(meant) == 0: // skipped
		change := start
		if start.IsZero() || !end.IsZero() && end.Sub(guess) < guess.Sub(start) {
			change = end
		}
		_, offset := before(change).Zone()
		return clock{Time: shown.Add(-time.Duration(offset) * time.Second)}
	case len(meant) == 1:
		return clock{Time: meant[0]}
	}
	first, last := meant[0], meant[1]
	if last.Before(first) {
		first, last = last, first
	}
	if last.After(received.Add(mostAhead)) {
		last = first
	}
	return clock{Time: last, Ambiguous: true}
}

// before returns the instant before t, or the zero time before the zero time.
func before(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(-1)
}

// isoTime parses a date and a time in the shapes of ISO 8601 that cameras use: with
// hyphens, slashes or dots between the numbers of the date, or with none; with T, a blank
// or an underscore before the time, or nothing if it is all digits; the time with colons
// or with none; a fraction after a dot or a comma, or directly after a time without
// colons; then a zone or none. Numbers between such marks may have one digit.
func isoTime(text string, zone *time.Location, received time.Time) (clock, error) {
	p := isoText{rest: text}
	wall := p.dateTime()
	offset, has := p.zone()
	if p.wrong || p.rest != "" {
		return clock{}, parking.Invalid("%s is no time such as 2026-11-27T08:15:00.000+01:00", quote(text))
	}
	if has {
		return clock{Time: wall.Add(-offset)}, nil
	}
	return localTime(wall, zone, received), nil
}

// isoText is the part of a time that has not been read.
type isoText struct {
	rest  string
	wrong bool
}

// dateTime reads a date and a time, and returns them in UTC.
func (p *isoText) dateTime() time.Time {
	year := p.number(4)
	between := p.one("-/.")
	month := p.short(between)
	p.same(between)
	day := p.short(between)
	if p.one("Tt_ ") == "" && (between != "" || !p.digit()) {
		p.wrong = true
	}
	p.rest = strings.TrimLeft(p.rest, " ")
	hour := p.short(":")
	colon := p.one(":")
	minute := p.short(colon)
	second, nanosecond := 0, 0
	if colon == "" || strings.HasPrefix(p.rest, ":") {
		p.same(colon)
		second = p.short(colon)
		if p.one(".,") != "" || colon == "" && p.digit() {
			nanosecond = p.fraction()
		}
	}
	if month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60 {
		p.wrong = true
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanosecond, time.UTC)
	if !p.wrong && second < 60 && t.Day() != day {
		p.wrong = true // the month has no such day
	}
	return t
}

// zone reads a zone, if there is one, and returns its offset from UTC.
func (p *isoText) zone() (offset time.Duration, has bool) {
	p.rest = strings.TrimLeft(p.rest, " ")
	switch strings.ToUpper(p.rest) {
	case "":
		return 0, false
	case "Z", "UTC", "GMT":
		p.rest = ""
		return 0, true
	}
	sign := p.one("+-")
	hours := p.short(":")
	minutes := 0
	if p.one(":") != "" || p.rest != "" {
		minutes = p.number(2)
	}
	if sign == "" || hours > 15 || minutes > 59 {
		p.wrong = true
	}
	offset = time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if sign == "-" {
		offset = -offset
	}
	return offset, true
}

func (p *isoText) digit() bool { return p.rest != "" && p.rest[0] >= '0' && p.rest[0] <= '9' }

// number reads so many digits.
func (p *isoText) number(digits int) int {
	n := 0
	for range digits {
		if !p.digit() {
			p.wrong = true
			return 0
		}
		n = 10*n + int(p.rest[0]-'0')
		p.rest = p.rest[1:]
	}
	return n
}

// short reads two digits, or one if the marks of such a number are around it.
func (p *isoText) short(mark string) int {
	if mark != "" && len(p.rest) > 1 && (p.rest[1] < '0' || p.rest[1] > '9') {
		return p.number(1)
	}
	return p.number(2)
}

// isCompactTime reports whether a text is a date and a time, to seconds or milliseconds,
// in digits alone. As a number since 1970 it would be in another millennium.
func isCompactTime(text string) bool {
	const seconds, milliseconds = len("20261123081530"), len("20261123081530123")
	return (len(text) == seconds || len(text) == milliseconds) && strings.Trim(text, "0123456789") == ""
}

// one reads one of the characters, if the rest begins with one.
func (p *isoText) one(of string) string {
	if p.rest == "" || !strings.Contains(of, p.rest[:1]) {
		return ""
	}
	c := p.rest[:1]
	p.rest = p.rest[1:]
	return c
}

// same reads what was between the numbers before, which may be nothing.
func (p *isoText) same(between string) {
	var found bool
	if p.rest, found = strings.CutPrefix(p.rest, between); !found {
		p.wrong = true
	}
}

// fraction reads the digits of a fraction of a second. Those beyond nanoseconds are cut
// off.
func (p *isoText) fraction() (nanoseconds int) {
	p.wrong = p.wrong || !p.digit()
	for unit := int(time.Second) / 10; p.digit(); unit /= 10 {
		nanoseconds += unit * int(p.rest[0]-'0')
		p.rest = p.rest[1:]
	}
	return nanoseconds
}

// Units of epoch.
const (
	maxNumberText = 64
	// A number of more than these is in the next smaller unit. 1e11 s is the year 5138,
	// and 1e11 ms is 1973.
	mostSeconds, mostMilliseconds, mostMicroseconds = 1e11, 1e14, 1e17
)

// epoch returns the time of a number of units since 1970, written as JSON writes
// numbers. Unit 0 is the one of seconds, milliseconds, microseconds and nanoseconds that
// gives a time of our days. No digit down to nanoseconds is lost. An empty text, "-" and
// 0 give the zero clock. The error is a [parking.ErrInvalid].
func epoch(text string, unit time.Duration) (clock, error) {
	text = strings.TrimSpace(text)
	if text == "" || text == "-" {
		return clock{}, nil
	}
	size, err := strconv.ParseFloat(text, 64)
	if err != nil || len(text) > maxNumberText || strings.Trim(text, "0123456789.eE+-") != "" || size < 0 {
		return clock{}, parking.Invalid("%s is no number of seconds or milliseconds since 1970", quote(text))
	}
	if size == 0 {
		return clock{}, nil
	}
	if unit == 0 {
		switch {
		case size < mostSeconds:
			unit = time.Second
		case size < mostMilliseconds:
			unit = time.Millisecond
		case size < mostMicroseconds:
			unit = time.Microsecond
		default:
			unit = time.Nanosecond
		}
	}
	if size*float64(unit) >= math.MaxInt64 {
		return clock{}, parking.Invalid("%s is no time of our days", quote(text))
	}
	return clock{Time: time.Unix(0, nanoseconds(text, unit)).UTC()}, nil
}

// nanoseconds returns a valid decimal number of units in nanoseconds, which it rounds
// down. The result is known to fit.
func nanoseconds(text string, unit time.Duration) int64 {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	shift, _ := strconv.Atoi(exponent)
	whole, fraction, _ := strings.Cut(strings.TrimLeft(mantissa, "+"), ".")
	for range len(strconv.FormatInt(int64(unit), 10)) - 1 { // units are powers of ten
		shift++
	}
	digits := whole + fraction
	point := len(whole) + shift
	switch {
	case point <= 0:
		return 0
	case point <= len(digits):
		digits = digits[:point]
	default:
		digits += strings.Repeat("0", min(point-len(digits), maxNumberText))
	}
	n, _ := strconv.ParseInt(digits, 10, 64)
	return n
}

// quote returns a text for an error: the beginning of it, in ASCII.
func quote(text string) string {
	const shown = 40
	if len(text) > shown {
		return strconv.QuoteToASCII(text[:shown]) + "..."
	}
	return strconv.QuoteToASCII(text)
}
