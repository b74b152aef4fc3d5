//go:build !linux

package instance

import "syscall"

// dieWithParent does nothing where the kernel offers nothing: after kill -9 of
// the parent its nodes have to be stopped by hand.
func dieWithParent(*syscall.SysProcAttr) {}

// dataFolder is RabbitMQ's, below the folder in which it runs, whose name must have
// no quote here: RabbitMQ gives it to a shell.
const dataFolder = "data"
