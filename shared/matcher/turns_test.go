package matcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A model is made while no site is matched in the process, and no site while a model is
// made: each waits as long as its context lasts.
func TestSitesAndModelsTakeTurns(t *testing.T) {
	m := New(Config{Sites: names{"turn"}, Turns: NewTurns(open(t)), Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler), Now: time.Now})
	working, end := make(chan struct{}), make(chan struct{})
	m.Site = func(context.Context, string) (SiteCounts, error) {
		working <- struct{}{}
		<-end
		return SiteCounts{}, nil
	}
	learner := m.alone(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		working <- struct{}{}
		<-end
		w.WriteHeader(http.StatusNoContent)
	}))
	learn := func(ctx context.Context) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		learner.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, learnPath, nil))
		return w
	}
	tick := func(ctx context.Context) (Counts, error) { return m.Tick(ctx, func(string) bool { return true }) }
	over, cancel := context.WithCancel(t.Context())
	cancel()

	ticked := make(chan Counts)
	go func() { c, _ := tick(t.Context()); ticked <- c }()
	<-working
	if w := learn(over); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("a model beside a site: %d %s", w.Code, w.Body)
	}
	learnt := make(chan *httptest.ResponseRecorder)
	go func() { learnt <- learn(t.Context()) }()
	select {
	case <-working:
		t.Error("a model is made beside a site")
	case end <- struct{}{}:
		<-working
	}
	if c := <-ticked; c.Sites != 1 {
		t.Errorf("%+v", c)
	}
	if _, _, err := m.take(over, "turn"); !errors.Is(err, context.Canceled) {
		t.Errorf("a site beside a model: %v", err)
	}
	end <- struct{}{}
	if w := <-learnt; w.Code != http.StatusNoContent {
		t.Errorf("%d", w.Code)
	}
}

func TestOneAtATime(t *testing.T) {
	m := New(Config{Turns: NewTurns(open(t)), Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler), Now: time.Now})
	var busy, most atomic.Int32
	work := func() {
		most.Store(max(most.Load(), busy.Add(1)))
		for range 1000 {
			runtime.Gosched()
		}
		busy.Add(-1)
	}
	m.Site = func(context.Context, string) (SiteCounts, error) { work(); return SiteCounts{}, nil }
	learner := m.alone(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { work() }))
	var g sync.WaitGroup
	for i := range 10 {
		g.Go(func() {
			learner.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, learnPath, nil))
		})
		g.Go(func() { _, _, _ = m.take(t.Context(), fmt.Sprint("one", i)) })
	}
	g.Wait()
	if most.Load() != 1 {
		t.Errorf("%d at a time", most.Load())
	}
}
