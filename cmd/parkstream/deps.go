package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"parkstream/cmd/internal/services"
	"parkstream/shared/instance"
)

// macChrome is the path of Chrome on macOS.
const macChrome = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"

// dependencies are what the tests need.
var dependencies = []struct {
	name      string
	installed func() bool
}{
	{"RabbitMQ", instance.RabbitMQInstalled},
	{"Redis", instance.RedisInstalled},
	// Its promtool checks the rules and the dashboards.
	{"Prometheus", instance.PrometheusInstalled},
	// The test of the page drives one. Nothing else needs it.
	{"Chromium", func() bool {
		return slices.ContainsFunc([]string{"chromium", "chromium-browser", "google-chrome", macChrome}, isProgram)
	}},
	// The test of the page gets axe-core with it.
	{"npm", func() bool { return isProgram("npm") }},
	// The race detector needs cgo.
	{"a C compiler", func() bool { return isProgram("cc") }},
	// The test of the connector's image builds it; there is none outside of Linux.
	{"buildah", func() bool { return isProgram("buildah") || runtime.GOOS != "linux" }},
	// A test builds a locale with an unusual order for Redis.
	{"the source of locales", func() bool {
		_, err := os.Stat("/usr/share/i18n/locales/da_DK")
		return err == nil || runtime.GOOS != "linux"
	}},
}

// dependencyNames lists them for the help.
func dependencyNames() string {
	names := make([]string, len(dependencies))
	for i, d := range dependencies {
		names[i] = d.name
	}
	return strings.Join(names, ", ")
}

type depsCommand struct{}

// Run installs and reports what is missing.
func (depsCommand) Run(ctx context.Context) error {
	var missing []string
	for _, d := range dependencies {
		if !d.installed() {
			missing = append(missing, d.name)
		}
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
