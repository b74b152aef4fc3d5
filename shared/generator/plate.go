package generator

import "math/rand/v2"

// states are the two-letter prefixes of Indian number plates.
const states = "ANAPARASBRCGCHDDDLGAGJHPHRJHJKKAKLLALDMHMLMNMPMZNLODPBPYRJSKTNTRTSUKUPWB"

// letters of a series. I and O are not issued, because they look like 1 and 0.
const letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"

const (
	districts    = 99
	seriesLength = 3
	numbers      = 9999
	// plateSpace is the number of possible plates, some 5e11: two runs of 10,000 share
	// a plate once in 5,000 times.
	plateSpace int64 = int64(len(states)/2) * districts * int64(len(letters)*len(letters)*len(letters)) * numbers
)

// plateSource draws plates such as KA01ABC1234, each at most once.
type plateSource struct {
	random *rand.Rand
	drawn  map[int64]struct{}
}

func newPlateSource(random *rand.Rand, expected int) *plateSource {
	return &plateSource{random: random, drawn: make(map[int64]struct{}, expected)}
}

func (s *plateSource) next() string {
	for {
		n := s.random.Int64N(plateSpace)
		if _, again := s.drawn[n]; !again {
			s.drawn[n] = struct{}{}
			return plate(n)
		}
	}
}

// plate returns the n-th of all plates.
func plate(n int64) string {
	take := func(size int) int {
		digit := int(n % int64(size))
		n /= int64(size)
		return digit
	}
	text := make([]byte, 0, 11)
	state := 2 * take(len(states)/2)
	text = append(text, states[state], states[state+1])
	district := 1 + take(districts)
	text = append(text, digit(district/10), digit(district))
	for range seriesLength {
		text = append(text, letters[take(len(letters))])
	}
	number := 1 + take(numbers)
	return string(append(text, digit(number/1000), digit(number/100), digit(number/10), digit(number)))
}

// digit returns the last decimal digit of n.
func digit(n int) byte { return '0' + byte(n%10) }
