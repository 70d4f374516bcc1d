//go:build unix

package pipe

import (
	"os"
	"syscall"
)

// ownGroup makes the command the leader of a process group of its own.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// interrupt asks the whole group to end. tcpdump then tells what it dropped.
func interrupt(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGTERM) } // gone already: so much the better

// kill ends whatever is left of the group.
func kill(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) } // as above
