package supervise

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"parkstream/shared/eventually"

	"go.uber.org/goleak"
)

// TestMain is also what the tests run as a child.
func TestMain(m *testing.M) {
	switch os.Getenv("CHILD") {
	case "":
		goleak.VerifyTestMain(m)
	case "obeys":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		fmt.Println("started")
		<-stop
	case "ignores":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("started")
		select {}
	case "ends":
		fmt.Println("started")
		os.Exit(3)
	}
}

// running is a child under test.
type running struct {
	*Child
	stop func()

	mu      sync.Mutex
	output  bytes.Buffer
	notices []string
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.output.Write(p)
}

func (r *running) starts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.output.String(), "started")
}

func (r *running) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.notices, "\n")
}

func run(t *testing.T, behaviour string) *running {
	t.Helper()
	r := new(running)
	r.Child = &Child{
		Name: "the child", Output: r, Grace: 10 * time.Second,
		Command: func() *exec.Cmd {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "CHILD="+behaviour, "GORACE=atexit_sleep_ms=0")
			return cmd
		},
		Notify: func(text string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.notices = append(r.notices, text)
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	r.stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(r.stop)
	return r
}

func TestKilledChildIsStartedAgain(t *testing.T) {
	r := run(t, "obeys")
	for n := 1; n <= 3; n++ {
		eventually.True(t, "it is started", func() bool { return r.starts() == n && r.Running() })
		if err := syscall.Kill(r.Pid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	eventually.True(t, "it is started again", func() bool { return r.starts() == 4 })
	if !strings.Contains(r.said(), "the child ended (signal: killed) and is started again in") {
		t.Errorf("notices: %s", r.said())
	}
	pid := r.Pid()
	r.stop()
	if r.Running() || syscall.Kill(pid, 0) == nil {
		t.Errorf("process %d runs on", pid)
	}
	if n := strings.Count(r.said(), "\n") + 1; n != 3 {
		t.Errorf("a clean end was noticed: %s", r.said())
	}
}

func TestDelaysGrow(t *testing.T) {
	r := run(t, "ends")
	eventually.True(t, "it ended four times", func() bool { return r.starts() == 4 })
	r.stop()
	var delays []time.Duration
	for line := range strings.SplitSeq(r.said(), "\n") {
		_, text, found := strings.Cut(line, "exit status 3) and is started again in ")
		if !found { // it was being stopped while it ended
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		delays = append(delays, d)
	}
	if len(delays) < 3 {
		t.Errorf("notices: %s", r.said())
	}
	// Each is twice the one before, give or take a half: of two in succession the second
	// may be the shorter one.
	for i := 2; i < len(delays); i++ {
		if delays[i] < delays[i-2] {
			t.Errorf("delays do not grow: %v", delays)
		}
	}
}

func TestStubbornChildIsKilled(t *testing.T) {
	r := run(t, "ignores")
	r.Grace = 100 * time.Millisecond
	eventually.True(t, "it is started", func() bool { return r.starts() == 1 })
	pid := r.Pid()
	r.stop()
	if syscall.Kill(pid, 0) == nil {
		t.Errorf("process %d runs on", pid)
	}
	if !strings.Contains(r.said(), "did not end within 100ms and was killed") {
		t.Errorf("notices: %s", r.said())
	}
}

func TestMissingProgram(t *testing.T) {
	r := new(running)
	ctx, cancel := context.WithCancel(t.Context())
	var said []string
	c := &Child{
		Name: "the child", Output: r, Command: func() *exec.Cmd { return exec.Command("/no/such/program") },
		Notify: func(text string) {
			said = append(said, text)
			cancel()
		},
	}
	c.Run(ctx)
	if len(said) != 1 || !strings.Contains(said[0], "no such file") {
		t.Errorf("notices: %q", said)
	}
}
