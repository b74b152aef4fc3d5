package webhook

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkAnswer posts 100 reads a second over loopback, whatever the answers take, and
// reports how long the answers took. Run it with -benchtime 500x, which takes 5 s.
func BenchmarkAnswer(b *testing.B) {
	f := start(b)
	post := func(n int) time.Duration {
		plate := "BE" + strings.Repeat("1", n%9) + string(rune('A'+n%26))
		begun := time.Now()
		if got := f.post("in", read(plate), "Authorization", bearer); got.status != 200 {
			b.Errorf("%d %s", got.status, got.body)
		}
		return time.Since(begun)
	}
	post(0) // connects
	var (
		mu    sync.Mutex
		took  []time.Duration
		posts sync.WaitGroup
	)
	tick := time.NewTicker(time.Second / 100)
	defer tick.Stop()
	for n := range b.N {
		<-tick.C
		posts.Go(func() {
			d := post(n)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, d)
		})
	}
	posts.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
