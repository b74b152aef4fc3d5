package instance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// RedisOptions say how to start a Redis node.
type RedisOptions struct {
	// Dir holds everything the node writes; it is made where it is missing. A
	// second start finds the data again.
	Dir string
	// Port on loopback; 0 takes a free one.
	Port int
	// Password; where it is empty that of an earlier start in Dir, else a random
	// one.
	Password string
	// Fsync of the append-only file: "always" (where it is empty), "everysec" or
	// "no". Only "always" survives the loss of the machine.
	Fsync string
	// Cluster makes the node a Redis Cluster of one: it has all slots, and refuses
	// what a larger one would refuse.
	Cluster bool
	// ReplicaOf, if not nil, is the node that this one copies; it has its password.
	ReplicaOf *Redis
	// Config are more lines of its configuration.
	Config []string

	// member makes the node one of a larger cluster, without slots yet.
	member bool
}

// Redis is a private Redis node.
type Redis struct {
	process
	port     int
	bus      int // port of the cluster's nodes among themselves
	password string
	cluster  bool
	replica  bool
	member   bool
}

// StartRedis starts a node and returns when it answers. An error that is
// ErrNotInstalled says what to install.
func StartRedis(ctx context.Context, o RedisOptions) (*Redis, error) {
	program, err := lookup("redis-server")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make Redis's folder: %w", err)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("name Redis's folder: %w", err)
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	r := &Redis{port: o.Port, bus: ports[1], cluster: o.Cluster, member: o.member, replica: o.ReplicaOf != nil}
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
	config := filepath.Join(dir, "redis.conf")
	// By itself Redis rewrites the file from 64 MB on, which is a minute of traffic;
	// each time it forks, and copies every page that it writes to meanwhile. A site's
	// hashes are large, and one that expires is freed beside the work.
	text := fmt.Sprintf("bind 127.0.0.1\nport %d\nrequirepass %s\ndir %s\nappendonly yes\nappendfsync %s\nauto-aof-rewrite-min-size 512mb\nlazyfree-lazy-expire yes\nsave \"\"\ndaemonize no\n",
		r.port, r.password, strconv.Quote(dir), o.Fsync)
	if o.Cluster || o.member {
		text += fmt.Sprintf("cluster-enabled yes\ncluster-port %d\nmasterauth %s\n", r.bus, r.password)
	}
	if r.replica {
		text += fmt.Sprintf("replicaof 127.0.0.1 %d\nmasterauth %s\n", o.ReplicaOf.port, r.password)
	}
	for _, line := range o.Config {
		text += line + "\n"
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write Redis's configuration: %w", err)
	}
	r.process = process{
		name:    "Redis",
		log:     filepath.Join(dir, "redis.log"),
		command: func() (*exec.Cmd, error) { return exec.Command(program, config), nil },
		ready:   r.ping,
	}
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// ping says whether the node answers; it refuses while it loads its data.
func (r *Redis) ping(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", r.port))
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := fmt.Fprintf(conn, "AUTH %s\r\nPING\r\n", r.password); err != nil {
		return err
	}
	answers := bufio.NewReader(conn)
	for _, want := range []string{"+OK\r\n", "+PONG\r\n"} {
		if got, err := answers.ReadString('\n'); got != want {
			return fmt.Errorf("it answers %q: %w", got, errors.Join(err, errNotYet))
		}
	}
	switch {
	case r.cluster:
		return joinSlots(conn, answers)
	case r.replica:
		return r.connected(conn)
	}
	return nil
}

// connected reports why a replica does not follow its primary yet; one that was
// promoted has none.
func (r *Redis) connected(conn net.Conn) error {
	if _, err := fmt.Fprint(conn, "INFO replication\r\nQUIT\r\n"); err != nil {
		return err
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if info := string(text); strings.Contains(info, "role:slave") && !strings.Contains(info, "master_link_status:up") {
		return fmt.Errorf("it does not follow its primary: %w", errNotYet)
	}
	return nil
}

// joinSlots gives a node all slots of its cluster, unless it has them, and says
// whether it serves them yet.
func joinSlots(conn net.Conn, answers *bufio.Reader) error {
	if _, err := fmt.Fprint(conn, "CLUSTER ADDSLOTSRANGE 0 16383\r\nCLUSTER INFO\r\n"); err != nil {
		return err
	}
	for range 3 { // what became of the slots, the length of the information, its first line
		line, err := answers.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "cluster_state:ok\r\n" {
			return nil
		}
	}
	return fmt.Errorf("its cluster is not ready: %w", errNotYet)
}

var errNotYet = errors.New("not ready")

// URL is what clients connect to; it holds the password.
func (r *Redis) URL() string {
	u := url.URL{Scheme: "redis", User: url.UserPassword("", r.password), Host: fmt.Sprintf("127.0.0.1:%d", r.port), Path: "/0"}
	if r.cluster || r.member {
		u.Scheme, u.Path = "redis+cluster", ""
	}
	return u.String()
}

// Port is the node's port on loopback.
func (r *Redis) Port() int { return r.port }

// Stop ends the node cleanly; it is killed when ctx ends first.
func (r *Redis) Stop(ctx context.Context) error { return r.stop(ctx) }

// Kill is kill -9.
func (r *Redis) Kill() error { return r.kill() }

// Pause stops the node without ending it (SIGSTOP), until Resume.
func (r *Redis) Pause() error { return r.send(syscall.SIGSTOP) }

// Resume ends a Pause.
func (r *Redis) Resume() error { return r.send(syscall.SIGCONT) }

// Restart starts the node again when it has ended, with its data and its port.
func (r *Redis) Restart(ctx context.Context) error { return r.start(ctx) }

// Done is closed when the node has ended.
func (r *Redis) Done() <-chan struct{} { return r.ended() }

// RedisInstalled says whether [StartRedis] finds its program.
func RedisInstalled() bool {
	_, err := lookup("redis-server")
	return err == nil
}
