package instance

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/redis/go-redis/v9"
)

// RedisCluster is a Redis Cluster of private nodes.
type RedisCluster struct {
	// Masters are the nodes that had the slots at the start, Replicas their replicas, in
	// the same order.
	Masters, Replicas []*Redis
}

// slots of a Redis Cluster.
const slots = 16384

// StartRedisCluster starts a cluster of masters with a replica each below a folder, and
// returns when it serves. A node that has not answered for two seconds counts as dead.
func StartRedisCluster(ctx context.Context, dir string, masters int) (*RedisCluster, error) {
	c := new(RedisCluster)
	password := randomPassword()
	for i := range 2 * masters {
		r, err := StartRedis(ctx, RedisOptions{
			Dir: filepath.Join(dir, fmt.Sprint("node", i+1)), Password: password, member: true,
			Config: []string{"cluster-node-timeout 2000", "cluster-replica-validity-factor 0", "repl-diskless-sync-delay 0"},
		})
		if err != nil {
			return nil, errors.Join(err, c.Kill())
		}
		if i < masters {
			c.Masters = append(c.Masters, r)
		} else {
			c.Replicas = append(c.Replicas, r)
		}
	}
	if err := c.join(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("make a Redis Cluster: %w", err), c.Kill())
	}
	return c, nil
}

// join makes the nodes one cluster and assigns slots and masters.
func (c *RedisCluster) join(ctx context.Context) error {
	first := c.Masters[0]
	for i, r := range c.nodes() {
		// Nodes with the same epoch would agree on others after the cluster has begun to
		// serve, and a replica that misses the last of them never gets a vote.
		_, err := r.Command(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
		if i < len(c.Masters) && err == nil {
			n := len(c.Masters)
			_, err = r.Command(ctx, "CLUSTER", "ADDSLOTSRANGE", i*slots/n, (i+1)*slots/n-1)
		}
		if i > 0 && err == nil {
			_, err = r.Command(ctx, "CLUSTER", "MEET", "127.0.0.1", first.port, first.bus)
		}
		if err != nil {
			return err
		}
	}
	for i, r := range c.Replicas {
		master, err := c.Masters[i].Command(ctx, "CLUSTER", "MYID")
		if err != nil {
			return err
		}
		if err := poll(ctx, func() error { // until it knows its master
			_, err := r.Command(ctx, "CLUSTER", "REPLICATE", master)
			return err
		}); err != nil {
			return err
		}
	}
	for _, r := range c.nodes() {
		if err := poll(ctx, func() error { return r.inCluster(ctx, len(c.Masters)) }); err != nil {
			return err
		}
	}
	return nil
}

// inCluster returns why a node does not see a cluster yet in which the replica of every
// master is connected.
func (r *Redis) inCluster(ctx context.Context, masters int) error {
	info, err := r.Command(ctx, "CLUSTER", "INFO")
	if err != nil {
		return err
	}
	nodes, err := r.Command(ctx, "CLUSTER", "NODES")
	if err != nil {
		return err
	}
	replication, err := r.Command(ctx, "INFO", "replication")
	if err != nil {
		return err
	}
	linked := strings.Contains(fmt.Sprint(replication), "state=online") || strings.Contains(fmt.Sprint(replication), "master_link_status:up")
	if !strings.Contains(fmt.Sprint(info), "cluster_state:ok") || connectedReplicas(fmt.Sprint(nodes)) < masters || !linked {
		return errNotYet
	}
	return nil
}

// connectedReplicas counts the replicas whose master a node knows, in its answer to
// CLUSTER NODES, once it is connected to all nodes. A master without both neither
// gets a replica's request for its vote nor grants it.
func connectedReplicas(nodes string) int {
	n := 0
	for line := range strings.Lines(nodes) {
		// id, address, flags, master, ping, pong, epoch, link
		fields := strings.Fields(line)
		if len(fields) < 8 || fields[7] != "connected" {
			return 0
		}
		if strings.Contains(fields[2], "slave") && fields[3] != "-" {
			n++
		}
	}
	return n
}

func (c *RedisCluster) nodes() []*Redis {
	return append(append([]*Redis(nil), c.Masters...), c.Replicas...)
}

// Shard returns the index of the master that had a key at the start.
func (c *RedisCluster) Shard(ctx context.Context, key string) (int, error) {
	slot, err := c.Masters[0].Command(ctx, "CLUSTER", "KEYSLOT", key)
	if err != nil {
		return 0, err
	}
	shard := 0
	for shard+1 < len(c.Masters) && (shard+1)*slots/len(c.Masters) <= int(slot.(int64)) {
		shard++
	}
	return shard, nil
}

// URL returns the URL for clients, with the password.
func (c *RedisCluster) URL() string {
	var more []string
	for _, r := range c.nodes()[1:] {
		more = append(more, fmt.Sprint("addr=127.0.0.1:", r.port))
	}
	return c.Masters[0].URL() + "?" + strings.Join(more, "&")
}

// Kill ends all nodes with SIGKILL.
func (c *RedisCluster) Kill() error {
	var errs []error
	for _, r := range c.nodes() {
		errs = append(errs, r.Kill())
	}
	return errors.Join(errs...)
}

// Command sends a command to the node itself, whatever its role.
func (r *Redis) Command(ctx context.Context, args ...any) (any, error) {
	return command(ctx, r.port, r.password, args...)
}

func command(ctx context.Context, port int, password string, args ...any) (any, error) {
	client := redis.NewClient(&redis.Options{
		Addr: fmt.Sprintf("127.0.0.1:%d", port), Password: password, Protocol: 2, ContextTimeoutEnabled: true, DisableIdentity: true, MaxRetries: -1,
	})
	defer client.Close()
	answer, err := client.Do(ctx, args...).Result()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", args[:min(2, len(args))], err)
	}
	return answer, nil
}
