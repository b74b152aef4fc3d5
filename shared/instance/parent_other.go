//go:build !linux

package instance

import "syscall"

// dieWithParent does nothing where the kernel offers nothing: after kill -9 of
// the parent its nodes have to be stopped by hand.
func dieWithParent(*syscall.SysProcAttr) {}
