package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// RabbitMQCluster is a cluster of private nodes. Each can be killed and restarted on
// its own.
type RabbitMQCluster struct {
	Nodes    []*RabbitMQ
	epmd     *process
	epmdPort int
}

// StartRabbitMQCluster starts n nodes below a folder, one after the other, and returns
// when they serve as one cluster. They have the same user and password.
func StartRabbitMQCluster(ctx context.Context, dir string, n int) (*RabbitMQCluster, error) {
	c := new(RabbitMQCluster)
	if err := c.start(ctx, dir, n); err != nil {
		return nil, errors.Join(fmt.Errorf("start the cluster: %w", err), c.Kill())
	}
	return c, nil
}

func (c *RabbitMQCluster) start(ctx context.Context, dir string, n int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make its folder: %w", err)
	}
	if err := onFreePorts(1, func(ports []int) error { return c.startEPMD(ctx, dir, ports[0]) }); err != nil {
		return err
	}
	o := RabbitMQOptions{User: "parkstream", Password: randomPassword(), cookie: randomPassword()}
	for i := range n {
		o.Dir = filepath.Join(dir, fmt.Sprint("node", i+1))
		if err := onFreePorts(rabbitMQPorts-1, func(ports []int) error { return c.add(ctx, o, ports) }); err != nil {
			return err
		}
	}
	return nil
}

// startEPMD starts the epmd of all nodes. Its port is not among those of a node, since
// it stays in use if the start of a node fails.
func (c *RabbitMQCluster) startEPMD(ctx context.Context, dir string, port int) error {
	c.epmdPort = port
	c.epmd = (&RabbitMQ{dir: dir, epmdPort: port}).newEPMD()
	return c.epmd.start(ctx)
}

// add starts one more node on two ports of its own.
func (c *RabbitMQCluster) add(ctx context.Context, o RabbitMQOptions, ports []int) error {
	r, err := newRabbitMQ(o, append(ports, c.epmdPort))
	if err != nil {
		return err
	}
	// A node is told of those that run already: RabbitMQ 4 waits for all it is told of.
	var config strings.Builder
	config.WriteString("cluster_formation.peer_discovery_backend = classic_config\n")
	for i, peer := range append(slices.Clone(c.Nodes), r) {
		fmt.Fprintf(&config, "cluster_formation.classic_config.nodes.%d = %s\n", i+1, peer.node)
	}
	if err := r.writeConfig(config.String()); err != nil {
		return err
	}
	if err := r.start(ctx); err != nil {
		return err
	}
	c.Nodes = append(c.Nodes, r)
	return nil
}

// URLs returns the URLs of all nodes, separated by commas.
func (c *RabbitMQCluster) URLs() string {
	urls := make([]string, len(c.Nodes))
	for i, r := range c.Nodes {
		urls[i] = r.URL()
	}
	return strings.Join(urls, ",")
}

// Kill ends all nodes with SIGKILL.
func (c *RabbitMQCluster) Kill() error {
	var errs []error
	for _, r := range c.Nodes {
		errs = append(errs, r.kill())
	}
	if c.epmd != nil {
		errs = append(errs, c.epmd.kill())
	}
	return errors.Join(errs...)
}

// Leader returns the node that leads a quorum queue.
func (c *RabbitMQCluster) Leader(ctx context.Context, queue string) (*RabbitMQ, error) {
	var errs []error
	for _, asked := range c.Nodes {
		if !asked.Running() {
			continue
		}
		out, err := asked.Ctl(ctx, "list_queues", "--silent", "name", "leader")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for line := range strings.Lines(out) {
			name, leader, _ := strings.Cut(strings.TrimSpace(line), "\t")
			for _, r := range c.Nodes {
				if name == queue && leader == r.node {
					return r, nil
				}
			}
		}
	}
	return nil, errors.Join(append(errs, fmt.Errorf("find the leader of the queue %s: no node tells", queue))...)
}
