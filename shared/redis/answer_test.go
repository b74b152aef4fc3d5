package redis

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
)

// fake is a Redis that returns the test's answer to each command. An empty answer ends
// the connection.
func fake(t *testing.T, answer func(command string, nth int) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serve := func(conn net.Conn) {
		defer conn.Close()
		in := bufio.NewReader(conn)
		for nth := 0; ; {
			command, err := readCommand(in)
			if err != nil {
				return
			}
			if strings.HasPrefix(command, "eval") {
				nth++
			}
			text := answer(command, nth)
			if _, err := io.WriteString(conn, text); text == "" || err != nil {
				return
			}
		}
	}
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return "redis://:password@" + l.Addr().String() + "?max_retries=1"
}

// readCommand reads a command and returns its name.
func readCommand(in *bufio.Reader) (string, error) {
	number := func(prefix string) (int, error) {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, prefix)))
	}
	n, err := number("*")
	if err != nil {
		return "", err
	}
	var name string
	for i := range n {
		size, err := number("$")
		if err != nil {
			return "", err
		}
		text := make([]byte, size+2)
		if _, err := io.ReadFull(in, text); err != nil {
			return "", err
		}
		if i == 0 {
			name = strings.ToLower(string(text[:size]))
		}
	}
	return name, nil
}

// After any failure of Redis a call has its answer, or an error with Redis's reason.
func TestACallHasAnAnswerOrAnError(t *testing.T) {
	const done = "$4\r\ndone\r\n"
	evals := func(of func(nth int) string) func(string, int) string {
		return func(command string, nth int) string {
			switch command {
			case "hello":
				return "-ERR unknown command 'HELLO'\r\n"
			case "evalsha", "eval":
				return of(nth)
			default:
				return "+OK\r\n"
			}
		}
	}
	always := func(text string) func(string, int) string { return func(string, int) string { return text } }
	for name, tt := range map[string]struct {
		answer func(string, int) string
		reason string // in the error; empty: no call has to fail
		done   int    // calls that have their answer
	}{
		"all is well":       {evals(func(int) string { return done }), "", 3},
		"wrong password":    {always("-WRONGPASS invalid username-password pair or user is disabled.\r\n"), "WRONGPASS", 0},
		"no login":          {always("-NOAUTH Authentication required.\r\n"), "NOAUTH", 0},
		"no permission":     {evals(func(int) string { return "-NOPERM this user has no permissions to run the 'evalsha' command\r\n" }), "NOPERM", 0},
		"too many clients":  {always("-ERR max number of clients reached\r\n"), "max number of clients", 0},
		"loading":           {always("-LOADING Redis is loading the dataset in memory\r\n"), "LOADING", 0},
		"full":              {evals(func(int) string { return "-OOM command not allowed when used memory > 'maxmemory'.\r\n" }), "OOM", 0},
		"replica":           {evals(func(int) string { return "-READONLY You can't write against a read only replica.\r\n" }), "READONLY", 0},
		"cluster down":      {evals(func(int) string { return "-CLUSTERDOWN Hash slot not served\r\n" }), "CLUSTERDOWN", 0},
		"cut at once":       {always(""), "EOF", 0},
		"cut before any":    {evals(func(int) string { return "" }), "EOF", 0},
		"second is refused": {evals(func(nth int) string { return map[bool]string{true: "-OOM full\r\n", false: done}[nth == 2] }), "OOM", 2},
		"cut in an answer": {evals(func(nth int) string {
			return map[int]string{1: done, 2: "$4\r\ndo"}[nth]
		}), "EOF", 0}, // go-redis drops the answers received

	} {
		t.Run(name, func(t *testing.T) {
			client, err := Open(URL(fake(t, tt.answer)))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			script := NewScript("return 'done'")
			calls := []*Call{{Script: script}, {Script: script}, {Script: script}}
			client.Run(t.Context(), calls...)
			answered := 0
			for i, call := range calls {
				text, err := call.Text()
				if err == nil && text == "done" {
					answered++
					continue
				}
				if err == nil || tt.reason == "" || !strings.Contains(err.Error(), tt.reason) || strings.Contains(err.Error(), "unexpected type") {
					t.Errorf("call %d: %q, error %v; want %q in it", i, text, err, tt.reason)
				}
				if _, err := call.Int64(); err == nil {
					t.Errorf("call %d: as a number it has no error", i)
				}
			}
			if answered != tt.done {
				t.Errorf("%d calls have their answer, want %d", answered, tt.done)
			}
			if err := FirstError(calls); (err == nil) != (tt.done == len(calls)) {
				t.Errorf("the first error is %v", err)
			}
		})
	}
}

// For every kind of Redis: the reason is a refused login if new connections cannot log
// in while an open one is lost.
func TestARefusedLoginIsTheReason(t *testing.T) {
	for name, r := range map[string]*instance.Redis{"standalone": instancetest.Redis(t), "cluster": instancetest.RedisClusterOfOne(t)} {
		client, err := Open(URL(r.URL()))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		call := func() error {
			c := &Call{Script: NewScript("return 'done'"), Keys: []string{"key"}}
			client.Run(t.Context(), c)
			_, err := c.Text()
			return err
		}
		if err := call(); err != nil {
			t.Fatal(err)
		}
		client.Current().ConfigSet(t.Context(), "requirepass", "another")
		client.Current().Do(t.Context(), "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "NO")
		for i := range 3 {
			if err := call(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
				t.Errorf("%s: call %d: error %v, want WRONGPASS", name, i, err)
			}
		}
		if err := client.Current().Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("%s: ping: error %v, want WRONGPASS", name, err)
		}
	}
}
