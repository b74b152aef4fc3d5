package faas

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	handler "github.com/openfaas/templates-sdk/go-http"
	"github.com/prometheus/client_golang/prometheus"
)

func testServer(t *testing.T, environ ...string) *server {
	t.Helper()
	rt, cancel, err := newRuntime(Options{Name: "test", Environ: environ, Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	return newServer(rt, func(req handler.Request) (handler.Response, error) { return handler.Response{Body: req.Body}, nil })
}

// Strangers ask for metrics and readiness all at once: what those cost is spent once
// at a time.
func TestOwnPathsAtOnce(t *testing.T) {
	const callers = 50
	for path, wantRefused := range map[string]int{"/metrics": callers - maxScrapes, "/_/ready": 0} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := testServer(t)
				leave := make(chan struct{})
				var runs, refused, served atomic.Int64
				s.rt.Registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "slow"}, func() float64 {
					runs.Add(1)
					<-leave
					return 1
				}))
				s.rt.OnReady("slow", func(ctx context.Context) error {
					runs.Add(1)
					<-leave
					return ctx.Err()
				})
				first, gone := context.WithCancel(t.Context())
				var all sync.WaitGroup
				get := func(ctx context.Context) {
					w := httptest.NewRecorder()
					s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, path, http.NoBody))
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
				// What is over is not told again.
				get(t.Context())
				if runs.Load() != 2 {
					t.Errorf("%s: %d runs, want another for a later caller", path, runs.Load())
				}
			})
		})
	}
}
