package services

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"parkstream/cmd/internal/secrets"
	"parkstream/deploy"
)

// composeStop bounds the stop of containers that could not be started.
const composeStop = 30 * time.Second

// hasCompose reports whether Docker runs and has its compose plugin.
func hasCompose(ctx context.Context) bool {
	return exec.CommandContext(ctx, "docker", "info").Run() == nil &&
		exec.CommandContext(ctx, "docker", "compose", "version").Run() == nil
}

// compose runs the nodes that are not given in containers. Their configuration with the
// passwords is mounted as files: no secret is in an environment.
func compose(ctx context.Context, o Options) (Nodes, error) {
	dir, err := filepath.Abs(filepath.Join(o.Dir, "compose"))
	if err != nil {
		return Nodes{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Nodes{}, fmt.Errorf("make the folder of the containers: %w", err)
	}
	password, err := secrets.Ensure(dir, "password", rand.Text)
	if err != nil {
		return Nodes{}, err
	}
	ports, err := composePorts(dir)
	if err != nil {
		return Nodes{}, err
	}
	file := filepath.Join(dir, "compose.yaml")
	// The containers' own users read the files; the mode of the folder excludes all
	// others.
	err = errors.Join(
		os.WriteFile(file, deploy.Compose, 0o600),
		os.WriteFile(filepath.Join(dir, "rabbitmq.conf"), []byte(RabbitMQConfig("parkstream", password)), 0o644),
		os.WriteFile(filepath.Join(dir, "redis.conf"), []byte(RedisConfig(password)), 0o644),
	)
	if err != nil {
		return Nodes{}, fmt.Errorf("write the configuration of the containers: %w", err)
	}
	// One project per folder: two folders do not share containers.
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(dir))
	env := append(os.Environ(),
		"COMPOSE_PROJECT_NAME=parkstream-"+strconv.FormatUint(uint64(sum.Sum32()), 16), "PARKSTREAM_DIR="+dir,
		"PARKSTREAM_RABBITMQ_PORT="+ports[0], "PARKSTREAM_REDIS_PORT="+ports[1])
	var wanted []string // services
	if o.RabbitMQURL == "" {
		wanted = append(wanted, "rabbitmq")
	}
	if o.RedisURL == "" {
		wanted = append(wanted, "redis")
	}
	o.Say("starting %s with docker compose", strings.Join(wanted, " and "))
	stop := func(ctx context.Context) error { return run(ctx, env, "docker", "compose", "-f", file, "stop") }
	if err := run(ctx, env, "docker", append([]string{"compose", "-f", file, "up", "-d", "--wait"}, wanted...)...); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), composeStop)
		defer cancel()
		return Nodes{}, errors.Join(err, stop(ctx)) // some may run
	}
	link := func(scheme, user, port, path string) string {
		u := url.URL{Scheme: scheme, User: url.UserPassword(user, password), Host: net.JoinHostPort("127.0.0.1", port), Path: path}
		return u.String()
	}
	return Nodes{
		RabbitMQURL: cmp.Or(o.RabbitMQURL, link("amqp", "parkstream", ports[0], "/")),
		RedisURL:    cmp.Or(o.RedisURL, link("redis", "", ports[1], "/0")),
		stop:        stop,
	}, nil
}

// RabbitMQConfig returns the configuration of a RabbitMQ in a container. The password
// consists of letters and digits.
func RabbitMQConfig(user, password string) string {
	return "default_user = " + user + "\ndefault_pass = " + password + "\n"
}

// RedisConfig returns the configuration of a durable Redis in a container. The password
// consists of letters and digits.
func RedisConfig(password string) string {
	return "requirepass " + password + `
dir /data
appendonly yes
appendfsync always
maxmemory-policy noeviction
lazyfree-lazy-expire yes
save ""
`
}

// composePorts are chosen once for a folder.
func composePorts(dir string) ([2]string, error) {
	var ports [2]string
	for i, name := range []string{"rabbitmq-port", "redis-port"} {
		var free error
		port, err := secrets.Ensure(dir, name, func() string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				free = err
				return ""
			}
			defer l.Close()
			return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		})
		if err := errors.Join(err, free); err != nil {
			return ports, fmt.Errorf("choose a port for a container: %w", err)
		}
		ports[i] = port
	}
	return ports, nil
}
