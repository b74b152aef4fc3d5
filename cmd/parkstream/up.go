package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/openfaas/faas-provider/types"

	"parkstream/cmd/internal/gateway"
	"parkstream/cmd/internal/system"
	"parkstream/shared/process"
)

type upCommand struct {
	Dir           string        `default:".parkstream" help:"Folder of data, secrets and logs."`
	Port          int           `default:"8080" env:"PORT" help:"Port of the gateway on loopback."`
	ConnectorPort int           `default:"${connector_port}" help:"Port of the connector's health and metrics on loopback; 0 takes a free one."`
	Users         string        `placeholder:"FILE" help:"Ask for a login: FILE has the users ('parkstream users' edits it) and is read again when it changes. Without it everyone on this machine may read and send events."`
	Stack         string        `default:"stack.yml" type:"existingfile" help:"The functions to run."`
	AllowedHosts  []string      `placeholder:"HOST" help:"Names under which the gateway may be called, besides localhost and loopback addresses; for a proxy that passes Host on."`
	Cron          bool          `default:"true" negatable:"" help:"Fire the functions that have a schedule."`
	Generators    bool          `default:"true" negatable:"" help:"Fire the generators, which make events up; without them the matcher is still called."`
	Connector     bool          `default:"true" negatable:"" help:"Run the connector."`
	Prometheus    bool          `default:"true" negatable:"" help:"Run Prometheus if it is installed."`
	PromPort      int           `name:"prometheus-port" help:"Port of Prometheus on loopback; by default 9090, or a free one if that is in use."`
	Timeout       time.Duration `default:"60s" help:"Longest call of a function."`
	Pprof         bool          `help:"Serve profiles of the functions and the connector, each at a free port of loopback."`
	RabbitMQURL   string        `name:"rabbitmq-url" env:"RABBITMQ_URL" help:"Use this RabbitMQ instead of a private one. Others on this machine can see a password here: better name a file."`
	RedisURL      string        `name:"redis-url" env:"REDIS_URL" help:"Use this Redis instead of a private one, likewise."`

	RabbitMQURLFile string `name:"rabbitmq-url-file" env:"RABBITMQ_URL_FILE" help:"File with the URL of the RabbitMQ to use; it is read at the start."`
	RedisURLFile    string `name:"redis-url-file" env:"REDIS_URL_FILE" help:"File with the URL of the Redis to use; it is read at the start."`
}

// Validate returns an error for values of the flags that cannot be used.
func (c upCommand) Validate() error {
	if c.Timeout <= 0 {
		return fmt.Errorf("--timeout is %s, want more than 0s", c.Timeout)
	}
	for _, host := range c.AllowedHosts {
		if err := gateway.CheckHost(host); err != nil {
			return fmt.Errorf("--allowed-hosts: %w", err)
		}
		if c.Users == "" && !process.IsLoopback(host) {
			return fmt.Errorf("--allowed-hosts %s: a system that asks for no login is for this machine alone: name a file of users with --users", host)
		}
	}
	return nil
}

// Run runs everything until ctx ends.
func (c upCommand) Run(ctx context.Context) (err error) {
	functions, err := gateway.ReadStack(c.Stack)
	if err != nil {
		return err
	}
	if !c.Generators {
		unschedule(functions)
	}
	rabbitMQURL, err1 := givenURL("rabbitmq-url", c.RabbitMQURL, c.RabbitMQURLFile)
	redisURL, err2 := givenURL("redis-url", c.RedisURL, c.RedisURLFile)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if err := c.checkUsers(); err != nil {
		return err
	}
	held, err := system.Lock(c.Dir)
	if err != nil {
		return err
	}
	defer held.Close()
	s, err := system.New(system.Config{
		Dir: c.Dir, Port: c.Port, ConnectorPort: c.ConnectorPort, Functions: functions, Known: functionNames(),
		Users: c.Users, AllowedHosts: c.AllowedHosts, Prometheus: c.Prometheus, PrometheusPort: c.PromPort,
		Cron: c.Cron, Timeout: c.Timeout, Pprof: c.Pprof, RabbitMQURL: rabbitMQURL, RedisURL: redisURL, Say: say,
	})
	if err != nil {
		return err
	}
	started := time.Now()
	// Every started part is stopped, in reverse order, even after an error.
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := c.start(ctx, s); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	welcome(s, time.Since(started))
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.Failed():
		return err
	}
}

func (c upCommand) start(ctx context.Context, s *system.System) error {
	if c.Connector {
		if err := s.CheckConnectorPort(); err != nil {
			return err
		}
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	if c.Connector {
		say("starting the connector")
		if err := s.StartConnector(); err != nil {
			return err
		}
	}
	return s.AwaitReady(ctx)
}

// checkUsers returns every mistake in the file of the users.
func (c upCommand) checkUsers() error {
	if c.Users == "" {
		return nil
	}
	users, err := readUsers(c.Users)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(users.All()) == 0 {
		err = errors.Join(err, fmt.Errorf("it needs a user: parkstream users add NAME --role admin --file %s", shellQuoted(c.Users)))
	}
	if err != nil {
		return fmt.Errorf("--users: %w", err)
	}
	return nil
}

// givenURL returns the URL of a flag, or of the file that another one names.
func givenURL(name, value, file string) (string, error) {
	if file == "" {
		return value, nil
	}
	if value != "" {
		return "", fmt.Errorf("both --%s and --%[1]s-file are given (or their variables): name one", name)
	}
	value, err := readURLFile(file)
	if err != nil {
		return "", fmt.Errorf("--%s-file: %w", name, err)
	}
	return value, nil
}

// say prints a line on the terminal in one write: the lines of goroutines do not mix.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "parkstream: "+format+"\n", args...)
}

// welcome prints where everything is. The events that it proposes are those of a vehicle
// of this start: the next start finds the data of this one.
func welcome(s *system.System, took time.Duration) {
	curl, try := "curl", "Try it:"
	login := fmt.Sprintf(`none: open to everyone on this machine. For one: parkstream users add NAME --role admin --file FILE, then up --users FILE
  admin      %[1]s/admin-token is for corrections and erasures, admin-password for the page`, s.Secrets())
	if s.Users != "" {
		login, curl, try = "the users of "+s.Users, "curl -u NAME", "Try it (NAME is an operator, whose password is asked for):"
	}
	now := time.Now().UTC()
	fmt.Printf(`
Parkstream runs (started in %[1]s; Ctrl-C or "parkstream down" stops it).

  login      %[10]s
  gateway    %[2]s   user admin, password in %[3]s/basic-auth-password
  the page   %[2]s/function/summary/
  stays      %[2]s/function/summary
  metrics    %[2]s/metrics, %[2]s/function/NAME/metrics, %[4]s/metrics
  Prometheus %[8]s
  RabbitMQ   its URL is in %[3]s/rabbitmq-url
  logs       %[5]s

%[12]s

  %[11]s --json '{"id":"up-e%[9]d","vehicle_plate":"KA%[9]d","entry_date_time":"%[6]s"}' %[2]s/function/entry-processor
  %[11]s --json '{"id":"up-x%[9]d","vehicle_plate":"KA%[9]d","exit_date_time":"%[7]s"}' %[2]s/function/exit-processor
  %[11]s '%[2]s/function/summary?plate=KA%[9]d'

ready
`, took.Round(100*time.Millisecond), s.URL(), s.Secrets(), s.ConnectorURL(), s.Logs(),
		now.Add(-90*time.Minute).Format(time.RFC3339), now.Format(time.RFC3339),
		cmp.Or(s.PrometheusURL(), "does not run: switched off, or not installed (`make deps` does that)"), now.Unix(),
		login, curl, try)
}

// unschedule takes the generators off the schedule.
func unschedule(functions []types.FunctionDeployment) {
	for i := range functions {
		if f := &functions[i]; strings.HasSuffix(f.Service, "-generator") && f.Annotations != nil {
			delete(*f.Annotations, "topic")
		}
	}
}
