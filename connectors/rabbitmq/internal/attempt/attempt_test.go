package attempt

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/breaker"
	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
)

// world is a function, its breaker and what is called, in a bubble of synctest. A call
// takes a millisecond.
type world struct {
	t       *testing.T
	f       *Callee
	b       *breaker.Breaker
	calls   [][]string // ids of the events of each call
	respond func(ids []string) openfaas.Response
}

const (
	probeDelay = 100 * time.Millisecond
	callTime   = time.Millisecond
)

func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Min: 4, Max: 4, ProbeDelay: probeDelay, ProbeMaxDelay: time.Second, SlowAfter: time.Minute})
		w := &world{t: t, b: b, respond: done}
		w.f = &Callee{Invoker: w, Breaker: b, Batched: true}
		test(t, w)
	})
}

func (w *world) Invoke(_ context.Context, ms []*message.Delivery) (openfaas.Response, *Call) {
	var ids []string
	for _, m := range ms {
		ids = append(ids, m.ID())
	}
	w.calls = append(w.calls, ids)
	time.Sleep(callTime)
	r := w.respond(ids)
	r.Took = callTime
	return r, &Call{ID: fmt.Sprint("call ", len(w.calls))}
}

// batch returns n events that are received now.
func (w *world) batch(n int) []Event {
	es := make([]Event, n)
	for i := range es {
		d := &amqp.Delivery{MessageId: fmt.Sprint("e-", i), Body: []byte("{}")}
		es[i] = NewEvent((&message.Source{Queue: "q"}).Read(d, time.Now()))
	}
	time.Sleep(time.Millisecond)
	return es
}

// run makes an attempt with a permit of its own.
func (w *world) run(es []Event) []Decision {
	w.t.Helper()
	p, err := w.b.Acquire(w.t.Context(), true)
	if err != nil {
		w.t.Fatal(err)
	}
	w.calls = nil
	defer w.b.Release(p)
	return Run(w.t.Context(), nil, w.f, p, es)
}

// succeedsElsewhere has the function do an event of another attempt.
func (w *world) succeedsElsewhere() {
	time.Sleep(time.Millisecond)
	w.b.Succeeded(new(breaker.Permit), callTime, true)
	time.Sleep(time.Millisecond)
}

// wait returns how long the next call would have to wait.
func (w *world) wait() time.Duration {
	start := time.Now()
	p, err := w.b.Acquire(w.t.Context(), true)
	if err != nil {
		w.t.Fatal(err)
	}
	w.b.Release(p)
	return time.Since(start)
}

func (w *world) checkOutage(want string) {
	w.t.Helper()
	if reason, _ := w.b.Outage(); reason != want {
		w.t.Errorf("the breaker's reason is %q, want %q", reason, want)
	}
}

func all(ids []string, r batch.Result) openfaas.Response {
	results := make([]batch.Result, len(ids))
	for i, id := range ids {
		results[i] = r
		results[i].ID = id
	}
	return openfaas.Response{Verdict: batch.Answered, Status: http.StatusOK, Results: results}
}

func done(ids []string) openfaas.Response { return all(ids, batch.Result{Outcome: batch.Done}) }

var unavailable = batch.Result{Outcome: batch.Retry, Unavailable: true, Reason: "shard 2"}

// status returns a response that is no answer.
func status(code int) openfaas.Response {
	return openfaas.Response{Verdict: batch.Classify(code), Status: code, Reason: fmt.Sprint(code, " ", http.StatusText(code))}
}

// poisoned responds with a status to each call that has one of some events.
func poisoned(code int, poison ...string) func([]string) openfaas.Response {
	return func(ids []string) openfaas.Response {
		if slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(poison, id) }) {
			return status(code)
		}
		return done(ids)
	}
}

// count returns how many decisions there are of each disposition.
func count(ds []Decision) map[Disposition]int {
	n := make(map[Disposition]int)
	for i := range ds {
		n[ds[i].Disposition]++
	}
	return n
}

// Each result of a response decides its event, with one call.
func TestResults(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		long := strings.Repeat("why ", 1000)
		results := []batch.Result{
			{Outcome: batch.Done}, {Outcome: batch.Retry, Reason: "not now"}, {Outcome: batch.Reject, Reason: "no plate"}, unavailable, {Outcome: batch.Retry, Reason: long},
		}
		w.respond = func([]string) openfaas.Response {
			return openfaas.Response{Verdict: batch.Answered, Status: 200, Results: results}
		}
		es := w.batch(len(results))
		ds := w.run(es)
		for i, want := range []Disposition{Done, Retry, Reject, Unavailable, Retry} {
			d := ds[i]
			if d.Disposition != want || d.Status != 200 || d.Call == nil || d.Call.ID != "call 1" || d.Reason != results[i].Reason && i < 4 || len(d.Reason) > message.MaxReason+3 {
				t.Errorf("event %d: %+v", i, d)
			}
			if h := es[i].History; h.Waits != map[bool]int{true: 1}[i == 3] || h.FailedAlone != 0 || h.MaxBatch != 0 || !h.Last.IsZero() {
				t.Errorf("event %d: history %+v", i, h)
			}
		}
		if answered, done := w.b.Last(); len(w.calls) != 1 || answered.IsZero() || done.IsZero() {
			t.Errorf("calls %v, last answered at %s, done at %s", w.calls, answered, done)
		}
		w.checkOutage("")
	})
}

// An event that the function does not survive is found wherever it stands: all others are
// done in the same attempt. It spends an attempt the next time it fails alone, and is called
// with no other until then.
func TestPoisonAtEachPosition(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 5, 8, 33, 100} {
		for p := range n {
			inBubble(t, func(t *testing.T, w *world) {
				poison := fmt.Sprint("e-", p)
				w.respond = poisoned(500, poison)
				w.succeedsElsewhere()
				es := w.batch(n)
				ds := w.run(es)
				if got := count(ds); got[Done] != n-1 || got[Keep] != 1 || ds[p].Disposition != Keep || ds[p].Reason != "500 Internal Server Error" || ds[p].Status != 500 {
					t.Fatalf("%d of %d: %v, the poison %+v", p, n, got, ds[p])
				}
				// One for the batch, the samples, and three for each halving.
				calls, most := len(w.calls), 1+maxSamples
				for left := n; left > 1; left = (left + 1) / 2 {
					most += 3
				}
				if calls > most {
					t.Errorf("%d of %d: %d calls, want at most %d", p, n, calls, most)
				}
				if n > 1 {
					w.checkOutage("")
				}
				h := es[p].History
				if h.FailedAlone != 1 || !h.Isolated() || n > 1 && h.MaxBatch < 1 {
					t.Errorf("%d of %d: history %+v", p, n, h)
				}
				w.succeedsElsewhere()
				again := es[p : p+1]
				if ds := w.run(again); ds[0].Disposition != Retry || len(w.calls) != 1 || again[0].History.FailedAlone != 2 {
					t.Errorf("%d of %d, alone: %+v after %v", p, n, ds[0], w.calls)
				}
			})
		}
	}
}

func TestSeveralPoisons(t *testing.T) {
	for _, poison := range [][]string{{"e-0", "e-1", "e-2"}, {"e-0", "e-50"}, {"e-3", "e-77", "e-98"}} {
		inBubble(t, func(t *testing.T, w *world) {
			w.respond = poisoned(502, poison...)
			es := w.batch(100)
			if got := count(w.run(es)); got[Done] != 100-len(poison) || got[Keep] != len(poison) || len(w.calls) > 50 {
				t.Errorf("%v: %v after %d calls", poison, got, len(w.calls))
			}
		})
	}
	// One more is taken for an outage: the first, the last and the one in the middle are
	// the three that are asked. Batches of half the size tell them apart.
	inBubble(t, func(t *testing.T, w *world) {
		w.respond = poisoned(500, "e-0", "e-50", "e-99")
		es := w.batch(100)
		if got := count(w.run(es)); got[Keep] != 100 || len(w.calls) != 1+maxSamples {
			t.Errorf("%v after %d calls", got, len(w.calls))
		}
		w.checkOutage("500 Internal Server Error")
		for i := range es {
			if h := es[i].History; h.MaxBatch != 50 || h.Isolated() != slices.Contains([]int{0, 50, 99}, i) {
				t.Errorf("event %d: %+v", i, h)
			}
		}
	})
}

// After a call that the function has refused or not survived, and after an outage that one
// of the events may be to blame for, the next calls carry half as many events.
func TestNextBatchIsHalved(t *testing.T) {
	for _, tt := range []struct {
		name    string
		code    int
		suspect bool
		want    int // of the events that are kept
	}{
		{"crash", 500, false, 5},
		{"timeout", 504, false, 5},
		{"outage", 503, false, 0},
		{"outage with a suspect", 503, true, 5},
	} {
		inBubble(t, func(t *testing.T, w *world) {
			es := w.batch(10)
			if tt.suspect {
				es[3].History.Last = time.Now()
			}
			w.succeedsElsewhere()
			calls := 0
			w.respond = func([]string) openfaas.Response {
				if calls++; calls > 1 { // it starts again
					return status(503)
				}
				return status(tt.code)
			}
			if got := count(w.run(es)); got[Keep] != 10 {
				t.Fatalf("%s: %v", tt.name, got)
			}
			for i := range es {
				if n := es[i].History.MaxBatch; n != tt.want {
					t.Errorf("%s: event %d may be in a batch of %d, want %d", tt.name, i, n, tt.want)
				}
			}
		})
	}
	inBubble(t, func(t *testing.T, w *world) {
		w.respond = func([]string) openfaas.Response { return status(413) }
		es := w.batch(8)
		w.run(es)
		for i, want := range []int{1, 1, 1, 1, 1, 1, 1, 1} { // halved three times
			if n := es[i].History.MaxBatch; n != want {
				t.Errorf("refused: event %d may be in a batch of %d, want %d", i, n, want)
			}
		}
	})
}

// An outage costs no event anything: one call shows it if its status says so, and a few
// more if the events might be to blame.
func TestOutage(t *testing.T) {
	cut := openfaas.Response{Verdict: batch.Crash, Reason: "the call was cut short: EOF"}
	unreachable := openfaas.Response{Verdict: batch.Outage, Reason: "the gateway cannot be reached: refused"}
	for _, tt := range []struct {
		response openfaas.Response
		calls    int
	}{
		{status(503), 1},
		{status(429), 1},
		{status(404), 1},
		{status(401), 1},
		{status(403), 1},
		{status(302), 1},
		{unreachable, 1},
		{status(500), 1 + maxSamples},
		{status(502), 1 + maxSamples},
		{status(504), 1 + maxSamples},
		{status(408), 1 + maxSamples},
		{cut, 1 + maxSamples},
	} {
		inBubble(t, func(t *testing.T, w *world) {
			w.respond = func([]string) openfaas.Response { return tt.response }
			for _, n := range []int{20, 1} {
				es := w.batch(n)
				ds := w.run(es)
				if got := count(ds); got[Keep] != n || len(w.calls) != min(tt.calls, 1+(n-1)) && n > 1 {
					t.Errorf("%q, %d events: %v after %d calls, want %d", tt.response.Reason, n, got, len(w.calls), tt.calls)
				}
				w.checkOutage(tt.response.Reason)
				if wait := w.wait(); wait < probeDelay/2 {
					t.Errorf("%q: the first probe comes after %s", tt.response.Reason, wait)
				}
			}
			// It is back: the first probe ends the outage, and all is done.
			w.respond = done
			if got := count(w.run(w.batch(1))); got[Done] != 1 {
				t.Errorf("%q, back: %v", tt.response.Reason, got)
			}
			w.checkOutage("")
		})
	}
}

// A refusal of how the connector calls the function costs no event anything, however often
// an event gets it alone while others are done: replicas may know different tokens.
func TestSetupConvictsNoEvent(t *testing.T) {
	refusal := status(http.StatusUnauthorized)
	refusal.Setup = true
	for _, n := range []int{1, 10} {
		inBubble(t, func(t *testing.T, w *world) {
			es := w.batch(n)
			for range 10 * message.MaxFailedAlone {
				w.respond = func([]string) openfaas.Response { return refusal }
				w.succeedsElsewhere()
				ds := w.run(es)
				if got := count(ds); got[Keep] != n || len(w.calls) != 1 {
					t.Fatalf("%d events: %v after %d calls", n, got, len(w.calls))
				}
				w.checkOutage(refusal.Reason)
				w.respond = done
				if got := count(w.run(w.batch(1))); got[Done] != 1 { // it ends the outage
					t.Fatalf("another event: %v", got)
				}
			}
			for i := range es {
				if h := es[i].History; h.FailedAlone != 0 || h.MaxBatch != 0 || !h.Last.IsZero() {
					t.Errorf("event %d: %+v", i, h)
				}
			}
		})
	}
}

// A success before an event has failed casts no suspicion on it. Nor does that of another
// call at the beginning of an outage, of which some are answered last.
func TestAnOutageConvictsNoEvent(t *testing.T) {
	for _, code := range []int{500, 503, 404} {
		for _, n := range []int{1, 10} {
			inBubble(t, func(t *testing.T, w *world) {
				w.succeedsElsewhere()
				es := w.batch(n)
				w.respond = func([]string) openfaas.Response {
					if n > 1 && len(w.calls) == 1 {
						w.b.Succeeded(new(breaker.Permit), callTime, true) // of a call that was under way
					}
					time.Sleep(callTime)
					return status(code)
				}
				for round := range 20 {
					if got := count(w.run(es)); got[Keep] != n {
						t.Fatalf("%d, %d events, round %d: %v", code, n, round, got)
					}
					if round == 0 {
						w.respond = func([]string) openfaas.Response { return status(code) }
					}
					if n == 1 && es[0].History.FailedAlone >= message.MaxFailedAlone {
						break // the next test has it
					}
				}
			})
		}
	}
}

// A poisonous event while nothing else comes: nothing convicts it. Once it has failed alone
// often, the function is asked without it before each further call.
func TestLonePoison(t *testing.T) {
	asked := func(w *world) bool { return len(w.calls) > 0 && len(w.calls[0]) == 0 }
	for _, tt := range []struct {
		name  string
		empty openfaas.Response // to a batch without events
	}{
		{"answered", done(nil)},
		{"refused", status(400)},
	} {
		inBubble(t, func(t *testing.T, w *world) {
			w.respond = func(ids []string) openfaas.Response {
				if len(ids) == 0 {
					return tt.empty
				}
				return status(500)
			}
			es := w.batch(1)
			for i := 1; i <= message.MaxFailedAlone; i++ {
				if ds := w.run(es); ds[0].Disposition != Keep || asked(w) || es[0].History.FailedAlone != i {
					t.Fatalf("%s, failure %d: %+v after %v, %+v", tt.name, i, ds[0], w.calls, es[0].History)
				}
				w.checkOutage("500 Internal Server Error")
			}
			ds := w.run(es)
			if ds[0].Disposition != Retry || !asked(w) || len(w.calls) != 2 {
				t.Errorf("%s: %+v after %v", tt.name, ds[0], w.calls)
			}
		})
	}
	// The function is down, with or without the event: that costs it nothing.
	for _, code := range []int{500, 503} {
		inBubble(t, func(t *testing.T, w *world) {
			w.respond = func([]string) openfaas.Response { return status(code) }
			es := w.batch(1)
			for range 4 * message.MaxFailedAlone {
				if ds := w.run(es); ds[0].Disposition != Keep {
					t.Fatalf("%d: %+v after %v", code, ds[0], w.calls)
				}
			}
			if crash := code == 500; asked(w) != crash || len(w.calls) != 1 {
				t.Errorf("%d: %v", code, w.calls)
			}
		})
	}
	// A function that takes single messages cannot be asked: the event spends an
	// attempt after every fifth failure.
	inBubble(t, func(t *testing.T, w *world) {
		w.f.Batched = false
		w.respond = func([]string) openfaas.Response { return status(500) }
		es := w.batch(1)
		for i := 1; i <= 2*message.MaxFailedAlone; i++ {
			want := Keep
			if i%message.MaxFailedAlone == 0 {
				want = Retry
			}
			ds := w.run(es)
			if ds[0].Disposition != want || len(w.calls) != 1 {
				t.Errorf("failure %d: %+v after %v", i, ds[0], w.calls)
			}
			if ds[0].Disposition == Retry {
				es[0].History = es[0].History.Spend(time.Now())
			}
		}
	})
}

// The function refuses a batch: the event to blame is found, and is rejected alone.
func TestRefused(t *testing.T) {
	for _, code := range []int{400, 413, 422} {
		for p := range 17 {
			inBubble(t, func(t *testing.T, w *world) {
				w.respond = poisoned(code, fmt.Sprint("e-", p))
				ds := w.run(w.batch(17))
				if got := count(ds); got[Done] != 16 || ds[p].Disposition != Reject || ds[p].Status != code {
					t.Errorf("%d, event %d: %v, %+v", code, p, got, ds[p])
				}
				w.checkOutage("")
			})
		}
	}
	// Too large for the function only together.
	inBubble(t, func(t *testing.T, w *world) {
		w.respond = func(ids []string) openfaas.Response {
			if len(ids) > 5 {
				return status(413)
			}
			return done(ids)
		}
		es := w.batch(40)
		if got := count(w.run(es)); got[Done] != 40 {
			t.Errorf("%v", got)
		}
	})
}

// 404 or 503 for just one event is no outage if others are done: the event is parked,
// and spends an attempt after every fifth time in a row.
func TestOutageForOneEvent(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.respond = func([]string) openfaas.Response { return status(404) }
		es := w.batch(1)
		if ds := w.run(es); ds[0].Disposition != Keep {
			t.Errorf("the first time: %+v", ds[0])
		}
		for i := 1; i <= message.MaxFailedAlone; i++ {
			w.succeedsElsewhere()
			want := Defer
			if i == message.MaxFailedAlone {
				want = Retry
			}
			if ds := w.run(es); ds[0].Disposition != want {
				t.Errorf("time %d: %+v", i, ds[0])
			}
		}
	})
}

// What a 503 or 429 to a single event does to the event and to the breaker.
func TestUnavailableForOneEvent(t *testing.T) {
	const longer = 5 * time.Second
	const never, failed, began = -time.Hour, time.Minute, 2 * time.Minute
	for _, tt := range []struct {
		name       string
		code       int
		failed     time.Duration // when the event failed before
		done       time.Duration // when another event was done
		probe      bool
		want       Disposition
		wait, most time.Duration // before the next call
	}{
		{"an outage begins", 503, never, failed, false, Keep, longer, longer},
		{"an outage goes on", 503, failed, failed - 1, false, Keep, longer, longer},
		{"only this event", 503, failed, failed + 1, false, Defer, probeDelay / 2, probeDelay},
		{"only this event, others are done meanwhile", 503, failed, began + 1, false, Defer, 0, 0},
		{"others were done, and it is a probe", 503, failed, failed + 1, true, Keep, longer, longer},
		{"throttled", 429, failed, failed + 1, false, Defer, longer, longer},
		{"throttled, others are done meanwhile", 429, failed, began + 1, false, Defer, longer, longer},
	} {
		inBubble(t, func(t *testing.T, w *world) {
			es, epoch := w.batch(1), time.Now()
			if tt.failed != never {
				es[0].History.Last = epoch.Add(tt.failed)
			}
			otherDone := func(at time.Duration) {
				time.Sleep(time.Until(epoch.Add(at)))
				w.b.Succeeded(new(breaker.Permit), 0, true)
			}
			if tt.done > began { // one before the call as well
				otherDone(failed + 1)
			} else {
				otherDone(tt.done)
			}
			time.Sleep(time.Until(epoch.Add(began)))
			w.respond = func([]string) openfaas.Response {
				if tt.done > began {
					w.b.Succeeded(new(breaker.Permit), 0, true)
				}
				r := status(tt.code)
				r.RetryAfter = longer
				return r
			}
			ds := Run(t.Context(), nil, w.f, &breaker.Permit{Probe: tt.probe}, es)
			if wait := w.wait(); ds[0].Disposition != tt.want || wait < tt.wait || wait > tt.most {
				t.Errorf("%s: %+v, the next call after %s; want %d, %s to %s", tt.name, ds[0], wait, tt.want, tt.wait, tt.most)
			}
		})
	}
}

// Throttling holds up all calls for as long as the function asks.
func TestThrottling(t *testing.T) {
	for _, n := range []int{1, 10} {
		inBubble(t, func(t *testing.T, w *world) {
			w.respond = func([]string) openfaas.Response {
				r := status(429)
				r.RetryAfter = 2 * time.Second
				return r
			}
			if got := count(w.run(w.batch(n))); got[Keep] != n || len(w.calls) != 1 {
				t.Errorf("%v after %v", got, w.calls)
			}
			if wait := w.wait(); wait != 2*time.Second {
				t.Errorf("the next call comes after %s", wait)
			}
		})
	}
}

// While single events are called to find the one to blame, an outage is reported by the
// call that found it, and only by that; a call that is given up reports nothing.
func TestASampleReportsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.b.Failed(new(breaker.Permit), "before", 0)
		w.respond = func(ids []string) openfaas.Response {
			if len(ids) > 1 {
				return status(502)
			}
			return status(503)
		}
		if got := count(w.run(w.batch(4))); got[Keep] != 4 || len(w.calls) != 2 { // a probe by event
			t.Errorf("%v after %v", got, w.calls)
		}
		w.checkOutage("503 Service Unavailable")
		if wait := w.wait(); wait < probeDelay || wait > 2*probeDelay {
			t.Errorf("the next probe comes after %s, want one doubling", wait)
		}
	})
	inBubble(t, func(t *testing.T, w *world) {
		w.respond = func(ids []string) openfaas.Response {
			if len(ids) > 1 {
				return status(502)
			}
			return openfaas.Response{Cancelled: true}
		}
		if got := count(w.run(w.batch(4))); got[Keep] != 4 || len(w.calls) != 2 {
			t.Errorf("%v after %v", got, w.calls)
		}
		w.checkOutage("")
	})
}

// The function answers a batch of no events: that ends the outage, and the calls of the
// attempt are no probe any more. Its next failure does not prolong an outage that another
// call has reported meanwhile.
func TestAfterTheCheckThereIsNoProbe(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.b.Failed(new(breaker.Permit), "before", 0)
		p, err := w.b.Acquire(t.Context(), true)
		if err != nil || !p.Probe {
			t.Fatalf("%+v, %v", p, err)
		}
		es := w.batch(1)
		es[0].History.FailedAlone = message.MaxFailedAlone
		w.respond = func(ids []string) openfaas.Response {
			if len(ids) == 0 {
				return done(nil)
			}
			w.checkOutage("")
			w.b.Failed(new(breaker.Permit), "elsewhere", 0)
			return status(503)
		}
		ds := Run(t.Context(), nil, w.f, p, es)
		w.b.Release(p)
		if len(w.calls) != 2 || ds[0].Disposition != Keep {
			t.Errorf("%+v after %v", ds[0], w.calls)
		}
		w.checkOutage("elsewhere")
		if wait := w.wait(); wait > probeDelay {
			t.Errorf("the next probe comes after %s: the delay was doubled twice", wait)
		}
	})
}

// A dependency of the function is unavailable, for every event or for some. If only some
// events need it, the breaker stays closed and they wait longer each time.
func TestUnavailable(t *testing.T) {
	partly := func(ids []string) openfaas.Response {
		r := all(ids, unavailable)
		for i := range ids {
			if i%2 == 1 {
				r.Results[i] = batch.Result{ID: ids[i], Outcome: batch.Done}
			}
		}
		return r
	}
	rejecting := func(ids []string) openfaas.Response {
		r := all(ids, unavailable)
		r.Results[0] = batch.Result{ID: ids[0], Outcome: batch.Reject}
		return r
	}
	by503 := func(ids []string) openfaas.Response {
		r := all(ids, unavailable)
		r.Verdict, r.Status, r.Reason, r.RetryAfter = batch.Outage, 503, unavailable.Reason, 3*time.Second
		return r
	}
	const why = "every event has to wait: shard 2"
	for _, tt := range []struct {
		name    string
		n       int
		respond func([]string) openfaas.Response
		others  bool // are done while the events are unacknowledged
		probe   bool
		waits   int // of an event that waits, which has waited twice before
		outage  string
	}{
		{"all", 4, func(ids []string) openfaas.Response { return all(ids, unavailable) }, false, false, 2, why},
		{"all, told by 503", 4, by503, false, false, 2, why},
		{"a single one", 1, func(ids []string) openfaas.Response { return all(ids, unavailable) }, false, false, 2, why},
		{"some of a batch", 4, partly, false, false, 3, ""},
		{"some of a probe", 4, partly, false, true, 3, ""},
		{"all, others are done", 4, by503, true, false, 3, ""},
		{"a single one, others are done", 1, by503, true, false, 3, ""},
		{"all of a probe, others were done", 1, by503, true, true, 3, why},
		{"what is not rejected", 4, rejecting, false, false, 2, why},
	} {
		inBubble(t, func(t *testing.T, w *world) {
			if tt.probe {
				p, _ := w.b.Acquire(t.Context(), true)
				w.b.Failed(p, "before", 0)
				w.b.Release(p)
			}
			es := w.batch(tt.n)
			for i := range es {
				es[i].History.Waits = 2
			}
			p := &breaker.Permit{Probe: tt.probe}
			if tt.others {
				w.succeedsElsewhere()
				if tt.probe {
					w.b.Failed(p, "before", 0)
				}
			}
			w.respond = tt.respond
			ds := Run(t.Context(), nil, w.f, p, es)
			for i := range ds {
				if d := ds[i]; d.Disposition == Unavailable && (es[i].History.Waits != tt.waits || es[i].History.FailedAlone != 0) {
					t.Errorf("%s: event %d: %+v", tt.name, i, es[i].History)
				} else if d.Disposition == Keep || d.Disposition == Retry {
					t.Errorf("%s: event %d: %+v", tt.name, i, d)
				}
			}
			w.checkOutage(tt.outage)
		})
	}
}

// A plain retry for each event of a batch means that nothing can be done at present: no
// more events are called for now. That of a single event does not.
func TestOnlyRetries(t *testing.T) {
	for n, want := range map[int]string{1: "", 2: "every event has to wait: not now"} {
		inBubble(t, func(t *testing.T, w *world) {
			w.respond = func(ids []string) openfaas.Response {
				return all(ids, batch.Result{Outcome: batch.Retry, Reason: "not now"})
			}
			if got := count(w.run(w.batch(n))); got[Retry] != n {
				t.Errorf("%v", got)
			}
			w.checkOutage(want)
		})
	}
}

// No call is begun when its events cannot be settled any more, and a call that is given up
// decides nothing.
func TestEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ended := make(chan struct{})
		w.respond = func(ids []string) openfaas.Response {
			if len(w.calls) == 3 {
				close(ended)
			}
			return poisoned(400, "e-0")(ids)
		}
		es := w.batch(32)
		if got := count(Run(t.Context(), ended, w.f, new(breaker.Permit), es)); len(w.calls) != 3 || got[Keep] != 32 {
			t.Errorf("%v after %d calls", got, len(w.calls))
		}
		es[0].History.FailedAlone = message.MaxFailedAlone
		if got := count(Run(t.Context(), ended, w.f, new(breaker.Permit), es[:1])); len(w.calls) != 3 || got[Keep] != 1 {
			t.Errorf("a lone event: %v after %d calls", got, len(w.calls))
		}
	})
	for _, n := range []int{1, 8} {
		inBubble(t, func(t *testing.T, w *world) {
			w.respond = func([]string) openfaas.Response { return openfaas.Response{Cancelled: true} }
			es := w.batch(n)
			if got := count(w.run(es)); len(w.calls) != 1 || got[Keep] != n || es[0].History != (message.History{}) {
				t.Errorf("%v after %d calls, %+v", got, len(w.calls), es[0].History)
			}
			w.checkOutage("")
		})
	}
}

// A function that has to start again after an event has killed it is down while it is asked
// which event that was. In the end all others are done and the event has spent an attempt.
func TestPoisonAndRestart(t *testing.T) {
	for p := range 16 {
		inBubble(t, func(t *testing.T, w *world) {
			poison, back := fmt.Sprint("e-", p), time.Now()
			w.respond = func(ids []string) openfaas.Response {
				switch {
				case time.Now().Before(back):
					return status(503)
				case slices.Contains(ids, poison):
					back = time.Now().Add(300 * time.Millisecond)
					return status(502)
				}
				return done(ids)
			}
			b := &Batcher{MaxEvents: 16, MaxBytes: 1 << 20}
			for _, e := range w.batch(16) {
				b.Add(e, time.Now())
			}
			finished, calls, waiting := 0, 0, []Event(nil) // those that wait at the broker, for a second
			for attempts := 0; finished < 15 || attempts == 0; {
				if b.Len() == 0 {
					time.Sleep(time.Second)
					for _, e := range waiting {
						b.Add(e, time.Now())
					}
					waiting = nil
				}
				p, err := w.b.Acquire(t.Context(), true)
				if err != nil {
					t.Fatal(err)
				}
				take := b.Take
				if p.Fresh {
					take = b.TakeProbe
				}
				es := take(time.Now())
				ds := Run(t.Context(), nil, w.f, p, es)
				w.b.Release(p)
				for i, d := range ds {
					switch d.Disposition {
					case Done:
						finished++
					case Keep:
						b.PutBack(es[i:i+1], time.Now())
					case Defer:
						waiting = append(waiting, es[i])
					case Retry:
						if es[i].Message.ID() != poison {
							t.Fatalf("%s spends an attempt: %+v", es[i].Message.ID(), d)
						}
						attempts++
						es[i].History = es[i].History.Spend(time.Now())
						waiting = append(waiting, es[i])
					}
				}
				if calls += len(w.calls); calls > 1000 {
					t.Fatalf("%s: %d are done after %d calls", poison, finished, calls)
				}
				w.calls = nil
			}
		})
	}
}

// Of several instances of a function one may be silent. A call that is written off, since
// a later one was answered, is followed by no others in its place, which may be as silent:
// its events are kept, and the next calls with them are smaller.
func TestAWrittenOffCallIsNotFollowedByOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.respond = func([]string) openfaas.Response {
			time.Sleep(5 * time.Second)
			other, err := w.b.Acquire(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			w.b.Succeeded(other, callTime, true)
			w.b.Release(other)
			time.Sleep(5 * time.Second)
			w.respond = done
			return openfaas.Response{Verdict: batch.Crash, Reason: "no answer within 10s"}
		}
		es := w.batch(10)
		ds := w.run(es)
		if len(w.calls) != 1 || count(ds)[Keep] != len(es) {
			t.Errorf("%d calls, decisions %v", len(w.calls), count(ds))
		}
		for i := range es {
			if n := es[i].History.MaxBatch; n != 5 {
				t.Errorf("the next call with %s may carry %d", es[i].Message.ID(), n)
			}
		}
		w.checkOutage("")
		if ds = w.run(es); len(w.calls) != 1 || count(ds)[Done] != len(es) {
			t.Errorf("afterwards: %d calls, decisions %v", len(w.calls), count(ds))
		}
	})
}
