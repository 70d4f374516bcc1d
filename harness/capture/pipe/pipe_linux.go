package pipe

import "golang.org/x/sys/unix"

// fionread asks how many bytes can be read (ioctl_pipe(2)); Linux calls it TIOCINQ too.
const fionread = unix.TIOCINQ

// pipeSize is what a pipe shall hold: the most that anybody may ask for by default (pipe(7)).
const pipeSize = 1 << 20

// widen makes a pipe hold more, where it is one and the system allows it: a capturing program that has to wait for us
// loses packets meanwhile.
func widen(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) }
