package trace_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// Only a recording goes on in other files; any other capture may have neighbours of such names.
func TestFilesOf(t *testing.T) {
	dir := t.TempDir()
	plain, recorded := filepath.Join(dir, "night.pcapng"), filepath.Join(dir, "day.pcapng")
	writeCapture(t, plain, synth.ButtonClick(synth.Options{}))
	f, err := os.Create(recorded)
	require.NoError(t, err)
	w, err := pcap.NewWriter(f, pcap.Section{Application: pcap.Recording})
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	require.NoError(t, f.Close())
	for _, name := range []string{"night-0002.pcapng", "night-2026.pcapng", "day-0002.pcapng"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	got, err := trace.FilesOf(plain)
	require.NoError(t, err)
	require.Equal(t, []string{plain}, got)
	got, err = trace.FilesOf(recorded)
	require.NoError(t, err)
	require.Equal(t, []string{recorded, filepath.Join(dir, "day-0002.pcapng")}, got)
	got, err = trace.FilesOf(filepath.Join(dir, "night-2026.pcapng"))
	require.NoError(t, err)
	require.Len(t, got, 1, "it is empty, which its reader tells")
	_, err = trace.FilesOf(filepath.Join(dir, "none.pcapng"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}
