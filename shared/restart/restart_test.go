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
		if got := d.Next(ran); got < middle/2 || got > middle+middle/2+1 {
			t.Errorf("%s: %s, want %s with a jitter of half", what, got, middle)
		}
	}
	const ms = time.Millisecond
	for _, middle := range []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms} {
		want("an end soon after the start", 10*time.Second, middle)
	}
	want("after a long run", 10*time.Second+1, 100*time.Millisecond)
	want("no start", 0, 200*time.Millisecond)
	d.Reset()
	want("after a reset", 0, 100*time.Millisecond)
}
