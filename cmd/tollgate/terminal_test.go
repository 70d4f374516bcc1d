package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/trace"
)

// terminal gives both ends of a pseudo terminal so many columns wide.
func terminal(t *testing.T, width uint16) (screen, tty *os.File) {
	t.Helper()
	screen, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	t.Cleanup(func() { tty.Close(); screen.Close() })
	require.NoError(t, pty.Setsize(screen, &pty.Winsize{Rows: 24, Cols: width}))
	return screen, tty
}

func TestStyleOfTerminals(t *testing.T) {
	_, tty := terminal(t, 72)
	t.Setenv("TERM", "xterm")
	t.Setenv("COLUMNS", "")
	t.Setenv("NO_COLOR", "")
	a := &app{out: heard(tty)}
	require.True(t, a.style().Color)
	require.Equal(t, 72, a.style().Width)

	t.Setenv("COLUMNS", "90")
	require.Equal(t, 90, a.style().Width, "who sets it means it")
	t.Setenv("COLUMNS", "3")
	require.Equal(t, leastWidth, a.style().Width)
	t.Setenv("COLUMNS", "")
	t.Setenv("NO_COLOR", "1")
	require.False(t, a.style().Color)
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	require.False(t, a.style().Color)

	a = &app{out: heard(&bytes.Buffer{})}
	require.False(t, a.style().Color)
	require.Zero(t, a.style().Width, "a file has no width")
}

// The line of the step under way never wraps: it could not be taken back.
func TestTheLiveLineFits(t *testing.T) {
	screen, tty := terminal(t, 50)
	t.Setenv("TERM", "xterm")
	t.Setenv("COLUMNS", "")
	tell := (&app{err: tty}).teller(runFlags{})
	require.True(t, tell.live)
	tell.event(trace.Event{Kind: trace.EventRun, State: "begin", Time: time.Unix(1, 0)})
	tell.event(trace.Event{Kind: trace.EventStep, State: "begin", Name: strings.Repeat("é", 80), Time: time.Unix(1, 0)})
	tell.clear()
	buf := make([]byte, 1024)
	n, err := screen.Read(buf)
	require.NoError(t, err)
	require.Equal(t, 49-len("     +0.0 s  "), strings.Count(string(buf[:n]), "é"))
	tell.event(trace.Event{Kind: trace.EventConsole, Text: "not a step"})
	require.False(t, tell.written)
}

// A reader that goes away takes neither the verdict nor the device's cleanup with it.
func TestNobodyReads(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	defer w.Close()
	require.Equal(t, exitFail, execute([]string{"judge", "../../fixtures/captures/wio-lte-http.pcap", "--expect", "wio-lte/http"}, strings.NewReader(""), w, io.Discard))

	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	defer full.Close()
	var said strings.Builder
	require.Equal(t, exitInconclusive, execute([]string{"inspect", "../../fixtures/captures/wio-lte-http.pcap"}, strings.NewReader(""), full, &said), "a full disk is told")
	require.Contains(t, said.String(), "no space left")
}
