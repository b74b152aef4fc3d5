package faas

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/access"
	"parkstream/shared/process"
)

func testRuntime(tb testing.TB, environ ...string) *Runtime {
	tb.Helper()
	p, err := process.New(process.Options{Name: "test", Environ: environ})
	if err != nil {
		tb.Fatal(err)
	}
	rt, err := newRuntime(p)
	if err != nil {
		tb.Fatal(err)
	}
	rt.Admit(func(_ http.ResponseWriter, r *http.Request) (context.Context, int64, bool) {
		return r.Context(), AnyBody, true
	})
	return rt
}

func testServer(t *testing.T, environ ...string) *server {
	t.Helper()
	return newServer(testRuntime(t, environ...), func(req handler.Request) (handler.Response, error) { return handler.Response{Body: req.Body}, nil })
}

// total returns what all reservations hold.
func (b *bodies) total() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}

// Senders that stall with large bodies lose their memory within the time for the
// next part, not that for the whole request. One that goes on is served.
func TestStalledBodies(t *testing.T) {
	const size = 1 << 20
	s := testServer(t, fmt.Sprint("MAX_BODY_BYTES=", size), fmt.Sprint("MAX_BODY_BYTES_IN_FLIGHT=", 2*size), "read_timeout=10m")
	s.bodies.stall = 250 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	httpServer := &http.Server{Handler: s, ReadTimeout: s.settings.ReadTimeout}
	var serving sync.WaitGroup
	serving.Go(func() { _ = httpServer.Serve(listener) })
	defer serving.Wait()
	defer httpServer.Close()
	dial := func(request string) (net.Conn, *bufio.Reader) {
		t.Helper()
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: localhost\r\n"+request)
		return conn, bufio.NewReader(conn)
	}
	status := func(name string, from *bufio.Reader) int {
		t.Helper()
		resp, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return 0
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.StatusCode
	}
	length := fmt.Sprintf("Content-Length: %d\r\n\r\n", size)
	for name, request := range map[string]string{
		"a byte is missing":       length + strings.Repeat("x", size-1),
		"the most is missing":     length + strings.Repeat("x", firstRead),
		"chunked":                 fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", size-1, strings.Repeat("x", size-1)),
		"between two renewals":    length + strings.Repeat("x", firstRead+stallBytes+1),
		"one more than is free":   length + strings.Repeat("x", firstRead+1),
		"a chunk that never ends": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s", size, strings.Repeat("x", size/2)),
	} {
		_, from := dial(request)
		if got := status(name, from); got != http.StatusRequestTimeout {
			t.Errorf("%s: %d, want 408", name, got)
		}
	}
	if held := s.bodies.total(); held != 0 {
		t.Errorf("%d bytes are held after all", held)
	}

	s.bodies.stall = 10 * time.Second
	conn, from := dial(length)
	part := strings.Repeat("x", size/16)
	for range 16 {
		if _, err := conn.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if got := status("a body that goes on", from); got != http.StatusOK {
		t.Errorf("a body that goes on: %d", got)
	}
}

// The deadline of a body never comes after that of the request, is renewed as it
// arrives, and is that of the request when it has.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		conn := new(deadlines)
		p := pace{conn: http.NewResponseController(conn), stall: 5 * time.Second, end: start.Add(12 * time.Second), next: firstRead}
		for _, n := range []int{0, 1, firstRead - 1} {
			p.arrived(n)
		}
		p.finish()
		if len(conn.set) != 0 {
			t.Errorf("a small body sets %v", conn.set)
		}
		for _, n := range []int{firstRead, firstRead + 1, firstRead + stallBytes - 1, firstRead + stallBytes, firstRead + 3*stallBytes, firstRead + 4*stallBytes - 1, firstRead + 4*stallBytes} {
			p.arrived(n)
			time.Sleep(2 * time.Second) // the bubble's
		}
		p.finish()
		var got []time.Duration
		for _, d := range conn.set {
			got = append(got, d.Sub(start))
		}
		want := []time.Duration{5 * time.Second, 11 * time.Second, 12 * time.Second, 12 * time.Second, 12 * time.Second}
		if !slices.Equal(got, want) {
			t.Errorf("deadlines after %v, want %v", got, want)
		}
	})
}

// deadlines is a connection that remembers its deadlines.
type deadlines struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

// One principal takes a share of the memory of bodies only. The other parts of the
// system, and everyone if access is open, may take all of it.
func TestShareOfAPrincipal(t *testing.T) {
	const maxBody, limit = 1 << 20, 16 << 20
	anna := access.Principal{Name: "anna", Role: access.Operator}
	b := newBodies(limit, maxBody)
	var held []*reservation
	take := func(p access.Principal, n int64) error {
		r := b.reserve(p)
		err := r.resize(n + firstRead)
		held = append(held, r)
		return err
	}
	for range 4 {
		if err := take(anna, maxBody); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		who  access.Principal
		n    int64
		want error
	}{
		{anna, 1, errShare},
		{access.Principal{Name: "ben", Role: access.Operator}, maxBody, nil},
		{access.Principal{Name: "anna", Role: access.Machine}, 4 * maxBody, nil},
		{access.Principal{}, 4*maxBody + 1, errShare},
		{access.PartOf("connector"), 6 * maxBody, nil},
		{access.Principal{Name: "open", Role: access.Open}, maxBody, nil},
		{access.PartOf("connector"), 1, errBusy},
	} {
		if err := take(tt.who, tt.n); err != tt.want { //nolint:errorlint // it is never wrapped
			t.Errorf("%s %s takes %d: %v, want %v", tt.who.Role, tt.who.Name, tt.n, err, tt.want)
		}
	}
	for _, r := range held {
		r.release()
	}
	if b.held != 0 || len(b.by) != 0 {
		t.Errorf("after all calls %d bytes are held, %v", b.held, b.by)
	}
	if small := newBodies(2*maxBody, maxBody); small.share != 2*maxBody {
		t.Errorf("a share of %d bytes is too small for a body", small.share)
	}
}
