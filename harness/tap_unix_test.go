//go:build unix

package harness_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tollgate-iot/tollgate/harness"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// A writer that ends leaves a span in which nothing was captured: it is told while it lasts, and breaks the capture.
func TestTapThatWasOut(t *testing.T) {
	b, err := os.ReadFile("../fixtures/captures/wio-lte-http.pcap")
	require.NoError(t, err)
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(fifo, b, 0) }()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	told, file := 0, filepath.Join(t.TempDir(), "night.pcapng")
	r, err := harness.Tap(ctx, harness.TapOptions{Name: "pipe", Words: []string{"path=" + fifo}, Write: file, Every: 1e6, Tell: func(v harness.TapView) {
		if told = len(v.Outages); told > 0 && v.Taken == 17 {
			end()
		}
	}})
	require.NoError(t, err)
	require.NoError(t, <-written)
	require.Equal(t, 1, told)
	require.EqualValues(t, 17, r.Taken)
	require.Len(t, r.Outages, 1)
	require.True(t, r.Outages[0].To.IsZero())
	require.Equal(t, trace.Broken, r.Capture.Completeness.State)
	require.Contains(t, r.Capture.Completeness.Reasons[0], "tap pipe did not capture from ")

	c, err := trace.ReadFiles([]string{file}, "night.pcapng", trace.Options{})
	require.NoError(t, err)
	require.Equal(t, trace.Broken, c.Completeness.State, "the recording tells the same")
	require.Regexp(t, `^tap pipe did not capture for .* from .* on: `+regexp.QuoteMeta(r.Outages[0].Cause)+`$`, c.Completeness.Reasons[0])
}
