package instance

import (
	"cmp"
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
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"
)

// RabbitMQOptions are how to start a RabbitMQ node.
type RabbitMQOptions struct {
	// Dir holds everything the node writes; it is created if it is missing. A second
	// start uses the same data.
	Dir string
	// Port of AMQP on loopback; 0 takes a free one.
	Port int
	// User and Password; by default those of an earlier start in Dir, else
	// "parkstream" and a random password. There is no guest.
	User, Password string
	// Config has further lines for rabbitmq.conf.
	Config string

	cookie string // of the nodes of a cluster; empty: one of the node's own
}

// RabbitMQ is a private RabbitMQ node. It has an epmd of its own, which isolates it from
// other nodes of this machine.
type RabbitMQ struct {
	process
	epmd           *process // nil if a cluster has one for all
	dir, program   string
	node           string
	port           int
	dist, epmdPort int
	user, password string
}

// dialTimeout bounds one attempt to connect to a starting node.
const dialTimeout = 30 * time.Second

// rabbitMQPlaces are where packages keep the program that runs as its caller. Debian's
// on the PATH switches to a user of its own, which has no access to our folders.
var rabbitMQPlaces = []string{
	"/usr/lib/rabbitmq/bin",
	"/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin", "/home/linuxbrew/.linuxbrew/opt/rabbitmq/sbin",
	"/usr/local/sbin", "/usr/sbin",
}

// StartRabbitMQ starts a node and returns when it accepts connections, after some five
// seconds. An error that wraps [ErrNotInstalled] names what to install.
func StartRabbitMQ(ctx context.Context, o RabbitMQOptions) (*RabbitMQ, error) {
	var r *RabbitMQ
	err := onFreePorts(rabbitMQPorts, func(ports []int) error {
		var err error
		if r, err = newRabbitMQ(o, ports); err != nil {
			return err
		}
		r.epmd = r.newEPMD()
		if err = r.Restart(ctx); err != nil {
			err = errors.Join(err, r.epmd.kill())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// rabbitMQPorts is how many ports a node and its epmd listen on.
const rabbitMQPorts = 3

// newRabbitMQ prepares the folder of a node.
func newRabbitMQ(o RabbitMQOptions, ports []int) (*RabbitMQ, error) {
	program, err := lookup("rabbitmq-server", rabbitMQPlaces...)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("name RabbitMQ's folder: %w", err)
	}
	if !utf8.ValidString(dir) {
		return nil, fmt.Errorf("the folder %q is not named in UTF-8, which Erlang needs: choose another one", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make RabbitMQ's folder: %w", err)
	}
	r := &RabbitMQ{dir: dir, program: program, port: o.Port, dist: ports[1], epmdPort: ports[2]}
	if r.port == 0 {
		r.port = ports[0]
	}
	var errs [3]error
	// The name is part of the data: a node of another name would not find it.
	r.node, errs[0] = remembered(filepath.Join(dir, "node"), func() string {
		return "parkstream-" + strings.ToLower(randomPassword()[:8]) + "@localhost"
	})
	r.user, errs[1] = remembered(filepath.Join(dir, "user"), given(o.User, func() string { return "parkstream" }))
	r.password, errs[2] = remembered(filepath.Join(dir, "password"), given(o.Password, randomPassword))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("keep RabbitMQ's name and user: %w", err)
	}
	if err := r.writeConfig(o.Config); err != nil {
		return nil, fmt.Errorf("write RabbitMQ's configuration: %w", err)
	}
	if err := r.writeCookie(cmp.Or(o.cookie, randomPassword())); err != nil {
		return nil, fmt.Errorf("write RabbitMQ's cookie: %w", err)
	}
	r.process = process{name: "RabbitMQ", log: filepath.Join(dir, "console.log"), command: r.serverCommand, ready: r.dial}
	return r, nil
}

func (r *RabbitMQ) newEPMD() *process {
	return &process{name: "RabbitMQ's epmd", log: filepath.Join(r.dir, "epmd.log"), command: r.epmdCommand, ready: r.dialEPMD}
}

// killEPMD ends the node's own epmd.
func (r *RabbitMQ) killEPMD() error {
	if r.epmd == nil {
		return nil
	}
	return r.epmd.kill()
}

func (r *RabbitMQ) writeConfig(more string) error {
	config := fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\ndefault_user = %s\ndefault_pass = %s\nlog.console = false\nlog.file.level = info\n%s\n",
		r.port, r.user, r.password, more)
	return errors.Join(
		os.WriteFile(filepath.Join(r.dir, "rabbitmq.conf"), []byte(config), 0o600),
		os.WriteFile(filepath.Join(r.dir, "enabled_plugins"), []byte("[].\n"), 0o600),
	)
}

// writeCookie writes the secret that rabbitmqctl and the nodes of a cluster share, a new
// one at each start. Erlang would make one that can be guessed.
func (r *RabbitMQ) writeCookie(cookie string) error {
	path := filepath.Join(r.dir, ".erlang.cookie")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(cookie), 0o400)
}

// environ returns the environment. Its paths are relative to the node's folder, in
// which its programs run: scripts and Erlang interpret special characters in a path.
func (r *RabbitMQ) environ() []string {
	env := []string{
		"HOME=.", // the Erlang cookie
		"ERL_EPMD_PORT=" + strconv.Itoa(r.epmdPort),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME=" + r.node,
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT=" + strconv.Itoa(r.port),
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(r.dist),
		"RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_CONFIG_FILE=rabbitmq",
		"RABBITMQ_ENABLED_PLUGINS_FILE=enabled_plugins",
		"RABBITMQ_MNESIA_BASE=" + dataFolder,
		"RABBITMQ_LOG_BASE=.",
		"RABBITMQ_PID_FILE=pid",
		// Schedulers that spin while they wait take the processor from the others
		// on this machine.
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none",
		// The server's script then becomes the server instead of waiting for it:
		// one process, which gets the signals.
		"NOTIFY_SOCKET=no-socket",
	}
	for _, name := range []string{"PATH", "LANG", "LC_ALL", "TMPDIR"} {
		if v, set := os.LookupEnv(name); set {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func (r *RabbitMQ) serverCommand() (*exec.Cmd, error) {
	cmd := exec.Command(r.program)
	cmd.Env, cmd.Dir = r.environ(), r.dir
	return cmd, nil
}

func (r *RabbitMQ) epmdCommand() (*exec.Cmd, error) {
	program, err := lookup("epmd", "/usr/lib/erlang/bin", "/opt/homebrew/bin", "/usr/local/bin")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "-port", strconv.Itoa(r.epmdPort), "-address", "127.0.0.1")
	cmd.Env, cmd.Dir = r.environ(), r.dir
	return cmd, nil
}

func (r *RabbitMQ) dialEPMD(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", r.epmdPort))
	if err != nil {
		return err
	}
	return conn.Close()
}

// dial returns nil if clients can connect. It ends with ctx even if the node accepts the
// connection and is silent.
func (r *RabbitMQ) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := amqp.DialConfig(r.URL(), amqp.Config{Dial: func(network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() })
		}
		return conn, err
	}})
	if refused, ok := errors.AsType[*amqp.Error](err); ok && refused.Code == amqp.AccessRefused {
		return fmt.Errorf("%w: %w", errForeign, err)
	}
	if err != nil {
		return err
	}
	return conn.Close()
}

// URL returns the URL for clients, with the password.
func (r *RabbitMQ) URL() string {
	u := url.URL{Scheme: "amqp", User: url.UserPassword(r.user, r.password), Host: fmt.Sprintf("127.0.0.1:%d", r.port), Path: "/"}
	return u.String()
}

// Port returns the node's AMQP port on loopback.
func (r *RabbitMQ) Port() int { return r.port }

// Stop ends the node cleanly, and kills it if ctx ends first.
func (r *RabbitMQ) Stop(ctx context.Context) error {
	return errors.Join(r.stop(ctx), r.killEPMD())
}

// Kill ends the node with SIGKILL.
func (r *RabbitMQ) Kill() error { return errors.Join(r.kill(), r.killEPMD()) }

// Pause stops the node without ending it (SIGSTOP), until Resume.
func (r *RabbitMQ) Pause() error { return r.send(syscall.SIGSTOP) }

// Resume ends a Pause.
func (r *RabbitMQ) Resume() error { return r.send(syscall.SIGCONT) }

// Restart starts a node that has ended, with its data and its port.
func (r *RabbitMQ) Restart(ctx context.Context) error {
	if err := r.killEPMD(); err != nil { // it may have outlived the node
		return err
	}
	if r.epmd != nil {
		if err := r.epmd.start(ctx); err != nil {
			return err
		}
	}
	return r.start(ctx)
}

// Running reports whether the node's process runs.
func (r *RabbitMQ) Running() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running()
}

// Ctl runs rabbitmqctl on the node and returns what it prints.
func (r *RabbitMQ) Ctl(ctx context.Context, args ...string) (string, error) {
	program, err := lookup("rabbitmqctl", rabbitMQPlaces...)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Dir = r.environ(), r.dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("rabbitmqctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Done is closed when the node has ended.
func (r *RabbitMQ) Done() <-chan struct{} { return r.ended() }

// RabbitMQInstalled reports whether [StartRabbitMQ] finds its programs.
func RabbitMQInstalled() bool {
	_, err := lookup("rabbitmq-server", rabbitMQPlaces...)
	return err == nil
}
