package test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openfaas/go-sdk/stack"

	"parkstream/shared/eventually"
)

// memoryLimit is that of every function in stack.yml.
const memoryLimit = 128 << 20

// bounded is a function's process.
type bounded struct {
	name, url string
	token     string // of its callers; none if it is empty
	cmd       *exec.Cmd
	output    *lockedBuffer
	ended     chan struct{}
}

// startBounded runs a function as stack.yml deploys it, within its memory.
func startBounded(t *testing.T, program, name string, environ ...string) *bounded {
	t.Helper()
	services, err := stack.ParseYAMLFile(filepath.Join(repository, "stack.yml"), "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	f := services.Functions[name]
	if f.Limits == nil || f.Limits.Memory != "128Mi" || f.Environment["max_inflight"] == "" {
		t.Errorf("%s has not 128Mi of memory and a max_inflight in stack.yml", name)
	}
	b := &bounded{name: name, url: fmt.Sprintf("http://127.0.0.1:%d", freePort(t)), output: new(lockedBuffer), ended: make(chan struct{})}
	b.cmd = exec.Command(program, "function", name)
	for key, value := range f.Environment {
		b.cmd.Env = append(b.cmd.Env, key+"="+value)
	}
	b.cmd.Env = append(b.cmd.Env, environ...)
	b.cmd.Env = append(b.cmd.Env, "LISTEN="+strings.TrimPrefix(b.url, "http://"), "ACCESS=open", "LOG_FORMAT=text", "LOG_LEVEL=error")
	b.cmd.Stdout, b.cmd.Stderr = b.output, b.output
	if procs, err := memoryCgroup(t, name); err != nil {
		t.Logf("%s runs without a memory cgroup, so that its peak decides: %v", name, err)
	} else {
		// The shell enters the cgroup and becomes the function.
		b.cmd.Args = append([]string{"sh", "-c", `echo $$ > "$0" && exec "$@"`, procs, program}, b.cmd.Args[1:]...)
		if b.cmd.Path, err = exec.LookPath("sh"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(b.ended)
		_ = b.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = b.cmd.Process.Kill()
		<-b.ended
		if t.Failed() {
			t.Logf("%s: %s, it printed:\n%s", name, b.cmd.ProcessState, tail([]byte(b.output.String()), 3000))
		}
	})
	eventually.Succeeds(t, name+" answers", func() error {
		select {
		case <-b.ended:
			t.Fatalf("%s ended at once: %s\n%s", name, b.cmd.ProcessState, b.output)
		default:
		}
		return b.health(t.Context())
	})
	return b
}

// memoryCgroup makes a cgroup of memoryLimit without swap, of either version, and
// returns the file that takes its processes. It is removed at the end of the test.
func memoryCgroup(t *testing.T, name string) (procs string, err error) {
	t.Helper()
	name = fmt.Sprintf("parkstream-test-%d-%s", os.Getpid(), name)
	limit := strconv.Itoa(memoryLimit)
	for root, files := range map[string]map[string]string{
		"/sys/fs/cgroup/memory": {"memory.limit_in_bytes": limit, "memory.swappiness": "0"},
		"/sys/fs/cgroup":        {"memory.max": limit, "memory.swap.max": "0"},
	} {
		if _, missing := os.Stat(filepath.Join(root, "cgroup.procs")); missing != nil {
			continue // the other version
		}
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", fmt.Errorf("make a memory cgroup (as root): %w", err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		// In a cgroup of version 2 there is a memory controller if the parent enables
		// it.
		if root == "/sys/fs/cgroup" {
			if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
				return "", fmt.Errorf("have a memory controller: %w", err)
			}
		}
		for file, text := range files {
			path := filepath.Join(dir, file)
			if _, missing := os.Stat(path); missing != nil && strings.Contains(file, "swap") {
				continue // a kernel without swap
			}
			if err := os.WriteFile(path, []byte(text), 0); err != nil {
				return "", fmt.Errorf("bound a memory cgroup: %w", err)
			}
		}
		return filepath.Join(dir, "cgroup.procs"), nil
	}
	return "", errors.New("there is no memory cgroup below /sys/fs/cgroup")
}

// survived wants the process to live and never to have had more than its memory.
func (b *bounded) survived(t *testing.T, attack string) {
	t.Helper()
	select {
	case <-b.ended:
		t.Fatalf("%s: %s ended: %s", attack, b.name, b.cmd.ProcessState)
	default:
	}
	if peak := b.peak(t); peak > memoryLimit {
		t.Fatalf("%s: %s had %d MiB, more than its %d", attack, b.name, peak>>20, memoryLimit>>20)
	}
	t.Logf("%s: %s had up to %d MiB", attack, b.name, b.peak(t)>>20)
}

// peak is the most memory that the process had, without the program's own pages,
// which the system can drop.
func (b *bounded) peak(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	if err != nil {
		t.Fatalf("the memory of %s: %v", b.name, err)
	}
	var most, file int64
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &most)
		_, _ = fmt.Sscanf(line, "RssFile: %d kB", &file)
	}
	if most == 0 || file == 0 {
		t.Fatalf("the memory of %s is not in %s", b.name, status)
	}
	return (most - file) << 10
}

func (b *bounded) health(ctx context.Context) error {
	status, _, err := b.do(ctx, "GET", "/_/health", "", "")
	if err == nil && status != http.StatusOK {
		return fmt.Errorf("status %d", status)
	}
	return err
}

func (b *bounded) do(ctx context.Context, method, path, contentType, body string) (status int, text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, b.url+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Accept", "application/json")
	if b.token != "" {
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}

// call wants one of some answers.
func (b *bounded) call(t *testing.T, method, path, contentType, body string, wanted ...int) {
	status, text, err := b.do(t.Context(), method, path, contentType, body)
	if err != nil && method == http.MethodPost && errors.Is(err, syscall.ECONNRESET) {
		return // refused while the body was on its way
	}
	for _, want := range wanted {
		if err == nil && status == want {
			return
		}
	}
	t.Errorf("%s %s %s: %d %v %.300s, want one of %d", b.name, method, path, status, err, text, wanted)
}

// hold opens connections, sends each a request with a part of its body, and leaves
// them alone until done.
func hold(t *testing.T, b *bounded, n int, header string, body int, chunked bool, done <-chan struct{}) {
	together(n, func(int) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			t.Errorf("%s: %v", b.name, err)
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
		out := bufio.NewWriter(conn)
		_, _ = out.WriteString(header)
		part := bytes.Repeat([]byte(" "), 1<<16)
		for left := body; left > 0 && err == nil; { // the server may refuse it at any time
			some := part[:min(len(part), left)]
			left -= len(some)
			if chunked {
				_, err = fmt.Fprintf(out, "%x\r\n%s\r\n", len(some), some)
			} else {
				_, err = out.Write(some)
			}
		}
		_ = out.Flush()
		<-done
	})
}
