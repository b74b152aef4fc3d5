package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

var errNoInstaller = errors.New("no package manager that we know can install it")

// packages are what a program is called by the package managers.
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

// Install installs programs by the machine's package manager: apt-get as root on
// Debian and its kin, or Homebrew.
func Install(ctx context.Context, programs []string, say func(string, ...any)) error {
	names := strings.Join(programs, " and ")
	switch {
	case os.Geteuid() == 0 && isProgram("apt-get"):
		say("installing %s with apt-get", names)
		return aptGet(ctx, programs)
	case isProgram("brew"):
		say("installing %s with Homebrew", names)
		args := []string{"install"}
		for _, p := range programs {
			args = append(args, strings.Fields(packages[p].brew)...)
		}
		return run(ctx, nil, "brew", args...)
	case os.Geteuid() != 0 && isProgram("apt-get"):
		return fmt.Errorf("%s is not installed and only root can install it: run `sudo apt-get install %s`, or set RABBITMQ_URL and REDIS_URL: %w",
			names, strings.Join(debianPackages(programs), " "), errNoInstaller)
	default:
		return fmt.Errorf("%s is not installed: install it with your package manager, or Docker with its compose plugin, or set RABBITMQ_URL and REDIS_URL: %w",
			names, errNoInstaller)
	}
}

func debianPackages(programs []string) []string {
	var names []string
	for _, p := range programs {
		names = append(names, strings.Fields(packages[p].debian)...)
	}
	return names
}

// policyFile is asked by Debian's packages before they start a service.
const policyFile = "/usr/sbin/policy-rc.d"

// aptGet installs packages without starting the services that come with them:
// ours are private.
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
