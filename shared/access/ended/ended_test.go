package ended

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parkstream/shared/eventually"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/redis"
)

// What has ended is on the list until its time, and each replica finds it there. If many
// callers end it at the same time, one of them is told to be the first.
func TestEnded(t *testing.T) {
	node := instancetest.Redis(t)
	list := func() *List {
		client, err := redis.Open(redis.URL(node.URL()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		return New(client)
	}
	a, b := list(), list()
	has := func(l *List, id string) bool {
		t.Helper()
		ended, err := l.Has(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return ended
	}
	if has(a, "one") {
		t.Error("a session has ended that did not")
	}
	var firsts atomic.Int64
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			first, err := []*List{a, b}[i%2].End(t.Context(), "one", time.Now().Add(time.Hour))
			if err != nil {
				t.Error(err)
			}
			if first {
				firsts.Add(1)
			}
		})
	}
	all.Wait()
	if firsts.Load() != 1 || !has(a, "one") || !has(b, "one") || has(a, "two") {
		t.Errorf("%d callers were the first, want 1; one ended: %t, %t, two: %t", firsts.Load(), has(a, "one"), has(b, "one"), has(a, "two"))
	}
	if _, err := a.End(t.Context(), "short", time.Now().Add(50*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "Redis to forget what has ended anyway", func() bool { return !has(b, "short") })

	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // the client tries again until then
	defer cancel()
	if _, err := a.Has(ctx, "one"); err == nil {
		t.Error("without Redis nothing has ended")
	}
	if _, err := b.End(ctx, "one", time.Now().Add(time.Hour)); err == nil {
		t.Error("without Redis a session can be ended")
	}
}
