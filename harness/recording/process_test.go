package recording

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/trace"
)

// childFile names, in the environment of a process that a test starts, the recording that it is to write.
const childFile = "TOLLGATE_TEST_RECORDING"

// child records without end where this process is one that a test has started, telling after each flush how many frames
// that was.
func child() bool {
	file := os.Getenv(childFile)
	if file == "" {
		return false
	}
	r, err := Create(Options{File: file, Rotate: 1 << 20})
	if err != nil {
		fmt.Println(err)
		return true
	}
	for n := 1; ; n++ {
		r.Write("tap", frame(n, 60+n%1400))
		if n%500 == 0 {
			r.Flush()
			fmt.Println(n)
		}
	}
}

// A process that is killed leaves all that it had flushed: every file can be read, none is damaged, and the last one says
// that it was not completed.
func TestKilled(t *testing.T) {
	first := filepath.Join(t.TempDir(), "capture.pcapng")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFile+"="+first)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines, flushed := bufio.NewScanner(out), 0
	for range 20 {
		require.True(t, lines.Scan(), "it ended by itself")
		flushed, err = strconv.Atoi(lines.Text())
		require.NoError(t, err, lines.Text())
	}
	require.NoError(t, cmd.Process.Kill())
	for lines.Scan() {
		flushed, err = strconv.Atoi(lines.Text())
		require.NoError(t, err, lines.Text())
	}
	require.Error(t, cmd.Wait(), "it was killed")

	files, err := trace.Parts(first)
	require.NoError(t, err)
	require.Greater(t, len(files), 2)
	n := 0
	for i, p := range readParts(t, first) {
		require.Equal(t, i == len(files)-1, p.cut, "part %d", i+1)
		for _, rec := range p.records {
			n++
			require.Equal(t, n, number(rec))
		}
	}
	require.GreaterOrEqual(t, n, flushed)

	c, err := trace.ReadFiles(files, "capture.pcapng", trace.Options{})
	require.NoError(t, err)
	require.True(t, c.Cut)
	require.Empty(t, c.Damage)
	require.EqualValues(t, n, c.Frames)
	require.Equal(t, trace.Broken, c.Completeness.State)
	require.Contains(t, strings.Join(c.Completeness.Reasons, "\n"), "the recording was not written to its end")
}
