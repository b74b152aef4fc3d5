package summaryclient

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"parkstream/shared/failure"
	"parkstream/shared/parking"
)

// silent is the status for no response before the end of the request's context.
const silent = -1

// answers is a transport that responds to each request with the current status, or not
// at all with 0, and counts the requests.
type answers struct {
	status atomic.Int64
	calls  atomic.Int64
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	a.calls.Add(1)
	if r.Body != nil {
		_ = r.Body.Close()
	}
	if a.status.Load() == silent {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if a.status.Load() == 0 {
		return nil, &net.OpError{Op: "dial", Err: errors.New("no route")}
	}
	w := httptest.NewRecorder()
	w.WriteHeader(int(a.status.Load()))
	return w.Result(), nil
}

func reachClient(a *answers) *Client {
	c := New("http://gateway:8080/function/summary", func() (string, error) { return token, nil })
	c.http.Transport = a
	return c
}

// Every failure to post stays is reported with instructions, without addresses.
func TestUnreachable(t *testing.T) {
	noToken := errors.New("open /secrets/summary-token")
	for _, tt := range []struct {
		name   string
		client func(t *testing.T) *Client
		want   string
	}{
		{"refused", func(*testing.T) *Client {
			return New("http://127.0.0.1:1", func() (string, error) { return token, nil })
		}, "the summary refuses connections"},
		{"no such host", func(*testing.T) *Client {
			return New("http://gateway.invalid:8080", func() (string, error) { return token, nil })
		}, "the summary cannot be found by its name"},
		{"not deployed", answering(http.StatusNotFound), "the summary answers 404: is it deployed, and does GATEWAY_URL or SUMMARY_URL lead there?"},
		{"another token", answering(http.StatusUnauthorized), "the summary answers 401: its secret summary-token is another one than this function's"},
		{"the gateway has no replica", answering(http.StatusServiceUnavailable), "the summary answers 503"},
		{"a token without the right", answering(http.StatusForbidden), "the summary answers 403: this function's secret summary-token is one that may not post stays"},
		{"the summary has no users", func(t *testing.T) *Client {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = io.WriteString(w, `{"error":"access is not set up: create the secret users (parkstream users add), or set OIDC_ISSUER"}`)
			}))
			t.Cleanup(server.Close)
			return New(server.URL, func() (string, error) { return token, nil })
		}, "the summary answers 503: access is not set up: create its secret users, or set its OIDC_ISSUER"},
		{"another page", answering(http.StatusOK), "the summary answers 200"},
		{"redirect", answering(http.StatusFound), "the summary answers 302"},
		{"no token", func(*testing.T) *Client {
			return New("http://127.0.0.1:1", func() (string, error) { return "", noToken })
		}, "the secret summary-token cannot be read"},
		{"no gateway", func(*testing.T) *Client {
			return NewFunc(func(context.Context) (string, error) { return "", locateError{} }, func() (string, error) { return token, nil })
		}, "is the gateway there?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.client(t)
			defer c.Close()
			err := c.Reachable(t.Context())
			if !failure.Outage(err) { // no event spends an attempt
				t.Errorf("%v is no outage", err)
			}
			told, ok := err.(interface{ Detail() string })
			if !ok || !strings.HasSuffix(told.Detail(), tt.want) {
				t.Errorf("Reachable returns %v, which tells %v", err, told)
			}
		})
	}
}

// locateError has a public text for a client.
type locateError struct{}

func (locateError) Error() string  { return "http://10.1.2.3 answers 404" }
func (locateError) Detail() string { return "is the gateway there?" }

func answering(status int) func(*testing.T) *Client {
	return func(*testing.T) *Client {
		a := new(answers)
		a.status.Store(int64(status))
		return reachClient(a)
	}
}

// A short redeployment of the summary does not affect readiness. A long one does, until
// the first success.
func TestReachableWhileTheSummaryIsDeployed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(answers)
		c := reachClient(a)
		expect := func(after time.Duration, status int64, reachable bool) {
			t.Helper()
			a.status.Store(status)
			time.Sleep(after) // of the bubble's clock
			if err := c.Reachable(t.Context()); (err == nil) != reachable {
				t.Errorf("%s later, with %d: %v", after, status, err)
			}
		}
		expect(0, http.StatusNotFound, false)
		expect(probeEvery, http.StatusCreated, true)
		expect(reachedFor-time.Millisecond, 0, true)
		expect(reachGrace-reachedFor, 0, true)
		expect(time.Millisecond, 0, false)
		expect(probeEvery, http.StatusServiceUnavailable, false)
		expect(probeEvery, http.StatusCreated, true)
	})
}

// A caller that waits for another's probe until its own context ends is ready within
// the grace, like the other one, and not after it.
func TestReachableWhileAnotherProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(answers)
		c := reachClient(a)
		a.status.Store(http.StatusCreated)
		if err := c.Reachable(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.status.Store(silent)
		for _, after := range []time.Duration{reachedFor, reachGrace} {
			reachable := after < reachGrace
			time.Sleep(after)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var all sync.WaitGroup
			for range 2 {
				all.Go(func() {
					if err := c.Reachable(ctx); (err == nil) != reachable {
						t.Errorf("%s later: %v", after, err)
					}
				})
			}
			all.Wait()
		}
	})
}

// For any rate of readiness checks, the summary is probed at most twice a second while
// it fails, and not at all while posts succeed.
func TestProbesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(answers)
		c := reachClient(a)
		ask := func() {
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() { _ = c.Reachable(t.Context()) })
			}
			all.Wait()
		}
		for range 40 { // 4 s
			ask()
			time.Sleep(100 * time.Millisecond)
		}
		if n := a.calls.Load(); n != 2*8 { // each post without an answer is repeated once
			t.Errorf("%d calls in 4 s, want two of each of 8 probes", n)
		}
		a.status.Store(http.StatusCreated)
		if err := c.Post(t.Context(), []parking.Stay{aStay}); err != nil {
			t.Fatal(err)
		}
		a.calls.Store(0)
		for range 90 {
			ask()
			time.Sleep(100 * time.Millisecond)
		}
		if n := a.calls.Load(); n != 0 {
			t.Errorf("%d probes in 9 s after a post", n)
		}
	})
}

// A hanging probe delays no caller beyond its own deadline.
func TestReachableEndsWithItsContext(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer server.Close()
	defer close(hang)
	c := New(server.URL, func() (string, error) { return token, nil })
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if err := c.Reachable(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Reachable returns %v", err)
			}
		})
	}
	all.Wait()
}
