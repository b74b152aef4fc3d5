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
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	handler "github.com/openfaas/templates-sdk/go-http"
	"go.uber.org/goleak"

	"parkstream/docs/api/apitest"
	"parkstream/shared/eventually"
	"parkstream/shared/faas"
	"parkstream/shared/process"
)

// asChild makes this test binary run Main, as a function's program does.
const asChild = "FAAS_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

// child answers a call with a line of its standard input: the test decides how long the
// call is in flight.
func child() int {
	return faas.Main("child", admitAll,
		func(handler.Request) (handler.Response, error) {
			fmt.Println("called")
			line, err := bufio.NewReader(os.Stdin).ReadString('\n')
			return handler.Response{Body: []byte(line)}, err
		})
}

// admitAll is the wiring of a function that everyone may call.
func admitAll(rt *faas.Runtime) error {
	rt.Admit(func(_ http.ResponseWriter, r *http.Request) (context.Context, int64, bool) {
		return r.Context(), faas.AnyBody, true
	})
	return nil
}

// running is a process of this package's making inside the test.
type running struct {
	url  string
	log  *buffer
	stop func() error // ends it and returns what Run returned
}

func start(t *testing.T, environ []string, wire func(*faas.Runtime) error, handle faas.Handler) running {
	t.Helper()
	listener := localListener(t)
	wired := func(rt *faas.Runtime) error {
		if err := admitAll(rt); err != nil || wire == nil {
			return err
		}
		return wire(rt)
	}
	ctx, cancel := context.WithCancel(t.Context())
	log := &buffer{}
	done := make(chan error, 1)
	go func() {
		done <- faas.Run(ctx, process.Options{Name: "test", Environ: append([]string{"ACCESS=open"}, environ...), Listener: listener, Log: log}, wired, handle)
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

func do(t *testing.T, method, url string, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Call-Id", "call-17")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(req.URL.Path, "/_/") && resp.StatusCode != http.StatusUnauthorized {
		apitest.Check(t, "summary", method, req.URL.Path, resp.StatusCode, resp.Header, text)
	}
	return resp, string(text)
}

func echo(req handler.Request) (handler.Response, error) {
	return handler.Response{Body: req.Body, Header: http.Header{"X-Method": {req.Method}, "X-Query": {req.QueryString}}}, nil
}

func TestCall(t *testing.T) {
	p := start(t, nil, nil, echo)
	resp, text := do(t, "PUT", p.url+"/some/path?a=b", strings.NewReader("hello"))
	if resp.StatusCode != 200 || text != "hello" || resp.Header.Get("X-Method") != "PUT" || resp.Header.Get("X-Query") != "a=b" {
		t.Errorf("got %d %q %v", resp.StatusCode, text, resp.Header)
	}
	if resp, text := do(t, "GET", p.url+"/_/health", nil); resp.StatusCode != 200 || text != "ok\n" {
		t.Errorf("health: %d %q", resp.StatusCode, text)
	}
	_, text = do(t, "GET", p.url+"/metrics", nil)
	for _, want := range []string{
		`parkstream_http_calls_total{code="200",method="PUT"} 1`,
		`parkstream_http_call_duration_seconds_count{method="PUT"} 1`,
		`parkstream_http_calls_in_flight 0`, "go_goroutines", "process_cpu_seconds_total", "go_build_info",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func TestAnInventedMethodMakesNoSeries(t *testing.T) {
	p := start(t, nil, nil, echo)
	do(t, "BREW", p.url+"/", nil)
	_, text := do(t, "GET", p.url+"/metrics", nil)
	if !strings.Contains(text, `method="other"`) || strings.Contains(text, "BREW") {
		t.Error("the method BREW is not counted as other")
	}
}

func TestBodyLimit(t *testing.T) {
	p := start(t, []string{"MAX_BODY_BYTES=10"}, nil, echo)
	for _, test := range []struct {
		name string
		body io.Reader
		want int
	}{
		{"as long as allowed", strings.NewReader("0123456789"), 200},
		{"as long as allowed, length not announced", io.MultiReader(strings.NewReader("0123456789")), 200},
		{"too long", strings.NewReader("0123456789a"), 413},
		{"too long, length not announced", io.MultiReader(strings.NewReader("0123456789a")), 413},
	} {
		resp, text := do(t, "POST", p.url+"/", test.body)
		if resp.StatusCode != test.want {
			t.Errorf("%s: %d %s", test.name, resp.StatusCode, text)
		}
		if test.want == 413 && (text != `{"error":"the request's body is larger than 10 bytes"}`+"\n" || resp.Header.Get("Cache-Control") != "no-store") {
			t.Errorf("%s: %v %s", test.name, resp.Header, text)
		}
	}
}

func TestFailuresOfTheFunction(t *testing.T) {
	p := start(t, nil, nil, func(req handler.Request) (handler.Response, error) {
		switch string(req.Body) {
		case "panic":
			panic("no such thing as luck")
		case "abort":
			panic(http.ErrAbortHandler)
		case "error":
			return handler.Response{}, errors.New("out of ink")
		default:
			return handler.Response{StatusCode: 418}, nil
		}
	})
	if resp, text := do(t, "POST", p.url+"/", strings.NewReader("panic")); resp.StatusCode != 500 || strings.Contains(text, "luck") {
		t.Errorf("after a panic: %d %s", resp.StatusCode, text)
	}
	if resp, text := do(t, "POST", p.url+"/", strings.NewReader("error")); resp.StatusCode != 500 || strings.Contains(text, "ink") {
		t.Errorf("after an error: %d %s", resp.StatusCode, text)
	}
	if resp, err := http.Post(p.url+"/", "", strings.NewReader("abort")); err == nil {
		resp.Body.Close()
		t.Errorf("after http.ErrAbortHandler the connection stands, status %d", resp.StatusCode)
	}
	if resp, _ := do(t, "POST", p.url+"/", nil); resp.StatusCode != 418 {
		t.Errorf("the next call: %d", resp.StatusCode)
	}
	for _, want := range []string{"no such thing as luck", "faas_test.go", "out of ink", `"call_id":"call-17"`} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, p.log)
		}
	}
}

func TestMaxInflight(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	p := start(t, []string{"max_inflight=1"}, nil, func(handler.Request) (handler.Response, error) {
		entered <- struct{}{}
		<-leave
		return handler.Response{}, nil
	})
	first := make(chan int)
	go func() {
		resp, err := http.Get(p.url + "/")
		if err != nil {
			first <- 0
			return
		}
		resp.Body.Close()
		first <- resp.StatusCode
	}()
	<-entered
	if resp, text := do(t, "GET", p.url+"/", nil); resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("the second call: %d %s", resp.StatusCode, text)
	}
	if resp, _ := do(t, "GET", p.url+"/_/ready", nil); resp.StatusCode != 200 {
		t.Errorf("readiness during a call: %d", resp.StatusCode)
	}
	close(leave)
	if status := <-first; status != 200 {
		t.Errorf("the first call: %d", status)
	}
}

func TestExecTimeoutEndsTheContext(t *testing.T) {
	p := start(t, []string{"exec_timeout=20ms"}, nil, func(req handler.Request) (handler.Response, error) {
		<-req.Context().Done()
		return handler.Response{StatusCode: 504, Body: []byte(context.Cause(req.Context()).Error())}, nil
	})
	if resp, text := do(t, "GET", p.url+"/", nil); resp.StatusCode != 504 || text != "context deadline exceeded" {
		t.Errorf("got %d %s", resp.StatusCode, text)
	}
}

func TestCallIDIsLogged(t *testing.T) {
	var log func(context.Context)
	wire := func(rt *faas.Runtime) error {
		log = func(ctx context.Context) { rt.Log.With("batch", 1).InfoContext(ctx, "inside") }
		return nil
	}
	p := start(t, []string{"LOG_LEVEL=debug", "LOG_FORMAT=text"}, wire, func(req handler.Request) (handler.Response, error) {
		log(req.Context())
		return handler.Response{}, nil
	})
	do(t, "GET", p.url+"/x", nil)
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		`level=INFO msg=inside process=test batch=1 call_id=call-17`,
		`level=DEBUG msg=call process=test method=GET status=200`,
	} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, p.log)
		}
	}
}

func TestEveryMistakeAtOnce(t *testing.T) {
	wire := func(rt *faas.Runtime) error {
		var s struct {
			Retention time.Duration `env:"RETENTION" envDefault:"1h"`
			Size      int           `env:"SIZE,required"`
		}
		return rt.Settings(&s)
	}
	closed := false
	err := faas.Run(t.Context(), process.Options{Name: "test", Environ: []string{
		"exec_timeout=soon", "max_inflight=-1", "LOG_FORMAT=xml", "LOG_LEVEL=loud", "read_timeout=10", "RETENTION=long", "LISTEN_FD=2", "MAX_BODY_BYTES=",
		"write_timeout=10000000000", "PPROF_LISTEN=:6060", "OTEL_SDK_DISABLED=perhaps", "MAX_BODY_BYTES_IN_FLIGHT=10000000",
	}}, func(rt *faas.Runtime) error {
		rt.OnClose("something", func(context.Context) error { closed = true; return nil })
		return wire(rt)
	}, echo)
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`cannot start:`,
		`OTEL_SDK_DISABLED is "perhaps": want true or false`,
		`LISTEN_FD is 2, want the number of an inherited socket, at least 3`,
		`LOG_FORMAT is "xml", want json or text`,
		`LOG_LEVEL is "loud", want debug, info, warn or error`,
		`PPROF_LISTEN is ":6060", want a loopback address with a port such as 127.0.0.1:6060: profiles are for this machine alone`,
		`write_timeout is "10000000000": want a duration such as 1m30s or a whole number of seconds`,
		`exec_timeout is "soon": want a duration such as 1m30s or a whole number of seconds`,
		`read_timeout is 10s, want at least exec_timeout, which is 55s`,
		`max_inflight is -1, want 0 (no bound) or more`,
		`MAX_BODY_BYTES_IN_FLIGHT is 10000000, want 0 (a quarter of the memory) or at least 2 times MAX_BODY_BYTES, which is 8388608`,
		`RETENTION is "long": want a duration such as 1m30s or a whole number of seconds`,
		`required environment variable "SIZE" is not set`,
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
	if !closed {
		t.Error("what was opened before the mistake was found is not closed")
	}
}

// The largest bodies that a process may be set to are far from what int64 holds.
func TestLimitsOfBodies(t *testing.T) {
	for value, ok := range map[string]bool{
		"1": true, "1073741824": true, "1073741825": false, "4611686018427387904": false, "9223372036854775807": false, "0": false, "-1": false,
	} {
		err := faas.Run(canceled(t), process.Options{Name: "test", Environ: []string{"MAX_BODY_BYTES=" + value}, Listener: localListener(t)},
			admitAll, echo)
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "MAX_BODY_BYTES is "+value+", want 1 to 1073741824") {
			t.Errorf("MAX_BODY_BYTES=%s: %v", value, err)
		}
	}
}

func TestStop(t *testing.T) {
	var steps []string
	var finished atomic.Int64
	entered, leave := make(chan struct{}), make(chan struct{})
	wire := func(rt *faas.Runtime) error {
		for _, name := range []string{"first", "second"} {
			rt.OnClose(name, func(ctx context.Context) error {
				if served := finished.Load(); served != 2 || ctx.Err() != nil {
					t.Errorf("OnClose runs when %d of 2 calls are finished, or with an ended context: %v", served, ctx.Err())
				}
				steps = append(steps, name)
				return errors.New("stuck")
			})
		}
		return nil
	}
	p := start(t, []string{"healthcheck_interval=200ms"}, wire, func(handler.Request) (handler.Response, error) {
		entered <- struct{}{}
		<-leave
		finished.Add(1)
		return handler.Response{}, nil
	})
	answered := make(chan *http.Response, 1)
	call := func() {
		resp, err := http.Get(p.url + "/")
		if err != nil {
			t.Errorf("call in flight: %v", err)
			answered <- nil
			return
		}
		resp.Body.Close()
		answered <- resp
	}
	go call()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- p.stop() }()

	// While the drain delay lasts it is not ready, and still serves.
	for deadline := time.Now().Add(5 * time.Second); ; {
		if resp, _ := do(t, "GET", p.url+"/_/ready", nil); resp.StatusCode == 503 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("never said that it is draining")
		}
	}
	go call()
	<-entered
	close(leave)
	for range 2 {
		if resp := <-answered; resp != nil && resp.StatusCode != 200 {
			t.Errorf("a call in flight got %d", resp.StatusCode)
		}
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
	if diff := cmp.Diff([]string{"second", "first"}, steps); diff != "" {
		t.Errorf("closing (-want +got):\n%s", diff)
	}
	if !strings.Contains(p.log.String(), `"what":"second","error":"stuck"`) {
		t.Errorf("the log does not name the step that failed:\n%s", p.log)
	}
}

func TestACallThatDoesNotEndIsCutOff(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	defer close(leave)
	p := start(t, []string{"write_timeout=50ms", "read_timeout=50ms", "exec_timeout=50ms"}, nil,
		func(handler.Request) (handler.Response, error) {
			close(entered)
			<-leave
			return handler.Response{}, nil
		})
	var wg sync.WaitGroup
	wg.Go(func() {
		if resp, err := http.Get(p.url + "/"); err == nil {
			resp.Body.Close()
		}
	})
	<-entered
	if err := p.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	wg.Wait()
	if !strings.Contains(p.log.String(), "cut off") {
		t.Errorf("the log does not say that a call was cut off:\n%s", p.log)
	}
}

func canceled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func localListener(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// TestSignal runs a process on a socket that it inherits, as the local gateway
// starts one, and stops it in the middle of a call.
func TestSignal(t *testing.T) {
	listener := localListener(t)
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asChild+"=1", "LISTEN_FD=3")
	cmd.ExtraFiles = []*os.File{socket}
	log := &buffer{}
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + listener.Addr().String() + "/")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		answer <- string(text)
	}()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "called\n" {
		t.Fatalf("the child says %q, %v\n%s", line, err, log)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually.Succeeds(t, "SIGTERM starts a drain", func() error {
		if text := log.String(); !strings.Contains(text, "draining") {
			return fmt.Errorf("the log has\n%s", text)
		}
		return nil
	})
	if _, err := io.WriteString(stdin, "finished\n"); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; got != "finished\n" {
		t.Errorf("the call in flight got %q", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v\n%s", err, log)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestBadSettingsExitCode(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asChild+"=1", "max_inflight=some", "MAX_BODY_BYTES=0")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("exit: %v", err)
	}
	const want = "child: cannot start:\n" +
		"  max_inflight is \"some\": want a whole number\n" +
		"  MAX_BODY_BYTES is 0, want 1 to 1073741824\n"
	if string(out) != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// A caller cannot fill the log with the id of its call.
func TestCallIDIsBounded(t *testing.T) {
	p := start(t, []string{"LOG_LEVEL=debug", "LOG_FORMAT=text"}, nil, echo)
	for _, id := range []string{strings.Repeat("i", 10_000), strings.Repeat("\xff", 300), strings.Repeat("ü", 200)} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Call-Id", id)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if log := p.log.String(); !strings.Contains(log, "call_id="+strings.Repeat("i", 128)+"\n") || strings.Contains(log, `\xff`) || len(log) > 5000 {
		t.Errorf("a log of %d bytes: %.2000s", len(log), log)
	}
}
