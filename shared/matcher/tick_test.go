package matcher

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"parkstream/shared/failure"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

func open(t *testing.T) *redis.Client {
	t.Helper()
	client, err := redis.Open(redis.URL(instancetest.Redis(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

type names []string

func (n names) Sites(context.Context) ([]string, error) { return n, nil }

func all(string) bool { return true }

// Sites have their turns one after the other, also if one takes all the time, fails or
// crashes. A tick that has no time for some leaves them to the next.
func TestSitesInTurn(t *testing.T) {
	registry := prometheus.NewRegistry()
	var order []string
	now := time.Date(2026, 11, 28, 1, 0, 0, 0, time.UTC)
	m := New(Config{Sites: names{"a", "b", "c", "d"}, Turns: NewTurns(open(t)), Metrics: NewMetrics(registry), Log: slog.New(slog.DiscardHandler), Now: func() time.Time {
		now = now.Add(time.Second)
		return now
	}})
	tick := func(what map[string]func() error) (Counts, error) {
		t.Helper()
		order = nil
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		m.Site = func(_ context.Context, site string) (SiteCounts, error) {
			order = append(order, site)
			if run := what[site]; run != nil {
				if err := run(); err != nil {
					return SiteCounts{}, err
				}
				cancel() // the time is over
				return SiteCounts{}, ctx.Err()
			}
			return SiteCounts{Lone: 2, Decided: map[parking.Method]int{parking.OCR: 1}, Withdrawn: 1}, nil
		}
		return m.Tick(ctx, all)
	}
	over := func() error { return nil }
	for i, tt := range []struct {
		what  map[string]func() error
		order string
		want  Counts
		err   string
	}{
		{nil, "a b c d", Counts{Sites: 4, Decided: 4, Withdrawn: 4}, ""},
		{map[string]func() error{"b": over}, "a b", Counts{Sites: 1, Left: 3, Decided: 1, Withdrawn: 1}, ""},
		{map[string]func() error{"b": over}, "c d a b", Counts{Sites: 3, Left: 1, Decided: 3, Withdrawn: 3}, ""},
		{map[string]func() error{"d": func() error { return failure.Odd("Redis", errors.New("no good")) }}, "c d a b", Counts{Sites: 3, Left: 1, Decided: 3, Withdrawn: 3}, "no good"},
		{map[string]func() error{"d": func() error { return failure.In("Redis", context.DeadlineExceeded) }}, "c d", Counts{Sites: 1, Left: 3, Decided: 1, Withdrawn: 1}, "deadline"},
		{nil, "a b c d", Counts{Sites: 4, Decided: 4, Withdrawn: 4}, ""},
	} {
		got, err := tick(tt.what)
		if diff := cmp.Diff(tt.want, got); diff != "" || strings.Join(order, " ") != tt.order || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("tick %d: order %v, error %v (-want +got):\n%s", i, order, err, diff)
		}
	}
	if n := testutil.ToFloat64(m.Metrics.left); n != 0 {
		t.Errorf("%v sites left", n)
	}
	if n := testutil.ToFloat64(m.Metrics.lone); n != 8 {
		t.Errorf("%v lone reads", n)
	}
	if n := testutil.ToFloat64(m.Metrics.failures); n != 4 {
		t.Errorf("%v failures", n)
	}
	// A site that is no more has no turn, and a caller gets its sites only.
	m.Sites = names{"b", "z"}
	if _, err := m.Tick(t.Context(), func(site string) bool { return site == "z" }); err != nil || !slices.Equal(order[4:], []string{"z"}) {
		t.Errorf("order %v, error %v", order[4:], err)
	}
	turns, err := m.Turns.redis.Current().ZRange(t.Context(), turnsKey, 0, -1).Result()
	if err != nil || !slices.Equal(turns, []string{"b", "z"}) {
		t.Errorf("turns %v, %v", turns, err)
	}
}

// Two processes do not work at a site at once, and a turn of one that crashed ends by
// itself.
func TestOneTurnAtATime(t *testing.T) {
	client := open(t)
	first, second := NewTurns(client), NewTurns(client)
	take := func(turns *Turns) (func(), bool) {
		t.Helper()
		release, taken, err := turns.take(t.Context(), "a", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return release, taken
	}
	release, taken := take(first)
	if _, again := take(second); !taken || again {
		t.Fatalf("taken %v, and again %v", taken, again)
	}
	release()
	late, taken := take(second)
	if !taken {
		t.Fatal("not taken after the release")
	}
	release() // by the first one again: it is not its turn any more
	if _, again := take(first); again {
		t.Fatal("a release ended the turn of another process")
	}
	if left := client.Current().PTTL(t.Context(), lockKey("a")).Val(); left <= 0 || left > longestTurn+turnGrace {
		t.Errorf("the turn lasts %s", left)
	}
	late()
	m := New(Config{Sites: names{"a", "b"}, Turns: second, Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler), Now: time.Now})
	m.Site = func(context.Context, string) (SiteCounts, error) { return SiteCounts{}, nil }
	release, _ = take(first)
	defer release()
	if got, err := m.Tick(t.Context(), all); err != nil || got != (Counts{Sites: 1, Busy: 1}) {
		t.Errorf("%+v, %v", got, err)
	}
}
