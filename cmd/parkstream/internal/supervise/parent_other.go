//go:build !linux

package supervise

import "syscall"

// dieWithParent does nothing where the kernel offers nothing.
func dieWithParent(*syscall.SysProcAttr) {}
