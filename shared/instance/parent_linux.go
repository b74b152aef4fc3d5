package instance

import "syscall"

// dieWithParent has the kernel kill the child when we are killed, so that
// kill -9 leaves nothing behind.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// dataFolder is RabbitMQ's, below the folder in which it runs. It is absolute, since
// RabbitMQ makes it so and gives it to a shell to see how much room the disk has: the
// shell takes what is special in our folder's name apart.
const dataFolder = "/proc/self/cwd/data"
