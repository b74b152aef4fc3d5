package restart_test

import (
	"testing"
	"time"

	"parkstream/shared/restart"
)

func TestDelays(t *testing.T) {
	d := restart.NewDelays()
	want := func(what string, ran, middle time.Duration) {
		t.Helper()
		if got := d.Next(ran); got < middle/2 || got > middle*3/2+1 {
			t.Errorf("%s: %s, want %s with a jitter of half", what, got, middle)
		}
	}
	for _, middle := range []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		want("an end soon after the start", 10*time.Second, middle*time.Millisecond)
	}
	want("after a long run", 10*time.Second+1, 100*time.Millisecond)
	want("no start", 0, 200*time.Millisecond)
	d.Reset()
	want("after a reset", 0, 100*time.Millisecond)
}
