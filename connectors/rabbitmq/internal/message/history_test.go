package message

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/message/messagetest"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/batch"
	"parkstream/shared/broker"
)

// checkHistory wants that our headers are read within bounds, whatever they are, twice
// the same, and that they are read back as they are written.
func checkHistory(t *testing.T, d *amqp.Delivery, now time.Time) {
	t.Helper()
	o := readHeaders(d, "q", now)
	earliest := published(d)
	if earliest.After(now) {
		earliest = time.Time{}
	}
	if o.history.Attempts < 0 || o.history.Attempts > openfaas.AttemptsLimit || o.history.FailedAlone < 0 || o.history.FailedAlone > MaxFailedAlone || o.history.Waits < 0 || o.history.Waits > MaxWaits || o.history.MaxBatch < 0 || o.history.MaxBatch > batch.MaxEvents ||
		o.history.Last.After(now) || o.history.First.After(o.history.Last) || o.history.First.IsZero() != o.history.Last.IsZero() || !o.history.Last.IsZero() && o.history.First.Before(earliest) ||
		len(o.onlyFunction) > maxShort || len(o.routingKey) > maxShort || len(o.userID) > maxShort || len(o.expiration) > maxShort || len(o.omitted) > MaxReason+3 {
		t.Errorf("%.200v was read as %+v", d.Headers, o)
	}
	written := amqp.Table{}
	o.write(written, "q")
	if err := written.Validate(); err != nil || broker.HeadersSize(written) > 2*maxPassedOn {
		t.Errorf("%.200v is written with %d bytes, %v", d.Headers, broker.HeadersSize(written), err)
	}
	written[headerDeath] = messagetest.RecordOf("q.retry.20")
	for how, d := range map[string]*amqp.Delivery{"written and read": {Headers: written, RoutingKey: "q", Timestamp: d.Timestamp}, "read again": d} {
		if again := readHeaders(d, "q", now); !sameHistory(again.history, o.history) ||
			again.onlyFunction != o.onlyFunction || again.routingKey != o.routingKey || again.userID != o.userID || again.expiration != o.expiration {
			t.Errorf("%+v, %s, is %+v", o, how, again)
		}
	}
}

// sameHistory reports whether two histories are equal, their times in any zone.
func sameHistory(a, b History) bool {
	times := a.First.Equal(b.First) && a.Last.Equal(b.Last)
	a.First, a.Last = b.First, b.Last
	return times && a == b
}

// Parsing our headers yields values within bounds, whatever the headers, and writing
// them yields the same values when parsed.
func TestHistoryIsWithinBounds(t *testing.T) {
	now := time.Now()
	check := func(h amqp.Table, timestamp time.Time) {
		t.Helper()
		checkHistory(t, &amqp.Delivery{Headers: h, RoutingKey: "q", Timestamp: timestamp}, now)
	}
	for _, timestamp := range append(farTimes(), now.Add(-time.Hour), now.Add(time.Hour)) {
		for _, value := range messagetest.Forged {
			all := amqp.Table{headerDeath: messagetest.RecordOf("q.retry.20")}
			for _, name := range messagetest.OwnHeaders {
				all[name] = value
				check(amqp.Table{headerDeath: messagetest.RecordOf("q.retry.20"), HeaderLastTime: "2026-11-27T08:00:00Z", name: value}, timestamp)
			}
			check(all, timestamp)
		}
	}
}

func farTimes() []time.Time {
	return []time.Time{{}, time.Unix(0, 0), time.Unix(math.MaxInt64, 0), time.Unix(math.MinInt64, 0), time.UnixMilli(math.MaxInt64)}
}

// What became of earlier calls counts only with the broker's record of a retry queue.
func TestWhoIsBelieved(t *testing.T) {
	entry := func(queue, reason any) amqp.Table { return amqp.Table{"queue": queue, "reason": reason} }
	const retry = "q.retry.1000"
	for _, tt := range []struct {
		name   string
		deaths any
		want   bool
	}{
		{"no record", nil, false},
		{"a retry queue", []any{entry(retry, "expired")}, true},
		{"one of an earlier setting", []any{entry("q.retry.77", "expired")}, true},
		{"moved on since", []any{entry("q", "delivery_limit"), entry(retry, "expired")}, false},
		{"through a retry queue at last", []any{entry(retry, "expired"), entry("elsewhere", "rejected")}, true},
		{"of another queue", []any{entry("other.retry.1000", "expired")}, false},
		{"of a queue with a longer name", []any{entry("qq.retry.1000", "expired")}, false},
		{"rejected there", []any{entry(retry, "rejected")}, false},
		{"dead letters", []any{entry("q.dead", "expired")}, false},
		{"empty", []any{}, false},
		{"text", "q.retry.1000", false},
		{"a table", entry(retry, "expired"), false},
		{"a list of texts", []any{retry}, false},
		{"odd types", []any{entry(int32(1), []any{})}, false},
	} {
		h := amqp.Table{HeaderAttempts: int32(5), HeaderFailedAlone: int32(2), HeaderWaits: int32(3), HeaderMaxBatch: int32(7), HeaderLastTime: "2026-11-27T08:00:00Z", HeaderOnlyFunction: "fn", HeaderRoutingKey: "gate.north"}
		if tt.deaths != nil {
			h[headerDeath] = tt.deaths
		}
		o := readHeaders(&amqp.Delivery{Headers: h, RoutingKey: "q"}, "q", time.Now())
		if believed := o.history.Attempts == 5 && o.history.FailedAlone == 2 && o.history.Waits == 3 && o.history.MaxBatch == 7 && !o.history.Last.IsZero(); believed != tt.want || !tt.want && (o.history.Attempts != 0 || o.history.FailedAlone != 0 || o.history.Waits != 0 || o.history.MaxBatch != 0 || !o.history.Last.IsZero()) {
			t.Errorf("%s: %+v", tt.name, o)
		}
		if o.onlyFunction != "fn" || o.routingKey != "gate.north" {
			t.Errorf("%s: for %q with routing key %q", tt.name, o.onlyFunction, o.routingKey)
		}
	}
}

// What goes back to its queue has of our headers the publisher's word only.
func TestReplayHeaders(t *testing.T) {
	for _, value := range messagetest.Forged {
		h := amqp.Table{"theirs": "kept", headerDeath: messagetest.RecordOf("q.retry.20")}
		for _, name := range messagetest.OwnHeaders {
			h[name] = value
		}
		got := replayHeaders(h, "q")
		if got["theirs"] != "kept" || broker.HeadersSize(got) > 2*maxPassedOn {
			t.Errorf("%.50v: %d bytes", value, broker.HeadersSize(got))
		}
		for name := range got {
			if strings.HasPrefix(name, Prefix) && !slices.Contains([]string{HeaderOnlyFunction, HeaderUser, HeaderExpiration, HeaderCC, HeaderRoutingKey}, name) {
				t.Errorf("%.50v: %s goes back", value, name)
			}
		}
	}
}

// An event waits longer only if others were done while it was unacknowledged.
func TestWaitsGrowWithProgress(t *testing.T) {
	for _, tt := range []struct {
		waits   int
		partial bool
		want    int
	}{
		{0, false, 1},
		{0, true, 1},
		{1, false, 1},
		{1, true, 2},
		{4, false, 4},
		{MaxWaits, true, MaxWaits},
	} {
		h := History{Waits: tt.waits}
		if h.Wait(tt.partial); h.Waits != tt.want {
			t.Errorf("%d waits, others were done %t: %d, want %d", tt.waits, tt.partial, h.Waits, tt.want)
		}
	}
}

// An event is a suspect if something has succeeded between its failures; that it failed
// before, or that others succeeded before that, is none of its fault.
func TestSuspects(t *testing.T) {
	began := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		name            string
		last, succeeded time.Time
		want            bool
	}{
		{"it never failed, nothing succeeded", time.Time{}, time.Time{}, false},
		{"it never failed", time.Time{}, began.Add(-time.Second), false},
		{"nothing has succeeded since", began.Add(-time.Minute), began.Add(-time.Hour), false},
		{"something has succeeded since", began.Add(-time.Minute), began.Add(-time.Second), true},
	} {
		h := History{Last: tt.last}
		if suspect := h.CallFailed(began, tt.succeeded); suspect != tt.want || !h.Last.Equal(began) {
			t.Errorf("%s: suspect %t, last failure %s", tt.name, suspect, h.Last)
		}
	}
}

// What a copy begins with, by what became of the event.
func TestWhatACopyBeginsWith(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	first, last := now.Add(-time.Hour), now.Add(-time.Minute)
	h := History{Attempts: 2, FailedAlone: 3, Waits: 4, MaxBatch: 50, First: first, Last: last}
	if got, want := h.Spend(now), (History{Attempts: 3, MaxBatch: 50, First: first, Last: now}); got != want {
		t.Errorf("after an attempt %+v", got)
	}
	if got, want := h.Answered(), (History{Attempts: 2, Waits: 4, MaxBatch: 50, First: first, Last: last}); got != want {
		t.Errorf("after an answer %+v", got)
	}
	if n := h.Failures(); n != 9 || !h.Isolated() {
		t.Errorf("%d failures, isolated %t", n, h.Isolated())
	}
	for i := 1; i <= MaxFailedAlone; i++ {
		h := History{FailedAlone: i - 1}
		if tooOften := h.FailedOnItsOwn(); tooOften != (i == MaxFailedAlone) || h.FailedAlone != i {
			t.Errorf("after %d failures alone %+v, too often %t", i, h, tooOften)
		}
	}
}
