package recording

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Stream gives, for Options.Create, an output that can only be written to: standard output, a pipe. A recording into it has
// one part, and none of what a file says of having been completed; once writing fails it is not tried again.
func Stream(out io.Writer) func(string) (File, error) {
	return func(string) (File, error) { return &stream{out}, nil }
}

type stream struct{ out io.Writer }

// errStream marks the errors of streams.
var errStream = errors.New("the stream's reader has gone")

func (s *stream) WriteAt(p []byte, _ int64) (int, error) {
	n, err := s.out.Write(p)
	if err != nil {
		err = fmt.Errorf("%w: %w", errStream, err)
	}
	return n, err
}

func (s *stream) Truncate(int64) error { return errStream }

func (s *stream) Close() error { return nil }

// fresh makes a file of this machine's. What holds anything stays as it is: an earlier recording is evidence, another
// program may be writing it, or it is the very capture that is being replayed.
func fresh(name string) (File, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err == nil {
		return file, nil
	}
	info, missing := os.Stat(name)
	switch {
	case missing != nil:
		return nil, err
	case info.Mode().IsRegular() && info.Size() > 0:
		return nil, fmt.Errorf("%s is there, and is not written over: remove it, or record under another name", name)
	case info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0:
		return nil, fmt.Errorf("%s is a pipe, in which a recording can't be completed at its end: record on standard output (-), and lead that into it", name)
	}
	if file, err = os.OpenFile(name, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	return file, nil
}

// explained adds to an error what can be done where a disk is full.
func explained(err error, dir string) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: make room on the disk that holds %s, or record on another one", err, dir)
	}
	return err
}

// reserve is room on a disk that is given back when it is needed.
type reserve struct {
	file *os.File
	name string
}

// newReserve takes so many bytes; nil where they are not to be had, which is no reason not to record. The file has no name
// any more where the system allows it, so that nothing is left of it when the process is killed.
func newReserve(dir string, size int64) *reserve {
	f, err := os.CreateTemp(dir, ".reserve-*")
	if err != nil {
		return nil
	}
	r := &reserve{file: f, name: f.Name()}
	if os.Remove(r.name) == nil {
		r.name = ""
	}
	// Zeros, written: a size that is only claimed takes no room.
	if _, err := io.CopyN(f, zeros{}, size); err != nil {
		r.release()
		return nil
	}
	return r
}

func (r *reserve) release() {
	if r == nil {
		return
	}
	r.file.Close()
	if r.name != "" {
		os.Remove(r.name)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
