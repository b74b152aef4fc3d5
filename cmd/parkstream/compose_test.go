package main

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/redis/go-redis/v9"
	"gopkg.in/yaml.v3"

	"parkstream/shared/access"
	"parkstream/shared/eventually"
	"parkstream/shared/instance"
)

// composeCommands returns the command of each service of a compose file.
func composeCommands(t *testing.T, name string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Command []string `yaml:"command"`
		} `yaml:"services"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	commands := make(map[string][]string)
	for service, s := range file.Services {
		commands[service] = s.Command
	}
	return commands
}

// withPaths puts folders of this machine in the place of those of a container.
func withPaths(args []string, oldnew ...string) []string {
	args = slices.Clone(args)
	for i := range args {
		args[i] = strings.NewReplacer(oldnew...).Replace(args[i])
	}
	return args
}

// What compose.full.yaml starts is what this program understands, and the secrets that
// it makes open a RabbitMQ and a Redis that are started with its configuration.
func TestComposeFull(t *testing.T) {
	commands := composeCommands(t, "compose.full.yaml")
	dir := t.TempDir()
	var p struct {
		Up      upCommand      `cmd:""`
		Secrets secretsCommand `cmd:""`
	}
	parser, err := kong.New(&p, kong.Vars{"connector_port": "8083"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(withPaths(commands["secrets"], "/data/secrets", dir)); err != nil {
		t.Fatal(err)
	}
	if err := p.Secrets.Init.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(withPaths(commands["parkstream"], "/data/secrets", dir, "/stack.yml", filepath.Join("..", "..", "stack.yml"))); err != nil {
		t.Fatal(err)
	}
	rabbitMQURL, err1 := givenURL("rabbitmq-url", p.Up.RabbitMQURL, p.Up.RabbitMQURLFile)
	redisURL, err2 := givenURL("redis-url", p.Up.RedisURL, p.Up.RedisURLFile)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if p.Up.Users != filepath.Join(dir, "users") {
		t.Errorf("the users are in %q", p.Up.Users)
	}
	if p.Up.Port != 8080 || p.Up.ConnectorPort != 8083 || p.Up.Prometheus {
		t.Errorf("deploy/prometheus/compose.yml and the health checks ask for other ports than %+v", p.Up)
	}

	config, err := os.ReadFile(filepath.Join(dir, "rabbitmq.conf"))
	if err != nil {
		t.Fatal(err)
	}
	// Of two lines the last one counts: the user is that of the file, and the start
	// ends when the one of the URL is let in.
	u, err := url.Parse(rabbitMQURL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	node, err := instance.StartRabbitMQ(t.Context(), instance.RabbitMQOptions{
		Dir: filepath.Join(dir, "node"), User: u.User.Username(), Password: password, Config: string(config),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Kill() })
	if u.Host != "127.0.0.1:5672" {
		t.Errorf("the URL has the address %s, want that which compose.full.yaml publishes", u.Host)
	}

	// The nodes get copies of their configurations.
	script, nodes := strings.Join(commands["configs"], " "), t.TempDir()
	script = strings.NewReplacer("$$", "$", "/data/secrets", dir, "/data/", nodes+"/").Replace(script)
	for _, node := range []string{"rabbitmq", "redis", "prometheus"} {
		if err := os.Mkdir(filepath.Join(nodes, node), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // also at a later start
		if out, err := exec.CommandContext(t.Context(), "sh", "-ec", script).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	if found := files(t, filepath.Join(nodes, "rabbitmq")); len(found) != 1 || found["rabbitmq.conf"] != string(config) {
		t.Errorf("RabbitMQ sees %q", found)
	}
	if found := files(t, filepath.Join(nodes, "redis")); len(found) != 1 {
		t.Errorf("Redis sees %q", found)
	}

	// Prometheus is another user, and gets a token that is in the users file.
	token, err1 := os.ReadFile(filepath.Join(nodes, "prometheus", "metrics-token"))
	info, err2 := os.Stat(filepath.Join(nodes, "prometheus", "metrics-token"))
	all, err3 := os.ReadDir(filepath.Join(nodes, "prometheus"))
	if err := errors.Join(err1, err2, err3); err != nil || len(all) != 1 || info.Mode().Perm() != 0o444 {
		t.Fatalf("Prometheus sees %v, error %v", all, err)
	}
	users, err := readUsers(filepath.Join(dir, "users"))
	if err != nil {
		t.Fatal(err)
	}
	if u := users.FindToken(strings.TrimSpace(string(token))); u == nil || !u.Principal(access.ViaToken).May(access.ReadMetrics) {
		t.Errorf("its token is that of %+v", u)
	}

	redisFor(t, commands["redis"], "/config", filepath.Join(nodes, "redis"), redisURL)
}

// The Redis of compose.yaml is started with the same configuration.
func TestComposeRedis(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := secretsInit(t, secretsInitCommand{Dir: dir, Nodes: true}, ""); err != nil {
		t.Fatal(err)
	}
	u, err := givenURL("redis-url", "", filepath.Join(dir, "redis-url"))
	if err != nil {
		t.Fatal(err)
	}
	redisFor(t, composeCommands(t, "compose.yaml")["redis"], "/etc/parkstream", dir, u)
}

// redisFor starts a Redis with a container's command and its configuration in dir,
// and checks that it loses no event and knows the password of the URL.
func redisFor(t *testing.T, command []string, mounted, dir, u string) {
	t.Helper()
	file := filepath.Join(dir, "redis.conf")
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data, socket := t.TempDir(), filepath.Join(t.TempDir(), "redis")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(config), "dir /data\n", "dir "+data+"\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append(withPaths(command, mounted, dir), "--port", "0", "--unixsocket", socket)
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	options, err := redis.ParseURL(u)
	if err != nil {
		t.Fatal(err)
	}
	options.Dialer = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	client := redis.NewClient(options)
	defer client.Close()
	eventually.Succeeds(t, "Redis answers", func() error { return client.Ping(t.Context()).Err() })
	for name, want := range map[string]string{
		"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": "", "dir": data,
	} {
		if got, err := client.ConfigGet(t.Context(), name).Result(); err != nil || got[name] != want {
			t.Errorf("%s is %q, error %v, want %q", name, got, err, want)
		}
	}
	if got := client.ConfigGet(t.Context(), "maxmemory").Val()["maxmemory"]; len(got) < len("100000000") {
		t.Errorf("maxmemory is %q", got)
	}
	options.Password = ""
	anyone := redis.NewClient(options)
	defer anyone.Close()
	if err := anyone.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}
}
