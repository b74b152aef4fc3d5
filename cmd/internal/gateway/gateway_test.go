package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openfaas/faas-provider/logs"
	"github.com/openfaas/faas-provider/types"
	"github.com/robfig/cron/v3"
	"go.uber.org/goleak"

	"parkstream/cmd/internal/secrets"
	"parkstream/shared/eventually"
	"parkstream/shared/process"
)

// TestMain is also the function that the tests deploy.
func TestMain(m *testing.M) {
	if name := os.Getenv("SERVES"); name != "" {
		serve(name)
		return
	}
	goleak.VerifyTestMain(m)
}

// serve describes itself and its calls, and does what the path of a call asks for.
func serve(name string) {
	l, err := net.FileListener(os.NewFile(3, "socket"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Println("serving", name)
	mux := http.NewServeMux()
	mux.HandleFunc("/_/ready", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("UNREADY") != "" {
			http.Error(w, "Redis is unavailable", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/break", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "the first part")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/die", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	describe := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Println("called", string(body))
		w.Header().Set("X-Own", "yes")
		if status, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil {
			w.WriteHeader(status)
		}
		_ = json.NewEncoder(w).Encode(seen{
			Name: name, PID: os.Getpid(), Method: r.Method, URI: r.RequestURI, Path: r.URL.Path, Query: r.URL.RawQuery, Body: string(body), CallID: r.Header.Get("X-Call-Id"), Original: r.Header.Get("X-Forwarded-Uri"), Setting: os.Getenv("SETTING"), Header: r.Header,
		})
	}
	// A ServeMux would clean the path that is described.
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == r.URL.Path {
			mux.ServeHTTP(w, r)
			return
		}
		describe(w, r)
	})}
	go func() { _ = server.Serve(l) }()
	<-stop
	_ = server.Close()
	fmt.Println("stopped", name)
}

// seen is what the function knows of a call.
type seen struct {
	Name, Method, URI, Path, Query, Body, CallID, Original, Setting string
	PID                                                             int
	Header                                                          http.Header
}

// local is a gateway under test.
type local struct {
	*Gateway
	server *httptest.Server
	dir    string

	mu   sync.Mutex
	said []string
}

func newGateway(t *testing.T) *local {
	t.Helper()
	l := &local{dir: t.TempDir()}
	dir := filepath.Join(l.dir, "secrets")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{userSecret: "admin", passwordSecret: "secret"} {
		if err := secrets.Write(dir, name, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	p, err := process.New(process.Options{Name: "gateway"})
	if err != nil {
		t.Fatal(err)
	}
	l.Gateway = New(Config{
		Known: []string{"one", "two"}, SecretsDir: dir, AllowedHosts: []string{"parking.example", "2001:db8::1"}, LogsDir: l.dir, Timeout: 2 * time.Second,
		Command: func(string) *exec.Cmd { return exec.Command(os.Args[0]) },
		Environ: []string{"SETTING=ours", "GORACE=atexit_sleep_ms=0"}, Process: p,
		Notify: func(text string) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.said = append(l.said, text)
		},
	})
	l.server = httptest.NewServer(l.Handler())
	t.Cleanup(func() {
		l.server.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return l
}

func deployment(name string, annotations map[string]string) types.FunctionDeployment {
	return types.FunctionDeployment{
		Service: name, Image: "parkstream/" + name, Annotations: &annotations,
		EnvVars: map[string]string{"SERVES": name, "SETTING": "its own"},
	}
}

func (l *local) deploy(t *testing.T, spec types.FunctionDeployment) {
	t.Helper()
	if err := l.Deploy(spec); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "it is ready", func() bool { return len(l.Unready(t.Context())) == 0 })
}

// call sends a request as the administrator.
func (l *local) call(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, l.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("admin", "secret")
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

func (l *local) invoke(t *testing.T, body string) (s seen) {
	t.Helper()
	code, text := l.call(t, "POST", "/function/one", body)
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%d %s: %v", code, text, err)
	}
	return s
}

func (l *local) status(t *testing.T, name string) (s types.FunctionStatus) {
	t.Helper()
	code, text := l.call(t, "GET", "/system/function/"+name, "")
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%d %s: %v", code, text, err)
	}
	return s
}

func TestOnlyTheAdministratorManages(t *testing.T) {
	l := newGateway(t)
	for _, r := range []struct{ method, path string }{
		{"GET", "/system/functions"},
		{"POST", "/system/functions"},
		{"PUT", "/system/functions"},
		{"DELETE", "/system/functions"},
		{"GET", "/system/function/one"},
		{"POST", "/system/scale-function/one"},
		{"GET", TargetsPath},
		{"GET", "/system/secrets"},
		{"POST", "/system/secrets"},
		{"GET", "/system/logs?name=one"},
		{"GET", "/system/info"},
		{"GET", "/system/namespaces"},
		{"GET", "/system/namespace/openfaas-fn"},
		{"POST", "/system/namespace/"},
	} {
		for _, password := range []string{"", "wrong"} {
			request, err := http.NewRequestWithContext(t.Context(), r.method, l.server.URL+r.path, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			if password != "" {
				request.SetBasicAuth("admin", password)
			}
			resp, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s %s with password %q: %d", r.method, r.path, password, resp.StatusCode)
			}
		}
	}
}

func TestInvoke(t *testing.T) {
	l := newGateway(t)
	l.deploy(t, deployment("one", nil))
	code, text := l.call(t, "PUT", "/function/one/a/b?x=1&status=418", "hello")
	var got seen
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(text)
	}
	if code != 418 || got.Method != "PUT" || got.Path != "/a/b" || got.Query != "x=1&status=418" || got.Body != "hello" || got.CallID == "" || got.Original != "/function/one/a/b?x=1&status=418" || got.Setting != "ours" {
		t.Errorf("%d %+v", code, got)
	}
	if code, text := l.call(t, "GET", "/function/two", ""); code != 404 || !strings.Contains(text, "not deployed") {
		t.Errorf("unknown: %d %s", code, text)
	}
	if code, _ := l.call(t, "POST", "/async-function/one", ""); code != 501 {
		t.Errorf("async: %d", code)
	}
	if code, text := l.call(t, "GET", "/", ""); code != 404 || !strings.Contains(text, `\"summary\" is not deployed`) {
		t.Errorf("the page of the summary, which is not there: %d %s", code, text)
	}
	if code, _ := l.call(t, "GET", "/healthz", ""); code != 200 {
		t.Errorf("healthz: %d", code)
	}
	if _, text := l.call(t, "GET", "/metrics", ""); !strings.Contains(text, `parkstream_gateway_call_duration_seconds_count{code="418",function="one"} 1`) {
		t.Errorf("metrics:\n%s", text)
	}
	if n := l.status(t, "one").InvocationCount; n != 1 {
		t.Errorf("%g invocations", n)
	}
	if code, text := l.call(t, "POST", "/function/one/hang", ""); code != http.StatusInternalServerError || !strings.Contains(text, `{"error":`) {
		t.Errorf("a call without end: %d %s", code, text)
	}
}

// A function gets the path and the query as the caller wrote them: none is
// cleaned, redirected, or decoded and encoded again, and nothing is taken out.
func TestPathsPassUnchanged(t *testing.T) {
	l := newGateway(t)
	l.deploy(t, deployment("one", nil))
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, want := range []string{
		"/", "/plates/X%2F..%2FVICTIM1", "/plates/X/../VICTIM1", "/plates/X/%2e%2e/VICTIM1", "/plates/./X", "/plates/..", "/..", "/.", "//", "//stays//b", "/stays/a%2Fb/",
		"/stays/%252F", "/stays/%25", "/stays/a;b", "/stays/a%3Fb%23c", "/stays/a%20b+c", "/stays/%C3%84%ff%00",
		"/?site=%zz", "/?a;b=c", "/?a=1&a=2&%zz&b=%2F", "/plates/P1?site=a;b", "/?%2e%2e/x", "/?&&", "/?a=b+c%20d",
	} {
		for _, method := range []string{"GET", "DELETE", "POST"} {
			r, err := http.NewRequestWithContext(t.Context(), method, l.server.URL, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.URL.Opaque = strings.TrimPrefix(l.server.URL, "http:") + "/function/one" + want // written as it is
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			var got seen
			err = json.NewDecoder(resp.Body).Decode(&got)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || got.Method != method {
				t.Errorf("%s %s: %s, Location %q, %v", method, want, resp.Status, resp.Header.Get("Location"), err)
			}
			if got.URI != want {
				t.Errorf("%s %s arrived as %s", method, want, got.URI)
			}
		}
	}
	client.CloseIdleConnections()
}

// Every error of the gateway itself is JSON, as those of functions are.
func TestErrorsAreJSON(t *testing.T) {
	l := newGateway(t)
	l.deploy(t, deployment("one", nil))
	if code, text := l.call(t, "POST", "/system/scale-function/one", `{"replicas":0}`); code != http.StatusAccepted {
		t.Fatal(code, text)
	}
	for _, tt := range []struct {
		method, path, body string
		code               int
	}{
		{"GET", "/nothing", "", 404},
		{"GET", "/function/", "", 404},
		{"GET", "/function/two", "", 404},
		{"GET", "/function/two/a/../b", "", 404},
		{"GET", "/function/%22%3Cb%3E", "", 404},
		{"GET", "/function/one", "", 503},
		{"POST", "/async-function/one", "", 501},
		{"PATCH", "/system/functions", "", 405},
		{"POST", "/", "", 405},
		{"GET", "/system/function/two", "", 404},
		{"GET", "/system/logs?name=two", "", 404},
		{"POST", "/system/functions", "{", 400},
		{"POST", "/system/functions", `{"service":"three"}`, 400},
		{"DELETE", "/system/functions", `{"functionName":"two"}`, 404},
		{"POST", "/system/scale-function/two", `{}`, 404},
		{"POST", "/system/scale-function/one", `{"replicas":9}`, 400},
		{"POST", "/system/secrets", `{"name":"../x"}`, 400},
		{"PUT", "/system/secrets", `{"name":"x","value":"y"}`, 404},
		{"POST", "/system/secrets", `[]`, 400},
		{"POST", "/system/secrets", `{"value":"` + strings.Repeat("x", maxRequest) + `"}`, 413},
		{"POST", "/system/functions", `{"image":"` + strings.Repeat("x", maxRequest) + `"}`, 413},
		{"DELETE", "/system/functions", `{"functionName":"` + strings.Repeat("x", maxRequest) + `"}`, 413},
		{"POST", "/system/scale-function/one", `{"serviceName":"` + strings.Repeat("x", maxRequest) + `"}`, 413},
		{"POST", "/system/secrets", `{"name":"x","value":"\n"}`, 400},
		{"DELETE", "/system/secrets", `{"name":"basic-auth-password"}`, 409},
		{"GET", "//evil.example/", "", 421}, // its host is set below
		{"POST", "/function/one?cross-site", "", 403},
		{"GET", "/system/info", "", 503}, // its user is gone: it is the last
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, l.server.URL+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("admin", "secret")
		switch tt.code {
		case http.StatusMisdirectedRequest:
			r.Host = "evil.example"
		case http.StatusForbidden:
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		case http.StatusServiceUnavailable:
			if tt.path == "/system/info" {
				if err := os.Remove(filepath.Join(l.dir, "secrets", userSecret)); err != nil {
					t.Fatal(err)
				}
			}
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var problem struct{ Error string }
		err = json.NewDecoder(resp.Body).Decode(&problem)
		_ = resp.Body.Close()
		if err != nil || problem.Error == "" || resp.StatusCode != tt.code || resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("X-OpenFaaS-Internal") == "" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: %s, %q, %v", tt.method, tt.path, resp.Status, problem.Error, err)
		}
	}
}

// An answer that breaks off is counted as a call, too.
func TestBrokenAnswerIsCounted(t *testing.T) {
	l := newGateway(t)
	l.deploy(t, deployment("one", nil))
	resp, err := http.Get(l.server.URL + "/function/one/break")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the answer looks complete")
	}
	_ = resp.Body.Close()
	eventually.True(t, "the call is counted", func() bool {
		r, err := http.Get(l.server.URL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		return err == nil && strings.Contains(string(text), `parkstream_gateway_call_duration_seconds_count{code="200",function="one"} 1`)
	})
}

// A function that dies is restarted. Until then a caller gets an error of the gateway
// and never a wrong answer.
func TestDeadFunctionIsStartedAgain(t *testing.T) {
	l := newGateway(t)
	l.deploy(t, deployment("one", nil))
	first := l.invoke(t, "").PID
	if code, _ := l.call(t, "POST", "/function/one/die", ""); code < 500 {
		t.Errorf("the call that it died of: %d", code)
	}
	eventually.True(t, "it answers again", func() bool {
		code, text := l.call(t, "POST", "/function/one", "")
		if code == 200 {
			return !strings.Contains(text, fmt.Sprintf(`"PID":%d`, first))
		}
		if code < 500 {
			t.Fatalf("%d %s", code, text)
		}
		return false
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.said) != 1 || !strings.Contains(l.said[0], "function one ended (exit status 7) and is started again") {
		t.Errorf("the operator heard %q", l.said)
	}
}

func TestScale(t *testing.T) {
	l := newGateway(t)
	l.deploy(t, deployment("one", nil))
	scale := func(replicas, code int) {
		t.Helper()
		if got, text := l.call(t, "POST", "/system/scale-function/one", fmt.Sprintf(`{"serviceName":"one","replicas":%d}`, replicas)); got != code {
			t.Fatalf("%d replicas: %d %s", replicas, got, text)
		}
	}
	scale(3, 202)
	eventually.True(t, "three replicas answer", func() bool {
		pids := make(map[int]bool)
		for range 6 {
			pids[l.invoke(t, "").PID] = true
		}
		return len(pids) == 3
	})
	var targets []struct {
		Targets []string
		Labels  map[string]string
	}
	if code, text := l.call(t, "GET", TargetsPath, ""); code != 200 || json.Unmarshal([]byte(text), &targets) != nil ||
		len(targets) != 1 || len(targets[0].Targets) != 3 || targets[0].Labels["function"] != "one" {
		t.Errorf("Prometheus is told %d %s", code, text)
	}
	if s := l.status(t, "one"); s.Replicas != 3 || s.AvailableReplicas != 3 {
		t.Errorf("%+v", s)
	}
	scale(0, 202)
	if code, text := l.call(t, "POST", "/function/one", ""); code != 503 || !strings.Contains(text, "scale it up") {
		t.Errorf("scaled to nothing: %d %s", code, text)
	}
	scale(maxReplicas+1, 400)
	scale(1, 202)
	eventually.True(t, "it is back", func() bool { code, _ := l.call(t, "POST", "/function/one", ""); return code == 200 })
	if code, _ := l.call(t, "POST", "/system/scale-function/two", `{"replicas":1}`); code != 404 {
		t.Errorf("unknown: %d", code)
	}
}

func TestDeployAndDelete(t *testing.T) {
	l := newGateway(t)
	post := func(method string, spec types.FunctionDeployment) (int, string) {
		t.Helper()
		text, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		return l.call(t, method, "/system/functions", string(text))
	}
	if code, text := post("POST", deployment("three", nil)); code != 400 || !strings.Contains(text, "only Parkstream's own functions (one, two)") {
		t.Errorf("a function that is not of Parkstream: %d %s", code, text)
	}
	for _, tt := range []struct{ method, path, body, want string }{
		{"POST", "/system/functions", "hello", "read the deployment: it is not JSON"},
		{"PUT", "/system/functions", `{"service":5}`, "read the deployment: service: a JSON number, want a string"},
		{"DELETE", "/system/functions", ``, "read the request: it is empty"},
		{"POST", "/system/scale-function/one", `{"replicas":-1}`, "read the request: replicas: a JSON number -1, want a whole number from 0"},
	} {
		if code, text := l.call(t, tt.method, tt.path, tt.body); code != 400 || !strings.HasPrefix(text, `{"error":"`+tt.want) || strings.Contains(text, "Go ") {
			t.Errorf("%s %s %s: %d %s", tt.method, tt.path, tt.body, code, text)
		}
	}
	for _, name := range []string{"two", "one"} {
		if code, text := post("POST", deployment(name, map[string]string{"topic": "q"})); code != 202 {
			t.Fatalf("%d %s", code, text)
		}
	}
	eventually.True(t, "they are ready", func() bool { return len(l.Unready(t.Context())) == 0 })
	before := l.invoke(t, "").PID
	if code, text := post("PUT", deployment("one", nil)); code != 202 {
		t.Fatalf("update: %d %s", code, text)
	}
	eventually.True(t, "the new one answers", func() bool { code, _ := l.call(t, "POST", "/function/one", ""); return code == 200 })
	if after := l.invoke(t, "").PID; after == before || syscall.Kill(before, 0) == nil {
		t.Errorf("process %d was %d and still runs", after, before)
	}
	names := func() (names []string) {
		_, text := l.call(t, "GET", "/system/functions", "")
		var list []types.FunctionStatus
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatal(text)
		}
		for _, f := range list {
			names = append(names, f.Name)
		}
		return names
	}
	if got := names(); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("deployed: %q", got)
	}
	if s := l.status(t, "two"); (*s.Annotations)["topic"] != "q" || s.Image != "parkstream/two" {
		t.Errorf("%+v", s)
	}
	if code, _ := l.call(t, "DELETE", "/system/functions", `{"functionName":"one"}`); code != 202 {
		t.Errorf("delete: %d", code)
	}
	if code, _ := l.call(t, "DELETE", "/system/functions", `{"functionName":"one"}`); code != 404 {
		t.Errorf("delete again: %d", code)
	}
	if code, _ := l.call(t, "GET", "/system/function/one", ""); code != 404 {
		t.Errorf("describe: %d", code)
	}
	if got := names(); !slices.Equal(got, []string{"two"}) {
		t.Errorf("deployed: %q", got)
	}
}

// TestChangesAtOnce changes a function concurrently: afterwards exactly the processes
// run that the gateway reports.
func TestChangesAtOnce(t *testing.T) {
	l := newGateway(t)
	spec := deployment("one", nil)
	started := func() int { // processes that were started and have not ended
		text, err := os.ReadFile(filepath.Join(l.dir, "one.log"))
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(text, []byte("serving one\n")) - bytes.Count(text, []byte("stopped one\n"))
	}
	l.deploy(t, spec)
	body, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { l.call(t, "PUT", "/system/functions", string(body)) })
			all.Go(func() { l.call(t, "POST", "/system/scale-function/one", `{"replicas":2}`) })
		}
		all.Wait()
		eventually.True(t, "all replicas are ready", func() bool {
			return l.status(t, "one").AvailableReplicas == 2 && len(l.Unready(t.Context())) == 0
		})
		eventually.True(t, "two processes run, as the gateway says", func() bool { return started() == 2 })
	}
}

func TestUnready(t *testing.T) {
	l := newGateway(t)
	spec := deployment("one", nil)
	spec.EnvVars["UNREADY"] = "yes"
	if err := l.Deploy(spec); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "it says why", func() bool {
		u := l.Unready(t.Context())
		return len(u) == 1 && strings.Contains(u[0], "function one is not ready") && strings.Contains(u[0], "Redis is unavailable")
	})
}

func TestLogs(t *testing.T) {
	l := newGateway(t)
	l.deploy(t, deployment("one", nil))
	for i := range 5 {
		l.invoke(t, fmt.Sprint("event ", i))
	}
	eventually.True(t, "the output arrives", func() bool {
		text, _ := os.ReadFile(filepath.Join(l.dir, "one.log"))
		return bytes.Contains(text, []byte("called event 4"))
	})
	_, text := l.call(t, "GET", "/system/logs?name=one&tail=2", "")
	var got []string
	for d := json.NewDecoder(strings.NewReader(text)); d.More(); {
		var m logs.Message
		if err := d.Decode(&m); err != nil {
			t.Fatal(err)
		}
		got = append(got, m.Name+": "+m.Text)
	}
	if !slices.Equal(got, []string{"one: called event 3", "one: called event 4"}) {
		t.Errorf("%q", got)
	}
	if code, text := l.call(t, "GET", "/system/logs?name=nothing", ""); code != 404 || !strings.Contains(text, `\"nothing\" is not deployed`) {
		t.Errorf("of no function: %d %s", code, text)
	}
}

func TestSecrets(t *testing.T) {
	l := newGateway(t)
	file := filepath.Join(l.dir, "secrets", "api-key")
	for _, step := range []struct {
		method, body string
		code         int
		value        string // "" for none
	}{
		{"PUT", `{"name":"api-key","value":"x"}`, 404, ""},
		{"POST", `{"name":"api-key","value":"first"}`, 202, "first"},
		{"POST", `{"name":"api-key","value":"second"}`, 409, "first"},
		{"PUT", `{"name":"api-key","value":"second"}`, 202, "second"},
		{"PUT", `{"name":"api-key","rawValue":"AAE="}`, 202, "\x00\x01"},
		{"POST", `{"name":"../api-key","value":"x"}`, 400, "\x00\x01"},
		{"POST", `{"name":"a/b","value":"x"}`, 400, "\x00\x01"},
		{"POST", `{"name":"a..b","value":"x"}`, 400, "\x00\x01"},
		{"POST", `{"name":"","value":"x"}`, 400, "\x00\x01"},
		{"POST", `hello`, 400, "\x00\x01"},
		{"GET", "", 200, "\x00\x01"},
		{"DELETE", `{"name":"api-key"}`, 202, ""},
		{"DELETE", `{"name":"api-key"}`, 404, ""},
	} {
		if step.method == "PUT" {
			_ = os.Chmod(file, 0o644) // an update mends that
		}
		code, text := l.call(t, step.method, "/system/secrets", step.body)
		if code != step.code {
			t.Errorf("%s %s: %d %s, want %d", step.method, step.body, code, text, step.code)
		}
		if step.method == "GET" && (!strings.Contains(text, `"name":"api-key"`) || strings.Contains(text, "AAE=")) {
			t.Errorf("list: %s", text)
		}
		value, _ := os.ReadFile(file)
		if string(value) != step.value {
			t.Errorf("after %s %s the secret is %q, want %q", step.method, step.body, value, step.value)
		}
		if info, err := os.Stat(file); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("mode %s", info.Mode())
		}
	}
}

func TestCron(t *testing.T) {
	l := newGateway(t)
	l.deploy(t, deployment("one", map[string]string{"topic": "cron-function", "schedule": "@every 1s"}))
	l.deploy(t, deployment("two", map[string]string{"topic": "other", "schedule": "@every 1s"}))
	l.StartCron()
	eventually.True(t, "it is fired twice", func() bool { return l.status(t, "one").InvocationCount >= 2 })
	if n := l.status(t, "two").InvocationCount; n != 0 {
		t.Errorf("a function of another topic was fired %g times", n)
	}
	for _, schedule := range []string{"at noon", "", "TZ=x", "0 0 30 2 *"} {
		bad := deployment("two", map[string]string{"topic": "cron-function", "schedule": schedule})
		if err := l.Deploy(bad); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("the schedule %q of function two", schedule)) {
			t.Errorf("the schedule %q: %v", schedule, err)
		}
		if l.find("two") == nil {
			t.Error("the function that ran is gone after a deployment that was refused")
		}
		text, err := json.Marshal(bad)
		if err != nil {
			t.Fatal(err)
		}
		if code, text := l.call(t, "PUT", "/system/functions", string(text)); code != http.StatusBadRequest {
			t.Errorf("the schedule %q: %d %s", schedule, code, text)
		}
	}
	// No replica runs: the operator is notified.
	if err := l.scale(l.find("one"), 0); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the failure is told", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return slices.ContainsFunc(l.said, func(s string) bool { return strings.Contains(s, "cron: one failed: no replica runs") })
	})
}

func TestReadStack(t *testing.T) {
	t.Setenv("TAG", "1.2")
	specs, err := ReadStack("../../../stack.yml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range specs {
		names = append(names, s.Service)
		if s.Service == "entry-processor" && (s.Image != "localhost/parkstream/entry-processor:1.2" || (*s.Annotations)["topic"] != "vehicle_entries" ||
			s.EnvVars["RETENTION"] == "" || !slices.Contains(s.Secrets, "redis-url") || s.Limits.Memory == "") {
			t.Errorf("%+v", s)
		}
	}
	if !slices.Equal(names, []string{"camera", "entry-generator", "entry-processor", "exit-generator", "exit-processor", "matcher", "summary"}) {
		t.Errorf("functions: %q", names)
	}
	if _, err := ReadStack("no-such.yml"); err == nil {
		t.Error("a missing file was read")
	}
}

// A function that is busy with its last call is left out, and a stop ends the call.
func TestCronDoesNotOverlap(t *testing.T) {
	var calls, ended atomic.Int64
	fired := make(chan struct{}, 10)
	table := newCronTable(func(ctx context.Context, _ string) error {
		calls.Add(1)
		fired <- struct{}{}
		<-ctx.Done()
		ended.Add(1)
		return ctx.Err()
	}, func(said string) { t.Errorf("a stop is no failure: %s", said) })
	table.set("slow", cron.Every(time.Second))
	table.start()
	<-fired
	select {
	case <-fired:
	case <-time.After(2500 * time.Millisecond):
	}
	table.stop()
	if calls.Load() != 1 || ended.Load() != 1 {
		t.Errorf("%d calls, %d ended", calls.Load(), ended.Load())
	}
}

// A function's process inherits no variable that could hold a secret.
func TestEnvironment(t *testing.T) {
	l := newGateway(t)
	t.Setenv("RABBITMQ_URL", "amqp://user:hidden@127.0.0.1/")
	t.Setenv("TZ", "UTC")
	env := l.environ(deployment("one", nil))
	if slices.ContainsFunc(env, func(kv string) bool { return strings.Contains(kv, "hidden") }) {
		t.Errorf("a secret of ours is in %q", env)
	}
	own, ours := slices.Index(env, "SETTING=its own"), slices.Index(env, "SETTING=ours")
	if own < 0 || ours < own || !slices.Contains(env, "TZ=UTC") || !slices.Contains(env, "LISTEN_FD=3") {
		t.Errorf("%q", env)
	}
}

// The id that a caller gives its call is the one in all logs.
func TestCallIDIsKept(t *testing.T) {
	l := newGateway(t)
	l.deploy(t, deployment("one", nil))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.server.URL+"/function/one", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Call-Id", "theirs")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var s seen
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || s.CallID != "theirs" {
		t.Errorf("%+v, %v", s, err)
	}
}

// Files of settings override those of the stack in their order, as with faas-cli.
func TestReadStackWithFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"stack.yml": "provider: {name: openfaas}\nfunctions:\n  one:\n    image: one\n    environment: {A: stack, B: stack, C: stack}\n    environment_file: [first.yml, second.yml]\n",
		"first.yml": "environment: {B: first, C: first}\n", "second.yml": "environment: {C: second, D: \"4\"}\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	specs, err := ReadStack("stack.yml")
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"A": "stack", "B": "first", "C": "second", "D": "4"}; !maps.Equal(specs[0].EnvVars, want) {
		t.Errorf("%v, want %v", specs[0].EnvVars, want)
	}
	if err := os.WriteFile("second.yml", []byte("environment: [A]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadStack("stack.yml"); err == nil || !strings.Contains(err.Error(), "second.yml") {
		t.Errorf("a file that is none: %v", err)
	}
	if err := os.Remove("first.yml"); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadStack("stack.yml"); err == nil || !strings.Contains(err.Error(), "first.yml") {
		t.Errorf("a file that is missing: %v", err)
	}
}

func TestPortIsTaken(t *testing.T) {
	l, err := Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if ip := l.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		t.Errorf("it listens on %s", ip)
	}
	if _, err := Listen(l.Addr().(*net.TCPAddr).Port); err == nil || !strings.Contains(err.Error(), "choose another port with --port") {
		t.Errorf("%v", err)
	}
}
