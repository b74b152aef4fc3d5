// Package gateway is an OpenFaaS gateway and provider for one machine: it runs
// every function of a stack.yml as a child process and answers the API that
// faas-cli and connectors speak.
package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/openfaas/faas-provider/logs"
	"github.com/openfaas/faas-provider/types"
	"github.com/openfaas/go-sdk/stack"
	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/yaml.v3"

	"parkstream/shared/httpjson"
	"parkstream/shared/latency"
	"parkstream/shared/process"
	"parkstream/shared/redirect"
)

// namespace is OpenFaaS's default namespace.
const namespace = "openfaas-fn"

// maxReplicas is what the Community Edition allows, too.
const maxReplicas = 5

// TargetsPath is the path at which Prometheus discovers the replicas of all functions.
// It requires the password, as all paths under /system.
const TargetsPath = "/system/prometheus-targets"

// Config is what a gateway runs, and for which hosts.
type Config struct {
	// Known are the names of the functions that Command can run.
	Known []string
	// Command makes the command that serves a function on file descriptor 3.
	Command func(name string) *exec.Cmd
	// Environ is added to the environment of every function.
	Environ []string
	// SecretsDir holds the secrets, one a file. basic-auth-user and
	// basic-auth-password guard everything under /system.
	SecretsDir string
	// AllowedHosts are names and addresses besides those of loopback under which
	// the gateway may be called, without ports.
	AllowedHosts []string
	// Open refuses requests that come through a proxy from other machines: the functions
	// ask for no login.
	Open bool
	// LogsDir gets one file of output for each function.
	LogsDir string
	// Timeout bounds one call of a function.
	Timeout time.Duration
	// Notify gets sentences for the operator.
	Notify func(string)
	// Process serves the gateway. /metrics shows its metrics.
	Process *process.Process
}

// Gateway runs functions. Its zero value is not usable; see [New].
type Gateway struct {
	config Config
	ctx    context.Context // of the replicas
	cancel context.CancelFunc
	cron   *cronTable
	calls  *prometheus.HistogramVec
	// transport carries calls to the replicas.
	transport *http.Transport

	user, password *process.Secret // of the administrator

	// changing is held while functions are deployed, scaled or removed: concurrent
	// changes of one function would leak replicas.
	changing sync.Mutex

	mu        sync.Mutex
	functions map[string]*function
}

// New returns a gateway without functions. [Gateway.Close] releases it.
func New(c Config) *Gateway {
	ctx, cancel := context.WithCancel(context.Background())
	g := &Gateway{
		config: c, ctx: ctx, cancel: cancel, functions: make(map[string]*function),
		user: process.NewSecret(c.SecretsDir, userSecret), password: process.NewSecret(c.SecretsDir, passwordSecret),
		calls: latency.New(c.Process.Registerer, "parkstream_gateway_call_duration_seconds",
			"Seconds that the local gateway took for calls of functions.", "function", "code"),
		transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: c.Timeout}).DialContext, MaxIdleConnsPerHost: 1024, IdleConnTimeout: 5 * time.Second,
			ExpectContinueTimeout: time.Second, DisableCompression: true, // a body passes as it is
		},
	}
	g.cron = newCronTable(g.invokeEmpty, c.Notify)
	return g
}

// ReadStack returns the functions of a stack.yml, with ${NAME:-default} filled
// in from the environment and the files of settings read, as faas-cli would deploy
// them.
func ReadStack(file string) ([]types.FunctionDeployment, error) {
	services, err := stack.ParseYAMLFile(file, "", "", true)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	var specs []types.FunctionDeployment
	for _, name := range slices.Sorted(maps.Keys(services.Functions)) {
		f := services.Functions[name]
		settings, err := environment(f)
		if err != nil {
			return nil, fmt.Errorf("read the settings of function %s: %w", name, err)
		}
		specs = append(specs, types.FunctionDeployment{
			Service: name, Image: f.Image, Namespace: namespace, EnvVars: settings, Secrets: f.Secrets,
			Labels: f.Labels, Annotations: f.Annotations,
			Limits: resources(f.Limits), Requests: resources(f.Requests),
			ReadOnlyRootFilesystem: f.ReadOnlyRootFilesystem,
		})
	}
	return specs, nil
}

// environment returns the variables in stack.yml and then those of its files, in order.
func environment(f stack.Function) (map[string]string, error) {
	all := maps.Clone(f.Environment)
	for _, name := range f.EnvironmentFile {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var file stack.EnvironmentFile
		if err := yaml.Unmarshal(text, &file); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if all == nil {
			all = make(map[string]string)
		}
		maps.Copy(all, file.Environment)
	}
	return all, nil
}

func resources(r *stack.FunctionResources) *types.FunctionResources {
	if r == nil {
		return nil
	}
	return &types.FunctionResources{Memory: r.Memory, CPU: r.CPU}
}

// ErrRefused is wrapped by the error for a deployment that this gateway cannot carry
// out. It has changed nothing then.
var ErrRefused = errors.New("deployment refused")

// Deploy starts a function with one replica, or replaces a running one.
func (g *Gateway) Deploy(spec types.FunctionDeployment) error {
	if !slices.Contains(g.config.Known, spec.Service) {
		return fmt.Errorf("%w: %q is unknown, the local gateway runs only Parkstream's own functions (%s)", ErrRefused, spec.Service, strings.Join(g.config.Known, ", "))
	}
	if err := checkNamespace(spec.Namespace); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	schedule, err := scheduleOf(spec)
	if err != nil {
		return err
	}
	g.changing.Lock()
	defer g.changing.Unlock()
	replicas := 1
	g.mu.Lock()
	old := g.functions[spec.Service]
	g.mu.Unlock()
	if old != nil {
		n, _ := old.counts()
		replicas = int(n)
		if err := g.remove(spec.Service); err != nil {
			return err
		}
	}
	log, err := openLogBook(g.config.LogsDir, spec.Service)
	if err != nil {
		return err
	}
	f := &function{spec: spec, created: time.Now(), log: log}
	if err := g.scale(f, replicas); err != nil {
		// Some may have been started.
		return errors.Join(err, g.scale(f, 0), log.Close())
	}
	g.mu.Lock()
	g.functions[spec.Service] = f
	g.mu.Unlock()
	if schedule != nil {
		g.cron.set(spec.Service, schedule)
	}
	return nil
}

func (g *Gateway) find(name string) *function {
	g.mu.Lock()
	defer g.mu.Unlock()
	// faas-cli may add the namespace.
	return g.functions[strings.TrimSuffix(name, "."+namespace)]
}

// remove ends a function; the caller holds changing.
func (g *Gateway) remove(name string) error {
	g.cron.unset(name)
	g.mu.Lock()
	f := g.functions[name]
	delete(g.functions, name)
	g.mu.Unlock()
	if f == nil {
		return nil
	}
	return errors.Join(g.scale(f, 0), f.log.Close())
}

// StartCron starts to call the functions that have a schedule.
func (g *Gateway) StartCron() { g.cron.start() }

// StopCron stops cron and waits for its calls.
func (g *Gateway) StopCron() { g.cron.stop() }

// Close stops cron and every function and waits until they have ended.
func (g *Gateway) Close() error {
	g.StopCron()
	g.changing.Lock()
	defer g.changing.Unlock()
	g.mu.Lock()
	names := slices.Collect(maps.Keys(g.functions))
	g.mu.Unlock()
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { errs[i] = g.remove(name) })
	}
	wg.Wait()
	g.cancel()
	g.transport.CloseIdleConnections()
	return errors.Join(errs...)
}

// Unready returns a sentence for every function that cannot take calls now.
func (g *Gateway) Unready(ctx context.Context) []string {
	g.mu.Lock()
	functions := maps.Clone(g.functions)
	g.mu.Unlock()
	var unready []string
	for name, f := range functions {
		for _, u := range f.urls() {
			if err := CheckReady(ctx, u.String()+"/_/ready"); err != nil {
				unready = append(unready, fmt.Sprintf("function %s is not ready: %v", name, err))
			}
		}
	}
	slices.Sort(unready)
	return unready
}

// toFunctions makes the gateway's own calls.
var toFunctions = &http.Client{CheckRedirect: redirect.Refuse}

// CheckReady returns why a process is not ready, from its response at a URL; nil if it is.
func CheckReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := toFunctions.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	return nil
}

// Handler serves the OpenFaaS API with the official routes. The SDK's own
// bootstrap.Serve listens on every interface and ends the process on an error;
// this one is for loopback.
func (g *Gateway) Handler() http.Handler {
	routes := http.NewServeMux()
	system := func(path string, m methods) {
		for method, h := range m {
			m[method] = g.authorized(inNamespace(h))
		}
		routes.Handle(path, m)
	}
	system("/system/functions", methods{http.MethodGet: g.list, http.MethodPost: g.deploy, http.MethodPut: g.deploy, http.MethodDelete: g.delete})
	system("/system/function/{name}", methods{http.MethodGet: g.describe})
	system("/system/scale-function/{name}", methods{http.MethodPost: g.scaleTo})
	system("/system/secrets", methods{http.MethodGet: g.secrets, http.MethodPost: g.secrets, http.MethodPut: g.secrets, http.MethodDelete: g.secrets})
	system("/system/logs", methods{http.MethodGet: g.logs(logs.NewLogHandlerFunc(g, g.config.Timeout))})
	system(TargetsPath, methods{http.MethodGet: g.targets})
	system("/system/info", methods{http.MethodGet: info})
	system("/system/namespaces", methods{http.MethodGet: namespaces})
	refuseChange := refusal(http.StatusMethodNotAllowed, "the local gateway has the namespace "+namespace+" alone: none is made, changed or removed")
	system("/system/namespace/{name}", methods{http.MethodGet: oneNamespace, http.MethodPost: refuseChange, http.MethodPut: refuseChange, http.MethodDelete: refuseChange})
	routes.HandleFunc("/system/namespace", noSuchPath) // or it would be redirected to the next one
	system("/system/namespace/{name...}", methods{http.MethodPost: refuseChange, http.MethodPut: refuseChange, http.MethodDelete: refuseChange})

	routes.HandleFunc("/", noSuchPath)
	// The URL that is printed at the start leads to the page.
	routes.Handle("/{$}", methods{http.MethodGet: http.RedirectHandler("/function/summary/", http.StatusFound).ServeHTTP})
	routes.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "OK") })
	routes.Handle("/metrics", g.config.Process.Metrics())
	return g.guard(g.undecoded(routes))
}

var noSuchPath = refusal(http.StatusNotFound, "the gateway has no such path: functions are below /function/")

// methods are the handlers of a path by method.
type methods map[string]http.HandlerFunc

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, ok := m[r.Method]
	if !ok {
		refuse(w, http.StatusMethodNotAllowed, "the gateway does not take this method here")
		return
	}
	h(w, r)
}

// undecoded forwards calls of functions with their path unchanged, and passes everything
// else to routes. A path that is cleaned, or decoded and encoded again, may be that of
// another plate or stay; http.ServeMux cleans paths, and redirects to them. It also
// decodes a segment before it compares it with that of a route: only names may be
// encoded, or a proxy that guards a prefix such as /system would be passed by.
func (g *Gateway) undecoded(routes *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		escaped := r.URL.EscapedPath()
		function, isCall := strings.CutPrefix(escaped, "/function/")
		name, rest, _ := strings.Cut(function, "/")
		clean := path.Clean(escaped)
		switch {
		case isCall && name != "":
			g.call(w, r, name, "/"+rest)
		case strings.HasPrefix(escaped, "/async-function/"):
			refuse(w, http.StatusNotImplemented, "the local gateway has no queue: call /function/ instead, or publish to RabbitMQ")
		case escaped != clean && escaped != clean+"/":
			noSuchPath(w, r)
		default:
			_, pattern := routes.Handler(r)
			if fixed, _, _ := strings.Cut(pattern, "{"); !strings.HasPrefix(escaped, fixed) {
				noSuchPath(w, r)
				return
			}
			routes.ServeHTTP(w, r)
		}
	})
}

// call finds the function, assigns an id to the call and forwards it. name and encoded
// are percent-encoded.
func (g *Gateway) call(w http.ResponseWriter, r *http.Request, name, encoded string) {
	if decoded, err := url.PathUnescape(name); err == nil {
		name = decoded
	}
	f := g.find(name)
	if f == nil {
		refuse(w, http.StatusNotFound, fmt.Sprintf("function %q is not deployed", name))
		return
	}
	target, ok := f.pick()
	if !ok {
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("no replica of function %q runs now: try again, or scale it up where it was scaled to 0", name))
		return
	}
	if r.Header.Get("X-Call-Id") == "" {
		r.Header.Set("X-Call-Id", uuid.NewString())
	}
	// A function gets only the path after its name. The summary is asked for its
	// page by the slash at the end.
	r.Header.Set("X-Forwarded-Uri", r.URL.RequestURI())
	f.calls.Add(1)
	start, status := time.Now(), &statusWriter{ResponseWriter: w}
	defer func() { // also after the panic with which an answer breaks off
		g.calls.WithLabelValues(f.spec.Service, fmt.Sprint(status.code())).Observe(time.Since(start).Seconds())
	}()
	g.forward(status, r, f.spec.Service, target.Host, encoded)
}

// forward passes a call on to a replica. The SDK's own proxy would decode and encode
// the path: %2F in an id would become a slash.
func (g *Gateway) forward(w http.ResponseWriter, r *http.Request, name, host, encoded string) {
	ctx, cancel := context.WithTimeout(r.Context(), g.config.Timeout)
	defer cancel()
	path, err := url.PathUnescape(encoded)
	if err != nil {
		refuse(w, http.StatusBadRequest, "the path cannot be read: "+err.Error())
		return
	}
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			forwardedFrom(p)
			// The query is forwarded unchanged: the package removes what it cannot parse,
			// and an erasure at one site would become one at all sites.
			p.Out.URL = &url.URL{Scheme: "http", Host: host, Path: path, RawPath: encoded, RawQuery: p.In.URL.RawQuery}
		},
		Transport: g.transport,
		ErrorLog:  log.New(io.Discard, "", 0), // of callers that have gone
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			refuse(w, http.StatusInternalServerError, fmt.Sprintf("function %q did not answer the call", name))
		},
	}
	proxy.ServeHTTP(w, r.WithContext(ctx))
}

// forwardedFrom sets the headers from which a function learns who calls it under which
// address. What a proxy in front of the gateway has set stays, as with every gateway of
// OpenFaaS.
func forwardedFrom(p *httputil.ProxyRequest) {
	p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"] // the caller's address is appended
	p.SetXForwarded()
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto"} {
		if given := p.In.Header[name]; len(given) > 0 {
			p.Out.Header[name] = given
		}
	}
}

// statusWriter records the status of a response.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush forwards a part of a response.
func (w *statusWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// invokeEmpty calls a function as the cron connector does: POST, no body.
func (g *Gateway) invokeEmpty(ctx context.Context, name string) error {
	f := g.find(name)
	if f == nil {
		return fmt.Errorf("function %q is not deployed", name)
	}
	target, ok := f.pick()
	if !ok {
		return errors.New("no replica runs")
	}
	ctx, cancel := context.WithTimeout(ctx, g.config.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String()+"/", http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("X-Connector", "cron-connector")
	r.Header.Set("X-Topic", cronTopic)
	r.Header.Set("X-Call-Id", uuid.NewString())
	f.calls.Add(1)
	resp, err := toFunctions.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	return nil
}

// Listen opens the gateway's port on loopback.
func Listen(port int) (net.Listener, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("the gateway cannot listen: %w; choose another port with --port", err)
	}
	return l, nil
}

func answer(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

// refuse answers with an error in the form of those of functions. The header
// distinguishes it, as with every gateway of OpenFaaS.
func refuse(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("X-OpenFaaS-Internal", "gateway")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff") // a reason may quote the path
	httpjson.Error(w, status, reason)
}

func refusal(status int, reason string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { refuse(w, status, reason) }
}
