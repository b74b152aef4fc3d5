package broker

import (
	"slices"
	"strings"
	"testing"
	"unicode"
)

// FuzzSplitURLs wants that nothing of the text is lost but separators, and that URLs
// which stand by themselves stay as they are.
func FuzzSplitURLs(f *testing.F) {
	for _, text := range []string{"amqp://a:x,y@h1/\namqps://b@h2 amqp://c@h3,amqp://d@h4\n", " ,amqp", ",,amqp,amqp\u00a0", "\xff,amqp", "\xc9 \xbb"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		urls, err := SplitURLs(text)
		if (err == nil) != (len(urls) > 0) {
			t.Fatalf("%q: %q, error %v", text, urls, err)
		}
		bare := func(s string) string {
			return strings.Map(func(r rune) rune {
				if unicode.IsSpace(r) || r == ',' {
					return -1
				}
				return r
			}, s)
		}
		var joined strings.Builder // of two URLs that end and begin amid a character none is made
		for _, u := range urls {
			joined.WriteString(bare(u))
		}
		if err == nil && joined.String() != bare(text) {
			t.Fatalf("%q is split into %q", text, urls)
		}
		for _, u := range urls {
			if again, err := SplitURLs(u); err != nil || !slices.Equal(again, []string{u}) {
				t.Fatalf("%q of %q is split again: %q, %v", u, text, again, err)
			}
		}
	})
}
