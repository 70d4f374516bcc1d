//go:build linux || darwin

package pipe

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// exact makes the meter take from a file without ever holding bytes that are neither in the pipe nor counted: each
// read(2) and its counting happen under the lock under which Flush asks how many bytes lie in the pipe. The lock is
// never held by a read that waits, so only files that don't block are taken this way.
func (m *meter) exact() {
	f, ok := m.src.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := f.SyscallConn()
	if err != nil || !neverBlocks(raw) {
		return
	}
	_ = raw.Control(widen) // only fails on a closed file, as reading will
	m.take = func(p []byte) (int, error) { return m.takeRaw(raw, p) }
	m.reached = func() (uint64, error) {
		untaken, err := inPipe(raw)
		return m.taken + untaken, err
	}
}

// neverBlocks says whether a read of the file returns at once, with or without bytes.
func neverBlocks(raw syscall.RawConn) bool {
	ok := false
	err := raw.Control(func(fd uintptr) {
		var st unix.Stat_t
		if unix.Fstat(int(fd), &st) != nil {
			return
		}
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		ok = st.Mode&unix.S_IFMT == unix.S_IFREG || err == nil && flags&unix.O_NONBLOCK != 0
	})
	return err == nil && ok
}

// inPipe gives how many bytes lie in the file untaken.
func inPipe(raw syscall.RawConn) (uint64, error) {
	var n int
	var err error
	if outer := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), fionread) }); outer != nil {
		return 0, outer
	}
	return uint64(max(n, 0)), err
}

func (m *meter) takeRaw(raw syscall.RawConn, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	var n int
	var err error
	outer := raw.Read(func(fd uintptr) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		for {
			if n, err = unix.Read(int(fd), p); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if errors.Is(err, unix.EAGAIN) {
			return false // raw.Read calls again when there is something
		}
		m.took(n)
		return true
	})
	switch {
	case outer != nil:
		return 0, outer
	case err != nil:
		return 0, fmt.Errorf("read the stream: %w", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// openPath opens a FIFO, a file, or standard input. It does not wait for a FIFO's writer: reading does.
// It says whether it is a FIFO.
func openPath(path string) (src io.ReadCloser, isFIFO bool, err error) {
	if path == "-" {
		src, err = openStdin(os.Stdin)
		return src, false, err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, false, hintFIFO(path, err)
	case info.IsDir():
		return nil, false, fmt.Errorf("open %s: a directory, not a stream", path)
	case info.Mode().Type() == fs.ModeNamedPipe:
		src, err = openFIFO(path)
		return src, true, err
	}
	src, err = os.Open(path)
	return src, false, err
}

func openFIFO(path string) (io.ReadCloser, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	// A FIFO without a writer reads as ended. One writer of our own, kept until the first bytes come, makes reading wait
	// for the true one instead.
	own, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("wait for a writer of %s: %w", path, err)
	}
	return fifo{f, own}, nil
}

func hintFIFO(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; make it with mkfifo %s", err, path)
	}
	return err
}

// fifo is a named pipe with a writer of our own until its first bytes have come.
type fifo struct {
	*os.File
	own *os.File
}

// Read implements io.Reader.
func (f fifo) Read(p []byte) (int, error) {
	defer f.letGo()
	return f.File.Read(p)
}

// letGo closes our own writer; all but the first time it is closed already.
func (f fifo) letGo() { _ = f.own.Close() }

// Close closes both ends.
func (f fifo) Close() error {
	f.letGo()
	return f.File.Close()
}

// SyscallConn implements syscall.Conn: reading through it lets our own writer go too.
func (f fifo) SyscallConn() (syscall.RawConn, error) {
	raw, err := f.File.SyscallConn()
	return fifoConn{raw, f}, err
}

type fifoConn struct {
	syscall.RawConn
	fifo fifo
}

func (c fifoConn) Read(do func(fd uintptr) bool) error {
	defer c.fifo.letGo()
	return c.RawConn.Read(do)
}

// stdin is a duplicate of standard input that reading does not block on; Close puts that right again, for the other
// processes that share it.
type stdin struct{ *os.File }

func openStdin(in *os.File) (io.ReadCloser, error) {
	info, err := in.Stat()
	if err != nil {
		return nil, fmt.Errorf("open standard input: %w", err)
	}
	if info.Mode()&fs.ModeCharDevice != 0 {
		return nil, errors.New("open standard input: it is a terminal or a device; pipe a capture into it: tcpdump -U -w - | …")
	}
	raw, err := in.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("open standard input: %w", err)
	}
	fd := -1
	if outer := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); outer != nil || err != nil {
		return nil, fmt.Errorf("open standard input: %w", errors.Join(outer, err))
	}
	if info.Mode().IsRegular() {
		return os.NewFile(uintptr(fd), "standard input"), nil
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("open standard input: %w", err), unix.Close(fd))
	}
	return stdin{os.NewFile(uintptr(fd), "standard input")}, nil
}

func (s stdin) Close() error {
	if raw, err := s.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetNonblock(int(fd), false) }) // as we found it
	}
	return s.File.Close()
}
