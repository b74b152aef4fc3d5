package process

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
)

// Strangers ask for metrics and readiness all at once: what those cost is spent once
// at a time.
func TestOwnPathsAtOnce(t *testing.T) {
	const callers = 50
	for path, wantRefused := range map[string]int{"metrics": callers - maxScrapes, "ready": 0} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, err := New(Options{Name: "test"})
				if err != nil {
					t.Fatal(err)
				}
				handlers := map[string]http.Handler{"metrics": p.Metrics(), "ready": http.HandlerFunc(p.Ready)}
				leave := make(chan struct{})
				var runs, refused, served atomic.Int64
				p.Registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "slow"}, func() float64 {
					runs.Add(1)
					<-leave
					return 1
				}))
				p.OnReady("slow", func(ctx context.Context) error {
					runs.Add(1)
					<-leave
					return ctx.Err()
				})
				first, gone := context.WithCancel(t.Context())
				var all sync.WaitGroup
				get := func(ctx context.Context) {
					w := httptest.NewRecorder()
					handlers[path].ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody))
					if w.Code == http.StatusOK {
						served.Add(1)
					} else {
						refused.Add(1)
					}
				}
				all.Go(func() { get(first) })
				synctest.Wait()
				gone() // the others get an answer that is not about it
				for range callers - 1 {
					all.Go(func() { get(t.Context()) })
				}
				synctest.Wait()
				if runs.Load() != 1 || refused.Load() != int64(wantRefused) {
					t.Errorf("%s: %d runs for %d callers at once, %d refused, want 1 run and %d", path, runs.Load(), callers, refused.Load(), wantRefused)
				}
				close(leave)
				all.Wait()
				if served.Load() != int64(callers-wantRefused) {
					t.Errorf("%s: %d served, want %d", path, served.Load(), callers-wantRefused)
				}
				// The result of a finished run is not used again.
				get(t.Context())
				if runs.Load() != 2 {
					t.Errorf("%s: %d runs, want another for a later caller", path, runs.Load())
				}
			})
		})
	}
}
