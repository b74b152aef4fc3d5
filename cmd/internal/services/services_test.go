package services

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parkstream/deploy"
	"parkstream/shared/instance/instancetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet(string, ...any) {}

func TestGivenNodesThatDoNotAnswer(t *testing.T) {
	_, err := Start(t.Context(), Options{
		RabbitMQURL: "amqp://user:hidden@127.0.0.1:1/", RedisURL: "redis://:hidden@127.0.0.1:1/0", Dir: t.TempDir(), Say: quiet,
	})
	if err == nil {
		t.Fatal("both were taken")
	}
	for _, want := range []string{"the RabbitMQ of RABBITMQ_URL cannot be used", "the Redis of REDIS_URL cannot be used", "connection refused"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "hidden") {
		t.Errorf("the error has a password: %v", err)
	}
}

// Given nodes are used as they are, and go on when we stop.
func TestGivenNodes(t *testing.T) {
	redis, rabbitMQ := instancetest.Redis(t), instancetest.RabbitMQ(t)
	dir := t.TempDir()
	nodes, err := Start(t.Context(), Options{RabbitMQURL: rabbitMQ.URL(), RedisURL: redis.URL(), Dir: dir, Say: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if nodes.RedisURL != redis.URL() || nodes.RabbitMQURL != rabbitMQ.URL() {
		t.Errorf("%+v", nodes)
	}
	if err := nodes.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case <-redis.Done():
		t.Error("the given Redis was stopped")
	case <-rabbitMQ.Done():
		t.Error("the given RabbitMQ was stopped")
	default:
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("something was started: %v", files)
	}
}

// A node that is killed is started again at its port with its data.
func TestKeep(t *testing.T) {
	redis := instancetest.Redis(t)
	nodes := Nodes{children: []child{{"Redis", redis}}}
	ctx, cancel := context.WithCancel(t.Context())
	var (
		mu   sync.Mutex
		said []string
	)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		nodes.Keep(ctx, func(text string) {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, text)
		})
	}()
	given := Options{RedisURL: redis.URL()}
	for range 2 {
		if err := redis.Kill(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); checkGiven(t.Context(), given) != nil; {
			if time.Now().After(deadline) {
				t.Fatal("Redis was not started again")
			}
		}
	}
	cancel()
	<-kept
	mu.Lock()
	defer mu.Unlock()
	// The first time it may have been gone before Keep looked.
	if len(said) == 0 || !strings.Contains(said[0], "Redis ended (its process is gone) and is started again in") {
		t.Errorf("the operator heard %q", said)
	}
}

// What the package managers cannot install is in one sentence with what to do.
func TestInstall(t *testing.T) {
	const (
		byHand = "install it with your package manager"
		urls   = "install Docker with its compose plugin, or set RABBITMQ_URL and REDIS_URL"
		images = "leave out the tests of images"
	)
	for _, tt := range []struct {
		name    string
		path    []string // programs that are there
		missing []string
		brewed  string   // how brew is called
		says    []string // parts of the error; none: no error
		doesNot []string
	}{
		{"no package manager", nil, []string{"Redis"}, "", []string{"Redis is not installed: " + byHand, urls}, []string{images}},
		{"no package manager, only images suffer", nil, []string{"buildah"}, "", []string{"buildah is not installed: " + byHand, images}, []string{urls}},
		{"no package manager, several", nil, []string{"RabbitMQ", "buildah"}, "", []string{"RabbitMQ and buildah are not installed", urls}, []string{images}},
		{"brew has all", []string{"brew"}, []string{"Redis", "RabbitMQ"}, "install redis rabbitmq\n", nil, nil},
		{"brew has some", []string{"brew"}, []string{"npm", "buildah"}, "install node\n", []string{"buildah is not installed: " + byHand, images}, []string{"npm", urls}},
		{"brew has none", []string{"brew"}, []string{"buildah", "the source of locales"}, "", []string{"buildah and the source of locales are not installed: " + byHand}, []string{urls, images}},
		{"a Mac", []string{"brew", "xcode-select"}, []string{"a C compiler"}, "", []string{"run `xcode-select --install`"}, []string{byHand, urls}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			called := filepath.Join(dir, "called")
			for _, program := range tt.path {
				if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\necho \"$@\" >>"+called+"\n"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir)
			err := Install(t.Context(), tt.missing, quiet)
			if (err != nil) != (len(tt.says) > 0) {
				t.Fatalf("error %v", err)
			}
			for _, part := range tt.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v does not say %q", err, part)
				}
			}
			for _, part := range tt.doesNot {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%v says %q", err, part)
				}
			}
			if args, _ := os.ReadFile(called); string(args) != tt.brewed {
				t.Errorf("brew was called with %q, want %q", args, tt.brewed)
			}
		})
	}
}

// fakeDocker puts a docker on the PATH that notes how it is called, and whose
// compose up ends with a status.
func fakeDocker(t *testing.T, status int) (calls func() string) {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho \"$*\" >>%[1]s/calls\nenv >>%[1]s/calls.env\ncase \"$*\" in *' up '*) exit %[2]d;; esac\n", dir, status)
	t.Setenv("DOCKER_CALLS", filepath.Join(dir, "calls.env"))
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() string {
		text, err := os.ReadFile(filepath.Join(dir, "calls"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

// Containers that do not become healthy are not left behind.
func TestComposeThatFails(t *testing.T) {
	calls := fakeDocker(t, 1)
	if _, err := compose(t.Context(), Options{Dir: t.TempDir(), Say: quiet}); err == nil {
		t.Fatal("it runs")
	}
	if got := calls(); !strings.HasSuffix(got, "compose.yaml stop\n") {
		t.Errorf("docker was called with:\n%s", got)
	}
}

// Every variable that the compose file refuses to be without is set, and the project is
// one of the folder's own.
func TestComposeVariables(t *testing.T) {
	fakeDocker(t, 0)
	if _, err := compose(t.Context(), Options{Dir: t.TempDir(), Say: quiet}); err != nil {
		t.Fatal(err)
	}
	environ, err := os.ReadFile(os.Getenv("DOCKER_CALLS"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := []string{"COMPOSE_PROJECT_NAME"}
	for _, m := range regexp.MustCompile(`\$\{(\w+):\?`).FindAllSubmatch(deploy.Compose, -1) {
		wanted = append(wanted, string(m[1]))
	}
	if len(wanted) < 4 {
		t.Errorf("variables %q", wanted)
	}
	for _, name := range wanted {
		if !regexp.MustCompile(`(?m)^` + name + `=.`).Match(environ) {
			t.Errorf("docker is called without %s", name)
		}
	}
}

// Only services without a given URL run in a container.
func TestComposeWithAGivenNode(t *testing.T) {
	calls := fakeDocker(t, 0)
	nodes, err := compose(t.Context(), Options{Dir: t.TempDir(), RabbitMQURL: "amqp://given/", Say: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if got := calls(); !strings.HasSuffix(got, "compose.yaml up -d --wait redis\n") {
		t.Errorf("docker was called with:\n%s", got)
	}
	if nodes.RabbitMQURL != "amqp://given/" || !strings.HasPrefix(nodes.RedisURL, "redis://:") {
		t.Errorf("%+v", nodes)
	}
	if err := nodes.Stop(t.Context()); err != nil || !strings.HasSuffix(calls(), "compose.yaml stop\n") {
		t.Errorf("%v, %s", err, calls())
	}
}
