package instance

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Sentinel is a private Redis Sentinel, which alone decides on a failover.
type Sentinel struct {
	process
	port     int
	password string
}

// sentinelMaster is the name under which a Sentinel knows its primary.
const sentinelMaster = "parkstream"

// StartSentinel starts a Sentinel that watches a primary and its replicas, and
// returns when it knows one replica. A primary that has not answered for a second counts
// as dead. The nodes have to use the address 127.0.0.1.
func StartSentinel(ctx context.Context, dir string, primary *Redis) (*Sentinel, error) {
	program, err := lookup("redis-server")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the Sentinel's folder: %w", err)
	}
	var s *Sentinel
	err = onFreePorts(1, func(ports []int) error {
		var err error
		if s, err = newSentinel(program, dir, primary, ports[0]); err != nil {
			return err
		}
		return s.start(ctx)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// newSentinel prepares a Sentinel.
func newSentinel(program, dir string, primary *Redis, port int) (*Sentinel, error) {
	s := &Sentinel{port: port, password: primary.password}
	config := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("bind 127.0.0.1\nport %d\nrequirepass %s\ndir %s\ndaemonize no\n", s.port, s.password, strconv.Quote(dir)) +
		fmt.Sprintf("sentinel monitor %[1]s 127.0.0.1 %[2]d 1\nsentinel auth-pass %[1]s %[3]s\nsentinel down-after-milliseconds %[1]s 1000\nsentinel failover-timeout %[1]s 2000\n",
			sentinelMaster, primary.port, primary.password)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the Sentinel's configuration: %w", err)
	}
	s.process = process{
		name:    "Redis Sentinel",
		log:     filepath.Join(dir, "sentinel.log"),
		command: func() (*exec.Cmd, error) { return exec.Command(program, config, "--sentinel"), nil },
		ready:   s.knowsReplica,
	}
	return s, nil
}

// knowsReplica returns why a failover is not possible yet.
func (s *Sentinel) knowsReplica(ctx context.Context) error {
	replicas, err := command(ctx, s.port, s.password, "SENTINEL", "REPLICAS", sentinelMaster)
	if err != nil {
		return err
	}
	if list, _ := replicas.([]any); len(list) == 0 {
		return fmt.Errorf("it knows no replica: %w", errNotYet)
	}
	return nil
}

// URL returns the URL for clients, with the password that the nodes share.
func (s *Sentinel) URL() string {
	u := url.URL{
		Scheme: "redis+sentinel", User: url.UserPassword("", s.password), Host: fmt.Sprintf("127.0.0.1:%d", s.port), Path: "/0",
		RawQuery: url.Values{"master_name": {sentinelMaster}, "password": {s.password}}.Encode(),
	}
	return u.String()
}

// Kill ends the Sentinel with SIGKILL.
func (s *Sentinel) Kill() error { return s.kill() }
