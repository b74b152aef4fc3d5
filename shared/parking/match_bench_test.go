package parking

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// denseReads returns the lone reads of six days of a site with 20,000 vehicles inside, most
// of whose plates are of one German city.
func denseReads() *Reads {
	const reads = 92_161
	random := rand.New(rand.NewPCG(1, 2))
	letter := func() byte { return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[random.IntN(26)] }
	r := &Reads{Lone: make([]Lone, reads)}
	for i := range r.Lone {
		plate := fmt.Sprintf("M%c%c%d", letter(), letter(), 1000+random.IntN(9000))
		switch random.IntN(20) {
		case 0, 1, 2:
			plate = fmt.Sprintf("M%c%c%d", letter(), letter(), 100+random.IntN(900))
		case 3, 4, 5:
			plate = fmt.Sprintf("DAH%c%d", letter(), 1000+random.IntN(9000))
		case 6, 7:
			plate = fmt.Sprintf("FS%c%c%d", letter(), letter(), 100+random.IntN(900))
		case 8, 9, 10:
			plate = fmt.Sprintf("%c%c%d%c%c", letter(), letter(), 100+random.IntN(900), letter(), letter())
		}
		r.Lone[i] = Lone{Event: Event{
			ID: fmt.Sprint(i), Kind: Entry + Kind(i%2), Site: DefaultSite, Version: 1, Plate: plate, RawPlate: plate,
			Time: noon.Add(time.Duration(random.Int64N(int64(6 * 24 * time.Hour)))),
		}, Known: i%3 == 0}
	}
	return r
}

func BenchmarkMatch(b *testing.B) {
	r := denseReads()
	b.ReportAllocs()
	for b.Loop() {
		r.Match(nil, nil)
	}
}
