//go:build unix

package recording

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A pipe is refused at once: to open one waits for its reader, and nobody can go back in it.
func TestNoRecordingInAPipe(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	_, err := Create(Options{File: fifo})
	require.EqualError(t, err, "begin recording: "+fifo+" is a pipe, in which a recording can't be completed at its end: record on standard output (-), and lead that into it")
}
