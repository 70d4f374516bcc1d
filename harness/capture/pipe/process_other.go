//go:build !unix

package pipe

import (
	"os"
	"syscall"
)

// ownGroup is nothing: here only the command itself is ended, not what it started.
func ownGroup() *syscall.SysProcAttr { return nil }

// interrupt can't ask: it ends the command.
func interrupt(p *os.Process) { _ = p.Kill() } // gone already: so much the better

func kill(p *os.Process) { _ = p.Kill() } // as above
