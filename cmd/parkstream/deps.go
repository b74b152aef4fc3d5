package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"parkstream/cmd/parkstream/internal/services"
	"parkstream/shared/instance"
)

type depsCommand struct{}

// Run installs what is missing and says so.
func (depsCommand) Run(ctx context.Context) error {
	var missing []string
	if !instance.RabbitMQInstalled() {
		missing = append(missing, "RabbitMQ")
	}
	if !instance.RedisInstalled() {
		missing = append(missing, "Redis")
	}
	// The race detector needs cgo.
	if _, err := exec.LookPath("cc"); err != nil {
		missing = append(missing, "a C compiler")
	}
	if len(missing) == 0 {
		return nil
	}
	return services.Install(ctx, missing, func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	})
}
