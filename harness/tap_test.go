package harness_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// A tap that broke is no capture to rely on, whatever its packets show.
func TestTapThatBroke(t *testing.T) {
	b, err := os.ReadFile("../fixtures/captures/wio-lte-http.pcap")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "cut.pcap")
	require.NoError(t, os.WriteFile(file, b[:len(b)-10], 0o644))
	r, err := harness.Tap(t.Context(), harness.TapOptions{Name: "file", Words: []string{"path=" + file}})
	require.NoError(t, err)
	require.Equal(t, harness.TapBroke, r.End)
	require.Equal(t, trace.Broken, r.Capture.Completeness.State)
	require.Contains(t, r.Capture.Completeness.Reasons, "tap file failed: "+r.Err.Error())
}
