//go:build !linux && !darwin

package pipe

import (
	"errors"
	"io"
	"os"
)

// exact does nothing: here a pipe can't be asked how much lies in it, and Flush waits for quiet.
func (m *meter) exact() {}

// openPath opens a file, or a named pipe that has a writer.
func openPath(path string) (src io.ReadCloser, isFIFO bool, err error) {
	if path != "-" {
		src, err = os.Open(path)
		return src, false, err
	}
	src, err = openStdin()
	return src, false, err
}

func openStdin() (io.ReadCloser, error) {
	info, err := os.Stdin.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeCharDevice != 0 {
		return nil, errors.New("open standard input: it is a terminal or a device; pipe a capture into it")
	}
	return os.Stdin, nil
}
