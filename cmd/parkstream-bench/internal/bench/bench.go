// Package bench measures Parkstream against other designs, and against the limits
// of the parts it is made of, on the machine on which it runs.
package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"parkstream/cmd/internal/eventfile"
	"parkstream/cmd/internal/gateway"
	"parkstream/cmd/internal/secrets"
	"parkstream/cmd/internal/system"
	"parkstream/shared/broker"
	"parkstream/shared/process"
	"parkstream/shared/redis"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// The parts of a benchmark.
const (
	PartDrain   = "drain"
	PartLatency = "latency"
	PartCost    = "cost"
	PartGrowth  = "growth"
	PartBacklog = "backlog"
)

// Parts are all of them, in the order in which they run.
var Parts = []string{PartDrain, PartLatency, PartCost, PartGrowth, PartBacklog}

// Config is what to measure, and how much of it.
type Config struct {
	// Parts to run.
	Parts []string
	// Events waiting in a drain, and Runs of each contestant, of which the median
	// counts.
	Events, Runs int
	// Singles are the numbers of calls in flight to try for the path with one
	// event a call.
	Singles []int
	// Rates in events a second, each held for LatencyTime.
	Rates       []int
	LatencyTime time.Duration
	// Growth is the largest number of plates that Redis is filled with.
	Growth int
	// Backlog is how many messages wait for a stopped function for BacklogTime.
	Backlog     int
	BacklogTime time.Duration
	// PprofDir gets CPU profiles of our processes, if it is not empty.
	PprofDir string
	// Dir holds the data, the secrets and the logs.
	Dir string
	// Stack is the stack.yml to deploy.
	Stack string
	// Program is the parkstream to measure.
	Program string
	// Open measures functions that ask for no login.
	Open bool
	// Say reports progress to the user.
	Say func(format string, args ...any)
}

// Validate reports every mistake.
func (c Config) Validate() error {
	var errs []error
	for _, part := range c.Parts {
		if !slices.Contains(Parts, part) {
			errs = append(errs, fmt.Errorf("there is no part %q; the parts are %q", part, Parts))
		}
	}
	for _, n := range []struct {
		name         string
		value, least int
	}{
		{"events", c.Events, 1000},
		{"runs", c.Runs, 1},
		{"growth", c.Growth, smallestGrowth},
		{"backlog", c.Backlog, 1000},
		{"latency-seconds", int(c.LatencyTime / time.Second), 1},
		{"backlog-seconds", int(c.BacklogTime / time.Second), 1},
	} {
		if n.value < n.least {
			errs = append(errs, fmt.Errorf("%s is %d, want at least %d", n.name, n.value, n.least))
		}
	}
	return errors.Join(errs...)
}

// bench is one run on a running system.
type bench struct {
	Config
	system    *system.System
	redis     *redis.Client
	events    *timeline.Store
	stays     *stay.Store
	publisher *broker.Publisher
	conn      *broker.Conn // looks at queues
	token     string       // of an administrator
	fleets    int          // made so far
}

const (
	// callTimeout bounds one call of a function.
	callTimeout = 60 * time.Second
	// retention is that of stack.yml.
	retention = 2160 * time.Hour
)

// queues are those of the events.
var queues = []string{eventfile.Entries, eventfile.Exits}

// Run starts a system of its own, measures and stops it. On an error the result has the
// measurements so far.
func Run(ctx context.Context, c Config) (result *Result, err error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	functions, err := gateway.ReadStack(c.Stack)
	if err != nil {
		return nil, err
	}
	known := make([]string, len(functions))
	for i, f := range functions {
		known[i] = f.Service
	}
	config := system.Config{
		Program: c.Program, Dir: c.Dir, Functions: functions, Known: known, Timeout: callTimeout, Pprof: c.PprofDir != "", Say: c.Say,
	}
	if !c.Open {
		config.Users = filepath.Join(c.Dir, "secrets", secrets.UsersFile) // which the start makes
	}
	s, err := system.New(config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	if err := s.AwaitReady(ctx); err != nil {
		return nil, err
	}
	b := &bench{Config: c, system: s}
	if b.token, err = secrets.Ensure(s.Secrets(), secrets.AdminToken, nil); err != nil {
		return nil, err
	}
	if err := b.connect(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	result = &Result{Events: c.Events, Runs: c.Runs}
	if result.Machine, err = b.machine(ctx); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		name string
		run  func(context.Context, *Result) error
	}{
		{PartDrain, b.drain}, {PartLatency, b.latency}, {PartCost, b.cost}, {PartGrowth, b.growth}, {PartBacklog, b.backlog},
	} {
		if !slices.Contains(c.Parts, part.name) {
			continue
		}
		if err := part.run(ctx, result); err != nil {
			return result, fmt.Errorf("measure %s: %w", part.name, err)
		}
	}
	return result, nil
}

func (b *bench) connect(ctx context.Context) error {
	client, err := redis.Open(redis.URL(b.system.Nodes.RedisURL))
	if err != nil {
		return err
	}
	urls := broker.Config{URLs: broker.URLs(process.NewSecret(b.system.Secrets(), "rabbitmq-url").Value), Name: "parkstream-bench"}
	conn, err := broker.Dial(ctx, urls)
	if err != nil {
		return errors.Join(err, client.Close())
	}
	b.redis, b.events, b.stays = client, timeline.New(client, retention), stay.New(client, retention)
	b.conn, b.publisher = conn, broker.NewPublisher(urls)
	for _, queue := range queues {
		if _, err := b.publisher.DeclareQueue(ctx, queue); err != nil {
			return errors.Join(err, b.close())
		}
	}
	return nil
}

func (b *bench) close() error {
	return errors.Join(b.publisher.Close(), b.conn.Close(), b.redis.Close())
}
