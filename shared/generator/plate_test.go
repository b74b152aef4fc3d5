package generator

import (
	"math/rand/v2"
	"regexp"
	"testing"

	"parkstream/shared/parking"
)

var indian = regexp.MustCompile(`^[A-Z]{2}[0-9]{2}[A-HJ-NP-Z]{3}[0-9]{4}$`)

func TestPlates(t *testing.T) {
	source := newPlateSource(rand.New(rand.NewPCG(1, 2)), MaxCount)
	seen := make(map[string]bool, MaxCount)
	for range MaxCount {
		p := source.next()
		if !indian.MatchString(p) || parking.NormalizePlate(p) != p || seen[p] {
			t.Fatalf("%q is malformed or drawn twice", p)
		}
		seen[p] = true
	}
	for n, want := range map[int64]string{0: "AN01AAA0001", plateSpace - 1: "WB99ZZZ9999"} {
		if got := plate(n); got != want {
			t.Errorf("plate(%d) = %s, want %s", n, got, want)
		}
	}
}

// TestNoPlateTwice draws from a source that repeats itself.
func TestNoPlateTwice(t *testing.T) {
	source := newPlateSource(rand.New(&loop{}), 10)
	seen := make(map[string]bool)
	for range 10 {
		seen[source.next()] = true
	}
	if len(seen) != 10 {
		t.Errorf("10 draws gave %d plates", len(seen))
	}
}

// loop returns every number twice.
type loop struct{ n uint64 }

func (l *loop) Uint64() uint64 { l.n++; return l.n / 2 << 40 }
