//go:build linux || darwin

package pipe

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

func mkfifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	return path
}

// TestPromisesOnAFIFO: the writer opens the FIFO only when the tap is starting.
func TestPromisesOnAFIFO(t *testing.T) {
	benchtest.Tap(t, func(t *testing.T) benchtest.TapFixture {
		path := mkfifo(t)
		tap, err := New(Options{Path: path})
		require.NoError(t, err)
		writers := make(chan *os.File, 1)
		return benchtest.TapFixture{
			Tap: tap, Text: textOf,
			Started: func() {
				w, err := os.OpenFile(path, os.O_WRONLY, 0) // waits for the tap
				if err == nil {
					t.Cleanup(func() { _ = w.Close() })
					_, err = w.Write(header())
				}
				if err != nil {
					t.Error(err)
				}
				writers <- w
			},
			Send: func(t *testing.T, texts ...string) {
				w := <-writers
				sender(w)(t, texts...)
				writers <- w
			},
			Break: func(t *testing.T) { require.NoError(t, (<-writers).Close()) },
			Mend: func(t *testing.T) {
				w, err := os.OpenFile(path, os.O_WRONLY, 0)
				require.NoError(t, err)
				t.Cleanup(func() { _ = w.Close() })
				_, err = w.Write(header())
				require.NoError(t, err)
				writers <- w
			},
		}
	})
}

func TestFIFOWithoutAWriter(t *testing.T) {
	tap, err := New(Options{Path: mkfifo(t)})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, tap.Start(ctx, func(pcap.Record) {}), "no capture header came: context deadline exceeded")
	require.NoError(t, tap.Close())
}

// TestStdin: standard input is a pipe; what shares it finds it afterwards as it was.
func TestStdin(t *testing.T) {
	var ends [2]int
	require.NoError(t, unix.Pipe(ends[:]))
	in := os.NewFile(uintptr(ends[0]), "in") // blocking, as a shell gives it
	w := os.NewFile(uintptr(ends[1]), "out")
	defer func() { require.NoError(t, in.Close()) }()
	src, err := openStdin(in)
	require.NoError(t, err)
	tap, err := New(Options{Name: "stdin", Reader: src})
	require.NoError(t, err)
	_, err = w.Write(append(header(), textRecord("a")...))
	require.NoError(t, err)
	require.NoError(t, tap.Start(limited(t), func(pcap.Record) {}))
	require.NotNil(t, tap.present().meter.reached, "it can be asked")
	require.NoError(t, tap.Flush(limited(t)))
	require.EqualValues(t, 1, tap.Stats().Received)
	require.NoError(t, tap.Close())
	flags, err := unix.FcntlInt(uintptr(ends[0]), unix.F_GETFL, 0)
	require.NoError(t, err)
	require.Zero(t, flags&unix.O_NONBLOCK)
	require.NoError(t, w.Close())

	file := filepath.Join(t.TempDir(), "x.pcap")
	require.NoError(t, os.WriteFile(file, header(), 0o600))
	f, err := os.Open(file)
	require.NoError(t, err)
	src, err = openStdin(f)
	require.NoError(t, err)
	require.NoError(t, src.Close())
	require.NoError(t, f.Close())
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	_, err = openStdin(null)
	require.ErrorContains(t, err, "it is a terminal or a device")
	require.NoError(t, null.Close())
}

// TestTheWholeGroupEnds: what the command started ends with it, though it is asked in vain.
func TestTheWholeGroupEnds(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell: ", err)
	}
	file := filepath.Join(t.TempDir(), "header")
	require.NoError(t, os.WriteFile(file, header(), 0o600))
	pids := filepath.Join(t.TempDir(), "pids")
	tap, err := New(Options{Command: []string{sh, "-c", "trap '' TERM; sleep 1000 & echo $! > " + pids + "; cat " + file + "; wait; sleep 1000"}})
	require.NoError(t, err)
	require.NoError(t, tap.Start(limited(t), func(pcap.Record) {}))
	require.NoError(t, tap.Close())
	text, err := os.ReadFile(pids)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return gone(pid) }, within, time.Millisecond)
}

// gone says whether a process has ended; one that nobody has waited for yet has.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && bytes.Contains(stat, []byte(") Z "))
}

// TestFlushUnderLoad: a writer goes on without a pause; each Flush returns all the same, with all that was written
// before it.
func TestFlushUnderLoad(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	tap, err := New(Options{Name: "t", Reader: r})
	require.NoError(t, err)
	_, err = w.Write(header())
	require.NoError(t, err)
	require.NoError(t, tap.Start(limited(t), func(pcap.Record) {}))
	one := textRecord(strings.Repeat("0123456789", 100))
	ask, told, stopped := make(chan struct{}), make(chan uint64), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := uint64(0); ; n++ {
			select {
			case _, more := <-ask:
				if !more {
					return
				}
				told <- n
			default:
			}
			if _, err := w.Write(one); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 40 {
		ask <- struct{}{}
		written := <-told
		require.NoError(t, tap.Flush(limited(t)))
		require.GreaterOrEqual(t, tap.Stats().Received, written)
	}
	close(ask)
	<-stopped
	require.NoError(t, tap.Close())
	require.NoError(t, w.Close())
}
