package test

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"parkstream/shared/eventually"
)

// A car park is simulated while the camera function and the connector are killed: each
// read of the truth is accounted for.
func TestSimulation(t *testing.T) {
	s := startSystem(t, t.TempDir(), "--no-cron")
	truth := filepath.Join(t.TempDir(), "truth")
	flags := []string{"--gateway", s.gateway, "--token-file", filepath.Join(s.dir, "secrets", "admin-token")}
	run := exec.CommandContext(t.Context(), s.program, append([]string{
		"simulate", "--duration", "1h", "--pace", "900", "--visits", "2000", "--truth", truth,
	}, flags...)...)
	output := new(lockedBuffer)
	run.Stdout, run.Stderr = output, output
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	s.killAfter(t, 50, s.functionPID(t, "camera"))
	s.killAfter(t, 150, s.connectorPID(t))
	if err := run.Wait(); err != nil {
		t.Fatalf("simulate: %v\n%s", err, output)
	}
	checked, err := s.run(append([]string{"simulate", "check", truth}, flags...)...)
	if err != nil || !strings.Contains(checked, "Every read is accounted for.") {
		t.Errorf("%v\n%s\n%s", err, output, checked)
	}
	t.Logf("%s\n%s", output, checked)
}

// killAfter kills a process when so many events of the simulated site are done.
func (s *system) killAfter(t *testing.T, events, pid int) {
	t.Helper()
	eventually.Succeeds(t, "simulated events are done", func() error {
		var site struct{ Totals totals }
		err := s.tryGet(t, "/function/summary/sites/simulated", &site)
		if n := site.Totals.Entries + site.Totals.Exits; err == nil && n < events {
			err = fmt.Errorf("%d events are done, want %d", n, events)
		}
		return err
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("kill process %d: %v", pid, err)
	}
}

// connectorPID returns the process of the connector.
func (s *system) connectorPID(t *testing.T) (pid int) {
	t.Helper()
	eventually.Succeeds(t, "the connector runs", func() error {
		processes, err := listProcesses()
		if err != nil {
			return err
		}
		for _, p := range processes {
			if len(p.args) == 2 && p.parent == s.cmd.Process.Pid && p.args[1] == "connector" {
				pid = p.pid
				return nil
			}
		}
		return errors.New("no process is the connector")
	})
	return pid
}
