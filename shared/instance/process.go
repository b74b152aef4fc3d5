// Package instance starts private RabbitMQ and Redis nodes: on loopback only,
// with everything they write in one folder, as children that do not outlive
// their parent. `parkstream up`, tests and benchmarks all run on them.
package instance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrNotInstalled is wrapped by the error of a start for which a program is
// missing.
var ErrNotInstalled = errors.New("not installed")

// errForeign is wrapped by the error for a node that is not ours or has not read our
// settings. Waiting does not help then.
var errForeign = errors.New("what answers at its port is not the node with our settings")

// pollInterval is how often the readiness of a starting node is checked.
const pollInterval = 20 * time.Millisecond

// process is a child that can be started more than once.
type process struct {
	name string // for errors
	// command makes the command of one start.
	command func() (*exec.Cmd, error)
	// ready returns nil if the node serves.
	ready func(context.Context) error
	// log is the file that holds what the child prints.
	log string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

// start runs the child and returns when it is ready. It kills the child if that is not
// ready before ctx ends.
func (p *process) start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return fmt.Errorf("start %s: it runs already", p.name)
	}
	cmd, err := p.command()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: open its log: %w", p.name, err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = ChildAttributes()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	p.cmd, p.done = cmd, done
	if err := p.awaitReady(ctx); err != nil {
		_ = p.signal(syscall.SIGKILL)
		<-done
		return fmt.Errorf("start %s: %w\n%s", p.name, err, lastLines(p.log))
	}
	return nil
}

// ChildAttributes returns the attributes of a child that only its owner stops. It has a
// process group of its own, which does not get the terminal's Ctrl-C, since the owner
// stops its children in order. On Linux it ends with its owner.
func ChildAttributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(a)
	return a
}

func (p *process) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := p.ready(ctx)
		if err == nil || errors.Is(err, errForeign) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it was not ready in time: %w", err)
		case <-p.done:
			return fmt.Errorf("it ended at once (%s); its log %s says", p.cmd.ProcessState, p.log)
		case <-tick.C:
		}
	}
}

// poll repeats a check until it succeeds.
func poll(ctx context.Context, ask func() error) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it was not ready in time: %w", err)
		case <-tick.C:
		}
	}
}

func (p *process) running() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Pid returns the id of the running child, 0 if none runs.
func (p *process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return 0
	}
	return p.cmd.Process.Pid
}

func (p *process) signal(s syscall.Signal) error {
	if !p.running() {
		return nil
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to %s: %w", s, p.name, err)
	}
	return nil
}

// stop ends the child cleanly, and kills it if ctx ends first.
func (p *process) stop(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return nil
	}
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	// A paused child handles a signal only after it was resumed.
	if err := p.signal(syscall.SIGCONT); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		err := p.signal(syscall.SIGKILL)
		<-p.done
		return errors.Join(fmt.Errorf("stop %s: it did not end in time and was killed: %w", p.name, ctx.Err()), err)
	}
}

func (p *process) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return nil
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

func (p *process) send(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signal(s)
}

// ended returns a channel that is closed when the child of the last start has ended.
func (p *process) ended() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// lookup finds a program on the PATH or in the folders that packages use for programs
// of administrators.
func lookup(program string, places ...string) (string, error) {
	for _, dir := range places {
		if path := filepath.Join(dir, program); isProgram(path) {
			return path, nil
		}
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%s is %w: run `make deps`, or install it with your package manager", program, ErrNotInstalled)
	}
	return path, nil
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// portTries bounds the starts of a node on other free ports.
const portTries = 3

// onFreePorts starts a node on n free ports, and again on others if another program
// has taken one of them meanwhile.
func onFreePorts(n int, start func(ports []int) error) error {
	for try := 1; ; try++ {
		ports, err := freePorts(n)
		if err != nil {
			return err
		}
		if err = start(ports); err == nil || try == portTries || areFree(ports) {
			return err
		}
	}
}

// areFree reports whether all of the ports are free.
func areFree(ports []int) bool {
	for _, port := range ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

// freePorts returns n different free ports of loopback.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// remembered returns the value that an earlier start wrote, or writes a new one: a
// node needs the value with which its folder was created. An empty file, as a crash or
// a full disk leaves it, does not count.
func remembered(path string, value func() string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if v := strings.TrimSpace(string(text)); v != "" {
		return v, nil
	}
	v := value()
	return v, os.WriteFile(path, []byte(v+"\n"), 0o600)
}

func given(value string, otherwise func() string) func() string {
	if value != "" {
		return func() string { return value }
	}
	return otherwise
}

func lastLines(path string) string {
	const most = 2000
	text, _ := os.ReadFile(path)
	return string(text[max(0, len(text)-most):])
}

func randomPassword() string { return rand.Text() }
