package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"parkstream/cmd/internal/eventfile"
	"parkstream/shared/broker"
	"parkstream/shared/eventually"
	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
)

var stopShared = func() {}

// startShared starts a RabbitMQ for all tests that want one.
var startShared = sync.OnceValues(func() (*instance.RabbitMQ, error) {
	node, stop, err := instancetest.SharedRabbitMQ()
	if err == nil {
		stopShared = stop
	}
	return node, err
})

func rabbitMQ(t *testing.T) *instance.RabbitMQ {
	t.Helper()
	node, err := startShared()
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// TestMain is also the program that the tests run as a child.
func TestMain(m *testing.M) {
	if os.Getenv("PARKSTREAM_TEST_CHILD") != "" {
		os.Exit(run())
	}
	code := m.Run()
	stopShared()
	os.Exit(code)
}

// A program whose terminal is closed stops cleanly, as after SIGTERM, unless nohup
// has it go on.
func TestHangup(t *testing.T) {
	node := rabbitMQ(t)
	urlFile := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(urlFile, []byte(node.URL()), 0o600); err != nil {
		t.Fatal(err)
	}
	conn, err := broker.Dial(t.Context(), broker.Config{URLs: broker.URLs(func() (string, error) { return readURLFile(urlFile) })})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := broker.DeclareQueue(conn, eventfile.Entries); err != nil {
		t.Fatal(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, shell string
		goesOn      bool
	}{
		{"stops", `exec "$@"`, false},
		{"nohup", `trap "" HUP; exec "$@"`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command("/bin/sh", "-c", tt.shell, "sh", os.Args[0], "send", "-", "--rabbitmq-url-file", urlFile)
			cmd.Env = append(os.Environ(), "PARKSTREAM_TEST_CHILD=1")
			var said bytes.Buffer
			cmd.Stderr = &said
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill() }()
			arrives := func(id string) {
				t.Helper()
				fmt.Fprintf(in, "{\"id\":%q,\"vehicle_plate\":\"P\",\"entry_date_time\":\"2026-11-23T08:15:00Z\"}\n", id)
				eventually.True(t, id+" arrives", func() bool {
					d, found, err := ch.Get(eventfile.Entries, true)
					if err != nil {
						t.Fatal(err)
					}
					return found && d.MessageId == id
				})
			}
			arrives("1")
			if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			if tt.goesOn {
				arrives("2")
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(said.String(), "interrupted: ") {
				t.Errorf("exit code %d: %s", code, said.String())
			}
		})
	}
}

// The former subcommand names the benchmark's program, whatever the flags.
func TestBenchNamesItsProgram(t *testing.T) {
	cmd := exec.Command(os.Args[0], "bench", "--small", "--only", "drain")
	cmd.Env = append(os.Environ(), "PARKSTREAM_TEST_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "bin/parkstream-bench") {
		t.Errorf("%v: %s", err, out)
	}
}
