package redis

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Instant is the text form of instants in keys, members and arguments of scripts: the
// nanoseconds since 1970 in digits of a base. The number of digits is fixed, so the
// order of bytes is the order of time. One function of prelude.lua compares them in
// either base.
type Instant struct {
	base, digits int
}

var (
	// Base32 is the form of every instant outside the index of stays.
	Base32 = Instant{base: 32, digits: 13}
	// Base16 is the form in the index of stays. A sorted set of both forms would have
	// no order; docs/adr/0011-one-instant.md gives the reason why it is not converted.
	Base16 = Instant{base: 16, digits: 16}
)

// Len returns the length of an instant in bytes.
func (i Instant) Len() int { return i.digits }

// Format returns the text of an instant. An instant outside of 1970 to 2262, such as
// the year 9999 for "no end", becomes the nearest one inside.
func (i Instant) Format(t time.Time) string {
	var buffer [16]byte
	digits := strconv.AppendInt(buffer[:0], nanos(t), i.base)
	return "0000000000000000"[:i.digits-len(digits)] + string(digits)
}

func nanos(t time.Time) int64 {
	switch seconds := t.Unix(); {
	case seconds < 0:
		return 0
	case seconds >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// Cut parses the instant at the start of a text and returns it in UTC with the rest of
// the text.
func (i Instant) Cut(text string) (t time.Time, rest string, err error) {
	if len(text) < i.digits {
		return t, "", fmt.Errorf("%q is too short for an instant", text)
	}
	n, err := strconv.ParseUint(text[:i.digits], i.base, 63)
	if err != nil {
		return t, "", fmt.Errorf("instant of %q: %w", text, err)
	}
	return time.Unix(0, int64(n)).UTC(), text[i.digits:], nil
}
