package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// RedisOptions are how to start a Redis node.
type RedisOptions struct {
	// Dir holds everything the node writes; it is created if it is missing. A second
	// start uses the same data.
	Dir string
	// Port on loopback; 0 takes a free one.
	Port int
	// Password; by default that of an earlier start in Dir, else a random one.
	Password string
	// Fsync of the append-only file: "always" (the default), "everysec" or
	// "no". Only "always" survives the loss of the machine.
	Fsync string
	// Cluster makes the node a Redis Cluster of one: it has all slots, and refuses the
	// commands that a larger one would refuse.
	Cluster bool
	// ReplicaOf, if not nil, is the primary of this node. Both have its password.
	ReplicaOf *Redis
	// Config are more lines of its configuration.
	Config []string

	// member makes the node one of a larger cluster, without slots yet.
	member bool
}

// Redis is a private Redis node.
type Redis struct {
	process
	dir      string
	port     int
	bus      int // port of the cluster's nodes among themselves
	password string
	cluster  bool
	replica  bool
	member   bool
}

// StartRedis starts a node and returns when it answers. An error that wraps
// [ErrNotInstalled] names what to install.
func StartRedis(ctx context.Context, o RedisOptions) (*Redis, error) {
	program, err := lookup("redis-server")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make Redis's folder: %w", err)
	}
	var r *Redis
	err = onFreePorts(redisPorts, func(ports []int) error {
		var err error
		if r, err = newRedis(program, o, ports); err != nil {
			return err
		}
		return r.start(ctx)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// redisPorts is how many ports a node of a cluster listens on.
const redisPorts = 2

// newRedis prepares a node.
func newRedis(program string, o RedisOptions, ports []int) (*Redis, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("name Redis's folder: %w", err)
	}
	r := &Redis{dir: dir, port: o.Port, bus: ports[1], cluster: o.Cluster, member: o.member, replica: o.ReplicaOf != nil}
	if r.port == 0 {
		r.port = ports[0]
	}
	if r.replica {
		o.Password = o.ReplicaOf.password
	}
	r.password, err = remembered(filepath.Join(dir, "password"), given(o.Password, randomPassword))
	if err != nil {
		return nil, fmt.Errorf("keep Redis's password: %w", err)
	}
	if o.Fsync == "" {
		o.Fsync = "always"
	}
	// By default Redis rewrites the file from 64 MB on, which is a minute of traffic. For
	// each rewrite it forks and copies every page that it changes meanwhile. A site's
	// hashes are large; expired ones are freed in the background.
	text := fmt.Sprintf("requirepass %[1]s\nmasterauth %[1]s\nappendonly yes\nappendfsync %[2]s\nauto-aof-rewrite-min-size 512mb\nlazyfree-lazy-expire yes\nsave \"\"\ndaemonize no\n", r.password, o.Fsync)
	if o.Cluster || o.member {
		text += fmt.Sprintf("cluster-enabled yes\ncluster-port %d\n", r.bus)
	}
	if r.replica {
		text += fmt.Sprintf("replicaof 127.0.0.1 %d\n", o.ReplicaOf.port)
	}
	text += strings.Join(o.Config, "\n") + "\n"
	r.process = process{
		name: "Redis",
		log:  filepath.Join(dir, "redis.log"),
		command: func() (*exec.Cmd, error) {
			// The settings are passed by standard input: Redis takes the path of a file for
			// a pattern, and runs with its defaults if no file matches.
			cmd := exec.Command(program, "--bind", "127.0.0.1", "--port", strconv.Itoa(r.port), "-")
			cmd.Stdin, cmd.Dir = strings.NewReader(text), dir
			return cmd, nil
		},
		ready: r.ping,
	}
	return r, nil
}

// Follow makes the node a replica of another one with the same password.
func (r *Redis) Follow(ctx context.Context, primary *Redis) error {
	_, err := r.Command(ctx, "REPLICAOF", "127.0.0.1", primary.port)
	return err
}

// Promoted returns when a replica has become a primary.
func (r *Redis) Promoted(ctx context.Context) error {
	err := poll(ctx, func() error {
		role, err := r.Command(ctx, "ROLE")
		if fields, _ := role.([]any); err == nil && (len(fields) == 0 || fields[0] != "master") {
			err = fmt.Errorf("its role is %v: %w", role, errNotYet)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("wait for a replica to become the primary: %w\n%s", err, lastLines(r.log))
	}
	return nil
}

// ping returns nil if the node answers. It returns an error while the node loads its
// data.
func (r *Redis) ping(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", r.port))
	if err != nil {
		return err
	}
	c := redis.NewClient(&redis.Options{
		// The client would retry, and log each attempt.
		Dialer:   func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		Password: r.password, MaxRetries: -1, PoolSize: 1, Protocol: 2, DisableIdentity: true, ContextTimeoutEnabled: true,
	})
	defer func() { _ = errors.Join(c.Close(), conn.Close()) }()
	switch err := c.Ping(ctx).Err(); {
	case redis.IsAuthError(err):
		return fmt.Errorf("%w: %w", errForeign, err)
	case err != nil:
		return err
	}
	for name, ours := range map[string]func(string) bool{
		"bind":        func(v string) bool { return v == "127.0.0.1" },
		"dir":         func(v string) bool { return sameFile(v, r.dir) },
		"requirepass": func(v string) bool { return v == r.password },
	} {
		got, err := c.ConfigGet(ctx, name).Result()
		if err != nil {
			return err
		}
		if !ours(got[name]) {
			return fmt.Errorf("%w: its %s is another", errForeign, name)
		}
	}
	switch {
	case r.cluster:
		return joinSlots(ctx, c)
	case r.replica:
		return connected(ctx, c)
	}
	return nil
}

var errNotYet = errors.New("not ready")

// connected returns why a replica does not follow its primary yet. It returns nil for
// one that was promoted.
func connected(ctx context.Context, c *redis.Client) error {
	info, err := c.Info(ctx, "replication").Result()
	if err != nil {
		return err
	}
	if strings.Contains(info, "role:slave") && !strings.Contains(info, "master_link_status:up") {
		return fmt.Errorf("it does not follow its primary: %w", errNotYet)
	}
	return nil
}

func sameFile(a, b string) bool {
	first, err1 := os.Stat(a)
	second, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(first, second)
}

// joinSlots gives a node all slots of its cluster, unless it has them, and returns nil
// if it serves them.
func joinSlots(ctx context.Context, c *redis.Client) error {
	_ = c.ClusterAddSlotsRange(ctx, 0, 16383).Err() // refused if it has them
	info, err := c.ClusterInfo(ctx).Result()
	if err == nil && !strings.Contains(info, "cluster_state:ok") {
		err = errors.New("its cluster is not ready")
	}
	return err
}

// URL returns the URL for clients, with the password.
func (r *Redis) URL() string {
	u := url.URL{Scheme: "redis", User: url.UserPassword("", r.password), Host: fmt.Sprintf("127.0.0.1:%d", r.port), Path: "/0"}
	if r.cluster || r.member {
		u.Scheme, u.Path = "redis+cluster", ""
	}
	return u.String()
}

// Port returns the node's port on loopback.
func (r *Redis) Port() int { return r.port }

// Stop ends the node cleanly, and kills it if ctx ends first.
func (r *Redis) Stop(ctx context.Context) error { return r.stop(ctx) }

// Kill ends the node with SIGKILL.
func (r *Redis) Kill() error { return r.kill() }

// Pause stops the node without ending it (SIGSTOP), until Resume.
func (r *Redis) Pause() error { return r.send(syscall.SIGSTOP) }

// Resume ends a Pause.
func (r *Redis) Resume() error { return r.send(syscall.SIGCONT) }

// Restart starts a node that has ended, with its data and its port.
func (r *Redis) Restart(ctx context.Context) error { return r.start(ctx) }

// Done is closed when the node has ended.
func (r *Redis) Done() <-chan struct{} { return r.ended() }

// RedisInstalled reports whether [StartRedis] finds its program.
func RedisInstalled() bool {
	_, err := lookup("redis-server")
	return err == nil
}
