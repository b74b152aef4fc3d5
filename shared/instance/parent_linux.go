package instance

import "syscall"

// dieWithParent has the kernel kill the child when we are killed, so that
// kill -9 leaves nothing behind.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
