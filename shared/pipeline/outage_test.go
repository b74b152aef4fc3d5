package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"

	"parkstream/shared/batch"
	"parkstream/shared/eventually"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
	"parkstream/shared/redis"
	"parkstream/shared/timeline"
)

type storeFunc func(events []parking.Event) []parking.Recorded

func (f storeFunc) Record(_ context.Context, events []parking.Event) []parking.Recorded {
	return f(events)
}

// unmatched returns a store's response to an exit whose entry it does not have.
func unmatched(e parking.Event) parking.Recorded {
	return parking.Recorded{Stays: []parking.Stay{{ID: e.ID, Site: e.Site, Plate: e.Plate, ExitTime: e.Time, Revision: 1}}}
}

// each returns a store that records each event by itself.
func each(record func(parking.Event) parking.Recorded) storeFunc {
	return func(events []parking.Event) []parking.Recorded {
		recorded := make([]parking.Recorded, len(events))
		for i := range events {
			recorded[i] = record(events[i])
		}
		return recorded
	}
}

var errOOM = errors.New("OOM command not allowed")

// reply is an error reply of Redis.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

// An event is unavailable during an outage of the store, beside others that are done.
// An event that the store has examined is a retry without an outage. If no event of a
// call is done, the response is an outage. An event without a response is never done.
func TestStoreOutages(t *testing.T) {
	failing := func(ids string) storeFunc {
		return each(func(e parking.Event) parking.Recorded {
			if strings.Contains(ids, e.ID) {
				return parking.Recorded{Err: errOOM}
			}
			return unmatched(e)
		})
	}
	conflicting := each(func(e parking.Event) parking.Recorded {
		if e.ID == "a" {
			return parking.Recorded{Err: parking.ErrConflict}
		}
		return parking.Recorded{Err: errOOM}
	})
	full := each(func(e parking.Event) parking.Recorded {
		if e.ID == "a" {
			return parking.Recorded{Err: fmt.Errorf("site a: %w", parking.ErrTooManySites)}
		}
		return parking.Recorded{Err: errOOM}
	})
	replies := func(errs ...error) storeFunc {
		return each(func(e parking.Event) parking.Recorded {
			if err := errs[e.ID[0]-'a']; err != nil {
				return parking.Recorded{Err: fmt.Errorf("record 1 events of site main in Redis: %w", err)}
			}
			return unmatched(e)
		})
	}
	stayless := each(func(e parking.Event) parking.Recorded {
		if e.ID == "b" {
			return parking.Recorded{}
		}
		return unmatched(e)
	})
	long := func(n int) storeFunc {
		return func(events []parking.Event) []parking.Recorded {
			recorded := make([]parking.Recorded, n)
			for i := range recorded {
				recorded[i] = unmatched(events[min(i, len(events)-1)])
			}
			return recorded
		}
	}
	for _, tt := range []struct {
		name    string
		store   storeFunc
		rejects bool // an event is rejected before the call of the store
		want    string
	}{
		{"all taken", failing(""), false, "done done done"},
		{"none taken", failing("abc"), false, "503 the store cannot be used now"},
		{"none taken, one rejected", failing("abc"), true, "503 the store cannot be used now"},
		{"some taken", failing("ac"), false, "unavailable done unavailable"},
		{"some taken, one rejected", failing("ac"), true, "unavailable done unavailable reject"},
		{"not reached", replies(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, nil, context.DeadlineExceeded), false, "unavailable done unavailable"},
		{"not on the replicas", replies(nil, nil, &redis.ReplicasError{Asked: 1}), false, "done done unavailable"},
		{"refused for its state", replies(reply("CLUSTERDOWN Hash slot not served"), nil, reply("READONLY You can't write")), false, "unavailable done unavailable"},
		{"refused, one for its keys", replies(reply("WRONGTYPE Operation against a key"), nil, reply("LOADING Redis is loading")), false, "retry done unavailable"},
		{"refused, all for their keys", replies(reply("WRONGTYPE"), reply("WRONGTYPE"), reply("ERR script")), false, "500 the store refuses with WRONGTYPE"},
		{"refused, one for its keys, none taken", replies(reply("WRONGTYPE"), errOOM, errOOM), false, "500 the store refuses with WRONGTYPE"},
		{"refused, all for their keys, one rejected", replies(reply("ERR user_script"), reply("ERR user_script"), reply("ERR user_script")), true, "500 the store refuses with ERR"},
		{"one exit without a stay", stayless, false, "done retry done"},
		{"a conflict is an answer", conflicting, false, "503 the store cannot be used now"},
		{"a site too many is no answer", full, false, "503 the store cannot be used now"},
		{"no answers", long(0), false, "500 the store gives an answer that makes no sense"},
		{"two answers", long(2), false, "500 the store gives an answer that makes no sense"},
		{"four answers", long(4), false, "500 the store gives an answer that makes no sense"},
		{"exits without stays", each(func(parking.Event) parking.Recorded { return parking.Recorded{} }), false, "500 the store gives an answer that makes no sense"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var posted summaries
			exits := pipeline.NewExitEventProcessor(config(tt.store, &posted))
			events := []batch.Event{exit("a", "A", 0), exit("b", "B", 0), exit("c", "C", 0)}
			if tt.rejects {
				events = append(events, batch.Event{ID: "bad", Data: []byte("{")})
			}
			checkOutage(t, exits, events, tt.want)
			if taken := strings.Count(tt.want, "done"); len(posted.stays) != taken {
				t.Errorf("%d stays were posted, want %d", len(posted.stays), taken)
			}
		})
	}
	t.Run("only rejects", func(t *testing.T) {
		exits := pipeline.NewExitEventProcessor(config(failing("abc"), &summaries{}))
		checkOutage(t, exits, []batch.Event{{ID: "1", Data: []byte("{")}, {ID: "2"}}, "reject reject")
	})
	t.Run("no events", func(t *testing.T) {
		checkOutage(t, pipeline.NewExitEventProcessor(config(long(1), &summaries{})), nil, "")
	})
}

// During an outage parts of a large batch are tried until two have completed no event.
func TestOutagesOfLargeBatches(t *testing.T) {
	const part = 500
	for _, tt := range []struct {
		name    string
		lost    int // number of first events
		n       int
		code    int
		reached int // number of events at the store
	}{
		{"all lost", 4 * part, 4 * part, 503, 2 * part},
		{"the first part lost", part, 3 * part, 200, 3 * part},
		{"two parts lost", 2 * part, 3 * part, 503, 2 * part},
		{"not quite two parts lost", 2*part - 1, 4 * part, 200, 4 * part},
		{"one part and no more", part, part, 503, part},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reached := 0
			data := each(func(e parking.Event) parking.Recorded {
				if reached++; reached <= tt.lost {
					return parking.Recorded{Err: errOOM}
				}
				return unmatched(e)
			})
			events := make([]batch.Event, tt.n)
			for i := range events {
				events[i] = exit(fmt.Sprint("e", i), "A", 0)
			}
			w := post(documented(t, pipeline.NewExitEventProcessor(config(data, &summaries{}))), string(batch.AppendRequest(nil, "/q", events)))
			results, err := batch.ParseResponse(w.Body.Bytes(), events)
			if w.Code != tt.code || err != nil || reached != tt.reached {
				t.Errorf("%d, %v, %d events reached the store; want %d and %d", w.Code, err, reached, tt.code, tt.reached)
			}
			for i, r := range results {
				if lost := i < tt.lost || tt.code == 503; r.Unavailable != lost {
					t.Fatalf("event %d: %+v", i, r)
				}
			}
		})
	}
}

// checkOutage sends events and compares the response: the outcomes, 500 with a reason,
// or 503 with a reason and only results that cost no event an attempt.
func checkOutage(t *testing.T, h pipeline.Handler, events []batch.Event, want string) {
	t.Helper()
	w := post(documented(t, h), string(batch.AppendRequest(nil, "/q", events)))
	if want == "503 mixed" {
		results, err := batch.ParseResponse(w.Body.Bytes(), events)
		plain := slices.ContainsFunc(results, func(r batch.Result) bool { return !r.Unavailable && r.Outcome == batch.Retry })
		if w.Code != http.StatusServiceUnavailable || err != nil || !plain {
			t.Errorf("%d %s, want 503 with a plain retry: %v", w.Code, w.Body, err)
		}
		return
	}
	if reason, outage := strings.CutPrefix(want, "503 "); outage {
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), reason) {
			t.Errorf("%d %s, want 503 %s", w.Code, w.Body, reason)
		}
		results, err := batch.ParseResponse(w.Body.Bytes(), events)
		if err != nil || slices.ContainsFunc(results, func(r batch.Result) bool { return !r.Unavailable && r.Outcome != batch.Reject }) {
			t.Errorf("503 with %+v, %v", results, err)
		}
		return
	}
	if reason, failed := strings.CutPrefix(want, "500 "); failed {
		if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), reason) {
			t.Errorf("%d %s, want 500 %s", w.Code, w.Body, reason)
		}
		return
	}
	results, err := batch.ParseResponse(w.Body.Bytes(), events)
	if w.Code != http.StatusOK || err != nil {
		t.Fatalf("%d %s, %v", w.Code, w.Body, err)
	}
	var outcomes []string
	for _, r := range results {
		outcome := string(r.Outcome)
		if r.Unavailable {
			outcome = "unavailable"
		}
		outcomes = append(outcomes, outcome)
	}
	if got := strings.Join(outcomes, " "); got != want {
		t.Errorf("%s, want %s: %s", got, want, w.Body)
	}
}

// refusal is the summary's refusal of stays.
type refusal struct{ error }

func (refusal) Refused() bool { return true }

// A stay that cannot be posted makes its events unavailable. A stay that the summary
// refuses affects only the events that have it.
func TestSummaryOutages(t *testing.T) {
	away := errors.New("404 Not Found")
	for _, tt := range []struct {
		name     string
		post     func(stays []parking.Stay) error
		n        int
		want     string
		maxCalls int
	}{
		{"unavailable", func([]parking.Stay) error { return away }, 3, "503 the summary cannot be used now", 1},
		{"one event, unavailable", func([]parking.Stay) error { return away }, 1, "503 the summary cannot be used now", 1},
		{"too many stays", func(stays []parking.Stay) error {
			if len(stays) > 3 {
				return refusal{errors.New("413")}
			}
			return nil
		}, 10, strings.Repeat(" done", 10)[1:], 7},
		{"one refused", refuse("e1"), 4, "done retry done done", 5},
		{"one event, refused", refuse("e0"), 1, "retry", 1},
		{"all refused", refuse("e"), 500, strings.Repeat(" retry", 500)[1:], 101},
		{"one of many refused", refuse("e77 "), 500, strings.Repeat("done ", 77) + "retry" + strings.Repeat(" done", 422), 21},
		{"refused, then unavailable", func(stays []parking.Stay) error {
			if len(stays) > 2 {
				return refusal{errors.New("400")}
			}
			return away
		}, 4, "503 the summary cannot be used now", 2},
		{"some posted, then unavailable", func(stays []parking.Stay) error {
			switch {
			case len(stays) > 2:
				return refusal{errors.New("400")}
			case stays[0].ID == "e0":
				return nil
			}
			return away
		}, 4, "done done unavailable unavailable", 3},
		{"one refused, the others unavailable, none posted", func(stays []parking.Stay) error {
			switch {
			case len(stays) > 1:
				return refusal{errors.New("400")}
			case stays[0].ID == "e0":
				return refusal{errors.New("400: e0")}
			}
			return away
		}, 2, "503 mixed", 3},
		{"some refused, the others unavailable", func(stays []parking.Stay) error {
			if refuse("e0 ")(stays) != nil {
				return refusal{errors.New("400")}
			}
			return away
		}, 4, "503 the summary cannot be used now", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			calls := 0
			poster := posterFunc(func(_ context.Context, stays []parking.Stay) error {
				calls++
				return tt.post(stays)
			})
			var events []batch.Event
			for i := range tt.n {
				events = append(events, exit(fmt.Sprint("e", i), "A", i))
			}
			checkOutage(t, pipeline.NewExitEventProcessor(config(each(unmatched), poster)), events, tt.want)
			if calls > tt.maxCalls {
				t.Errorf("%d calls of the summary, want %d at most", calls, tt.maxCalls)
			}
		})
	}
}

// refuse refuses every call with a stay whose id, followed by a blank, begins with
// prefix.
func refuse(prefix string) func(stays []parking.Stay) error {
	return func(stays []parking.Stay) error {
		for _, s := range stays {
			if strings.HasPrefix(s.ID+" ", prefix) {
				return refusal{errors.New("400 Bad Request: " + s.ID)}
			}
		}
		return nil
	}
}

// In an outage of the summary entries without a stay are done. The others wait for its
// end.
func TestEntriesInASummaryOutage(t *testing.T) {
	var posted summaries
	c := config(newStore(t), &posted)
	pipeline.NewExitEventProcessor(c).ProcessMessages(t.Context(), []batch.Event{exit("x", "A", 90)})
	posted.fail = func() error { return errors.New("connection refused") }
	entries := pipeline.NewEntryEventProcessor(c)
	events := []batch.Event{entry("late", "A", 0), entry("e", "B", 0)}
	checkOutage(t, entries, events, "unavailable done")
	checkOutage(t, entries, events[:1], "503 the summary cannot be used now")
	checkOutage(t, entries, events[1:], "done")
	posted.fail = nil
	checkOutage(t, entries, events, "done done")
}

// Any fault that stops Redis from storing events is an outage, which ends with the
// fault.
func TestRedisFaultsAreOutages(t *testing.T) {
	node := instancetest.Redis(t)
	admin := openRedis(t, node.URL()).Current()
	do := func(args ...any) {
		t.Helper()
		if err := admin.Do(t.Context(), args...).Err(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	do("ACL", "SETUSER", "processor", "on", ">pass", "~*", "+@all")
	url := fmt.Sprintf("redis://processor:pass@127.0.0.1:%d/0", node.Port())
	for i, tt := range []struct {
		reason     string
		fault, fix [][]any
	}{
		{"OOM", [][]any{{"CONFIG", "SET", "maxmemory", "1"}}, [][]any{{"CONFIG", "SET", "maxmemory", "0"}}},
		{"NOPERM", [][]any{{"ACL", "SETUSER", "processor", "-evalsha", "-eval"}}, [][]any{{"ACL", "SETUSER", "processor", "+@all"}}},
		{"NOREPLICAS", [][]any{{"CONFIG", "SET", "min-replicas-to-write", "1"}}, [][]any{{"CONFIG", "SET", "min-replicas-to-write", "0"}}},
		{"READONLY", [][]any{{"REPLICAOF", "127.0.0.1", "1"}}, [][]any{{"REPLICAOF", "NO", "ONE"}}},
		{"", [][]any{{"ACL", "SETUSER", "processor", "off"}, {"CLIENT", "KILL", "USER", "processor"}}, [][]any{{"ACL", "SETUSER", "processor", "on"}}},
		{"does not answer in time", [][]any{{"CLIENT", "PAUSE", "60000", "WRITE"}}, [][]any{{"CLIENT", "UNPAUSE"}}},
	} {
		t.Run(fmt.Sprint(i, tt.reason), func(t *testing.T) {
			exits := pipeline.NewExitEventProcessor(config(timeline.New(openRedis(t, url+"?read_timeout=200ms&max_retries=-1"), retention), &summaries{}))
			events := []batch.Event{exit(fmt.Sprint("a", i), "A", i), exit(fmt.Sprint("b", i), "B", i)}
			for _, args := range tt.fault {
				do(args...)
			}
			checkOutage(t, exits, events, "503 "+tt.reason)
			for _, args := range tt.fix {
				do(args...)
			}
			eventually.Succeeds(t, "the events are done after the fix", func() error {
				if r := exits.ProcessMessages(t.Context(), events); r[0].Outcome != batch.Done || r[1].Outcome != batch.Done {
					return fmt.Errorf("they became %+v", r)
				}
				return nil
			})
		})
	}
}

// An event that breaks the script, and with it the call, is distinguished from an
// outage: in a batch and alone the status of the call is 500.
func TestAKeyOfAnotherType(t *testing.T) {
	node := instancetest.Redis(t)
	client := openRedis(t, node.URL())
	exits := pipeline.NewExitEventProcessor(config(timeline.New(client, retention), &summaries{}))
	events := []batch.Event{exit("a", "A", 0), exit("b", "B", 0)}
	checkOutage(t, exits, events, "done done")
	keys, err := client.Current().Keys(t.Context(), "park:{*}:*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("keys %v, %v", keys, err)
	}
	for _, key := range keys {
		if err := client.Current().Set(t.Context(), key, "text", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	events = []batch.Event{exit("c", "C", 1), exit("d", "D", 1)}
	checkOutage(t, exits, events, "500 the store refuses with ")
	w := httptest.NewRecorder()
	documented(t, exits).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(events[0].Data)))
	if w.Code != http.StatusInternalServerError || w.Header().Get("Retry-After") != "" || !strings.Contains(w.Body.String(), `"outcome":"retry"`) {
		t.Errorf("one event: %d %s", w.Code, w.Body)
	}
	if err := client.Current().FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	checkOutage(t, exits, events, "done done")
}

func openRedis(t *testing.T, url string) *redis.Client {
	t.Helper()
	client, err := redis.Open(redis.URL(url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}
