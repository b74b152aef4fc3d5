package breaker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The tests run in bubbles of synctest: time moves when the test sleeps, and by nothing
// else.

func newBreaker(least, most int) *Breaker {
	return New(Config{Min: least, Max: most, ProbeDelay: 100 * time.Millisecond, ProbeMaxDelay: time.Second, SlowAfter: time.Second})
}

func (b *Breaker) tryOnce() *Permit {
	p, _, _ := b.try()
	return p
}

// fill takes permits until none is left.
func fill(b *Breaker) (ps []*Permit) {
	for {
		p := b.tryOnce()
		if p == nil {
			return ps
		}
		ps = append(ps, p)
	}
}

// end ends calls that took a time and have done an event.
func (b *Breaker) end(took time.Duration, ps ...*Permit) {
	for _, p := range ps {
		b.Succeeded(p, took, true)
		b.Release(p)
	}
}

// fail ends calls in an outage.
func (b *Breaker) fail(after time.Duration, ps ...*Permit) {
	for _, p := range ps {
		b.Failed(p, "503", after)
		b.Release(p)
	}
}

func (b *Breaker) load() int {
	n, _, _ := b.Load()
	return n
}

// Calls at the same time grow to the maximum while they succeed and are wanted, and are
// halved by a slow one and by a throttled one, down to the minimum.
func TestConcurrencyAdapts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(2, 16)
		var ps []*Permit
		for before, rounds := 2, 0; ; rounds++ {
			ps = fill(b)
			if len(ps) < before || len(ps) > before+1 {
				t.Fatalf("%d calls after %d", len(ps), before)
			}
			if before = len(ps); before == 16 {
				break
			}
			if rounds > 200 {
				t.Fatalf("only %d calls after %d rounds", before, rounds)
			}
			b.end(time.Millisecond, ps...)
		}
		for _, p := range ps {
			b.Release(p)
		}
		b.end(time.Millisecond, b.tryOnce())
		if _, limit, _ := b.Load(); limit != 16 {
			t.Errorf("a lonely call made the limit %d", limit)
		}
		b.end(2*time.Second, b.tryOnce())
		if ps := fill(b); len(ps) != 8 {
			t.Errorf("%d calls after a slow one, want 8", len(ps))
		} else {
			b.Failed(ps[0], "429", 0)
			for _, p := range ps {
				b.Release(p)
			}
		}
		time.Sleep(time.Minute)
		probe := b.tryOnce()
		if probe == nil || !probe.Probe {
			t.Fatalf("%+v, want a probe", probe)
		}
		if p := b.tryOnce(); p != nil {
			t.Error("two probes at a time")
		}
		b.end(time.Millisecond, probe)
		if ps := fill(b); len(ps) != 4 {
			t.Errorf("%d calls after an outage, want 4", len(ps))
		}
	})
}

func TestProbesComeLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, began := newBreaker(1, 1), time.Now()
		b.fail(0, b.tryOnce())
		for _, ms := range []int{100, 200, 400, 800, 1000, 1000} {
			most := time.Duration(ms) * time.Millisecond
			p, wait, _ := b.try()
			if p != nil || wait < most/2 || wait > most {
				t.Fatalf("wait %s, want half of %s to all of it", wait, most)
			}
			if _, _, s := b.Load(); s != Open {
				t.Errorf("state %d", s)
			}
			time.Sleep(wait)
			p = b.tryOnce()
			if p == nil || !p.Probe || !p.Fresh {
				t.Fatalf("%+v: no probe is allowed when its time has come", p)
			}
			if _, _, s := b.Load(); s != Probing {
				t.Errorf("state %d during a probe", s)
			}
			b.fail(0, p)
		}
		if reason, since := b.Outage(); reason != "503" || !since.Equal(began) {
			t.Errorf("outage %q since %s", reason, since)
		}
		// A response that defers every event does not end it, a useful one does.
		time.Sleep(time.Minute)
		p := b.tryOnce()
		b.Answered()
		b.Release(p)
		if reason, _ := b.Outage(); reason == "" {
			t.Error("the outage was ended by an answer without use")
		}
		if answered, done := b.Last(); !answered.Equal(time.Now()) || !done.IsZero() {
			t.Errorf("last answered at %s, an event done at %s", answered, done)
		}
		b.end(time.Millisecond, b.tryOnce())
		if reason, _ := b.Outage(); reason != "" {
			t.Errorf("still %q", reason)
		}
		// The delays begin from the first one again.
		b.fail(0, b.tryOnce())
		if _, wait, _ := b.try(); wait > 100*time.Millisecond {
			t.Errorf("the first probe of the next outage comes after %s", wait)
		}
	})
}

// A function may ask for a delay. A call that was in flight when the breaker opened may
// lengthen that delay, but neither shorten it nor change the delays of the probes.
func TestCallsUnderWayInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(4, 4)
		ps := fill(b)
		b.fail(10*time.Second, ps[0])
		for _, p := range ps[1:3] {
			b.fail(0, p)
		}
		if _, wait, _ := b.try(); wait != 10*time.Second {
			t.Errorf("the probe comes after %s", wait)
		}
		b.fail(20*time.Second, ps[3])
		time.Sleep(20 * time.Second)
		probe := b.tryOnce()
		if probe == nil {
			t.Fatal("no probe")
		}
		b.fail(0, probe)
		if _, wait, _ := b.try(); wait < 100*time.Millisecond || wait > 200*time.Millisecond {
			t.Errorf("the second probe comes after %s", wait)
		}
		// One that succeeds closes it all the same.
		late := ps[0]
		b.Succeeded(late, time.Millisecond, false)
		if reason, _ := b.Outage(); reason != "" {
			t.Errorf("still %q", reason)
		}
		if _, done := b.Last(); !done.IsZero() {
			t.Errorf("an event was done at %s", done)
		}
	})
}

func TestAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(1, 1)
		p, err := b.Acquire(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		next := make(chan *Permit, 1)
		go func() {
			p, err := b.Acquire(t.Context(), true)
			if err != nil {
				t.Error(err)
			}
			next <- p
		}()
		synctest.Wait()
		select {
		case <-next:
			t.Fatal("two calls at a time")
		default:
		}
		b.Release(p)
		p = <-next
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Acquire(ctx, true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no permit is left: %v", err)
		}
		b.fail(time.Hour, p)
		if _, err := b.Acquire(t.Context(), false); !errors.Is(err, ErrOpen) {
			t.Errorf("impatient in an outage: %v", err)
		}
		start := time.Now()
		if p, err := b.Acquire(t.Context(), true); err != nil || !p.Probe || time.Since(start) != time.Hour {
			t.Errorf("%+v, %v after %s, want a probe after an hour", p, err, time.Since(start))
		}
	})
}

// An outage wakes the callers that wait for other calls to end, and not for the end of
// an outage.
func TestAcquireIsToldOfAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(1, 1)
		p := b.tryOnce()
		told := make(chan error, 1)
		go func() {
			_, err := b.Acquire(t.Context(), false)
			told <- err
		}()
		synctest.Wait()
		b.Failed(p, "503", time.Hour)
		if err := <-told; !errors.Is(err, ErrOpen) {
			t.Error(err)
		}
	})
}

// A function that has lost its network answers none of the calls in flight. Another one
// is let through, and when it succeeds the silent ones do not count.
func TestSilentCallsKeepNoOtherOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(2, 4)
		silent := fill(b)
		if len(silent) != 2 {
			t.Fatalf("%d calls", len(silent))
		}
		if p, wait, _ := b.try(); p != nil || wait != silentAfter {
			t.Fatalf("%+v, the next try is in %s", p, wait)
		}
		time.Sleep(silentAfter)
		fresh := b.tryOnce()
		if fresh == nil || !fresh.Fresh || fresh.Probe {
			t.Fatalf("%+v: no fresh call beside the silent ones", fresh)
		}
		ctx, cancel := context.WithCancel(t.Context())
		b.OnSilence(fresh, cancel)
		if p, wait, _ := b.try(); p != nil || wait != silentAfter {
			t.Fatalf("%+v, %s: two fresh calls at once", p, wait)
		}
		// It went to what is gone, as well: the next one finds the new instance.
		time.Sleep(silentAfter)
		second := b.tryOnce()
		if second == nil || !second.Fresh {
			t.Fatal("a silent fresh call keeps others out")
		}
		if ctx.Err() == nil {
			t.Error("a silent fresh call goes on")
		}
		time.Sleep(time.Millisecond)
		b.end(time.Millisecond, second)
		if ps := fill(b); len(ps) != 2 {
			t.Fatalf("%d calls beside the silent ones, want 2", len(ps))
		} else {
			b.end(time.Millisecond, ps...)
		}
		// A call that ends late releases nothing that it does not hold, and does not
		// change what is known of the function now.
		for _, p := range append(silent, fresh) {
			b.Succeeded(p, 10*time.Second, true)
			b.fail(time.Hour, p)
		}
		if reason, _ := b.Outage(); reason != "" {
			t.Errorf("calls that were written off opened the breaker: %s", reason)
		}
		if b.patience() != silentAfter {
			t.Errorf("calls that were written off made the patience %s", b.patience())
		}
		if n := b.load(); n != 0 {
			t.Errorf("%d calls are under way after all have ended", n)
		}
	})
}

// However often a function goes silent, at most twice the calls it wants and one are
// under way, and another fresh one comes again and again.
func TestSilentCallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(4, 4)
		most, fresh := 0, 0
		var given []*Permit // that were cancelled, and end then
		for range 50 {
			for range 10 {
				p := b.tryOnce()
				if p == nil {
					break
				}
				b.OnSilence(p, func() { given = append(given, p) })
			}
			time.Sleep(silentAfter + time.Millisecond)
			p := b.tryOnce()
			for _, p := range given {
				b.Release(p)
			}
			given = nil
			most = max(most, b.load())
			if p != nil {
				fresh++
				time.Sleep(time.Millisecond)
				b.end(time.Millisecond, p)
			}
		}
		if most != 9 || fresh != 50 {
			t.Errorf("%d calls were under way, want 9; %d fresh ones, want 50", most, fresh)
		}
	})
}

// A function that takes long is not taken for silent.
func TestASlowFunctionIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(1, 1)
		b.end(10*time.Second, b.tryOnce())
		last := fill(b)[0]
		time.Sleep(silentFactor*10*time.Second - time.Millisecond)
		if p, wait, _ := b.try(); p != nil || wait != time.Millisecond {
			t.Errorf("%+v, the next try is in %s", p, wait)
		}
		b.Begin(last) // the attempt makes another call
		time.Sleep(silentFactor * 10 * time.Second)
		if p := b.tryOnce(); p == nil || !p.Fresh {
			t.Errorf("%+v", p)
		}
	})
}

// Before the first response the duration of calls is unknown: half of the timeout is
// not a silence then. Many quick calls beside a slow one do not make it silent.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Min: 2, Max: 2, ProbeDelay: time.Second, ProbeMaxDelay: time.Second, SlowAfter: 30 * time.Second})
		if b.patience() != 30*time.Second {
			t.Errorf("%s before the first answer", b.patience())
		}
		b.end(10*time.Second, b.tryOnce())
		for range 1000 {
			b.end(time.Millisecond, b.tryOnce())
		}
		if b.patience() != 40*time.Second {
			t.Errorf("%s after a call of 10 s and a thousand quick ones", b.patience())
		}
		time.Sleep(usualHalf)
		b.end(time.Millisecond, b.tryOnce())
		if b.patience() != 20*time.Second {
			t.Errorf("%s a minute later", b.patience())
		}
	})
}

// During an outage, too, a probe that gets no answer keeps no other one out.
func TestASilentProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(1, 4)
		b.fail(0, b.tryOnce())
		time.Sleep(time.Minute)
		first := b.tryOnce()
		if first == nil || !first.Probe {
			t.Fatal("no probe")
		}
		if p, wait, _ := b.try(); p != nil || wait != silentAfter {
			t.Fatalf("%+v %s", p, wait)
		}
		time.Sleep(silentAfter)
		second := b.tryOnce()
		if second == nil || !second.Probe {
			t.Fatal("a silent probe keeps others out")
		}
		b.end(time.Millisecond, second)
		if reason, _ := b.Outage(); reason != "" {
			t.Errorf("the outage goes on: %s", reason)
		}
	})
}
