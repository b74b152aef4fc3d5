package summaryclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parkstream/shared/parking"
)

const token = "the-token"

var aStay = parking.Stay{
	ID: "x1", Site: "a", Plate: "P1", ExitTime: time.Date(2026, 11, 23, 9, 45, 10, 0, time.UTC), Revision: 1,
	EntryID: "e1", EntryTime: time.Date(2026, 11, 23, 8, 15, 0, 0, time.UTC),
}

const aStayJSON = `{"id":"x1","site":"a","vehicle_plate":"P1","entry_id":"e1","entry_date_time":"2026-11-23T08:15:00Z",` +
	`"exit_id":"x1","exit_date_time":"2026-11-23T09:45:10Z","duration_seconds":5410,"duration":"PT1H30M10S","status":"completed","revision":1}`

func TestClientSaysWhatTheEndpointAnswers(t *testing.T) {
	stays := []parking.Stay{aStay}
	for _, tt := range []struct {
		code int
		body string
		want string // empty for no error
	}{
		{http.StatusCreated, `{"stored":1,"ignored":0}`, ""},
		// Only 201 means that the stays are durable.
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
		c := New(server.URL, func() (string, error) { return token, nil })
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

// A client sends one array, and reads the token each time.
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
	c := New(server.URL+"/function/summary/", func() (string, error) { return tokens[len(seen)], nil })
	defer c.Close()
	for i, stays := range [][]parking.Stay{{aStay, aStay}, nil} {
		if err := c.Post(t.Context(), stays); err != nil {
			t.Fatal(err)
		}
		body := "[]"
		if len(stays) > 0 {
			body = "[" + aStayJSON + "," + aStayJSON + "]"
		}
		if want := "POST /function/summary application/json Bearer " + tokens[i] + " " + body; seen[i] != want {
			t.Errorf("call %d was\n%s, want\n%s", i, seen[i], want)
		}
	}
}

// A call ends with its context, even if the endpoint never responds.
func TestClientIsCancelledUnderWay(t *testing.T) {
	arrived := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = new(bytes.Buffer).ReadFrom(r.Body) // else the server does not see that the client is gone
		close(arrived)
		<-r.Context().Done()
	}))
	defer server.Close()
	c := New(server.URL, func() (string, error) { return token, nil })
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.Post(ctx, []parking.Stay{aStay}) }()
	<-arrived
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that the context was cancelled", err)
	}
}

func TestClientWithoutEndpoint(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	c := New(server.URL, func() (string, error) { return token, nil })
	defer c.Close()
	if err := c.Post(t.Context(), nil); err == nil || !strings.Contains(err.Error(), server.URL) || strings.Contains(err.Error(), token) {
		t.Errorf("no server listens: %v", err)
	}
	if err := New("http://bad host", c.token).Post(t.Context(), nil); err == nil {
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
		c := New(server.URL, func() (string, error) { return token, nil })
		err := c.Post(t.Context(), []parking.Stay{aStay})
		if err == nil || !strings.Contains(err.Error(), other.URL+",") || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), token) {
			t.Errorf("%d: error %v", code, err)
		}
		c.Close()
		server.Close()
	}
}

// Only a response about the stays is a refusal. Any other response means that the
// endpoint is unavailable.
func TestClientTellsRefusalsFromOutages(t *testing.T) {
	var status int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer server.Close()
	c := New(server.URL, func() (string, error) { return token, nil })
	defer c.Close()
	for _, status = range []int{200, 204, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 425, 429, 431, 500, 501, 502, 503, 504} {
		err := c.Post(t.Context(), nil)
		answered, ok := errors.AsType[*StatusError](err)
		if want := status == 400 || status == 413 || status == 422; !ok || answered.Code != status || answered.Refused() != want {
			t.Errorf("%d: error %v, want that it is a refusal: %t", status, err, want)
		}
	}
}

// The endpoint was replaced while connections to the old one were open. They give
// neither an answer nor an error. A call is repeated over a fresh connection, also if
// the caller has less time than one try may take.
func TestClientRepeatsOverAFreshConnection(t *testing.T) {
	for name, tt := range map[string]struct{ try, caller time.Duration }{
		"a caller with time":            {100 * time.Millisecond, time.Minute},
		"a caller with less than a try": {time.Minute, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = new(bytes.Buffer).ReadFrom(r.Body)
				w.WriteHeader(http.StatusCreated)
			}))
			defer server.Close()
			var line silentLine
			c := New("http://summary.invalid", func() (string, error) { return token, nil })
			c.Timeout = tt.try
			c.http.Transport.(*http.Transport).DialContext = line.dialer(server.Listener.Addr().String())
			defer c.Close()
			post := func() error {
				ctx, cancel := context.WithTimeout(t.Context(), tt.caller)
				defer cancel()
				return c.Post(ctx, []parking.Stay{aStay})
			}
			for i := range 3 {
				if i == 1 {
					line.cut()
				}
				if err := post(); err != nil {
					t.Fatalf("call %d: %v", i, err)
				}
			}
			if n := line.dialed.Load(); n != 2 {
				t.Errorf("%d connections were dialed, want the first and a fresh one", n)
			}
			// A call to a permanently silent endpoint fails after two tries.
			line.cut()
			line.dead.Store(true)
			if err := post(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a silent endpoint: %v", err)
			}
			if n := line.dialed.Load(); n != 3 {
				t.Errorf("%d connections were dialed, want one more: the first try uses the one that was kept", n)
			}
		})
	}
}

// Over HTTP/2 all calls share one connection. No call can close it while others wait on
// it.
func TestClientSpeaksHTTP1(t *testing.T) {
	protocol := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocol <- r.Proto
		w.WriteHeader(http.StatusCreated)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	c := New(server.URL, func() (string, error) { return token, nil })
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

// silentLine is a network whose connections can fall silent: it drops all data.
type silentLine struct {
	mu     sync.Mutex
	open   []*silentConn
	dead   atomic.Bool // also for new connections
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
