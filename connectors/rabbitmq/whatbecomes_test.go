package rabbitmq

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/message/messagetest"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
)

// What becomes of a message: a test for each row of the table in docs/connector.md, by
// the beginning of the row.
var rows = map[string]func(t *testing.T, size int){
	"`done`, or 2xx for a single message": func(t *testing.T, size int) {
		simulate(t, []*openfaas.Function{simFunction("fn", size, 8)}, func(s *sim) {
			s.publish(100)
			s.settled(100, 0)
			if len(s.retries) != 0 {
				t.Errorf("retries: %v", s.delays())
			}
		})
	},
	"`retry`": func(t *testing.T, size int) {
		simulate(t, []*openfaas.Function{simFunction("fn", max(size, 1), 8)}, func(s *sim) {
			s.respond = func(_ string, ids []string) openfaas.Response {
				r := doneAll(ids)
				for i, id := range ids {
					if id == "e-3" {
						r.Results[i] = batch.Result{ID: id, Outcome: batch.Retry, Reason: "not now"}
					}
				}
				return r
			}
			s.publish(10)
			s.settled(9, 1)
			if got, want := s.delays(), []string{"1000", "4000", "16000", "64000", "256000", "256000", "256000"}; !slices.Equal(got, want) {
				t.Errorf("it has waited %v, want %v", got, want)
			}
			for i := range s.retries {
				if n := attempts(&s.retries[i]); n != int32(i+1) {
					t.Errorf("copy %d has spent %d attempts", i, n)
				}
			}
			checkDead(t, s, "e-3", "not now", 200, 8)
		})
	},
	"`retry` with `unavailable`": func(t *testing.T, size int) {
		if size == 0 {
			return // a raw message has no result
		}
		unavailable := batch.Result{Outcome: batch.Retry, Unavailable: true, Reason: "shard 2"}
		lost := true
		simulate(t, []*openfaas.Function{simFunction("fn", size, 2)}, func(s *sim) {
			s.respond = func(_ string, ids []string) openfaas.Response {
				r := doneAll(ids)
				for i, id := range ids {
					if id == "e-3" && lost {
						r.Results[i] = unavailable
						r.Results[i].ID = id
					}
				}
				if len(ids) == 1 && ids[0] == "e-3" && lost { // nothing of a call is done
					r.Verdict, r.Status, r.Reason = batch.Outage, 503, unavailable.Reason
				}
				return r
			}
			// Others are done while a call with it is under way: it waits longer each time, and
			// the breaker stays closed.
			s.takes = func(ids []string) time.Duration {
				if slices.Contains(ids, "e-3") {
					return 3 * time.Second
				}
				return time.Millisecond
			}
			s.publish(10)
			more := s.traffic("it has waited often", func() bool { return len(s.retries) >= 6 })
			if got, want := s.delays(), []string{"1000", "4000", "16000", "64000", "256000", "256000"}; !slices.Equal(got, want) || s.problem("cannot be called") {
				t.Errorf("it has waited %v, want %v", got, want)
			}
			s.checkNoAttempts()
			lost = false
			s.settled(10+more, 0)
		})
		// Nothing of a call is done: an outage, after which all is done soon.
		lost = true
		simulate(t, []*openfaas.Function{simFunction("fn", size, 2)}, func(s *sim) {
			s.respond = func(_ string, ids []string) openfaas.Response {
				if lost {
					r := eachResult(ids, unavailable)
					r.Verdict, r.Status, r.Reason = batch.Outage, 503, unavailable.Reason
					return r
				}
				return doneAll(ids)
			}
			s.publish(30)
			s.until("the outage is told", func() bool { return s.problem("every event has to wait: shard 2") })
			s.pass(10 * time.Minute)
			lost = false
			end := time.Now()
			s.settled(30, 0)
			s.checkNoAttempts()
			if took := time.Since(end); took > 15*time.Second {
				t.Errorf("all is done %s after the end of the outage", took)
			}
		})
	},
	"`reject`": func(t *testing.T, size int) {
		for _, status := range []int{0, 400, 413, 422} {
			if size == 0 && status == 0 {
				continue // a raw message has no result
			}
			simulate(t, []*openfaas.Function{simFunction("fn", size, 8)}, func(s *sim) {
				want := fmt.Sprint(status)
				s.respond = failsWith(status, "e-3")
				if status == 0 {
					want = "no plate"
					s.respond = func(_ string, ids []string) openfaas.Response {
						r := doneAll(ids)
						for i, id := range ids {
							if id == "e-3" {
								r.Results[i] = batch.Result{ID: id, Outcome: batch.Reject, Reason: "no plate"}
							}
						}
						return r
					}
				}
				s.publish(40)
				s.settled(39, 1)
				if status == 0 {
					status = 200
				}
				checkDead(t, s, "e-3", want, status, 1)
				if len(s.retries) != 0 {
					t.Errorf("retries: %v", s.delays())
				}
			})
		}
	},
	"headers that the AMQP client refuses": func(t *testing.T, size int) {
		simulate(t, []*openfaas.Function{simFunction("fn", size, 8)}, func(s *sim) {
			s.deliver(amqp.Delivery{MessageId: "e-3", Headers: amqp.Table{message.HeaderUnreadable: "nested deeper than 32 levels", "small": "kept"}})
			s.settled(0, 1)
			checkDead(t, s, "e-3", unreadable+"nested deeper than 32 levels", 0, 1)
			if len(s.calls) != 0 || s.dead[0].Headers["small"] != "kept" {
				t.Errorf("calls %v, headers %v", s.calls, s.dead[0].Headers)
			}
		})
	},
	"refused connection, 429": func(t *testing.T, size int) {
		refused := openfaas.Response{Verdict: batch.Outage, Reason: "the gateway cannot be reached: connection refused"}
		throttled := failed(429)
		throttled.RetryAfter = 20 * time.Second
		for _, r := range []openfaas.Response{refused, throttled, failed(503), failed(401), failed(403), failed(404), failed(302), failed(307)} {
			outage(t, size, r)
		}
	},
	"401 or 403 of a function that gets the connector's token": func(t *testing.T, size int) {
		for _, status := range []int{401, 403} {
			setup(t, size, refusal(status))
		}
	},
	"415 to a batch": func(t *testing.T, size int) {
		if size == 0 { // of a raw message it is a refusal, or for a function that gets the token an outage like 404
			r := failed(415)
			r.Verdict = batch.Outage
			outage(t, size, r)
			return
		}
		setup(t, size, refusal(415))
	},
	"500, 502, 504, 408": func(t *testing.T, size int) {
		crashes := []openfaas.Response{
			failed(500), failed(502), failed(504), failed(408),
			{Verdict: batch.Crash, Reason: "no answer within 10s"},
			{Verdict: batch.Crash, Reason: "the call was cut short: unexpected EOF"},
			{Verdict: batch.Crash, Status: 200, Reason: batch.ErrNoContract.Error()},
		}
		for _, r := range crashes {
			outage(t, size, r)
			// One event is to blame: it spends an attempt, and all others are done.
			for _, p := range []int{0, 7, 31, 39} {
				simulate(t, []*openfaas.Function{simFunction("fn", size, 3)}, func(s *sim) {
					poison := fmt.Sprint("e-", p)
					s.respond = func(_ string, ids []string) openfaas.Response {
						if slices.Contains(ids, poison) {
							return r
						}
						return doneAll(ids)
					}
					s.publish(40)
					// Suspicion needs successes of others.
					more := s.traffic("the poison is dead", func() bool { return len(s.dead) == 1 })
					s.settled(39+more, 1)
					checkDead(t, s, poison, r.Reason, r.Status, 3)
					for i := range s.retries {
						if s.retries[i].ID != poison && attempts(&s.retries[i]) != 0 {
							t.Errorf("%s has spent an attempt", s.retries[i].ID)
						}
					}
				})
			}
		}
	},
}

// refusal is a response to how the connector calls a function.
func refusal(status int) openfaas.Response {
	r := failed(status)
	r.Verdict, r.Setup = batch.Outage, true
	return r
}

// setup has a function respond so for some minutes, to every call, and then to every other
// one, as of two replicas one does that has another token: no event spends an attempt.
func setup(t *testing.T, size int, r openfaas.Response) {
	t.Helper()
	outage(t, size, r)
	simulate(t, []*openfaas.Function{simFunction("fn", size, 2)}, func(s *sim) {
		calls := 0
		s.respond = func(_ string, ids []string) openfaas.Response {
			if calls++; calls%2 == 0 {
				return r
			}
			return doneAll(ids)
		}
		more := s.traffic("a hundred calls were refused", func() bool { return calls >= 200 })
		s.settled(more, 0)
		s.checkNoAttempts()
	})
}

// outage has a function respond so to every call for some minutes: no event spends an attempt, and all
// are done soon after.
func outage(t *testing.T, size int, r openfaas.Response) {
	t.Helper()
	simulate(t, []*openfaas.Function{simFunction("fn", size, 2)}, func(s *sim) {
		down := true
		s.respond = func(_ string, ids []string) openfaas.Response {
			if down {
				return r
			}
			return doneAll(ids)
		}
		s.publish(40)
		s.until("the outage is told", func() bool { return s.problem("function fn cannot be called") && s.problem(r.Reason) })
		s.pass(2 * time.Minute)
		if n := len(s.calls); n > 150 {
			t.Errorf("%q: %d calls in two minutes", r.Reason, n)
		}
		down = false
		end := time.Now()
		s.settled(40, 0)
		s.checkNoAttempts()
		if took := time.Since(end); took > 3*time.Minute {
			t.Errorf("%q: all is done %s after the outage", r.Reason, took)
		}
		if s.problem("cannot be called") {
			t.Errorf("%q: the outage is told afterwards", r.Reason)
		}
	})
}

// checkDead checks the only dead letter.
func checkDead(t *testing.T, s *sim, id, reason string, status, attempts int) {
	t.Helper()
	d := s.dead[0]
	if h := d.Headers; d.ID != id || !strings.HasPrefix(fmt.Sprint(h[message.HeaderReason]), reason) || h[message.HeaderStatus] != int32(status) ||
		h[message.HeaderAttempts] != int32(attempts) || h[message.HeaderQueue] != simQueue {
		t.Errorf("dead letter %s: %v; want %s, %q, status %d after %d attempts", d.ID, h, id, reason, status, attempts)
	}
}

// Every row of the table has a test, which is walked with batches and single messages.
func TestWhatBecomesOfAMessage(t *testing.T) {
	doc, err := os.ReadFile("../../docs/connector.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(doc), "## What becomes of a message\n\n| what happened | what the connector does |\n|---|---|\n")
	if !found {
		t.Fatal("docs/connector.md has no such table")
	}
	table, _, _ := strings.Cut(section, "\n\n")
	tested := map[string]bool{}
	for row := range strings.Lines(table) {
		name := "" // the longest that fits: one may begin like another
		for begins := range rows {
			if strings.HasPrefix(row, "| "+begins) && len(begins) > len(name) {
				name = begins
			}
		}
		if name == "" {
			t.Errorf("no test for the row %s", row)
			continue
		}
		tested[name] = true
		for _, size := range []int{0, 1, 50} {
			t.Run(fmt.Sprintf("%s, batches of %d", name, size), func(t *testing.T) { rows[name](t, size) })
		}
	}
	for name := range rows {
		if !tested[name] {
			t.Errorf("the table has no row %q any more", name)
		}
	}
}

// A message that is larger than allowed is a dead letter, and no function is called.
func TestTooLarge(t *testing.T) {
	simulate(t, []*openfaas.Function{simFunction("fn", 10, 8)}, func(s *sim) {
		s.consumer.maxBytes = 100
		s.deliver(amqp.Delivery{MessageId: "e-0", Body: make([]byte, 101)}, amqp.Delivery{MessageId: "e-1", Body: make([]byte, 100)})
		s.settled(1, 1)
		checkDead(t, s, "e-0", "the message has 101 bytes; at most 100 are possible", 0, 1)
	})
}

// A message that several functions get is acknowledged when all are through. Where one
// fails it is tried again, and only there, and is its dead letter in the end.
func TestEachFunctionGetsEachMessage(t *testing.T) {
	simulate(t, []*openfaas.Function{simFunction("one", 10, 8), simFunction("two", 0, 3)}, func(s *sim) {
		s.respond = func(function string, ids []string) openfaas.Response {
			if function == "two" && slices.Contains(ids, "e-1") {
				return failed(500)
			}
			return doneAll(ids)
		}
		s.publish(5)
		s.until("the others are done", func() bool { return s.done() == 4 })
		more := s.traffic("it is dead", func() bool { return len(s.dead) == 1 })
		s.settled(4+more, 1)
		checkDead(t, s, "e-1", "500", 500, 3)
		if s.dead[0].Headers[message.HeaderOnlyFunction] != "two" {
			t.Errorf("headers %v", s.dead[0].Headers)
		}
		for _, c := range s.calls[2:] {
			if c.function == "one" && slices.Contains(c.ids, "e-1") && c.at.After(s.calls[0].at.Add(time.Second)) {
				t.Errorf("one is called again with %v", c.ids)
			}
		}
	})
}

// One that is in an outage keeps nothing from the others: its events wait in retry
// queues.
func TestSharedQueueInAnOutage(t *testing.T) {
	simulate(t, []*openfaas.Function{simFunction("one", 10, 8), simFunction("two", 10, 3)}, func(s *sim) {
		down := true
		s.respond = func(function string, ids []string) openfaas.Response {
			if function == "two" && down {
				return failed(503)
			}
			return doneAll(ids)
		}
		s.publish(50)
		s.until("all wait at the broker", func() bool { return len(s.retries) >= 50 && len(s.unacked) < 10 })
		s.checkNoAttempts()
		down = false
		s.settled(50, 0)
	})
}

// A message for a function that does not listen any more is tried again, and is a dead
// letter in the end.
func TestOnlyFunctionIsGone(t *testing.T) {
	simulate(t, []*openfaas.Function{simFunction("fn", 10, 3)}, func(s *sim) {
		s.consumer.maxAttempts = 4
		s.deliver(amqp.Delivery{MessageId: "e-0", RoutingKey: simQueue, Headers: amqp.Table{
			message.HeaderOnlyFunction: "gone", message.HeaderMaxBatch: int32(4), "x-death": messagetest.RecordOf(broker.RetryQueue(simQueue, time.Second)),
		}})
		s.settled(0, 1)
		checkDead(t, s, "e-0", "the function gone, which still has to get the event, does not listen to the queue", 0, 4)
		if len(s.calls) != 0 || !slices.Equal(s.delays(), []string{"1000", "4000", "16000"}) {
			t.Errorf("calls %v, delays %v", s.calls, s.delays())
		}
		for i, m := range s.retries { // the function may be back, and gets no larger batches than before
			if n := m.Headers[message.HeaderMaxBatch]; n != int32(4) {
				t.Errorf("copy %d may be in a batch of %v", i, n)
			}
		}
	})
}

// During an alarm, or when the retry queue is full, what costs nothing stays
// unacknowledged and is called when the function is back.
func TestNothingCanBePublishedInAnOutage(t *testing.T) {
	for name, begin := range map[string]func(s *sim){
		"alarm": func(s *sim) { s.blocked = errFull },
		"full":  func(s *sim) { s.refuse = func(*broker.Message) error { return errFull } },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, []*openfaas.Function{simFunction("fn", 10, 3)}, func(s *sim) {
				down := true
				s.respond = func(_ string, ids []string) openfaas.Response {
					if down {
						return failed(503)
					}
					return doneAll(ids)
				}
				begin(s)
				s.publish(20)
				s.pass(5 * time.Minute)
				if len(s.retries) != 0 || len(s.unacked) != 20 {
					t.Errorf("%d retries, %d unacknowledged", len(s.retries), len(s.unacked))
				}
				down = false
				s.settled(20, 0)
			})
		})
	}
}

// A message that has spent an attempt, or is dead, is acknowledged only after the
// confirm of its copy; until then readiness reports it.
func TestNothingIsAcknowledgedBeforeItsCopy(t *testing.T) {
	simulate(t, []*openfaas.Function{simFunction("fn", 10, 1)}, func(s *sim) {
		s.respond = failsWith(400, "e-0")
		s.refuse = func(*broker.Message) error { return errFull }
		s.publish(3)
		s.until("it is told", func() bool {
			return s.problem("1 messages of queue "+simQueue+" can be neither retried nor dead-lettered: ") && s.problem(errFull.Error())
		})
		s.pass(time.Minute)
		if len(s.unacked) != 1 || len(s.dead) != 0 {
			t.Errorf("%d unacknowledged, %d dead", len(s.unacked), len(s.dead))
		}
		s.refuse = func(*broker.Message) error { return nil }
		s.settled(2, 1)
		if s.problem("dead-lettered") {
			t.Error("it is told afterwards")
		}
	})
}

// From the sixth failed probe on some events make room for others: one at first, twice as
// many after each further probe, up to a batch or a round of single calls.
func TestTurnover(t *testing.T) {
	for _, tt := range []struct{ size, most int }{{50, 50}, {0, 4}} {
		simulate(t, []*openfaas.Function{simFunction("fn", tt.size, 2)}, func(s *sim) {
			down := true
			s.respond = func(_ string, ids []string) openfaas.Response {
				if down {
					return failed(503)
				}
				return doneAll(ids)
			}
			s.publish(200)
			moved := []int{}
			for range 20 {
				probes, before := len(s.calls), len(s.retries)
				s.until("the next probe", func() bool { return len(s.calls) > probes })
				s.pass(2 * time.Millisecond)
				moved = append(moved, len(s.retries)-before)
			}
			first := slices.IndexFunc(moved, func(n int) bool { return n > 0 })
			if first < 4 || moved[first] != 1 || moved[first+1] != 2 || slices.Max(moved) != tt.most {
				t.Errorf("batches of %d: %v were moved after the probes", tt.size, moved)
			}
			down = false
			s.settled(200, 0)
			s.checkNoAttempts()
		})
	}
}

// What waits at the broker for the end of an outage waits the longer the longer the
// outage has lasted, so that a long one is not followed by a storm of messages.
func TestRetryDelay(t *testing.T) {
	delays := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}
	for _, tt := range []struct {
		failures     int
		outage, want time.Duration
	}{
		{0, 0, time.Second},
		{0, 1900 * time.Millisecond, time.Second},
		{0, 2 * time.Second, 2 * time.Second},
		{0, 5 * time.Second, 4 * time.Second},
		{0, time.Hour, 8 * time.Second},
		{1, 0, time.Second},
		{3, 0, 4 * time.Second},
		{3, 3 * time.Second, 4 * time.Second},
		{3, time.Minute, 8 * time.Second},
		{100, 0, 8 * time.Second},
	} {
		if got := retryDelay(delays, tt.failures, tt.outage); got != tt.want {
			t.Errorf("after %d failures and an outage of %s: %s, want %s", tt.failures, tt.outage, got, tt.want)
		}
	}
	for range 100 {
		if d := jitter(8 * time.Second); d < 6*time.Second || d > 8*time.Second {
			t.Errorf("jitter makes 8s %s", d)
		}
	}
}

// An event that the function does not survive while no other comes is not kept without
// end.
func TestLonePoison(t *testing.T) {
	for name, tt := range map[string]struct {
		size   int
		shared bool
	}{"single messages": {0, false}, "batches": {10, false}, "a shared queue": {10, true}} {
		t.Run(name, func(t *testing.T) {
			functions := []*openfaas.Function{simFunction("fn", tt.size, 2)}
			if tt.shared {
				functions = append(functions, simFunction("other", 10, 2))
			}
			simulate(t, functions, func(s *sim) {
				s.respond = func(function string, ids []string) openfaas.Response {
					if function == "fn" && len(ids) > 0 {
						return failed(500)
					}
					return doneAll(ids)
				}
				s.publish(1)
				s.settled(0, 1)
				checkDead(t, s, "e-0", "500", 500, 2)
			})
		})
	}
	// The same in a long outage of a function that can be asked: the event spends no attempt.
	simulate(t, []*openfaas.Function{simFunction("fn", 10, 2)}, func(s *sim) {
		down := true
		s.respond = func(_ string, ids []string) openfaas.Response {
			if down {
				return failed(500)
			}
			return doneAll(ids)
		}
		s.publish(1)
		s.until("it has failed often", func() bool { return len(s.calls) > 3*message.MaxFailedAlone })
		down = false
		s.settled(1, 0)
		s.checkNoAttempts()
	})
}

// A function that an event has killed is down until it has started again, and cannot be
// asked at once which event that was. All others are done once.
func TestPoisonAndRestart(t *testing.T) {
	for _, shared := range []bool{false, true} {
		for _, p := range []int{0, 123, 399} {
			functions := []*openfaas.Function{simFunction("fn", 100, 3)}
			if shared {
				functions = append(functions, simFunction("other", 10, 3))
			}
			simulate(t, functions, func(s *sim) {
				poison, back, times := fmt.Sprint("e-", p), time.Now(), map[string]int{}
				s.respond = func(function string, ids []string) openfaas.Response {
					switch {
					case function == "other":
						return doneAll(ids)
					case time.Now().Before(back):
						return failed(503)
					case slices.Contains(ids, poison):
						back = time.Now().Add(2 * time.Second)
						return failed(502)
					}
					for _, id := range ids {
						times[id]++
					}
					return doneAll(ids)
				}
				s.publish(400)
				more := s.traffic("the poison is dead", func() bool { return len(s.dead) == 1 })
				s.settled(399+more, 1)
				checkDead(t, s, poison, "502", 502, 3)
				for id, n := range times {
					if n != 1 {
						t.Errorf("%s is done %d times", id, n)
					}
				}
			})
		}
	}
}

// A function that responds 404 or 503 to one event has no outage. The others are done
// in the meantime, whatever delay it asks for because of the one, which becomes a dead
// letter in the end.
func TestOutageForOneEvent(t *testing.T) {
	for _, size := range []int{0, 50} {
		for status, retryAfter := range map[int]time.Duration{403: 0, 404: 0, 503: time.Minute} {
			simulate(t, []*openfaas.Function{simFunction("fn", size, 2)}, func(s *sim) {
				doneAt := map[string]time.Time{}
				s.respond = func(_ string, ids []string) openfaas.Response {
					if slices.Contains(ids, "e-0") && len(doneAt) > 0 {
						r := failed(status)
						r.RetryAfter = retryAfter
						return r
					}
					for _, id := range ids {
						doneAt[id] = time.Now()
					}
					return doneAll(ids)
				}
				s.deliver(amqp.Delivery{MessageId: "first", Body: []byte("{}"), RoutingKey: simQueue})
				s.until("the function is known to be up", func() bool { return len(doneAt) == 1 })
				s.publish(101)
				// The first times it counts as an outage, until others are done in between.
				first := s.traffic("the one is parked", func() bool { return len(s.retries) > 0 })
				parked := time.Now()
				more := s.traffic("the one is dead", func() bool { return len(s.dead) == 1 })
				s.settled(101+more, 1)
				checkDead(t, s, "e-0", fmt.Sprint(status), status, 2)
				for i := range more - first {
					id := fmt.Sprint("more-", first+i)
					if late := doneAt[id].Sub(parked.Add(time.Duration(i) * trafficEvery)); late > 5*time.Second {
						s.t.Fatalf("%d in batches of %d, Retry-After %s: %s is done after %s", status, size, retryAfter, id, late)
					}
				}
			})
		}
	}
}

// A plain retry of one event tells nothing about its function: the breaker stays
// closed. If each event of a batch is retried, no more events are called for now.
func TestRetriesAndTheBreaker(t *testing.T) {
	simulate(t, []*openfaas.Function{simFunction("fn", 10, 3)}, func(s *sim) {
		s.respond = func(_ string, ids []string) openfaas.Response {
			if reason, _ := s.consumer.dispatchers[0].endpoint.breaker.Outage(); reason != "" {
				t.Errorf("the breaker is open: %s", reason)
			}
			r := doneAll(ids)
			if i := slices.Index(ids, "e-0"); i >= 0 {
				r.Results[i] = batch.Result{ID: "e-0", Outcome: batch.Retry, Reason: "not yet"}
			}
			return r
		}
		s.publish(300)
		s.settled(299, 1)
	})
	simulate(t, []*openfaas.Function{simFunction("fn", 10, 8)}, func(s *sim) {
		down := true
		s.respond = func(_ string, ids []string) openfaas.Response {
			if down {
				return eachResult(ids, batch.Result{Outcome: batch.Retry, Reason: "redis is unavailable"})
			}
			return doneAll(ids)
		}
		s.publish(1000)
		s.until("the outage is told", func() bool { return s.problem("every event has to wait: redis is unavailable") })
		s.until("it is probed", func() bool { return len(s.calls) >= 6 })
		down = false
		s.settled(1000, 0)
		if n := len(s.retries); n > 100 {
			t.Errorf("%d events have spent an attempt", n)
		}
	})
}

// Throttling holds up every call for as long as the function asks.
func TestThrottling(t *testing.T) {
	simulate(t, []*openfaas.Function{simFunction("fn", 10, 8)}, func(s *sim) {
		s.respond = func(_ string, ids []string) openfaas.Response {
			if len(s.calls) > 1 {
				return doneAll(ids)
			}
			r := failed(429)
			r.RetryAfter = 20 * time.Second
			return r
		}
		s.publish(1)
		s.settled(1, 0)
		if gap := s.calls[1].at.Sub(s.calls[0].at); gap < 20*time.Second || gap > 21*time.Second {
			t.Errorf("called again after %s", gap)
		}
	})
}
