package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"parkstream/cmd/internal/system"
)

type downCommand struct {
	Dir     string        `default:".parkstream" help:"Folder of the data, as given to 'up'."`
	Timeout time.Duration `default:"90s" help:"How long to wait for it to end."`
}

// Run ends the `parkstream up` of the folder and waits until it has ended.
func (c downCommand) Run(ctx context.Context) error {
	pid, err := system.Locked(c.Dir)
	if err != nil {
		return err
	}
	if pid == 0 {
		fmt.Printf("nothing runs in %s\n", c.Dir)
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	fmt.Fprintf(os.Stderr, "stopping process %d\n", pid)
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if now, err := system.Locked(c.Dir); err != nil || now != pid {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("process %d did not end within %s", pid, c.Timeout)
		}
	}
}
