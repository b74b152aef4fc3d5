package summary

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/parking"
)

func TestClient(t *testing.T) {
	e := newEndpoint(t)
	server := httptest.NewServer(e)
	defer server.Close()
	shown, tokenErr := token, error(nil)
	c := NewClient(server.URL+"/", func() (string, error) { return shown, tokenErr })
	defer c.Close()
	stays := []parking.Stay{completed("x1", "a", "P1", today, 60)}
	if err := c.Post(t.Context(), stays); err != nil {
		t.Fatal(err)
	}
	if k, err := e.stays.Get(t.Context(), "a", "x1"); err != nil || k.Stay != stays[0] {
		t.Errorf("%+v, %v", k, err)
	}
	shown = "rotated"
	if err := c.Post(t.Context(), stays); err == nil || !strings.Contains(err.Error(), "401") || strings.Contains(err.Error(), shown) {
		t.Errorf("wrong token: %v", err)
	}
	shown = token
	if err := c.Post(t.Context(), stays); err != nil {
		t.Errorf("the token is to be read for each call: %v", err)
	}
	if err := c.Post(t.Context(), []parking.Stay{{}}); err == nil || !strings.Contains(err.Error(), "id is missing") {
		t.Errorf("bad stay: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Post(ctx, stays); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	tokenErr = errors.New("no such file")
	if err := c.Post(t.Context(), stays); !errors.Is(err, tokenErr) {
		t.Errorf("no token: %v", err)
	}
}

func TestClientSaysWhatTheEndpointAnswers(t *testing.T) {
	stays := []parking.Stay{unmatched("x1", "a", "P1", today)}
	for _, tt := range []struct {
		code int
		body string
		want string // empty for no error
	}{
		{http.StatusCreated, `{"stored":1,"ignored":0}`, ""},
		// Only 201 says that the stays are durable.
		{http.StatusOK, "a page of a proxy", "200 OK: a page of a proxy"},
		{http.StatusAccepted, "", "202 Accepted"},
		{http.StatusNoContent, "", "204 No Content"},
		{http.StatusBadRequest, ` {"error":"stay 0: id is missing"}` + "\n", `400 Bad Request: {"error":"stay 0: id is missing"}`},
		{http.StatusServiceUnavailable, strings.Repeat("x", 1<<20), "503 Service Unavailable: xxx"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.code)
			_, _ = w.Write([]byte(tt.body))
		}))
		c := NewClient(server.URL, func() (string, error) { return token, nil })
		err := c.Post(t.Context(), stays)
		switch {
		case tt.want == "" && err == nil:
		case tt.want == "" || err == nil || !strings.Contains(err.Error(), server.URL+" answers "+tt.want):
			t.Errorf("%d: error %v, want %q", tt.code, err, tt.want)
		case len(err.Error()) > 2<<10:
			t.Errorf("%d: an error of %d bytes: %.100q", tt.code, len(err.Error()), err)
		}
		c.Close()
		server.Close()
	}
}

// What a client sends is one array, and the token is asked for each time.
func TestClientRequest(t *testing.T) {
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		seen = append(seen, strings.Join([]string{r.Method, r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("Authorization"), body.String()}, " "))
		w.WriteHeader(http.StatusCreated)
	}))
	defer server.Close()
	tokens := []string{"first", "second"}
	c := NewClient(server.URL+"/function/summary/", func() (string, error) { return tokens[len(seen)], nil })
	defer c.Close()
	stay := unmatched("x1", "a", "P1", today)
	for i, stays := range [][]parking.Stay{{stay, stay}, nil} {
		if err := c.Post(t.Context(), stays); err != nil {
			t.Fatal(err)
		}
		body := "[]"
		if len(stays) > 0 {
			body = stayJSON(t, stays...)
		}
		if want := "POST /function/summary application/json Bearer " + tokens[i] + " " + body; seen[i] != want {
			t.Errorf("call %d was\n%s, want\n%s", i, seen[i], want)
		}
	}
}

// A call under way ends with its context, though the endpoint never answers.
func TestClientIsCancelledUnderWay(t *testing.T) {
	arrived := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = new(bytes.Buffer).ReadFrom(r.Body) // else the server does not see that the client is gone
		close(arrived)
		<-r.Context().Done()
	}))
	defer server.Close()
	c := NewClient(server.URL, func() (string, error) { return token, nil })
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.Post(ctx, []parking.Stay{unmatched("x1", "a", "P1", today)}) }()
	<-arrived
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that the context was cancelled", err)
	}
}

func TestClientWithoutEndpoint(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	c := NewClient(server.URL, func() (string, error) { return token, nil })
	defer c.Close()
	if err := c.Post(t.Context(), nil); err == nil || !strings.Contains(err.Error(), server.URL) || strings.Contains(err.Error(), token) {
		t.Errorf("nobody listens: %v", err)
	}
	if err := NewClient("http://bad host", c.token).Post(t.Context(), nil); err == nil {
		t.Error("an impossible URL was posted to")
	}
}

// TestClientFollowsNoRedirect: the token stays with the endpoint that was configured.
func TestClientFollowsNoRedirect(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s followed, Authorization %q", r.Method, r.URL, r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusCreated)
	}))
	defer other.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.RedirectHandler(other.URL+"/login?from=secret", code))
		c := NewClient(server.URL, func() (string, error) { return token, nil })
		err := c.Post(t.Context(), []parking.Stay{unmatched("x1", "a", "P1", today)})
		if err == nil || !strings.Contains(err.Error(), other.URL+",") || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), token) {
			t.Errorf("%d: error %v", code, err)
		}
		c.Close()
		server.Close()
	}
}

// Only an answer that is about the stays is a refusal; anything else says that the
// endpoint is unavailable.
func TestClientTellsRefusalsFromOutages(t *testing.T) {
	var status int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer server.Close()
	c := NewClient(server.URL, func() (string, error) { return token, nil })
	defer c.Close()
	for _, status = range []int{200, 204, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 425, 429, 431, 500, 501, 502, 503, 504} {
		err := c.Post(t.Context(), nil)
		answered, ok := errors.AsType[*StatusError](err)
		if want := status == 400 || status == 413 || status == 422; !ok || answered.Code != status || answered.Refused() != want {
			t.Errorf("%d: error %v, want that it is a refusal: %t", status, err, want)
		}
	}
}

// TestTokenIsRotatedUnderLoad changes the secret while stays are posted: none is
// lost, the new token is used at once, and no old one is accepted.
func TestTokenIsRotatedUnderLoad(t *testing.T) {
	e := newEndpoint(t)
	file := filepath.Join(t.TempDir(), "summary-token")
	write := func(value string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (string, error) {
		text, err := os.ReadFile(file)
		return string(text), err
	}
	write("token-0")
	server := httptest.NewServer(NewHandler(Config{Stays: e.stays, Sites: e.events, Token: read, Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler)}))
	defer server.Close()

	const posters = 4
	var (
		load   sync.WaitGroup
		ended  atomic.Bool
		posted [posters]atomic.Int64
	)
	defer load.Wait()
	defer ended.Store(true)
	for i := range posters {
		load.Go(func() {
			c := NewClient(server.URL, read)
			defer c.Close()
			for !ended.Load() {
				n := posted[i].Load()
				err := c.Post(context.Background(), []parking.Stay{completed(fmt.Sprintf("x%d-%d", i, n), "a", "P1", today, 60)})
				switch {
				case err == nil:
					posted[i].Add(1)
				case !strings.Contains(err.Error(), "401"): // changed between reading it and showing it: posted again
					t.Errorf("post: %v", err)
				}
			}
		})
	}
	for n := range 20 {
		old, next := fmt.Sprint("token-", n), fmt.Sprint("token-", n+1)
		write(next)
		for shown, accepted := range map[string]bool{old: false, next: true} {
			c := NewClient(server.URL, func() (string, error) { return shown, nil })
			if err := c.Post(t.Context(), []parking.Stay{}); (err == nil) != accepted {
				t.Errorf("after the change %d the token %s: %v", n, shown, err)
			}
			c.Close()
		}
		for i := range posters {
			before := posted[i].Load()
			for deadline := time.Now().Add(20 * time.Second); posted[i].Load() == before; {
				if time.Now().After(deadline) {
					t.Fatalf("after the change %d nothing is posted", n)
				}
				time.Sleep(time.Millisecond)
			}
		}
	}
	ended.Store(true)
	load.Wait()
	want := int64(0)
	for i := range posters {
		want += posted[i].Load()
	}
	stats, err := e.stays.Stats(t.Context(), "a", today, time.Time{})
	if err != nil || stats.Completed != want {
		t.Errorf("%d stays were posted, kept are %+v, error %v", want, stats.Counts, err)
	}
}

// The endpoint was replaced while connections to the old one were kept: they give
// neither an answer nor an error. A call is repeated over a fresh one, also if the
// caller has less time than one try may take.
func TestClientRepeatsOverAFreshConnection(t *testing.T) {
	for name, tt := range map[string]struct{ try, caller time.Duration }{
		"a caller with time":            {100 * time.Millisecond, time.Minute},
		"a caller with less than a try": {time.Minute, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t)
			server := httptest.NewServer(e)
			defer server.Close()
			var line silentLine
			c := NewClient("http://summary.invalid", func() (string, error) { return token, nil })
			c.Timeout = tt.try
			c.http.Transport.(*http.Transport).DialContext = line.dialer(server.Listener.Addr().String())
			defer c.Close()
			post := func(plate string) error {
				ctx, cancel := context.WithTimeout(t.Context(), tt.caller)
				defer cancel()
				return c.Post(ctx, []parking.Stay{completed("x"+plate, "a", plate, today, 60)})
			}
			for i, plate := range []string{"P1", "P2", "P3"} {
				if i == 1 {
					line.cut()
				}
				if err := post(plate); err != nil {
					t.Fatalf("call %d: %v", i, err)
				}
			}
			if n := line.dialed.Load(); n != 2 {
				t.Errorf("%d connections were dialed, want the first and a fresh one", n)
			}
			// One that is silent for good is given up after two tries.
			line.cut()
			line.dead.Store(true)
			if err := post("P4"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a silent endpoint: %v", err)
			}
			if n := line.dialed.Load(); n != 3 {
				t.Errorf("%d connections were dialed, want one more: the first try uses the one that was kept", n)
			}
		})
	}
}

// Over HTTP/2 all calls share one connection, which no call can have closed while
// others wait on it.
func TestClientSpeaksHTTP1(t *testing.T) {
	protocol := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocol <- r.Proto
		w.WriteHeader(http.StatusCreated)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	c := NewClient(server.URL, func() (string, error) { return token, nil })
	defer c.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	if err := c.Post(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := <-protocol; got != "HTTP/1.1" {
		t.Errorf("posted over %s, want HTTP/1.1", got)
	}
}

// silentLine is a network whose connections can fall silent: what is sent over them
// gets lost.
type silentLine struct {
	mu     sync.Mutex
	open   []*silentConn
	dead   atomic.Bool // for all to come, too
	dialed atomic.Int64
}

type silentConn struct {
	net.Conn
	silent atomic.Bool
}

func (c *silentConn) Write(b []byte) (int, error) {
	if c.silent.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (l *silentLine) dialer(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		l.dialed.Add(1)
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		c := &silentConn{Conn: conn}
		c.silent.Store(l.dead.Load())
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open = append(l.open, c)
		return c, nil
	}
}

func (l *silentLine) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.open {
		c.silent.Store(true)
	}
}
