package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"parkstream/cmd/parkstream/internal/gateway"
	"parkstream/cmd/parkstream/internal/services"
	"parkstream/cmd/parkstream/internal/supervise"
)

const (
	// readyTimeout bounds the wait for functions and connector to be ready.
	readyTimeout = time.Minute
	// connectorGrace is longer than the connector's own deadline for draining.
	connectorGrace = 30 * time.Second
	// nodesGrace bounds the clean stop of RabbitMQ and Redis.
	nodesGrace = 30 * time.Second
)

type upCommand struct {
	Dir           string        `default:".parkstream" help:"Folder of data, secrets and logs."`
	Port          int           `default:"8080" env:"PORT" help:"Port of the gateway on loopback."`
	ConnectorPort int           `default:"8081" help:"Port of the connector's health and metrics on loopback; 0 takes a free one."`
	Stack         string        `default:"stack.yml" type:"existingfile" help:"The functions to run."`
	Cron          bool          `default:"true" negatable:"" help:"Fire the functions that have a schedule."`
	Connector     bool          `default:"true" negatable:"" help:"Run the connector."`
	Timeout       time.Duration `default:"60s" help:"Longest call of a function."`
	Pprof         bool          `help:"Serve profiles of every process at /debug/pprof/."`
	RabbitMQURL   string        `name:"rabbitmq-url" env:"RABBITMQ_URL" help:"Use this RabbitMQ instead of a private one."`
	RedisURL      string        `name:"redis-url" env:"REDIS_URL" help:"Use this Redis instead of a private one."`
}

// Run runs everything until ctx ends.
func (c upCommand) Run(ctx context.Context) (err error) {
	u, err := c.prepare()
	if err != nil {
		return err
	}
	defer u.lock.Close()
	started := time.Now()
	// What was started is stopped in reverse order, whatever happens.
	defer func() {
		u.say("stopping")
		err = errors.Join(err, u.stop())
		u.say("stopped")
	}()
	if err := u.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := u.awaitReady(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	u.welcome(time.Since(started))
	select {
	case <-ctx.Done():
		return nil
	case err := <-u.failed:
		return err
	}
}

// up is a running system.
type up struct {
	upCommand
	lock     *os.File
	listener net.Listener
	secrets  string
	logs     string
	gateway  *gateway.Gateway
	failed   chan error
	closers  []step

	mu sync.Mutex // of the terminal
}

// step is something to undo.
type step struct {
	name string
	do   func() error
}

func (c upCommand) prepare() (*up, error) {
	var err error
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, err
	}
	u := &up{upCommand: c, secrets: filepath.Join(c.Dir, "secrets"), logs: filepath.Join(c.Dir, "logs"), failed: make(chan error, 1)}
	for _, dir := range []string{c.Dir, u.secrets, u.logs} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the folder: %w", err)
		}
	}
	if u.lock, err = lock(c.Dir); err != nil {
		return nil, err
	}
	// Before anything slow: a port that is taken is the most common mistake.
	if u.listener, err = gateway.Listen(c.Port); err != nil {
		return nil, errors.Join(err, u.lock.Close())
	}
	return u, nil
}

// say tells the user on the terminal.
func (u *up) say(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	fmt.Fprintf(os.Stderr, "parkstream: "+format+"\n", args...)
}

func (u *up) onStop(name string, do func() error) {
	u.closers = append(u.closers, step{name, do})
}

func (u *up) stop() error {
	var errs []error
	for _, v := range slices.Backward(u.closers) {
		u.say("  %s", v.name)
		if err := v.do(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", v.name, err))
		}
	}
	return errors.Join(errs...)
}

func (u *up) start(ctx context.Context) error {
	u.onStop("closing the port", func() error {
		_ = u.listener.Close() // the server may have closed it
		return nil
	})
	nodes, err := services.Start(ctx, services.Options{RabbitMQURL: u.RabbitMQURL, RedisURL: u.RedisURL, Dir: u.Dir, Say: u.say})
	if err != nil {
		return err
	}
	kept, stopKeeping := context.WithCancel(context.Background())
	keeping := make(chan struct{})
	go func() {
		defer close(keeping)
		nodes.Keep(kept, func(text string) { u.say("%s", text) })
	}()
	u.onStop("RabbitMQ and Redis", func() error {
		stopKeeping()
		<-keeping
		ctx, cancel := context.WithTimeout(context.Background(), nodesGrace)
		defer cancel()
		return nodes.Stop(ctx)
	})
	password, err := u.writeSecrets(nodes)
	if err != nil {
		return err
	}
	if err := u.startGateway(password); err != nil {
		return err
	}
	u.say("starting the functions")
	if err := u.startFunctions(); err != nil {
		return err
	}
	if u.Connector {
		u.say("starting the connector")
		if err := u.startConnector(); err != nil {
			return err
		}
	}
	if u.Cron {
		u.onStop("cron", func() error {
			u.gateway.StopCron()
			return nil
		})
	}
	return nil
}

func (u *up) writeSecrets(nodes services.Nodes) (password string, err error) {
	_, err1 := services.Secret(u.secrets, "summary-token", rand.Text)
	_, err2 := services.Secret(u.secrets, "basic-auth-user", func() string { return "admin" })
	password, err3 := services.Secret(u.secrets, "basic-auth-password", rand.Text)
	return password, errors.Join(err1, err2, err3,
		services.WriteSecret(u.secrets, "rabbitmq-url", nodes.RabbitMQURL),
		services.WriteSecret(u.secrets, "redis-url", nodes.RedisURL))
}

func (u *up) url() string { return "http://" + u.listener.Addr().String() }

func (u *up) startGateway(password string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find our own program: %w", err)
	}
	user, err := services.Secret(u.secrets, "basic-auth-user", nil)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(u.logs, "gateway.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the gateway's log: %w", err)
	}
	u.onStop("the gateway's log", file.Close)
	log.SetOutput(file) // the provider SDK writes to the standard logger
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	u.gateway = gateway.New(gateway.Config{
		Known:   functionNames(),
		Command: func(name string) *exec.Cmd { return exec.Command(self, "function", name) },
		Environ: append(telemetryEnv(os.Environ()),
			"SECRETS_DIR="+u.secrets, "GATEWAY_URL="+u.url(), "LOG_FORMAT=text", u.pprofEnv(),
			"healthcheck_interval=0s", // nobody has to notice that a replica goes
		),
		User: user, Password: password, SecretsDir: u.secrets, LogsDir: u.logs,
		Timeout: u.Timeout, Notify: func(text string) { u.say("%s", text) }, Registry: registry, Pprof: u.Pprof,
	})
	server := &http.Server{
		Handler: u.gateway.Handler(), ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout: u.Timeout, WriteTimeout: u.Timeout + 10*time.Second, IdleTimeout: 5 * time.Minute,
		ErrorLog: log.New(file, "http: ", log.LstdFlags),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(u.listener); !errors.Is(err, http.ErrServerClosed) {
			u.failed <- fmt.Errorf("serve the gateway: %w", err)
		}
	}()
	u.onStop("the gateway", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err := server.Shutdown(ctx)
		<-served
		return err
	})
	u.onStop("the functions", u.gateway.Close)
	return nil
}

func (u *up) startFunctions() error {
	specs, err := gateway.ReadStack(u.Stack)
	if err != nil {
		return err
	}
	for _, spec := range specs {
		if err := u.gateway.Deploy(spec); err != nil {
			return err
		}
	}
	return nil
}

func (u *up) startConnector() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find our own program: %w", err)
	}
	if u.ConnectorPort == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("find a port for the connector: %w", err)
		}
		u.ConnectorPort = l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
	}
	file, err := os.OpenFile(filepath.Join(u.logs, "connector.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the connector's log: %w", err)
	}
	child := &supervise.Child{
		Name: "the connector",
		Command: func() *exec.Cmd {
			cmd := exec.Command(self, "connector")
			cmd.Env = append(telemetryEnv(os.Environ()),
				"PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"),
				"SECRETS_DIR="+u.secrets, "GATEWAY_URL="+u.url(), "LISTEN="+u.connectorAddr(), u.pprofEnv(),
			)
			return cmd
		},
		Output: file, Grace: connectorGrace, Notify: func(text string) { u.say("%s", text) },
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		child.Run(ctx)
	}()
	u.onStop("the connector, which finishes what it holds", func() error {
		cancel()
		<-done
		return file.Close()
	})
	return nil
}

// telemetryEnv returns the variables of OpenTelemetry that are passed on to the
// parts: not the headers, which may be a secret (the file otlp-headers is for
// them), and not the service's name, which would make all parts one.
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

func (u *up) pprofEnv() string { return fmt.Sprintf("PPROF=%t", u.Pprof) }

func (u *up) connectorAddr() string { return fmt.Sprintf("127.0.0.1:%d", u.ConnectorPort) }

// awaitReady returns when events can be sent: every function and the connector
// say that they are ready. Then cron begins.
func (u *up) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	told := time.NewTicker(10 * time.Second)
	defer told.Stop()
	var unready []string
	for {
		found := u.gateway.Unready(ctx)
		if err := u.connectorReady(ctx); err != nil {
			found = append(found, fmt.Sprintf("the connector is not ready: %v", err))
		}
		if len(found) == 0 {
			break
		}
		if ctx.Err() == nil { // else the reason is only that we gave up asking
			unready = found
		}
		select {
		case err := <-u.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("not ready within %s; the logs are in %s\n  %s", readyTimeout, u.logs, strings.Join(unready, "\n  "))
		case <-told.C:
			u.say("still waiting:\n  %s", strings.Join(unready, "\n  "))
		case <-tick.C:
		}
	}
	if u.Cron {
		u.gateway.StartCron()
	}
	return nil
}

func (u *up) connectorReady(ctx context.Context) error {
	if !u.Connector {
		return nil
	}
	return gateway.CheckReady(ctx, "http://"+u.connectorAddr()+"/readyz")
}

func (u *up) welcome(took time.Duration) {
	fmt.Printf(`
Parkstream runs (started in %[1]s; Ctrl-C or "parkstream down" stops it).

  gateway    %[2]s   user admin, password in %[3]s/basic-auth-password
  stays      %[2]s/function/summary
  metrics    %[2]s/metrics, %[2]s/function/NAME/metrics, http://%[4]s/metrics
  RabbitMQ   its URL is in %[3]s/rabbitmq-url
  logs       %[5]s

Try it:

  curl -d '{"id":"e1","vehicle_plate":"KA01AB1234","entry_date_time":"%[6]s"}' %[2]s/function/entry-processor
  curl -d '{"id":"x1","vehicle_plate":"KA01AB1234","exit_date_time":"%[7]s"}' %[2]s/function/exit-processor
  curl '%[2]s/function/summary?plate=KA01AB1234'

ready
`, took.Round(100*time.Millisecond), u.url(), u.secrets, u.connectorAddr(), u.logs,
		time.Now().UTC().Add(-90*time.Minute).Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339))
}
