//go:build linux || darwin

package sim

import (
	"errors"
	"fmt"
	"os"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// terminal is a pseudo terminal. The simulation keeps both ends: without the slave's the master gives errors whenever
// no program has the port open.
type terminal struct {
	master, slave *os.File
}

// openTerminal makes a pseudo terminal in raw mode: as a serial port, bytes pass it as they are and none comes back as
// an echo.
func openTerminal() (*terminal, error) {
	blocking, slave, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("make a pseudo terminal for the simulated board: %w", err)
	}
	if err := makeRaw(int(slave.Fd())); err != nil {
		return nil, errors.Join(fmt.Errorf("make %s raw: %w", slave.Name(), err), blocking.Close(), slave.Close())
	}
	master, err := pollable(blocking)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the master of %s pollable: %w", slave.Name(), err), slave.Close())
	}
	return &terminal{master: master, slave: slave}, nil
}

// pollable gives the file in a form whose Close ends a Read in progress, and closes the one given.
func pollable(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd), f.Close())
	}
	return os.NewFile(uintptr(fd), f.Name()), f.Close()
}

func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return err
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, setTermios, t)
}

// path is the name under which a serial library opens it.
func (t *terminal) path() string { return t.slave.Name() }

func (t *terminal) close() error { return errors.Join(t.master.Close(), t.slave.Close()) }
