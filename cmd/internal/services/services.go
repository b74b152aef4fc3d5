// Package services finds, installs or starts the RabbitMQ and the Redis of a system.
package services

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"parkstream/cmd/internal/supervise"
	"parkstream/shared/broker"
	"parkstream/shared/instance"
	"parkstream/shared/redis"
)

// startTimeout bounds the start of one node on a busy machine.
const startTimeout = 2 * time.Minute

// checkTimeout bounds the check of the given nodes.
const checkTimeout = 10 * time.Second

// Nodes are the RabbitMQ and the Redis of a system.
type Nodes struct {
	RabbitMQURL, RedisURL string

	children []child // that we started, in the order in which they are stopped
	stop     func(context.Context) error
}

// child is a private node.
type child struct {
	name string
	node
}

type node interface {
	Done() <-chan struct{}
	Pid() int
	Restart(context.Context) error
	Stop(context.Context) error
}

// Pids returns the ids of the processes that we started, by name.
func (n Nodes) Pids() map[string]int {
	pids := make(map[string]int, len(n.children))
	for _, c := range n.children {
		pids[c.name] = c.Pid()
	}
	return pids
}

// Keep restarts the nodes that we started whenever they end, with their data and ports,
// until ctx ends.
func (n Nodes) Keep(ctx context.Context, notify func(string)) {
	var all sync.WaitGroup
	for _, c := range n.children {
		all.Go(func() { supervise.Restart(ctx, c.name, notify, c.once) })
	}
	all.Wait()
}

// once starts the node if it has ended, and returns when it ends.
func (c child) once(ctx context.Context) error {
	select {
	case <-c.Done():
		start, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		if err := c.Restart(start); err != nil {
			return err
		}
	default:
	}
	select {
	case <-c.Done():
		return errors.New("its process is gone")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop ends the nodes that we started, RabbitMQ first: it has the events that Redis does
// not have yet.
func (n Nodes) Stop(ctx context.Context) error {
	var errs []error
	for _, c := range n.children {
		errs = append(errs, c.Stop(ctx))
	}
	if n.stop != nil {
		errs = append(errs, n.stop(ctx))
	}
	return errors.Join(errs...)
}

// Options are what exists already.
type Options struct {
	// RabbitMQURL and RedisURL, if not empty, are nodes to use instead of private ones.
	RabbitMQURL, RedisURL string
	// Dir holds the data of the nodes that are started.
	Dir string
	// Say reports progress to the user.
	Say func(format string, args ...any)
}

// Start returns nodes that serve. For each of the two it uses the given URL, or starts
// the installed program as a private child. It installs a missing program if a package
// manager can do so, or else runs the nodes in containers if there is Docker. Otherwise
// the error names what to install.
func Start(ctx context.Context, o Options) (Nodes, error) {
	if err := checkGiven(ctx, o); err != nil {
		return Nodes{}, err
	}
	var missing []string
	if o.RabbitMQURL == "" && !instance.RabbitMQInstalled() {
		missing = append(missing, "RabbitMQ")
	}
	if o.RedisURL == "" && !instance.RedisInstalled() {
		missing = append(missing, "Redis")
	}
	if len(missing) > 0 {
		switch err := Install(ctx, missing, o.Say); {
		case errors.Is(err, errNoInstaller) && hasCompose(ctx):
			return compose(ctx, o)
		case err != nil:
			return Nodes{}, err
		}
	}
	nodes := Nodes{RabbitMQURL: o.RabbitMQURL, RedisURL: o.RedisURL}
	if o.RabbitMQURL == "" {
		o.Say("starting RabbitMQ")
		n, err := within(ctx, instance.StartRabbitMQ, instance.RabbitMQOptions{Dir: filepath.Join(o.Dir, "rabbitmq")})
		if err != nil {
			return Nodes{}, err
		}
		nodes.RabbitMQURL, nodes.children = n.URL(), append(nodes.children, child{"RabbitMQ", n})
	}
	if o.RedisURL == "" {
		o.Say("starting Redis")
		n, err := within(ctx, instance.StartRedis, instance.RedisOptions{Dir: filepath.Join(o.Dir, "redis")})
		if err != nil {
			return Nodes{}, errors.Join(err, nodes.Stop(context.WithoutCancel(ctx)))
		}
		nodes.RedisURL, nodes.children = n.URL(), append(nodes.children, child{"Redis", n})
	}
	return nodes, nil
}

// checkGiven returns an error if a given node cannot be used.
func checkGiven(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var errs []error
	if o.RabbitMQURL != "" {
		conn, err := broker.Dial(ctx, broker.Config{URLs: func() ([]string, error) { return broker.SplitURLs(o.RabbitMQURL) }})
		if err == nil {
			err = conn.Close()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("the RabbitMQ of RABBITMQ_URL cannot be used: %w", err))
		}
	}
	if o.RedisURL != "" {
		client, err := redis.Open(redis.URL(o.RedisURL))
		if err == nil {
			if err = client.Writable(ctx); err == nil {
				for _, text := range client.UnsafeTexts(ctx) {
					o.Say("warning: the Redis of REDIS_URL may lose events: %s", text)
				}
			}
			err = errors.Join(err, client.Close())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("the Redis of REDIS_URL cannot be used: %w", err))
		}
	}
	return errors.Join(errs...)
}

// within starts a node within startTimeout.
func within[N, O any](ctx context.Context, start func(context.Context, O) (N, error), o O) (N, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return start(ctx, o)
}
