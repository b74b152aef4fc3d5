package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"parkstream/shared/eventually"
	"parkstream/shared/redis"
)

func (s *system) rabbitMQPID(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "rabbitmq", "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func (s *system) redisPID(t *testing.T) int {
	t.Helper()
	client, err := redis.Open(redis.URL(s.secret(t, "redis-url")))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	info, err := client.Current().InfoMap(t.Context(), "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(info["Server"]["process_id"])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// functionPID waits for the process that serves a function.
func (s *system) functionPID(t *testing.T, name string) (pid int) {
	t.Helper()
	eventually.Succeeds(t, "the function runs", func() (err error) {
		pid, err = s.findFunction(name)
		return err
	})
	return pid
}

// findFunction finds the process that serves a function now.
func (s *system) findFunction(name string) (pid int, err error) {
	processes, err := listProcesses()
	if err != nil {
		return 0, fmt.Errorf("list the processes: %w", err)
	}
	for _, p := range processes {
		if len(p.args) == 3 && p.parent == s.cmd.Process.Pid && p.args[1] == "function" && p.args[2] == name {
			return p.pid, nil
		}
	}
	return 0, fmt.Errorf("no process serves %s", name)
}

type processInfo struct {
	pid, parent int
	args        []string
}

// listProcesses reads /proc, since a bare Debian has no ps, or else asks ps.
func listProcesses() (list []processInfo, err error) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		text, err1 := os.ReadFile(stat)
		args, err2 := os.ReadFile(filepath.Join(filepath.Dir(stat), "cmdline"))
		// pid (name) state parent ...; the name may have blanks
		_, rest, found := strings.Cut(string(text), ") ")
		f := strings.Fields(rest)
		if errors.Join(err1, err2) != nil || !found || len(f) < 2 {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		parent, _ := strconv.Atoi(f[1])
		list = append(list, processInfo{pid, parent, strings.Split(strings.TrimSuffix(string(args), "\x00"), "\x00")})
	}
	if len(stats) > 0 {
		return list, nil
	}
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,args=").Output()
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 2 {
			pid, _ := strconv.Atoi(f[0])
			parent, _ := strconv.Atoi(f[1])
			list = append(list, processInfo{pid, parent, f[2:]})
		}
	}
	return list, err
}
