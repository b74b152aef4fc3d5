package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

var errNoInstaller = errors.New("no package manager that we know can install it")

// packages are the names of a program's package by package manager.
var packages = map[string]struct{ debian, brew string }{
	"RabbitMQ":              {"rabbitmq-server", "rabbitmq"},
	"Redis":                 {"redis-server", "redis"},
	"Prometheus":            {"prometheus", "prometheus"},
	"Chromium":              {"chromium", "google-chrome"},
	"npm":                   {"npm", "node"},
	"a C compiler":          {"gcc libc6-dev", ""},
	"buildah":               {"buildah", ""},
	"the source of locales": {"locales", ""},
}

// Install installs programs with the machine's package manager: apt-get as root on
// Debian and its derivatives, or Homebrew. The error names what it could not install,
// and the remedy.
func Install(ctx context.Context, programs []string, say func(string, ...any)) error {
	switch {
	case os.Geteuid() == 0 && isProgram("apt-get"):
		say("installing %s with apt-get", strings.Join(programs, " and "))
		return aptGet(ctx, programs)
	case isProgram("brew"):
		var brewed, names, others []string
		for _, p := range programs {
			if packages[p].brew == "" {
				others = append(others, p)
				continue
			}
			brewed, names = append(brewed, p), append(names, packages[p].brew)
		}
		var err error
		if len(brewed) > 0 {
			say("installing %s with Homebrew", strings.Join(brewed, " and "))
			err = run(ctx, nil, "brew", append([]string{"install"}, names...)...)
		}
		if len(others) > 0 {
			err = errors.Join(err, advise(others))
		}
		return err
	default:
		return advise(programs)
	}
}

// advise returns an error that names how to install programs, or what to use instead.
func advise(programs []string) error {
	advice := []string{"install it with your package manager"}
	switch {
	case isProgram("apt-get"):
		advice[0] = "only root can install it: run `sudo apt-get install " + strings.Join(debianPackages(programs), " ") + "`"
	case slices.Contains(programs, "a C compiler") && isProgram("xcode-select"):
		advice[0] = "run `xcode-select --install`"
	}
	if slices.Contains(programs, "RabbitMQ") || slices.Contains(programs, "Redis") {
		advice = append(advice, "install Docker with its compose plugin", "set RABBITMQ_URL and REDIS_URL")
	}
	if slices.Equal(programs, []string{"buildah"}) {
		advice = append(advice, "leave out the tests of images, which alone need it: CONTRIBUTING.md says how")
	}
	verb := "is"
	if len(programs) > 1 {
		verb = "are"
	}
	return fmt.Errorf("%s %s not installed: %s: %w", strings.Join(programs, " and "), verb, strings.Join(advice, ", or "), errNoInstaller)
}

func debianPackages(programs []string) []string {
	var names []string
	for _, p := range programs {
		names = append(names, strings.Fields(packages[p].debian)...)
	}
	return names
}

// policyFile is the program that Debian's packages ask before they start a service.
const policyFile = "/usr/sbin/policy-rc.d"

// aptGet installs packages without starting their services: Parkstream runs its own.
func aptGet(ctx context.Context, programs []string) error {
	f, err := os.OpenFile(policyFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err == nil {
		defer func() { _ = os.Remove(policyFile) }()
		_, err = f.WriteString("#!/bin/sh\nexit 101\n")
		err = errors.Join(err, f.Close())
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("keep apt-get from starting services: %w", err)
	}
	env := append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if err := run(ctx, env, "apt-get", "update", "-qq"); err != nil {
		return err
	}
	return run(ctx, env, "apt-get", append([]string{"install", "-y", "-qq", "--no-install-recommends"}, debianPackages(programs)...)...)
}

func isProgram(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

func run(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", strings.Join(append([]string{name}, args...), " "), err, out)
	}
	return nil
}
