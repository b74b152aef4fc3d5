package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"

	"parkstream/cmd/parkstream/internal/services"
	"parkstream/shared/instance"
)

// macChrome is where macOS has its browsers.
const macChrome = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"

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
	// Its promtool checks the rules and the dashboards.
	if !instance.PrometheusInstalled() {
		missing = append(missing, "Prometheus")
	}
	// The test of the page drives one. Nothing else needs it.
	if !slices.ContainsFunc([]string{"chromium", "chromium-browser", "google-chrome", macChrome}, isProgram) {
		missing = append(missing, "Chromium")
	}
	// The test of the page gets axe-core with it.
	if !isProgram("npm") {
		missing = append(missing, "npm")
	}
	// The race detector needs cgo.
	if !isProgram("cc") {
		missing = append(missing, "a C compiler")
	}
	// Of one that sorts otherwise than most a test makes a locale for Redis.
	if _, err := os.Stat("/usr/share/i18n/locales/da_DK"); err != nil && runtime.GOOS == "linux" {
		missing = append(missing, "the source of locales")
	}
	if len(missing) == 0 {
		return nil
	}
	return services.Install(ctx, missing, func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	})
}

func isProgram(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}
