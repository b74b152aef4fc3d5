package instance

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// RabbitMQCluster is a cluster of private nodes. Each can be killed and started
// again by itself.
type RabbitMQCluster struct {
	Nodes []*RabbitMQ
	epmd  *process
}

// StartRabbitMQCluster starts n nodes below a folder, one after the other, and
// returns when all serve as one cluster. They have the same user and password.
func StartRabbitMQCluster(ctx context.Context, dir string, n int) (*RabbitMQCluster, error) {
	c := new(RabbitMQCluster)
	user, password, cookie := "parkstream", randomPassword(), randomPassword()
	for i := range n {
		r, err := newRabbitMQ(RabbitMQOptions{Dir: filepath.Join(dir, fmt.Sprint("node", i+1)), User: user, Password: password, cookie: cookie})
		if err != nil {
			return nil, err
		}
		c.Nodes = append(c.Nodes, r)
	}
	c.epmd = c.Nodes[0].newEPMD()
	if err := c.epmd.start(ctx); err != nil {
		return nil, err
	}
	// Each knows those that run already: RabbitMQ 4 waits for all that it knows.
	var peers strings.Builder
	for i, r := range c.Nodes {
		r.epmdPort = c.Nodes[0].epmdPort
		fmt.Fprintf(&peers, "cluster_formation.classic_config.nodes.%d = %s\n", i+1, r.node)
		err := r.writeConfig("cluster_formation.peer_discovery_backend = classic_config\n" + peers.String())
		if err == nil {
			err = r.start(ctx)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start the cluster: %w", err), c.Kill())
		}
	}
	return c, nil
}

// URLs of all nodes, separated by commas.
func (c *RabbitMQCluster) URLs() string {
	urls := make([]string, len(c.Nodes))
	for i, r := range c.Nodes {
		urls[i] = r.URL()
	}
	return strings.Join(urls, ",")
}

// Kill is kill -9 of all nodes.
func (c *RabbitMQCluster) Kill() error {
	var errs []error
	for _, r := range c.Nodes {
		errs = append(errs, r.kill())
	}
	return errors.Join(append(errs, c.epmd.kill())...)
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
