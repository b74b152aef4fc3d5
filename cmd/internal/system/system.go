// Package system runs a whole Parkstream on one machine: RabbitMQ and Redis, the gateway
// in this process, and the functions and the connector as children.
package system

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openfaas/faas-provider/types"

	"parkstream/cmd/internal/gateway"
	"parkstream/cmd/internal/logfile"
	"parkstream/cmd/internal/secrets"
	"parkstream/cmd/internal/services"
	"parkstream/cmd/internal/supervise"
	"parkstream/shared/parking"
	"parkstream/shared/process"
)

const (
	// readyTimeout bounds the wait for functions and connector to be ready.
	readyTimeout = time.Minute
	// connectorGrace is longer than the connector's own deadline for draining.
	connectorGrace = 30 * time.Second
	// gatewayGrace bounds the wait for calls that the gateway still answers.
	gatewayGrace = 10 * time.Second
	// gatewayConnections bounds the connections of the gateway. Everyone shares them: the
	// page, clients, and the calls of the connector and the functions.
	gatewayConnections = 10_000
	// nodesGrace bounds the clean stop of RabbitMQ and Redis.
	nodesGrace = 30 * time.Second
)

// connectorStep is the name of the step that ends the connector.
const connectorStep = "the connector, which finishes what it holds"

// Config is what to run.
type Config struct {
	// Program is the parkstream that serves the functions and the connector; by default
	// the program of this process.
	Program string
	// Dir holds the data, the secrets and the logs.
	Dir string
	// Port of the gateway and ConnectorPort of the connector's health and metrics
	// on loopback; 0 takes a free one.
	Port, ConnectorPort int
	// Functions to deploy.
	Functions []types.FunctionDeployment
	// Known are the names that `parkstream function NAME` can serve.
	Known []string
	// Cron fires the functions that have a schedule.
	Cron bool
	// Timeout bounds one call of a function.
	Timeout time.Duration
	// Pprof has each function and the connector serve profiles at a loopback port.
	Pprof bool
	// Users is the file of the users, which is in use where it is. If it is empty, the
	// functions are open to everyone on this machine.
	Users string
	// AllowedHosts are those of gateway.Config.
	AllowedHosts []string
	// Prometheus scrapes every process, if its program is installed.
	Prometheus bool
	// PrometheusPort on loopback; 0 takes 9090, or a free one if that is in use.
	PrometheusPort int
	// RabbitMQURL and RedisURL, if not empty, are nodes to use instead of private ones.
	RabbitMQURL, RedisURL string
	// Say reports progress to the user.
	Say func(format string, args ...any)
}

// System is a running system. Its methods must not be called concurrently.
type System struct {
	Config
	// Gateway runs the functions; nil before Start.
	Gateway *gateway.Gateway
	// Nodes are the RabbitMQ and the Redis; empty before Start.
	Nodes services.Nodes

	listener  net.Listener
	failed    chan error
	closers   []step
	connector *connector // nil while it is stopped

	profiles map[string]string // addresses of the profiles, by process

	prometheusURL string // empty if it does not run
}

// step is something to undo.
type step struct {
	name string
	do   func() error
}

// New makes the folders and opens the gateway's port. It does so before anything slow,
// since a port in use is the most common mistake.
func New(c Config) (*System, error) {
	var err error
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, err
	}
	if c.Users != "" {
		if c.Users, err = filepath.Abs(c.Users); err != nil {
			return nil, err
		}
	}
	s := &System{Config: c, failed: make(chan error, 1)}
	for _, dir := range []string{s.Dir, s.Secrets(), s.Logs()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the folder: %w", err)
		}
	}
	if s.Program == "" {
		if s.Program, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find our own program: %w", err)
		}
	}
	if s.listener, err = gateway.Listen(c.Port); err != nil {
		return nil, err
	}
	if s.ConnectorPort == 0 {
		if s.ConnectorPort, err = freePort(); err != nil {
			return nil, errors.Join(err, s.listener.Close())
		}
	}
	if err := errors.Join(s.chooseProfileAddresses(), s.choosePrometheusPort()); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// Secrets returns the folder of the secrets.
func (s *System) Secrets() string { return filepath.Join(s.Dir, "secrets") }

// Logs returns the folder of the logs.
func (s *System) Logs() string { return filepath.Join(s.Dir, "logs") }

// URL returns the URL of the gateway.
func (s *System) URL() string { return "http://" + s.listener.Addr().String() }

// ConnectorURL returns the URL of the connector's health and metrics.
func (s *System) ConnectorURL() string { return "http://" + s.connectorAddr() }

func (s *System) connectorAddr() string { return fmt.Sprintf("127.0.0.1:%d", s.ConnectorPort) }

// Failed returns a channel that gets the error of a part that has ended unexpectedly and
// is not restarted.
func (s *System) Failed() <-chan error { return s.failed }

func (s *System) onStop(name string, do func() error) {
	s.closers = append(s.closers, step{name, do})
}

// Stop ends in reverse order what was started, and closes the port. Call it after a
// failed Start, too.
func (s *System) Stop() error {
	defer func() { _ = s.listener.Close() }() // the server may have closed it
	closers := s.closers
	s.closers = nil
	if len(closers) == 0 {
		return nil
	}
	s.Say("stopping")
	var errs []error
	for _, v := range slices.Backward(closers) {
		s.Say("  %s", v.name)
		if err := v.do(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", v.name, err))
		}
	}
	s.Say("stopped")
	return errors.Join(errs...)
}

// Start starts everything but the connector and cron. After an error, Stop ends what it
// has started.
func (s *System) Start(ctx context.Context) error {
	nodes, err := services.Start(ctx, services.Options{RabbitMQURL: s.RabbitMQURL, RedisURL: s.RedisURL, Dir: s.Dir, Say: s.Say})
	if err != nil {
		return err
	}
	s.Nodes = nodes
	kept, stopKeeping := context.WithCancel(context.Background())
	keeping := make(chan struct{})
	go func() {
		defer close(keeping)
		nodes.Keep(kept, s.notify)
	}()
	s.onStop("RabbitMQ and Redis", func() error {
		stopKeeping()
		<-keeping
		ctx, cancel := context.WithTimeout(context.Background(), nodesGrace)
		defer cancel()
		return nodes.Stop(ctx)
	})
	if err := s.writeSecrets(); err != nil {
		return err
	}
	if err := s.startGateway(); err != nil {
		return err
	}
	s.Say("starting the functions")
	for _, spec := range s.Functions {
		if err := s.Gateway.Deploy(spec); err != nil {
			return err
		}
	}
	return s.startPrometheus()
}

func (s *System) notify(text string) { s.Say("%s", text) }

func (s *System) writeSecrets() error {
	dir := s.Secrets()
	errs := []error{secrets.EnsureAccess(dir)}
	for name, value := range map[string]func() string{
		"basic-auth-user": func() string { return "admin" }, "basic-auth-password": rand.Text,
	} {
		_, err := secrets.Ensure(dir, name, value)
		errs = append(errs, err)
	}
	return errors.Join(append(errs,
		secrets.Write(dir, "rabbitmq-url", []byte(s.Nodes.RabbitMQURL)),
		secrets.Write(dir, "redis-url", []byte(s.Nodes.RedisURL)))...)
}

// access returns the settings with which functions ask for a login, or not. Where there is
// none, there are no real cars to keep generated ones apart from.
func (s *System) access() []string {
	settings := []string{"ACCESS=open", "USERS_FILE=", "DEFAULT_SITE=" + parking.DefaultSite}
	if s.Users != "" {
		settings = []string{"ACCESS=closed", "USERS_FILE=" + s.Users}
	}
	return append(settings,
		"TRUSTED_PROXIES=127.0.0.0/8,::1", // the gateway
		"METRICS_LISTEN=",                 // of all replicas it would be the same port
	)
}

// imagesURL returns where pictures are kept: in the folder of the data, unless the
// environment has another place.
func (s *System) imagesURL() string {
	folder := url.URL{Scheme: "file", Path: filepath.Join(s.Dir, "images")}
	return cmp.Or(os.Getenv("IMAGES_URL"), folder.String())
}

func (s *System) startGateway() error {
	file, err := s.openLog("gateway")
	if err != nil {
		return err
	}
	s.onStop("the gateway's log", file.Close)
	log.SetOutput(file) // the provider SDK writes to the standard logger
	p, err := process.New(process.Options{
		Name: "gateway", Environ: []string{"SECRETS_DIR=" + s.Secrets(), "LOG_FORMAT=text"}, Listener: s.listener, Log: file,
	})
	if err != nil {
		return err
	}
	s.Gateway = gateway.New(gateway.Config{
		Known:   s.Known,
		Command: func(name string) *exec.Cmd { return exec.Command(s.Program, "function", name) },
		Environ: append(append(telemetryEnv(os.Environ()), s.access()...),
			"SECRETS_DIR="+s.Secrets(), "GATEWAY_URL="+s.URL(), "CONNECTOR_URL="+s.ConnectorURL(), "LOG_FORMAT=text",
			"IMAGES_URL="+s.imagesURL(),
			"healthcheck_interval=0s", // no load balancer has to notice that a replica ends
		),
		SecretsDir: s.Secrets(), AllowedHosts: s.AllowedHosts, Open: s.Users == "", LogsDir: s.Logs(),
		Timeout: s.Timeout, Notify: s.notify, Process: p,
	})
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		err := p.Serve(ctx, process.Service{
			Handler: s.Gateway.Handler(), MaxConnections: gatewayConnections,
			ReadTimeout: s.Timeout, WriteTimeout: s.Timeout + 10*time.Second, Grace: gatewayGrace,
		})
		if ctx.Err() == nil {
			s.failed <- fmt.Errorf("the gateway: %w", err)
			err = nil
		}
		served <- err
	}()
	s.onStop("the gateway", func() error {
		stop()
		return <-served
	})
	s.onStop("the functions", s.Gateway.Close)
	return nil
}

func (s *System) openLog(name string) (*logfile.File, error) {
	file, err := logfile.Open(filepath.Join(s.Logs(), name+".log"))
	if err != nil {
		return nil, fmt.Errorf("open the log of the %s: %w", name, err)
	}
	return file, nil
}

// telemetryEnv returns the variables of OpenTelemetry for the parts. It omits the
// headers, which may be secret (the file otlp-headers is for them), and the service's
// name, which would be that of all parts.
func telemetryEnv(environ []string) []string {
	var passed []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "OTEL_") && !strings.HasSuffix(name, "_HEADERS") && name != "OTEL_SERVICE_NAME" {
			passed = append(passed, kv)
		}
	}
	return passed
}

// Connector is the name of the connector's process.
const Connector = "connector"

// chooseProfileAddresses assigns an address for profiles to every child. The ports are
// free now, which is enough for a diagnosis: a process whose port is in use later serves
// no profiles.
func (s *System) chooseProfileAddresses() error {
	if !s.Pprof {
		return nil
	}
	s.profiles = make(map[string]string)
	choose := func(name string) error {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.profiles[name] = fmt.Sprintf("127.0.0.1:%d", port)
		s.Say("profiles of %s: http://%s/debug/pprof/", name, s.profiles[name])
		return nil
	}
	for i := range s.Functions {
		f := &s.Functions[i]
		if err := choose(f.Service); err != nil {
			return err
		}
		settings := map[string]string{"PPROF_LISTEN": s.profiles[f.Service]}
		maps.Copy(settings, f.EnvVars)
		f.EnvVars = settings
	}
	return choose(Connector)
}

// ProfileURL returns the URL at which a function or the connector serves profiles with
// Config.Pprof.
func (s *System) ProfileURL(name string) string { return "http://" + s.profiles[name] }

// connector is the running connector.
type connector struct {
	child *supervise.Child
	stop  func() error
}

// CheckConnectorPort returns an error if the connector's port is in use, for example by
// the connector of another parkstream up. Call it before Start.
func (s *System) CheckConnectorPort() error {
	l, err := net.Listen("tcp", s.connectorAddr())
	if err != nil {
		return fmt.Errorf("the port of the connector: %w; choose another one with --connector-port (0 takes a free one)", err)
	}
	return l.Close()
}

// StartConnector starts the connector and keeps it running until StopConnector or Stop.
func (s *System) StartConnector() error {
	file, err := s.openLog(Connector)
	if err != nil {
		return err
	}
	child := &supervise.Child{
		Name: "the connector", Command: s.connectorCommand,
		Output: file, Grace: connectorGrace, Notify: s.notify,
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		child.Run(ctx)
	}()
	s.connector = &connector{child: child, stop: func() error {
		cancel()
		<-done
		return file.Close()
	}}
	s.onStop(connectorStep, s.StopConnector)
	return nil
}

func (s *System) connectorCommand() *exec.Cmd {
	cmd := exec.Command(s.Program, "connector")
	cmd.Env = append(telemetryEnv(os.Environ()),
		"PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"),
		"SECRETS_DIR="+s.Secrets(), "GATEWAY_URL="+s.URL(), "LISTEN="+s.connectorAddr(), "TOPICS="+s.topics(), "PPROF_LISTEN="+s.profiles[Connector],
		"GOGC=200", // as in stack.yml
	)
	return cmd
}

// topics returns the topics of the functions to deploy, separated by commas: a function
// that is added later for another connector gets no queues. If there are none, the
// connector serves all topics.
func (s *System) topics() string {
	var topics []string
	for _, f := range s.Functions {
		if f.Annotations == nil {
			continue
		}
		if topic := (*f.Annotations)["topic"]; topic != "" && !slices.Contains(topics, topic) {
			topics = append(topics, topic)
		}
	}
	return strings.Join(topics, ",")
}

// StopConnector ends the connector, if it runs, after it has drained.
func (s *System) StopConnector() error {
	if s.connector == nil {
		return nil
	}
	c := s.connector
	s.connector = nil
	s.closers = slices.DeleteFunc(s.closers, func(v step) bool { return v.name == connectorStep })
	return c.stop()
}

// Pids returns the ids of all processes that we started, by name; "gateway" is this one.
func (s *System) Pids() map[string]int {
	pids := s.Nodes.Pids()
	pids["gateway"] = os.Getpid()
	for _, f := range s.Functions {
		for _, pid := range s.Gateway.Pids(f.Service) {
			pids[f.Service] = pid
		}
	}
	if s.connector != nil {
		pids[Connector] = s.connector.child.Pid()
	}
	return pids
}

// AwaitReady waits until every function and the connector, if it was started, are ready.
// It then starts cron.
func (s *System) AwaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	told := time.NewTicker(10 * time.Second)
	defer told.Stop()
	var unready []string
	for {
		found := s.Gateway.Unready(ctx)
		if err := s.connectorReady(ctx); err != nil {
			found = append(found, fmt.Sprintf("the connector is not ready: %v", err))
		}
		if len(found) == 0 {
			break
		}
		if ctx.Err() == nil { // else the reason is only that the check was canceled
			unready = found
		}
		select {
		case err := <-s.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("not ready within %s; the logs are in %s\n  %s", readyTimeout, s.Logs(), strings.Join(unready, "\n  "))
		case <-told.C:
			s.Say("still waiting:\n  %s", strings.Join(unready, "\n  "))
		case <-tick.C:
		}
	}
	if s.Cron {
		s.Gateway.StartCron()
		s.onStop("cron", func() error {
			s.Gateway.StopCron()
			return nil
		})
	}
	return nil
}

func (s *System) connectorReady(ctx context.Context) error {
	if s.connector == nil {
		return nil
	}
	return gateway.CheckReady(ctx, s.ConnectorURL()+"/readyz")
}
