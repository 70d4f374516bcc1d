//go:build !linux && !darwin

package sim

import (
	"fmt"
	"os"
	"runtime"
)

// terminal stands in for a pseudo terminal where there is none.
type terminal struct {
	master *os.File
}

func openTerminal() (*terminal, error) {
	return nil, fmt.Errorf("the simulated bench needs a pseudo terminal, which Tollgate can't make on %s: "+
		"use linux or macOS, or a bench of real devices", runtime.GOOS)
}

func (*terminal) path() string { return "" }

func (t *terminal) close() error { return t.master.Close() }
