package runner

import (
	"os"
	"os/exec"
	"syscall"
)

// ownMounts gives a command mounts of its own, and says whether it may.
func ownMounts(cmd *exec.Cmd) bool {
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return os.Geteuid() == 0
}

// mountSmall mounts an empty disk of a size, for this process and its children alone.
func mountSmall(dir, size string) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
}
