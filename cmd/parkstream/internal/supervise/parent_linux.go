package supervise

import "syscall"

// dieWithParent has the kernel kill the child when we are killed.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
