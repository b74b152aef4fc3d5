package process_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"parkstream/shared/process"
)

// A process holds 1,000 connections unless its service has another bound; the next one is
// answered when one is closed.
func TestConnectionsAreBounded(t *testing.T) {
	for _, tt := range []struct{ set, want int }{{0, 1000}, {3, 3}, {1001, 1001}} {
		t.Run(fmt.Sprint(tt.set), func(t *testing.T) { testConnections(t, tt.set, tt.want) })
	}
}

func testConnections(t *testing.T, set, want int) {
	f := startService(t, nil, func(p *process.Process) (process.Service, error) {
		return process.Service{Handler: http.HandlerFunc(p.Ready), Grace: time.Minute, MaxConnections: set}, nil
	})
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	idle := make([]net.Conn, want)
	for i := range idle {
		idle[i] = dial()
	}
	// The last of them was accepted if it is answered.
	last := idle[len(idle)-1]
	request := func(conn net.Conn) {
		if _, err := io.WriteString(conn, "GET /_/ready HTTP/1.1\r\nHost: process\r\n\r\n"); err != nil {
			t.Error(err)
		}
	}
	answer := func(conn net.Conn, within time.Duration) error {
		_ = conn.SetReadDeadline(time.Now().Add(within))
		const want = "HTTP/1.1 200"
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil {
			return err
		}
		if string(got) != want {
			return fmt.Errorf("the answer begins with %q, want %q", got, want)
		}
		return nil
	}
	request(last)
	if err := answer(last, time.Minute); err != nil {
		t.Fatalf("the last connection of the bound: %v", err)
	}
	next := dial()
	request(next)
	if answer(next, 100*time.Millisecond) == nil {
		t.Fatal("a connection beyond the bound is answered")
	}
	_ = idle[0].Close()
	if err := answer(next, time.Minute); err != nil {
		t.Errorf("after one was closed: %v", err)
	}
}
