// Package services finds, installs or starts the RabbitMQ and the Redis that
// everything else runs on.
package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"parkstream/shared/instance"
)

// startTimeout bounds the start of one node on a busy machine.
const startTimeout = 2 * time.Minute

// Node is a RabbitMQ or a Redis to work with.
type Node struct {
	URL string
	// Done is closed when a node that we started ends; nil for any other.
	Done <-chan struct{}
	// Stop ends the node if we started it.
	Stop func(context.Context) error
}

// Nodes are the two that Parkstream needs.
type Nodes struct {
	RabbitMQ, Redis Node
}

// Stop ends what we started, RabbitMQ first: it holds the events that Redis has
// not seen yet.
func (n Nodes) Stop(ctx context.Context) error {
	return errors.Join(n.RabbitMQ.Stop(ctx), n.Redis.Stop(ctx))
}

// Options say what there is already.
type Options struct {
	// RabbitMQURL and RedisURL, where they are not empty, are used as they are.
	RabbitMQURL, RedisURL string
	// Dir holds the data of what is started.
	Dir string
	// Say tells the user what happens.
	Say func(format string, args ...any)
}

// Start returns nodes that serve. For each of the two: a given URL is taken as it
// is; a program that is installed is started as a private child; a missing one is
// installed where a package manager can do so; with Docker both run in
// containers. Otherwise the error says what to install.
func Start(ctx context.Context, o Options) (Nodes, error) {
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
	rabbitMQ := given(o.RabbitMQURL)
	if o.RabbitMQURL == "" {
		o.Say("starting RabbitMQ")
		var err error
		if rabbitMQ, err = startRabbitMQ(ctx, filepath.Join(o.Dir, "rabbitmq")); err != nil {
			return Nodes{}, err
		}
	}
	redis := given(o.RedisURL)
	if o.RedisURL == "" {
		o.Say("starting Redis")
		var err error
		if redis, err = startRedis(ctx, filepath.Join(o.Dir, "redis")); err != nil {
			return Nodes{}, errors.Join(err, rabbitMQ.Stop(context.WithoutCancel(ctx)))
		}
	}
	return Nodes{RabbitMQ: rabbitMQ, Redis: redis}, nil
}

// given is a node that is not ours to stop.
func given(url string) Node {
	return Node{URL: url, Stop: func(context.Context) error { return nil }}
}

func startRabbitMQ(ctx context.Context, dir string) (Node, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	n, err := instance.StartRabbitMQ(ctx, instance.RabbitMQOptions{Dir: dir})
	if err != nil {
		return Node{}, err
	}
	return Node{URL: n.URL(), Done: n.Done(), Stop: n.Stop}, nil
}

func startRedis(ctx context.Context, dir string) (Node, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	n, err := instance.StartRedis(ctx, instance.RedisOptions{Dir: dir})
	if err != nil {
		return Node{}, err
	}
	return Node{URL: n.URL(), Done: n.Done(), Stop: n.Stop}, nil
}

// Secret reads a secret of the folder, or makes it with value where there is
// none. Only its owner can read it.
func Secret(dir, name string, value func() string) (string, error) {
	path := filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		v := value()
		return v, WriteSecret(dir, name, v)
	}
	if err != nil {
		return "", fmt.Errorf("read the secret %s: %w", name, err)
	}
	return string(text), nil
}

// WriteSecret writes a secret for its owner alone.
func WriteSecret(dir, name, value string) error {
	if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
		return fmt.Errorf("write the secret %s: %w", name, err)
	}
	return nil
}
