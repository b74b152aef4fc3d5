package redis

import (
	"cmp"
	"strings"
	"testing"
	"time"
)

// FuzzInstant checks that instants are read as they were written, with any text after
// them, that their order is that of time, and that a valid text is written as it was
// read.
func FuzzInstant(f *testing.F) {
	f.Add("1hqkugo58ea01", int64(1795763908e9), int64(1795763908e9+1), "0id")
	f.Add("18ea9e860a872801", int64(0), int64(1<<63-1), "")
	f.Add("1HQKUGO58EA01", int64(1), int64(1e18), "0123456789abcdef")
	f.Add("-000000000000000", int64(7), int64(7), "\xff")
	f.Fuzz(func(t *testing.T, text string, a, b int64, rest string) {
		for _, form := range []Instant{Base32, Base16} {
			if at, after, err := form.Cut(text); err == nil && form.Format(at)+after != strings.ToLower(text[:form.Len()])+text[form.Len():] {
				t.Errorf("%+v: %q is read as %s and %q", form, text, at, after)
			}
			if a < 0 || b < 0 {
				continue
			}
			x, y := form.Format(time.Unix(0, a)), form.Format(time.Unix(0, b))
			if cmp.Compare(x, y) != cmp.Compare(a, b) {
				t.Errorf("%+v: %q and %q are not in the order of %d and %d", form, x, y, a, b)
			}
			at, after, err := form.Cut(x + rest)
			if err != nil || at.UnixNano() != a || at.Location() != time.UTC || after != rest || len(x) != form.Len() {
				t.Errorf("%+v: %d is written as %q and read as %s and %q, error %v", form, a, x, at, after, err)
			}
		}
	})
}
