package rabbitmq

import (
	"context"
	"errors"
	"testing"
	"time"
)

// clock is moved by the test.
type clock struct{ now time.Time }

func (c *clock) move(d time.Duration) { c.now = c.now.Add(d) }

func newTestGate(least, most int) (*gate, *clock) {
	c := &clock{time.Unix(1_800_000_000, 0)}
	return newGate(gateConfig{
		min: least, max: most, probeDelay: 100 * time.Millisecond, probeMax: time.Second, slow: time.Second, now: func() time.Time { return c.now },
	}), c
}

// fill takes permits until none is left.
func fill(g *gate) (ps []permit) {
	for {
		p, ok, _, _ := g.try()
		if !ok {
			return ps
		}
		ps = append(ps, p)
	}
}

func (g *gate) end(ps []permit, took time.Duration) {
	for _, p := range ps {
		g.succeeded(p, took, true)
		g.release(p)
	}
}

// Calls at the same time grow to the maximum while they succeed and are wanted,
// and are halved by a slow one and by a throttled one, down to the minimum.
func TestConcurrencyAdapts(t *testing.T) {
	g, c := newTestGate(2, 16)
	var ps []permit
	for before, rounds := 2, 0; ; rounds++ {
		ps = fill(g)
		if len(ps) < before || len(ps) > before+1 {
			t.Fatalf("%d calls after %d", len(ps), before)
		}
		if before = len(ps); before == 16 {
			break
		}
		if rounds > 200 {
			t.Fatalf("only %d calls after %d rounds", before, rounds)
		}
		g.end(ps, time.Millisecond)
	}
	for _, p := range ps {
		g.release(p)
	}
	p, _, _, _ := g.try()
	g.end([]permit{p}, time.Millisecond)
	if _, limit, _ := g.load(); limit != 16 {
		t.Errorf("a lonely call made the limit %d", limit)
	}
	p, _, _, _ = g.try()
	g.end([]permit{p}, 2*time.Second)
	if ps := fill(g); len(ps) != 8 {
		t.Errorf("%d calls after a slow one, want 8", len(ps))
	} else {
		g.failed(ps[0], "429", 0)
		for _, p := range ps {
			g.release(p)
		}
	}
	c.move(time.Minute)
	probe, ok, _, _ := g.try()
	if !ok || !probe.probe {
		t.Fatalf("%+v, %t, want a probe", probe, ok)
	}
	if _, ok, _, _ := g.try(); ok {
		t.Error("two probes at a time")
	}
	g.end([]permit{probe}, time.Millisecond)
	if ps := fill(g); len(ps) != 4 {
		t.Errorf("%d calls after an outage, want 4", len(ps))
	}
}

func TestProbesComeLessAndLess(t *testing.T) {
	g, c := newTestGate(1, 1)
	p, _, _, _ := g.try()
	g.failed(p, "503", 0)
	g.release(p)
	for _, ms := range []int{100, 200, 400, 800, 1000, 1000} {
		most := time.Duration(ms) * time.Millisecond
		_, ok, wait, _ := g.try()
		if ok || wait < most/2 || wait > most {
			t.Fatalf("wait %s, want half of %s to all of it", wait, most)
		}
		c.move(wait)
		p, ok, _, _ := g.try()
		if !ok || !p.probe {
			t.Fatal("no probe is allowed when its time has come")
		}
		g.failed(p, "503", 0)
		g.release(p)
	}
	if reason, since := g.outage(); reason != "503" || !since.Equal(time.Unix(1_800_000_000, 0)) {
		t.Errorf("outage %q since %s", reason, since)
	}
	// An answer that says all has to wait does not end it, a useful one does.
	c.move(time.Minute)
	p, _, _, _ = g.try()
	g.succeeded(p, time.Millisecond, false)
	g.release(p)
	if reason, _ := g.outage(); reason == "" {
		t.Error("the outage was ended by an answer without use")
	}
	p, _, _, _ = g.try()
	g.end([]permit{p}, time.Millisecond)
	if reason, _ := g.outage(); reason != "" {
		t.Errorf("still %q", reason)
	}
}

func TestAcquire(t *testing.T) {
	g, _ := newTestGate(1, 1)
	p, err := g.acquire(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	next := make(chan error)
	go func() {
		_, err := g.acquire(t.Context(), true)
		next <- err
	}()
	g.release(p)
	if err := <-next; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if _, err := g.acquire(ctx, true); !errors.Is(err, context.Canceled) {
		t.Errorf("no permit is left: %v", err)
	}
	g.failed(permit{}, "503", time.Hour)
	if _, err := g.acquire(t.Context(), false); !errors.Is(err, errOpen) {
		t.Errorf("impatient in an outage: %v", err)
	}
}

// A function that has lost its network answers none of the calls in flight. Another
// one is let through as a probe, and when it succeeds the silent ones do not count.
func TestSilentCallsKeepNoOtherOut(t *testing.T) {
	g, c := newTestGate(2, 4)
	silent := fill(g)
	if len(silent) != 2 {
		t.Fatalf("%d calls", len(silent))
	}
	if _, ok, wait, _ := g.try(); ok || wait != silentAfter {
		t.Fatalf("%t, the next try is in %s", ok, wait)
	}
	c.move(silentAfter)
	probe, ok, _, _ := g.try()
	if !ok || !probe.fresh || probe.probe {
		t.Fatalf("%+v, %t: no fresh call beside the silent ones", probe, ok)
	}
	ctx, cancel := context.WithCancel(t.Context())
	g.cancellable(probe, cancel)
	if _, ok, wait, _ := g.try(); ok || wait != silentAfter {
		t.Fatalf("%t, %s: two probes at once", ok, wait)
	}
	// The probe went to what is gone, as well: the next one finds the new instance.
	c.move(silentAfter)
	second, ok, _, _ := g.try()
	if !ok || !second.fresh {
		t.Fatal("a silent fresh call keeps others out")
	}
	if ctx.Err() == nil {
		t.Error("a silent fresh call goes on")
	}
	c.move(time.Millisecond)
	g.succeeded(second, time.Millisecond, true)
	g.release(second)
	if ps := fill(g); len(ps) != 2 {
		t.Fatalf("%d calls beside the silent ones, want 2", len(ps))
	} else {
		g.end(ps, time.Millisecond)
	}
	// What ends late gives nothing back that it does not hold, and tells nothing of the
	// function as it is now.
	for _, p := range append(silent, probe) {
		g.succeeded(p, 10*time.Second, true)
		g.failed(p, "timeout", time.Hour)
		g.release(p)
	}
	if reason, _ := g.outage(); reason != "" {
		t.Errorf("calls that were written off opened the breaker: %s", reason)
	}
	if g.patience() != silentAfter {
		t.Errorf("calls that were written off made the patience %s", g.patience())
	}
	if n, _, _ := g.load(); n != 0 {
		t.Errorf("%d calls are under way after all have ended", n)
	}
}

// However often a function goes silent, at most twice the calls it wants and one are
// under way, and another fresh one comes again and again.
func TestSilentCallsAreBounded(t *testing.T) {
	g, c := newTestGate(4, 4)
	most, fresh := 0, 0
	var given []permit // that were cancelled, and end then
	for range 50 {
		for range 10 {
			p, ok, _, _ := g.try()
			if !ok {
				break
			}
			g.cancellable(p, func() { given = append(given, p) })
		}
		c.move(silentAfter + time.Millisecond)
		p, ok, _, _ := g.try()
		for _, p := range given {
			g.release(p)
		}
		given = nil
		n, _, _ := g.load()
		most = max(most, n)
		if ok {
			fresh++
			c.move(time.Millisecond)
			g.end([]permit{p}, time.Millisecond)
		}
	}
	if most != 9 || fresh != 50 {
		t.Errorf("%d calls were under way, want 9; %d fresh ones, want 50", most, fresh)
	}
}

// A function that takes long is not taken for silent.
func TestASlowFunctionIsNotSilent(t *testing.T) {
	g, c := newTestGate(1, 1)
	p, _, _, _ := g.try()
	g.end([]permit{p}, 10*time.Second)
	fill(g)
	c.move(silentFactor*10*time.Second - time.Millisecond)
	if _, ok, wait, _ := g.try(); ok || wait != time.Millisecond {
		t.Errorf("%t, the next try is in %s", ok, wait)
	}
	c.move(time.Millisecond)
	if p, ok, _, _ := g.try(); !ok || !p.fresh {
		t.Errorf("%+v %t", p, ok)
	}
}

// How long calls take is not known before the first answer: half of the timeout is no
// silence then. Many quick calls beside a slow one do not make it a silent one.
func TestPatience(t *testing.T) {
	g, c := newTestGate(2, 2)
	g.slow = 30 * time.Second
	if g.patience() != 30*time.Second {
		t.Errorf("%s before the first answer", g.patience())
	}
	p, _, _, _ := g.try()
	g.end([]permit{p}, 10*time.Second)
	for range 1000 {
		p, _, _, _ = g.try()
		g.end([]permit{p}, time.Millisecond)
	}
	if g.patience() != 40*time.Second {
		t.Errorf("%s after a call of 10 s and a thousand quick ones", g.patience())
	}
	c.move(usualHalf)
	p, _, _, _ = g.try()
	g.end([]permit{p}, time.Millisecond)
	if g.patience() != 20*time.Second {
		t.Errorf("%s a minute later", g.patience())
	}
}

// During an outage, too, a probe that gets no answer keeps no other one out.
func TestASilentProbe(t *testing.T) {
	g, c := newTestGate(1, 4)
	p, _, _, _ := g.try()
	g.failed(p, "503", 0)
	g.release(p)
	c.move(time.Minute)
	first, ok, _, _ := g.try()
	if !ok || !first.probe {
		t.Fatal("no probe")
	}
	if _, ok, wait, _ := g.try(); ok || wait != silentAfter {
		t.Fatalf("%t %s", ok, wait)
	}
	c.move(silentAfter)
	second, ok, _, _ := g.try()
	if !ok || !second.probe {
		t.Fatal("a silent probe keeps others out")
	}
	g.end([]permit{second}, time.Millisecond)
	if reason, _ := g.outage(); reason != "" {
		t.Errorf("the outage goes on: %s", reason)
	}
}
