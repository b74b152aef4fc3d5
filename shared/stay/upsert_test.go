package stay

import (
	"fmt"
	"testing"
	"time"

	"parkstream/shared/parking"
)

func TestUpsertCounts(t *testing.T) {
	s := newStore(t)
	stay := completed("x1", "a", "P1", today, 60)
	second := stay
	second.Revision = 2
	for i, step := range []struct {
		stays []parking.Stay
		want  int
	}{
		{[]parking.Stay{stay, unmatched("x2", "b", "P2", today)}, 2},
		{[]parking.Stay{stay, stay}, 0},
		{[]parking.Stay{second, stay, second}, 1},
		{[]parking.Stay{stay}, 0},
		{nil, 0},
	} {
		if got := put(t, s, step.stays...); got != step.want {
			t.Errorf("step %d: %d stored, want %d", i, got, step.want)
		}
	}
	// A Redis without scripts, as after a restart.
	if err := s.redis.Current().ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if n := put(t, s, unmatched("x3", "a", "P1", today)); n != 1 {
		t.Errorf("%d stored after the scripts were lost", n)
	}
	var many []parking.Stay
	for i := range 2*staysPerScript + 1 {
		many = append(many, unmatched(fmt.Sprint("m", i), "many", "P", today))
	}
	if n := put(t, s, many...); n != len(many) {
		t.Errorf("%d of %d stored", n, len(many))
	}
}

func BenchmarkUpsert(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := newStore(b)
			stays := make([]parking.Stay, size)
			var n int
			for b.Loop() {
				for i := range stays {
					n++
					stays[i] = completed(fmt.Sprint("x", n), "a", fmt.Sprint("P", n), today.Add(time.Duration(n)*time.Millisecond), 3600)
				}
				put(b, s, stays...)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "stays/s")
		})
	}
}
