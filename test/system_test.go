// Package test has the tests of the whole system: what a newcomer starts, tried
// from outside.
package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"parkstream/shared/parking"
)

// repository is the root of the checkout.
const repository = ".."

// buildProgram compiles cmd/parkstream once for all tests.
var buildProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "parkstream-test-")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "parkstream")
	build := exec.Command("go", "build", "-o", program, "./cmd/parkstream")
	build.Dir = repository
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build cmd/parkstream: %w\n%s", err, out)
	}
	return program, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if program, err := buildProgram(); err == nil {
		_ = os.RemoveAll(filepath.Dir(program))
	}
	os.Exit(code)
}

// system is a running `parkstream up`.
type system struct {
	program, dir, gateway string
	users                 string   // file of --users
	token                 string   // of the caller; empty: none
	connectorEnv          []string // more settings of the connectors of fault runs
	cmd                   *exec.Cmd
	output                *lockedBuffer
	ended                 chan struct{}
}

// startSystem runs `parkstream up` with its data in dir and returns when it reports
// that it is ready. It is stopped at the end of the test.
func startSystem(t *testing.T, dir string, flags ...string) *system {
	t.Helper()
	return startSystemWith(t, nil, dir, flags...)
}

// startClosed runs `parkstream up --users` with the users that [logins] makes. Calls are
// made by the operator.
func startClosed(t *testing.T, environ []string, dir string, flags ...string) (s *system, tokens map[string]string) {
	t.Helper()
	file, tokens := logins(t)
	s = startSystemWith(t, environ, dir, append(flags, "--users", file)...)
	s.users, s.token = file, tokens["operator"]
	if !strings.Contains(s.output.String(), "the users of "+file) {
		t.Error("the start does not tell that it asks for a login")
	}
	return s, tokens
}

// logins has `parkstream users` make a file, and returns the tokens of its users by name.
func logins(t *testing.T) (file string, tokens map[string]string) {
	t.Helper()
	program, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	file, tokens = filepath.Join(t.TempDir(), "users"), make(map[string]string)
	for name, flags := range map[string][]string{
		"admin": {"--role", "admin"}, "operator": {"--role", "operator"}, "viewer": {"--role", "viewer"},
		"north": {"--role", "operator", "--site", "north"}, "gate": {"--role", "machine", "--site", "north"},
	} {
		token, err := exec.CommandContext(t.Context(), program, append([]string{"users", "add", name, "--token", "--file", file}, flags...)...).Output()
		if err != nil {
			t.Fatalf("add %s: %v", name, err)
		}
		tokens[name] = strings.TrimSpace(string(token))
	}
	return file, tokens
}

// startSystemWith is startSystem with more variables in the environment.
func startSystemWith(t *testing.T, environ []string, dir string, flags ...string) *system {
	t.Helper()
	program, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	s := &system{
		program: program, dir: dir, gateway: fmt.Sprintf("http://127.0.0.1:%d", port),
		output: new(lockedBuffer), ended: make(chan struct{}),
	}
	s.cmd = exec.Command(program, append([]string{"up", "--dir", dir, "--port", fmt.Sprint(port), "--connector-port", "0", "--no-prometheus"}, flags...)...)
	s.cmd.Dir = repository
	s.cmd.Env = append(os.Environ(), environ...)
	s.cmd.Stderr = s.output
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stop(t)
		if t.Failed() {
			t.Logf("parkstream up printed:\n%s", s.output)
			for _, log := range s.logs() {
				text, _ := os.ReadFile(log)
				t.Logf("%s ends with:\n%s", filepath.Base(log), tail(text, 3000))
			}
		}
	})
	ready := make(chan struct{})
	go func() {
		defer close(s.ended)
		lines := bufio.NewScanner(stdout)
		for said := false; lines.Scan(); {
			fmt.Fprintln(s.output, lines.Text())
			if lines.Text() == "ready" && !said {
				said = true
				close(ready)
			}
		}
		_ = s.cmd.Wait()
	}()
	select {
	case <-ready:
	case <-s.ended:
		t.Fatal("parkstream up ended before it was ready")
	case <-time.After(2 * time.Minute):
		t.Fatal("parkstream up was not ready within two minutes")
	}
	return s
}

// stop sends SIGTERM, as Ctrl-C and `parkstream down` do, and wants a clean end.
func (s *system) stop(t *testing.T) {
	t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
		if code := s.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("parkstream up ended with code %d", code)
		}
	case <-time.After(time.Minute):
		_ = s.cmd.Process.Kill()
		<-s.ended
		t.Error("parkstream up did not end within a minute of SIGTERM")
	}
}

func (s *system) logs() []string {
	logs, _ := filepath.Glob(filepath.Join(s.dir, "logs", "*.log"))
	return logs
}

func (s *system) secret(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "secrets", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// call sends a request to a path of the gateway.
func (s *system) call(t *testing.T, method, path, body string) (status int, answer string) {
	t.Helper()
	return s.callAs(t, s.token, method, path, body)
}

// callAs is call with a token, if it is not empty.
func (s *system) callAs(t *testing.T, token, method, path, body string) (status int, answer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.gateway+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// get reads a JSON answer of the gateway into v.
func (s *system) get(t *testing.T, path string, v any) {
	t.Helper()
	if err := s.tryGet(t, path, v); err != nil {
		t.Fatal(err)
	}
}

// tryGet is get while parts may be unavailable.
func (s *system) tryGet(t *testing.T, path string, v any) error {
	t.Helper()
	status, body := s.call(t, http.MethodGet, path, "")
	if status != http.StatusOK {
		return fmt.Errorf("GET %s: %d %s", path, status, body)
	}
	if err := json.Unmarshal([]byte(body), v); err != nil {
		return fmt.Errorf("GET %s: %w in %.200s", path, err, body)
	}
	return nil
}

// stays lists all stays that a query finds, page by page.
func (s *system) stays(t *testing.T, query url.Values) []parking.Stay {
	t.Helper()
	var all []parking.Stay
	for {
		var page struct {
			Stays []parking.Stay
			Next  string
		}
		s.get(t, "/function/summary?"+query.Encode(), &page)
		all = append(all, page.Stays...)
		if page.Next == "" {
			return all
		}
		query.Set("cursor", page.Next)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func tail(text []byte, most int) []byte {
	return text[max(0, len(text)-most):]
}

// lockedBuffer collects output from several goroutines.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
