package attempt

import (
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/message"
)

// start is when the tests of the batcher begin; it has no clock of its own.
var start = time.Unix(1_800_000_000, 0)

// event returns one whose message has an id and takes a number of bytes in a request.
func event(id string, size int) Event {
	d := &amqp.Delivery{MessageId: id, Body: make([]byte, size-envelope)}
	return NewEvent((&message.Source{Queue: "q"}).Read(d, start))
}

func events(n int) []Event {
	es := make([]Event, n)
	for i := range es {
		es[i] = event(string(rune('a'+i)), 1000)
	}
	return es
}

// with returns events with a change of their histories.
func with(es []Event, change func(h *message.History)) []Event {
	es = slices.Clone(es)
	for i := range es {
		change(&es[i].History)
	}
	return es
}

func isolated(h *message.History) { h.FailedAlone = 1 }

func ids(es []Event) (s string) {
	for i := range es {
		s += es[i].Message.ID()
	}
	return s
}

func newBatcher(es ...Event) *Batcher {
	b := &Batcher{MaxEvents: 4, MaxBytes: 1 << 20, Linger: 10 * time.Millisecond}
	for _, e := range es {
		b.Add(e, start)
	}
	return b
}

// check checks that the batcher's sum of bytes is that of its events.
func (b *Batcher) check(t *testing.T) {
	t.Helper()
	bytes := 0
	for i := range b.events {
		bytes += b.events[i].size()
	}
	if bytes != b.bytes {
		t.Errorf("%d bytes, the sum is %d", b.bytes, bytes)
	}
}

// batches takes all.
func (b *Batcher) batches(t *testing.T) (got []string) {
	t.Helper()
	for b.Len() > 0 {
		got = append(got, ids(b.Take(start)))
		b.check(t)
	}
	if b.Take(start) != nil || b.TakeProbe(start) != nil || b.TakeSome(1) != nil {
		t.Error("an empty batcher has a batch")
	}
	return got
}

// A batch has the oldest events within every limit, and each event comes once.
func TestTake(t *testing.T) {
	five := events(5)
	sizes := func(n ...int) (es []Event) {
		for i, n := range n {
			es = append(es, event(string(rune('a'+i)), n))
		}
		return es
	}
	limit := func(at, n int) []Event {
		es := events(8)
		es[at].History.MaxBatch = n
		return es
	}
	for _, tt := range []struct {
		name     string
		events   []Event
		maxBytes int
		want     []string
	}{
		{"nothing", nil, 1 << 20, nil},
		{"fewer than a batch", five[:3], 1 << 20, []string{"abc"}},
		{"more than a batch", five, 1 << 20, []string{"abcd", "e"}},
		{"bytes, to the last one", sizes(1000, 1000, 1000), 2000, []string{"ab", "c"}},
		{"a byte too many", sizes(1000, 1001, 1000), 2000, []string{"a", "b", "c"}},
		{"larger than a batch may be", sizes(500, 9000, 500, 500), 2000, []string{"a", "b", "cd"}},
		{"the first is larger", sizes(9000, 500), 2000, []string{"a", "b"}},
		{"isolated ones first, alone", append(with(events(2), isolated), event("x", 500), event("y", 500)), 1 << 20, []string{"a", "b", "xy"}},
		{"half of a batch that failed", with(five, func(h *message.History) { h.MaxBatch = 2 }), 1 << 20, []string{"ab", "cd", "e"}},
		{"one of them brings a limit", limit(1, 3), 1 << 20, []string{"abc", "defg", "h"}},
		{"a limit that is passed already", limit(3, 2), 1 << 20, []string{"abc", "de", "fgh"}},
	} {
		b := newBatcher()
		b.MaxBytes = tt.maxBytes
		for _, e := range tt.events {
			b.Add(e, start)
		}
		if got := b.batches(t); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A batch lingers for more events while other calls are in flight, until it is full, an
// event has to go alone, or it has lingered.
func TestWait(t *testing.T) {
	full := newBatcher(events(4)...)
	bytes := newBatcher()
	bytes.MaxBytes = 2000
	bytes.Add(event("a", 1000), start)
	bytes.Add(event("b", 1000), start)
	for _, tt := range []struct {
		name string
		b    *Batcher
		at   time.Duration
		busy bool
		want time.Duration
	}{
		{"it has just come", newBatcher(events(1)...), 0, true, 10 * time.Millisecond},
		{"it waits", newBatcher(events(3)...), 7 * time.Millisecond, true, 3 * time.Millisecond},
		{"it has waited", newBatcher(events(3)...), time.Second, true, 0},
		{"nothing else is in flight", newBatcher(events(1)...), 0, false, 0},
		{"as many as a batch may have", full, 0, true, 0},
		{"as many bytes as a batch may have", bytes, 0, true, 0},
		{"an isolated event", newBatcher(append(with(events(1), isolated), events(1)...)...), 0, true, 0},
	} {
		if got := tt.b.Wait(start.Add(tt.at), tt.busy); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	// What is left after a batch lingers from then on.
	b := newBatcher(events(5)...)
	b.Take(start.Add(time.Minute))
	if got := b.Wait(start.Add(time.Minute), true); got != 10*time.Millisecond {
		t.Errorf("what is left waits %s", got)
	}
}

// Its user is told of the first event, of a full batch and of each isolated event.
func TestAddTellsNews(t *testing.T) {
	b := newBatcher()
	es := append(events(6), with(events(1), isolated)...)
	for i, want := range []bool{true, false, false, true, false, false, true} {
		if news := b.Add(es[i], start); news != want {
			t.Errorf("event %d: %t", i, news)
		}
	}
}

// A probe is one event, any of those that are not isolated if there is one.
func TestTakeProbe(t *testing.T) {
	seen := map[string]bool{}
	for range 300 {
		b := newBatcher(append(with(events(1), isolated), event("x", 500), event("y", 700), event("z", 900))...)
		probe := b.TakeProbe(start)
		if len(probe) != 1 || probe[0].History.Isolated() || b.Len() != 3 {
			t.Fatalf("a probe of %q, %d left", ids(probe), b.Len())
		}
		b.check(t)
		seen[ids(probe)] = true
	}
	if len(seen) != 3 {
		t.Errorf("probes were %v only", seen)
	}
	b := newBatcher(with(events(2), isolated)...)
	if probe := b.TakeProbe(start); ids(probe) != "a" || b.Len() != 1 {
		t.Errorf("of isolated events %q", ids(probe))
	}
}

// Events that are kept come first again, in their order; those that were isolated
// meanwhile go alone.
func TestPutBack(t *testing.T) {
	b := newBatcher(events(8)...)
	batch := b.Take(start)
	batch[2].History.FailedAlone = 1
	b.PutBack(batch, start.Add(time.Second))
	b.check(t)
	if got := b.batches(t); !slices.Equal(got, []string{"c", "abde", "fgh"}) {
		t.Errorf("%q", got)
	}
	b.PutBack(batch[:1], start.Add(time.Second))
	if got := b.Wait(start.Add(time.Second), true); got != 10*time.Millisecond {
		t.Errorf("what is put back into an empty batcher waits %s", got)
	}
}

// Some events are taken to make room for others: no more bytes than a batch may have, but
// one at least.
func TestTakeSome(t *testing.T) {
	alone := func(size int) Event { return with([]Event{event("i", size)}, isolated)[0] }
	for _, tt := range []struct {
		n      int
		events []Event
		want   int
	}{
		{1, nil, 0},
		{1, []Event{event("a", 5000)}, 1},
		{4, []Event{event("a", 5000), event("b", 300)}, 1},
		{4, []Event{event("a", 500), event("b", 500), event("c", 300)}, 2},
		{4, []Event{event("a", 500), alone(300), alone(300)}, 2},
		{4, []Event{alone(5000), alone(300)}, 1},
		{2, []Event{alone(300), event("a", 300), event("b", 300)}, 2},
	} {
		b := newBatcher(tt.events...)
		b.MaxBytes = 1000
		some := b.TakeSome(tt.n)
		b.check(t)
		if len(some) != tt.want || b.Len()+len(some) != len(tt.events) {
			t.Errorf("%d of %d events: %d, %d left, want %d", tt.n, len(tt.events), len(some), b.Len(), tt.want)
		}
	}
}

func TestTakeAll(t *testing.T) {
	b := newBatcher(append(events(3), with(events(1), isolated)...)...)
	if all := b.TakeAll(); ids(all) != "abca" || b.Len() != 0 {
		t.Errorf("%q, %d left", ids(all), b.Len())
	}
	b.check(t)
}
