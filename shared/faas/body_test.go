package faas_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/faas"
)

// admitted lets a call pass by its path: the number in it is the limit of the body.
func admitted(w http.ResponseWriter, r *http.Request) (context.Context, int64, bool) {
	if n, _ := io.Copy(io.Discard, r.Body); n > 0 {
		panic("an admission sees no body")
	}
	var limit int64
	if _, err := fmt.Sscanf(r.URL.Path, "/%d", &limit); err != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, r.Method+" without a token", http.StatusUnauthorized)
		return nil, 0, false
	}
	return r.Context(), limit, true
}

func TestAdmission(t *testing.T) {
	p := start(t, []string{"MAX_BODY_BYTES=20"}, func(rt *faas.Runtime) error {
		rt.Admit(admitted)
		return nil
	}, echo)
	for _, tt := range []struct {
		method, path, body string
		status             int
		answer             string
	}{
		{"POST", "/10", "0123456789", 200, "0123456789"},
		{"POST", "/10", "0123456789a", 413, "larger than 10 bytes"},
		{"POST", "/1000", strings.Repeat("x", 20), 200, strings.Repeat("x", 20)},
		{"POST", "/1000", strings.Repeat("x", 21), 413, "larger than 20 bytes"},
		{"DELETE", "/0", "not read", 200, ""},
		{"GET", "/-1", "not read", 200, ""},
		{"DELETE", "/plates", "", 401, "DELETE without a token"},
	} {
		for kind, body := range map[string]io.Reader{"announced": strings.NewReader(tt.body), "chunked": io.MultiReader(strings.NewReader(tt.body))} {
			resp, text := do(t, tt.method, p.url+tt.path, body)
			if resp.StatusCode != tt.status || !strings.Contains(text, tt.answer) || tt.answer == "" && text != "" {
				t.Errorf("%s %s, body %s: %d %s, want %d %s", tt.method, tt.path, kind, resp.StatusCode, text, tt.status, tt.answer)
			}
		}
	}
}

// What is decided without the body is answered before a byte of it is sent.
func TestAdmissionBeforeTheBody(t *testing.T) {
	p := start(t, nil, func(rt *faas.Runtime) error {
		rt.Admit(admitted)
		return nil
	}, echo)
	for request, want := range map[string]int{
		"POST /secret HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n":           401,
		"POST /secret HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n":        401,
		"PUT /secret HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n":                  401,
		"POST /10 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\n":                    413,
		"DELETE /0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n":              200,
		"GET /0 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n":              200,
		"POST /0 HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n": 431,
	} {
		conn := dial(t, p.url)
		fmt.Fprint(conn, request)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%.60q: %v", request, err)
			continue
		}
		if resp.StatusCode != want {
			t.Errorf("%.60q: %d, want %d", request, resp.StatusCode, want)
		}
		resp.Body.Close()
		conn.Close()
	}
	// A connection whose body was read stays open.
	if resp, _ := do(t, "POST", p.url+"/10", strings.NewReader("x")); resp.Close {
		t.Error("the connection is closed after a call that was served")
	}
}

func dial(t *testing.T, url string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// The bodies of all calls together are bounded while they are read: announced or
// not, as far as they have arrived.
func TestBodiesInFlight(t *testing.T) {
	const most = 1 << 20
	p := start(t, []string{"MAX_BODY_BYTES=" + fmt.Sprint(most), "MAX_BODY_BYTES_IN_FLIGHT=" + fmt.Sprint(2*most), "read_timeout=60s"}, nil, echo)
	for _, header := range []string{"Content-Length: 1048576", "Transfer-Encoding: chunked"} {
		slow := make([]net.Conn, 2)
		for i := range slow {
			slow[i] = dial(t, p.url)
			part := strings.Repeat("x", most-1) // one byte is missing
			if header[0] == 'T' {
				part = fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
			}
			// The server may refuse it, and close the connection, by now.
			_, _ = fmt.Fprintf(slow[i], "POST / HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n%s", header, part)
		}
		busy := false
		for deadline := time.Now().Add(10 * time.Second); !busy && time.Now().Before(deadline); {
			resp, _ := do(t, "POST", p.url, strings.NewReader(strings.Repeat("y", most)))
			if busy = resp.StatusCode == http.StatusTooManyRequests; busy && resp.Header.Get("Retry-After") == "" {
				t.Errorf("429 without Retry-After")
			}
		}
		if !busy {
			t.Errorf("%s: no body is refused while another of a MiB is held", header)
		}
		if resp, _ := do(t, "POST", p.url, strings.NewReader("small")); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: a small body gets %d meanwhile", header, resp.StatusCode)
		}
		// One that announces much and sends nothing holds nothing.
		for _, conn := range slow {
			conn.Close()
		}
		idle := make([]net.Conn, 20)
		for i := range idle {
			idle[i] = dial(t, p.url)
			fmt.Fprintf(idle[i], "POST / HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", header)
		}
		body := strings.Repeat("z", most)
		status := 0
		for deadline := time.Now().Add(10 * time.Second); status != http.StatusOK && time.Now().Before(deadline); {
			resp, text := do(t, "POST", p.url, strings.NewReader(body))
			if status = resp.StatusCode; status == http.StatusOK && text != body {
				t.Errorf("%s: the body came back with %d bytes", header, len(text))
			}
		}
		if status != http.StatusOK {
			t.Errorf("%s: %d while others announce much and send nothing", header, status)
		}
		for _, conn := range idle {
			conn.Close()
		}
	}
}

// An incomplete body never reaches the function. A cut connection is not a rejection of
// the events: the connector tries again. The response names no address.
func TestCutBody(t *testing.T) {
	called := make(chan struct{}, 1)
	p := start(t, []string{"exec_timeout=300ms", "read_timeout=300ms"}, nil, func(handler.Request) (handler.Response, error) {
		called <- struct{}{}
		return handler.Response{}, nil
	})
	for _, tt := range []struct {
		name, request string
		open          bool // the connection is not cut
		status        int
	}{
		{"announced", "Content-Length: 100\r\n\r\nshort", false, 408},
		{"large", "Content-Length: 100000\r\n\r\n" + strings.Repeat("x", 50_000), false, 408},
		{"nothing of it", "Content-Length: 100\r\n\r\n", false, 408},
		{"chunked", "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", false, 408},
		{"in a chunk", "Transfer-Encoding: chunked\r\n\r\n50\r\nshort", false, 408},
		{"slow", "Content-Length: 100\r\n\r\nshort", true, 408},
		{"slow chunks", "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", true, 408},
		{"no chunks", "Transfer-Encoding: chunked\r\n\r\nno size\r\nshort", true, 400},
	} {
		conn := dial(t, p.url)
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: localhost\r\n"+tt.request)
		if !tt.open {
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.status || !resp.Close || err != nil || !strings.Contains(string(text), "body") || strings.Contains(string(text), "127.0.0.1") || len(called) > 0 {
			t.Errorf("%s: %d %s %v, called %d times, want %d", tt.name, resp.StatusCode, text, err, len(called), tt.status)
		}
		conn.Close()
	}
}

func TestStreaming(t *testing.T) {
	proceed := make(chan error)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "first ")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("Flush: %v", err)
		}
		switch err := <-proceed; {
		case errors.Is(err, errUnexpected):
			panic(err)
		case err != nil:
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, "second")
	})
	p := start(t, nil, nil, func(req handler.Request) (handler.Response, error) { return faas.Adapt(h, req) })
	for _, failure := range []error{nil, io.ErrClosedPipe, errUnexpected} {
		resp, err := http.Get(p.url)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 6)
		if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first " || resp.StatusCode != http.StatusAccepted || resp.Header.Get("X-Answer") != "yes" {
			t.Errorf("before the handler has ended: %q %v %d %v", first, err, resp.StatusCode, resp.Header)
		}
		proceed <- failure
		rest, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if failure == nil && (err != nil || string(rest) != "second") {
			t.Errorf("after it: %q %v", rest, err)
		}
		if failure != nil && err == nil {
			t.Errorf("%v: the answer looks complete", failure)
		}
	}
	_, text := do(t, "GET", p.url+"/metrics", nil)
	if !strings.Contains(text, `parkstream_http_calls_total{code="202",method="GET"} 3`) {
		t.Error("streamed calls are not counted, or not those that were aborted")
	}

	// Behind another server the answer is whole.
	go func() { proceed <- nil }()
	resp, err := faas.Adapt(h, handler.Request{Method: "GET"})
	if string(resp.Body) != "first second" || resp.StatusCode != http.StatusAccepted || err != nil {
		t.Errorf("%d %q %v", resp.StatusCode, resp.Body, err)
	}
}

var errUnexpected = errors.New("unexpected")

// A handler gets its body without a copy of it.
func TestBodyIsNotCopied(t *testing.T) {
	body := []byte("whole")
	_, _ = faas.Adapt(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		whole, ok := r.Body.(interface{ Bytes() []byte })
		if !ok || !bytes.Equal(whole.Bytes(), body) || &whole.Bytes()[0] != &body[0] {
			t.Errorf("%T", r.Body)
		}
	}), handler.Request{Body: body})
}
