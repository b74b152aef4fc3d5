package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"parkstream/cmd/internal/gateway"
)

// TestUpWithTakenPorts wants to hear of it before anything is started.
func TestUpWithTakenPorts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	for _, tt := range []struct {
		c    upCommand
		want string
	}{
		{upCommand{Port: taken}, "--port"},
		{upCommand{ConnectorPort: taken, Connector: true}, "--connector-port"},
	} {
		// Where it goes on all the same, it stops at these URLs.
		tt.c.Dir, tt.c.Stack, tt.c.RabbitMQURL, tt.c.RedisURL = t.TempDir(), "../../stack.yml", "amqp://127.0.0.1:1/", "redis://127.0.0.1:1/"
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := tt.c.Run(ctx); err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.want, err)
		}
	}
}

// TestNothingIsStopped: where nothing was started the error is all that is said.
func TestNothingIsStopped(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stderr := os.Stderr
	os.Stderr = file
	defer func() { os.Stderr = stderr }()
	c := upCommand{Dir: t.TempDir(), Stack: "../../stack.yml", RabbitMQURL: "amqp://127.0.0.1:1/", RedisURL: "redis://127.0.0.1:1/"}
	if err := c.Run(t.Context()); err == nil {
		t.Error("it runs without RabbitMQ and Redis")
	}
	if said, err := os.ReadFile(file.Name()); err != nil || len(said) > 0 {
		t.Errorf("said: %s, %v", said, err)
	}
}

func TestUpTimeoutIsPositive(t *testing.T) {
	c := upCommand{Dir: t.TempDir(), Stack: "../../stack.yml", RabbitMQURL: "amqp://127.0.0.1:1/", RedisURL: "redis://127.0.0.1:1/"}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "--timeout is 0s, want more than 0s") {
		t.Errorf("%v", err)
	}
}

func TestGivenURL(t *testing.T) {
	dir := t.TempDir()
	write := writer(t, dir)
	file, empty := write("url", "redis://:hunter2@host/0\n"), write("empty", " \n")
	long := write("long", "redis://:hunter2@host/0?"+strings.Repeat("a", 64<<10))
	for _, tt := range []struct{ value, file, want, err string }{
		{"", "", "", ""},
		{"redis://host", "", "redis://host", ""},
		{"", file, "redis://:hunter2@host/0", ""},
		{"redis://host", file, "", "both --redis-url and --redis-url-file are given"},
		{"", empty, "", "--redis-url-file: " + empty + ": it is empty"},
		{"", long, "", "--redis-url-file: " + long + ": it has more than 65536 bytes"},
		{"", filepath.Join(dir, "nothing"), "", "--redis-url-file: open "},
	} {
		got, err := givenURL("redis-url", tt.value, tt.file)
		if got != tt.want || (err != nil) != (tt.err != "") || err != nil && (!strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%+v: %q, %v", tt, got, err)
		}
	}
	// up uses them.
	c := upCommand{Dir: t.TempDir(), Stack: "../../stack.yml", RabbitMQURLFile: write("amqp", "amqp://127.0.0.1:1/"), RedisURLFile: write("redis", "redis://127.0.0.1:1/")}
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "RabbitMQ of RABBITMQ_URL") || !strings.Contains(err.Error(), "Redis of REDIS_URL") {
		t.Errorf("%v", err)
	}
}

// A system without a login is for this machine alone, and one with a login does not start
// with a wrong file: every mistake is told before anything is started.
func TestUpUsers(t *testing.T) {
	dir := t.TempDir()
	write := writer(t, dir)
	none := filepath.Join(dir, "it's none")
	for _, tt := range []struct {
		file string
		want []string
	}{
		{none, []string{"no such file", "parkstream users add NAME --role admin --file '" + dir + `/it'\''s none'`}},
		{write("empty", "# no users\n"), []string{"it needs a user: parkstream users add NAME"}},
		{write("broken", "{\"name\":\"a b\",\"role\":\"king\"}\n{\n"), []string{"line 1: name: want", "line 1: role: want", "line 2: "}},
		{dir, []string{"is a directory"}},
	} {
		c := upCommand{Dir: filepath.Join(dir, "ps"), Stack: "../../stack.yml", Users: tt.file, RabbitMQURL: "amqp://127.0.0.1:1/", RedisURL: "redis://127.0.0.1:1/"}
		err := c.Run(t.Context())
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", tt.file, err, want)
			}
		}
		if exists(c.Dir) {
			t.Errorf("%s: it has begun", tt.file)
		}
	}
	for host, open := range map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true, "app.localhost": true, "parking.example": false, "10.0.0.1": false, "0.0.0.0": false} {
		c := upCommand{Timeout: time.Second, AllowedHosts: []string{host}}
		if err := c.Validate(); (err == nil) != open || err != nil && !strings.Contains(err.Error(), "--users") {
			t.Errorf("open at %s: %v", host, err)
		}
		c.Users = "users"
		if err := c.Validate(); err != nil {
			t.Errorf("with a login at %s: %v", host, err)
		}
	}
}

// Without generators the matcher is called by schedule, and no events are made up.
func TestUpWithoutGenerators(t *testing.T) {
	functions, err := gateway.ReadStack("../../stack.yml")
	if err != nil {
		t.Fatal(err)
	}
	unschedule(functions)
	var scheduled []string
	for _, f := range functions {
		if f.Annotations != nil && (*f.Annotations)["topic"] == "cron-function" {
			scheduled = append(scheduled, f.Service)
		}
	}
	if !slices.Equal(scheduled, []string{"matcher"}) {
		t.Errorf("cron calls %q", scheduled)
	}
}
