package evaluate

import (
	"fmt"
	"testing"

	"parkstream/shared/parking"
)

// The whole rule over the reads of six days of a site, as one tick of the matcher runs it.
func BenchmarkMatch(b *testing.B) {
	for _, inside := range []int{200, 2000, 20_000} {
		b.Run(fmt.Sprint(inside), func(b *testing.B) {
			s, err := Scenario("base+lists", 1, inside, 6)
			if err != nil {
				b.Fatal(err)
			}
			d, err := Simulate(s)
			if err != nil {
				b.Fatal(err)
			}
			reads := parking.ReadsOf(parking.Current(d.Events), nil)
			models := parking.Models{parking.DefaultModel()}
			b.ReportAllocs()
			for b.Loop() {
				reads.Match(nil, models)
			}
			b.ReportMetric(float64(len(reads.Lone)), "lone-reads")
		})
	}
}
