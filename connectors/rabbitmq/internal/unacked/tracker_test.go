package unacked

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// recorder is a channel that records frames and, as RabbitMQ does, refuses a tag that it
// has seen.
type recorder struct {
	frames    []string
	delivered map[uint64]bool // unacknowledged
	acked     map[uint64]bool
	lost      bool
}

var errLost = errors.New("the channel is closed")

func (r *recorder) deliver(n int) (tags []uint64) {
	for range n {
		tag := uint64(len(r.delivered) + len(r.acked) + 1)
		r.delivered[tag] = true
		tags = append(tags, tag)
	}
	return tags
}

func (r *recorder) Ack(tag uint64, multiple bool) error {
	return r.frame(map[bool]string{true: "ack to", false: "ack"}[multiple], tag, multiple, true)
}

func (r *recorder) Nack(tag uint64, multiple, requeue bool) error {
	if !requeue {
		return fmt.Errorf("%d is dropped", tag)
	}
	return r.frame(map[bool]string{true: "nack to", false: "nack"}[multiple], tag, multiple, false)
}

func (r *recorder) frame(kind string, tag uint64, multiple, done bool) error {
	if r.lost {
		return errLost
	}
	if _, known := r.delivered[tag]; !known && (tag != 0 || !multiple) {
		return fmt.Errorf("%s %d: PRECONDITION_FAILED, unknown delivery tag", kind, tag)
	}
	r.frames = append(r.frames, fmt.Sprint(kind, " ", tag))
	for _, t := range slices.Collect(maps.Keys(r.delivered)) {
		if t == tag || multiple && (t < tag || tag == 0) {
			delete(r.delivered, t)
			r.acked[t] = done
		}
	}
	return nil
}

// track returns a tracker of n deliveries that one function gets. Delivery 1 came in the
// first second of 1970, 2 in the second, ...
func track(n int) (*Tracker, *recorder, *Counts) {
	r, c := &recorder{delivered: make(map[uint64]bool), acked: make(map[uint64]bool)}, new(Counts)
	t := New(r, c)
	r.deliver(n)
	for i := range n {
		t.Add(time.Unix(int64(i+1), 0), 1)
	}
	return t, r, c
}

func (c *Counts) check(t *testing.T, want Totals) {
	t.Helper()
	if got := c.Totals(); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Messages settled in order are acknowledged at once, in one frame. Messages settled
// out of order wait for the older ones.
func TestSettle(t *testing.T) {
	k, r, c := track(9)
	must(t, k.Settle([]uint64{3, 2, 5}, Acked))
	if len(r.frames) != 0 {
		t.Errorf("frames %q before the oldest is settled", r.frames)
	}
	if oldest := k.Oldest(); oldest.Unix() != 1 {
		t.Errorf("the oldest is %s", oldest)
	}
	select {
	case <-k.OutOfOrder():
	default:
		t.Error("nothing tells that messages were settled out of order")
	}
	must(t, k.Settle([]uint64{1, 2, 99}, Retried)) // 2 is settled, 99 was never delivered
	must(t, k.Settle([]uint64{4}, DeadLettered))
	must(t, k.Settle([]uint64{6}, Acked))
	if got := fmt.Sprint(r.frames); got != "[ack to 3 ack to 5 ack 6]" {
		t.Errorf("frames %s", got)
	}
	if oldest := k.Oldest(); oldest.Unix() != 7 || !c.Oldest().Equal(oldest) {
		t.Errorf("the oldest is %s, of the queue %s", oldest, c.Oldest())
	}
	<-k.OutOfOrder() // of 5
	must(t, k.Settle([]uint64{7, 8, 9}, Acked))
	select {
	case <-k.OutOfOrder():
		t.Error("messages that are acknowledged in order are told to be out of order")
	default:
	}
	if !k.Oldest().IsZero() || !c.Oldest().IsZero() {
		t.Errorf("an oldest of none: %s", k.Oldest())
	}
	c.check(t, Totals{Received: 9, Acked: 7, Retried: 1, DeadLettered: 1})
}

// A message that several functions get is settled when all are through; the worst of what
// they made of it counts. What is said of it after that does not.
func TestSeveralFunctions(t *testing.T) {
	for _, order := range [][]Settlement{{Acked, Acked, Acked}, {Acked, DeadLettered, Retried}, {DeadLettered, Retried, Acked}, {Retried, Acked, Acked}} {
		k, r, c := track(0)
		r.deliver(2)
		k.Add(time.Unix(1, 0), 3)
		k.Add(time.Unix(2, 0), 1)
		for _, s := range order {
			if len(r.frames) != 0 {
				t.Errorf("%v: %q before all are through", order, r.frames)
			}
			must(t, k.Settle([]uint64{1}, s))
		}
		must(t, k.Settle([]uint64{1}, DeadLettered))
		want := Totals{Received: 2, Unacked: 1}
		switch slices.Max(order) {
		case Acked:
			want.Acked = 1
		case Retried:
			want.Retried = 1
		case DeadLettered:
			want.DeadLettered = 1
		}
		c.check(t, want)
	}
}

func TestFlush(t *testing.T) {
	k, r, _ := track(5)
	must(t, k.Settle([]uint64{2, 3, 5}, Acked))
	must(t, k.Flush())
	must(t, k.Flush())
	if got := strings.Join(r.frames, ", "); got != "ack 2, ack 3, ack 5" {
		t.Errorf("frames %s", got)
	}
	must(t, k.Settle([]uint64{1}, Acked)) // not with the others, which RabbitMQ knows no more
	must(t, k.Settle([]uint64{4}, Acked))
	if got := strings.Join(r.frames[3:], ", "); got != "ack 1, ack 4" {
		t.Errorf("frames %s", got)
	}
}

// All that is settled is acknowledged before the rest is given back: in a transaction each
// run of one kind is one command.
func TestGiveBackFrames(t *testing.T) {
	all := []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9}
	for _, tt := range []struct {
		name     string
		settled  []uint64 // of 9 deliveries
		flushed  bool     // those are acknowledged one by one already
		returned []uint64 // given back one by one after that
		more     []uint64 // settled after that
		oldest   int64    // of those that are unsettled then; 0 if there are none
		want     string
	}{
		{name: "all open", oldest: 1, want: "nack to 0"},
		{name: "all settled", settled: all, want: "ack to 9, nack to 0"},
		{name: "one open", settled: all[1:], oldest: 1, want: "ack 2, ack 3, ack 4, ack 5, ack 6, ack 7, ack 8, ack 9, nack to 0"},
		{name: "in turn", settled: []uint64{1, 3, 4, 8}, oldest: 2, want: "ack 1, ack 3, ack 4, ack 8, nack to 0"},
		{name: "flushed before", settled: []uint64{3, 4, 9}, flushed: true, oldest: 1, want: "ack 3, ack 4, ack 9, nack to 0"},
		{
			name: "returned among settled", settled: []uint64{3, 4}, returned: []uint64{2, 5}, more: []uint64{1}, oldest: 6,
			want: "nack 2, nack 5, ack to 4, nack to 0",
		},
		{
			name: "returned behind an open one", settled: []uint64{2, 3, 6}, returned: []uint64{4, 5}, oldest: 1,
			want: "nack 4, nack 5, ack 2, ack 3, ack 6, nack to 0",
		},
		{
			name: "returned before open ones", settled: []uint64{2, 3}, returned: []uint64{4, 5}, oldest: 1,
			want: "nack 4, nack 5, ack 2, ack 3, nack to 0",
		},
		{name: "the oldest returned", settled: []uint64{2, 3}, returned: []uint64{1, 2, 99}, oldest: 4, want: "nack 1, ack to 3, nack to 0"},
		{name: "all returned", returned: all, want: "nack 1, nack 2, nack 3, nack 4, nack 5, nack 6, nack 7, nack 8, nack 9, nack to 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, r, _ := track(9)
			must(t, k.Settle(tt.settled, Acked))
			if tt.flushed {
				must(t, k.Flush())
			}
			must(t, k.GiveBack(tt.returned))
			must(t, k.Settle(tt.more, Acked))
			if oldest := k.Oldest(); oldest.IsZero() != (tt.oldest == 0) || tt.oldest > 0 && oldest.Unix() != tt.oldest {
				t.Errorf("the oldest unsettled one is of %s, want %d", oldest, tt.oldest)
			}
			must(t, k.GiveBackAll())
			if got := strings.Join(r.frames, ", "); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// A tracker that has ended settles nothing: the tags are those of the next channel.
func TestClosed(t *testing.T) {
	for name, end := range map[string]func(*Tracker) error{
		"close":         func(k *Tracker) error { k.Close(); return nil },
		"give back all": (*Tracker).GiveBackAll,
	} {
		k, r, c := track(3)
		must(t, k.Settle([]uint64{2}, Acked))
		must(t, end(k))
		frames := len(r.frames)
		r.lost = true
		must(t, k.Settle([]uint64{1, 2, 3}, DeadLettered))
		must(t, k.Flush())
		must(t, k.GiveBack([]uint64{1}))
		must(t, k.GiveBackAll())
		k.Add(time.Now(), 1)
		k.Close()
		if len(r.frames) != frames || !k.Oldest().IsZero() || len(c.trackers) != 0 {
			t.Errorf("%s: frames %q, oldest %s, %d trackers are left", name, r.frames[frames:], k.Oldest(), len(c.trackers))
		}
		c.check(t, Totals{Received: 3, Acked: 1, Returned: 2})
	}
}

// A lost channel is reported, and unsettled messages count as returned.
func TestLostChannel(t *testing.T) {
	k, r, c := track(3)
	r.lost = true
	if err := k.Settle([]uint64{1}, Acked); !errors.Is(err, errLost) {
		t.Errorf("settle: %v", err)
	}
	must(t, k.Settle([]uint64{3}, Acked))
	if err := k.Flush(); !errors.Is(err, errLost) {
		t.Errorf("flush: %v", err)
	}
	if err := k.GiveBack([]uint64{2}); !errors.Is(err, errLost) {
		t.Errorf("give back: %v", err)
	}
	if err := k.GiveBackAll(); !errors.Is(err, errLost) {
		t.Errorf("give back all: %v", err)
	}
	c.check(t, Totals{Received: 3, Acked: 2, Returned: 1})
}

// The counts of a queue outlive its trackers and add up at any time.
func TestCounts(t *testing.T) {
	k, r, c := track(3)
	next := New(r, c)
	next.Add(time.Unix(100, 0), 1)
	if oldest := c.Oldest(); oldest.Unix() != 1 {
		t.Errorf("the oldest of two trackers is %s", oldest)
	}
	must(t, k.Settle([]uint64{1}, Acked))
	k.Close()
	if oldest := c.Oldest(); oldest.Unix() != 100 {
		t.Errorf("the oldest of the second tracker is %s", oldest)
	}
	c.check(t, Totals{Received: 4, Acked: 1, Returned: 2, Unacked: 1})
}

// Settling, flushing and giving back in any order: no frame has a tag that RabbitMQ
// does not know, only settled messages are acknowledged, and in the end all settled
// messages are acknowledged and the rest is in the queue.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 19))
		k, r, c := track(0)
		settled, returned := map[uint64]bool{}, map[uint64]bool{}
		var tags []uint64
		for range 60 {
			switch rnd.IntN(6) {
			case 0:
				n := 1 + rnd.IntN(10)
				tags = append(tags, r.deliver(n)...)
				for range n {
					k.Add(time.Unix(int64(seed), 0), 1)
				}
			case 1:
				must(t, k.Flush())
			case 2:
				if len(tags) > 0 {
					tag := tags[rnd.IntN(len(tags))]
					returned[tag] = !settled[tag]
					must(t, k.GiveBack([]uint64{tag}))
				}
			default:
				var some []uint64
				for range min(len(tags), 4) {
					tag := tags[rnd.IntN(len(tags))]
					some = append(some, tag)
					settled[tag] = !returned[tag]
				}
				must(t, k.Settle(some, Acked))
			}
			for tag, acked := range r.acked {
				if acked != settled[tag] {
					t.Fatalf("seed %d: %d is acknowledged %t, settled %t", seed, tag, acked, settled[tag])
				}
			}
		}
		must(t, k.GiveBackAll())
		n := 0
		for _, tag := range tags {
			if settled[tag] {
				n++
			}
			if r.acked[tag] != settled[tag] {
				t.Errorf("seed %d: %d is settled %t, acknowledged %t", seed, tag, settled[tag], r.acked[tag])
			}
		}
		c.check(t, Totals{Received: len(tags), Acked: n, Returned: len(tags) - n})
	}
}
