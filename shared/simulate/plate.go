package simulate

import (
	"math/rand/v2"
	"slices"
	"strings"
)

// A country issues number plates.
type country struct {
	code, code3 string // of ISO 3166
	hikvision   int    // the number that cameras of Hikvision give it
	series      []series
}

// A series has the form of plates: each part is one of its texts.
type series struct {
	share float64 // of the country's vehicles
	parts []part
	size  uint64 // number of plates
}

// part is a part of a plate. Plates of consecutive numbers differ in the parts of the
// least rank, of those in the one farthest to the right.
type part struct {
	texts []string
	rank  int
}

const (
	digits       = "0123456789"
	nonzero      = "123456789"
	alphabet     = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	withoutIO    = "ABCDEFGHJKLMNPQRSTUVWXYZ"
	withoutIOQ   = "ABCDEFGHJKLMNPRSTUVWXYZ"
	withoutIQ    = "ABCDEFGHJKLMNOPRSTUVWXYZ"
	withoutIOU   = "ABCDEFGHJKLMNPQRSTVWXYZ"
	withoutIOQU  = "ABCDEFGHJKLMNPRSTVWXYZ"
	consonants   = "BCDFGHJKLMNPRSTVWXYZ"
	polishSeries = "ABCDEFGHIJKLMNOPRSTUVWXYZ"
)

// countries are those whose vehicles come to the car park. The series of those that can be
// a home are the ones of one region: neighbours have plates that look alike.
var countries = []country{
	{"GB", "GBR", 17, []series{
		form(1, "LK LB LD LG LP", "02 03 52 53 54 17 18 19 20 21 22 23 24 25 67 68 69 70 71 72 73 74", withoutIQ, withoutIQ, withoutIQ),
	}},
	{"DE", "DEU", 3, []series{
		form(0.55, "M", alphabet, alphabet, nonzero, digits, digits, digits),
		form(0.20, "M", alphabet, alphabet, nonzero, digits, digits),
		form(0.15, "DAH FFB EBE STA", alphabet, nonzero, digits, digits, digits),
		form(0.10, "FS ED TS RO", alphabet, alphabet, nonzero, digits, digits),
	}},
	{"FR", "FRA", 2, []series{form(1, "F G H", withoutIOU, digits, digits, digits, withoutIOU, withoutIOU)}},
	{"ES", "ESP", 4, []series{form(1, digits, digits, digits, digits, "L M N", consonants, consonants)}},
	{"IN", "IND", 86, []series{
		form(0.9, "KA", "01 02 03 04 05", withoutIO, withoutIO, digits, digits, digits, digits),
		form(0.1, "TN", "07 09 22", withoutIO, withoutIO, digits, digits, digits, digits),
	}},
	{"US", "USA", 172, []series{form(1, "7 8 9", withoutIOQ, withoutIOQ, withoutIOQ, digits, digits, digits)}},
	{"PL", "POL", 7, []series{form(1, "WA WB KR PO RZE", nonzero, digits, digits, digits, polishSeries)}},
	{"NL", "NLD", 6, []series{form(1, "G H J K N P R S T X Z", consonants, digits, digits, digits, consonants)}},
	{"IT", "ITA", 5, []series{form(1, "C D E", withoutIOQU, digits, digits, digits, withoutIOQU, withoutIOQU)}},
	{"AT", "AUT", 37, []series{form(1, "W S L I", nonzero, digits, digits, digits, digits, consonants)}},
}

// homes are the countries whose car parks the scenarios of an evaluation have in turn.
var homes = []string{"GB", "DE", "FR", "ES", "IN", "US"}

// form returns a series. A part is a text of single characters, or texts separated by
// blanks: these change last.
func form(share float64, texts ...string) series {
	s := series{share: share, size: 1}
	for i, text := range texts {
		p := part{texts: strings.Split(text, ""), rank: 1}
		if strings.Contains(text, " ") || i == 0 && len(text) <= 3 {
			p = part{texts: strings.Fields(text), rank: 2}
		} else if text == digits || text == nonzero {
			p.rank = 0
		}
		s.parts = append(s.parts, p)
		s.size *= uint64(len(p.texts))
	}
	return s
}

// plate returns the n-th plate of a series. Of consecutive numbers the plates follow each
// other as they are issued.
func (s *series) plate(n uint64) string {
	texts := make([]string, len(s.parts))
	for rank := range 3 {
		for i, p := range slices.Backward(s.parts) {
			if p.rank == rank {
				texts[i] = p.texts[n%uint64(len(p.texts))]
				n /= uint64(len(p.texts))
			}
		}
	}
	return strings.Join(texts, "")
}

// registry issues the plates of a simulation: each once, in no order, without keeping
// those that it has issued.
type registry struct {
	home, abroad []*issuer
	foreign      float64
	fleets       map[string]bool // plates of fleets, which are as many as the population has
}

type issuer struct {
	country *country
	series  *series
	weight  float64 // cumulated in its list
	order   permutation
	issued  uint64
}

func newRegistry(home string, foreign float64, random *rand.Rand) *registry {
	r := &registry{foreign: foreign, fleets: make(map[string]bool)}
	for i := range countries {
		c := &countries[i]
		list := &r.abroad
		if c.code == home {
			list = &r.home
		}
		for j := range c.series {
			weight := c.series[j].share
			if n := len(*list); n > 0 {
				weight += (*list)[n-1].weight
			}
			*list = append(*list, &issuer{country: c, series: &c.series[j], weight: weight, order: newPermutation(c.series[j].size, random)})
		}
	}
	return r
}

// next returns a plate that was not issued before.
func (r *registry) next(random *rand.Rand) (string, *country) {
	list := r.home
	if random.Float64() < r.foreign {
		list = r.abroad
	}
	is := pick(list, random)
	for {
		plate := is.series.plate(is.order.at(is.issued % is.series.size))
		is.issued++
		if !r.fleets[plate] {
			return plate, is.country
		}
	}
}

// fleet returns plates of consecutive numbers.
func (r *registry) fleet(n int, random *rand.Rand) ([]string, *country) {
	is := pick(r.home, random)
	for {
		first := random.Uint64N(is.series.size)
		plates := make([]string, 0, n)
		for i := range uint64(n) {
			plates = append(plates, is.series.plate((first+i)%is.series.size))
		}
		// Fleets are made before others, so only another fleet can have the numbers.
		if !slices.ContainsFunc(plates, func(p string) bool { return r.fleets[p] }) {
			for _, p := range plates {
				r.fleets[p] = true
			}
			return plates, is.country
		}
	}
}

func pick(list []*issuer, random *rand.Rand) *issuer {
	at := random.Float64() * list[len(list)-1].weight
	i, _ := slices.BinarySearchFunc(list, at, func(is *issuer, at float64) int {
		if is.weight <= at {
			return -1
		}
		return 1
	})
	return list[i]
}

// permutation is an order of the numbers below n that needs no memory: a Feistel cipher
// over the next power of four, repeated until the number is below n.
type permutation struct {
	n    uint64
	bits uint
	keys [4]uint64
}

func newPermutation(n uint64, random *rand.Rand) permutation {
	p := permutation{n: n, bits: 1}
	for 1<<(2*p.bits) < n {
		p.bits++
	}
	for i := range p.keys {
		p.keys[i] = random.Uint64()
	}
	return p
}

// at returns the i-th number of the order; i is below n.
func (p *permutation) at(i uint64) uint64 {
	mask := uint64(1)<<p.bits - 1
	for {
		left, right := i>>p.bits, i&mask
		for _, key := range p.keys {
			left, right = right, left^mix(right^key)&mask
		}
		if i = left<<p.bits | right; i < p.n {
			return i
		}
	}
}

// mix spreads each bit of x over all bits.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
