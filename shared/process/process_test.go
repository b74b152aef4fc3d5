package process_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"parkstream/shared/eventually"
	"parkstream/shared/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a process inside the test.
type running struct {
	url  string
	log  *buffer
	stop func() error // ends it and returns what Run returned
}

// start runs a process with the paths /_/ready and /metrics; all others are answered
// "the handler".
func start(t *testing.T, environ []string, wire func(*process.Process) error) running {
	t.Helper()
	return startService(t, environ, func(p *process.Process) (process.Service, error) {
		mux := http.NewServeMux()
		mux.HandleFunc("/_/ready", p.Ready)
		mux.Handle("/metrics", p.Metrics())
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the handler") })
		return process.Service{Handler: mux, Grace: time.Minute}, wire(p)
	})
}

func startService(t *testing.T, environ []string, wire func(*process.Process) (process.Service, error)) running {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	log := &buffer{}
	done := make(chan error, 1)
	go func() {
		done <- process.Run(ctx, process.Options{Name: "test", Environ: environ, Listener: listener, Log: log}, wire)
	}()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return running{url: "http://" + listener.Addr().String(), log: log, stop: stop}
}

// buffer may be written and read at once.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func nothing(*process.Process) error { return nil }

// A stop is not ready at once, lets the work and then the requests finish, and closes
// what was registered last first.
func TestStop(t *testing.T) {
	var mu sync.Mutex
	var steps []string
	step := func(name string) { mu.Lock(); defer mu.Unlock(); steps = append(steps, name) }
	entered, leave, stopping, finish := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	p := startService(t, nil, func(p *process.Process) (process.Service, error) {
		for _, name := range []string{"first", "second"} {
			p.OnClose(name, func(ctx context.Context) error {
				step("close " + name)
				return errors.Join(ctx.Err(), errors.New("stuck"))
			})
		}
		mux := http.NewServeMux()
		mux.HandleFunc("/_/ready", p.Ready)
		mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {
			close(entered)
			<-leave
			step("request")
		})
		return process.Service{Handler: mux, Grace: time.Minute, Work: func(ctx context.Context) {
			<-ctx.Done()
			close(stopping)
			<-finish
			step("work")
		}}, nil
	})
	answered := make(chan error, 1)
	go func() {
		resp, err := http.Get(p.url)
		if err == nil {
			resp.Body.Close()
		}
		answered <- err
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- p.stop() }()
	<-stopping
	// While the work ends the process serves, and reports that it is not ready.
	eventually.Succeeds(t, "it is not ready", func() error {
		resp, text := get(t, p.url+"/_/ready")
		if resp.StatusCode != 503 || text != `{"ready":false,"failing":["draining"]}`+"\n" || !resp.Close {
			return fmt.Errorf("it answers %d %s", resp.StatusCode, text)
		}
		return nil
	})
	close(finish)
	eventually.True(t, "no connection is accepted after the work has ended", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(leave)
	if err := errors.Join(<-answered, <-stopped); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"work", "request", "close second", "close first"}, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if !strings.Contains(p.log.String(), `"what":"second","error":"stuck"`) {
		t.Errorf("the log does not name the step that failed:\n%s", p.log)
	}
}

// A server that breaks ends the work, too, and what was registered is closed.
func TestABrokenServerEndsTheProcess(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	worked, closed := false, false
	started := make(chan struct{})
	go func() {
		<-started
		listener.Close()
	}()
	err = process.Run(t.Context(), process.Options{Listener: listener}, func(p *process.Process) (process.Service, error) {
		p.OnClose("something", func(context.Context) error { closed = true; return nil })
		return process.Service{Handler: http.NotFoundHandler(), DrainDelay: time.Hour, Work: func(ctx context.Context) {
			close(started)
			<-ctx.Done()
			worked = true
		}}, nil
	})
	if err == nil || !strings.Contains(err.Error(), "serve HTTP on "+listener.Addr().String()) || !worked || !closed {
		t.Errorf("error %v, work ended %t, closed %t", err, worked, closed)
	}
}

// Work that returns before the stop ends the process with an error, in the order of a stop.
func TestWorkThatEndsEarly(t *testing.T) {
	closed := false
	err := process.Run(t.Context(), process.Options{Environ: []string{"LISTEN=127.0.0.1:0"}}, func(p *process.Process) (process.Service, error) {
		p.OnClose("something", func(context.Context) error { closed = p.Draining(); return nil })
		return process.Service{Handler: http.NotFoundHandler(), Grace: time.Minute, Work: func(context.Context) {}}, nil
	})
	if err == nil || !strings.Contains(err.Error(), "has ended before its stop") || !closed {
		t.Errorf("error %v, closed %t", err, closed)
	}
}

// A request that outlasts the grace is cut off. Serve returns that; for Run, which logs it,
// it is no failure of the process.
func TestRequestsAreCutOff(t *testing.T) {
	for name, end := range map[string]func(context.Context, process.Options, func(*process.Process) (process.Service, error)) error{
		"Run": process.Run,
		"Serve": func(ctx context.Context, o process.Options, wire func(*process.Process) (process.Service, error)) error {
			p, err := process.New(o)
			if err != nil {
				return err
			}
			s, _ := wire(p)
			if err := p.Serve(ctx, s); !errors.Is(err, process.ErrCutOff) {
				t.Errorf("Serve returns %v", err)
			}
			return nil
		},
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		cut := make(chan error, 1)
		go func() {
			resp, err := http.Get("http://" + listener.Addr().String())
			if err == nil {
				resp.Body.Close()
			}
			cut <- err
		}()
		log := &buffer{}
		err = end(ctx, process.Options{Listener: listener, Log: log}, func(*process.Process) (process.Service, error) {
			return process.Service{Grace: time.Millisecond, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				stop()
				<-r.Context().Done()
			})}, nil
		})
		stop()
		if err != nil || <-cut == nil || !strings.Contains(log.String(), "cut off") {
			t.Errorf("%s: %v; the log is\n%s", name, err, log)
		}
	}
}
