package pipe

import "golang.org/x/sys/unix"

// fionread asks how many bytes can be read (ioctl_pipe(2)); Linux calls it TIOCINQ too.
const fionread = unix.TIOCINQ
