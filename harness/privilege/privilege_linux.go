package privilege

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

const netRaw = uint32(1) << unix.CAP_NET_RAW

// opening is held while the capability may be in force on a thread: lowering it on all would take it from that one.
var opening sync.Mutex

// Grant gives the command that lets the running program capture without root, for messages.
func Grant() string {
	program := "$(which tollgate)"
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			program = real
		}
	}
	return "sudo setcap cap_net_raw+ep " + program
}

// With calls open with CAP_NET_RAW in force on the calling thread, where the process may have it, and takes it away
// again, from all threads. Open must do its work on the calling goroutine. Open's own error comes first.
func With(open func() error) error {
	opening.Lock()
	defer opening.Unlock()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	set, err := current()
	if err != nil || os.Geteuid() == 0 || set[0].Permitted&netRaw == 0 {
		return open() // it tells itself what it may not do
	}
	was := set[0].Effective & netRaw
	if was == 0 {
		if err := raise(set); err != nil {
			return err
		}
	}
	err = open()
	set[0].Effective &^= netRaw
	lower := apply
	if was != 0 {
		lower = applyToAll
	}
	if err := errors.Join(err, lower(set)); err != nil {
		return err
	}
	return nil
}

// Renounce takes CAP_NET_RAW from every thread of the process, for good. It does nothing to a process of root's.
func Renounce() error {
	opening.Lock()
	defer opening.Unlock()
	set, err := current()
	if err != nil || os.Geteuid() == 0 {
		return err
	}
	set[0].Effective &^= netRaw
	set[0].Permitted &^= netRaw
	set[0].Inheritable &^= netRaw
	return applyToAll(set)
}

// sets are a thread's capabilities, in two halves.
type sets [2]unix.CapUserData

func header() *unix.CapUserHeader {
	return &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // process 0: the calling thread
}

func current() (sets, error) {
	var s sets
	if err := unix.Capget(header(), &s[0]); err != nil {
		return s, fmt.Errorf("read the thread's capabilities: %w", err)
	}
	return s, nil
}

func raise(s sets) error {
	s[0].Effective |= netRaw
	return apply(s)
}

func apply(s sets) error {
	if err := unix.Capset(header(), &s[0]); err != nil {
		return fmt.Errorf("change the thread's capabilities: %w", err)
	}
	return nil
}

// applyToAll does it on all threads, those of C libraries too.
func applyToAll(s sets) error {
	h := header()
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(h)), uintptr(unsafe.Pointer(&s[0])), 0)
	if errno != 0 {
		return fmt.Errorf("change the capabilities of all threads: %w", errno)
	}
	return nil
}
