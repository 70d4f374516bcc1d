package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// waiting is the Wio LTE's GET, with a wait in place of an await: what passes is known when the run ends.
const waiting = `name: wio-lte/waiting
device: {model: wio-lte}
setup:
  - device.activate: {apn: soracom.io, user: sora, password: sora}
steps:
  - window: get
    steps:
      - device.http_get: http://beam.soracom.io:8888/
      - wait: 70s
cleanup:
  - device.deactivate:
expect: wio-lte/beam-http
`

// A run whose packets come from the carrier's packet capture session is judged as one at the mirror is. The carrier's count
// proves it; where the session's file lacks a packet, nothing passes that can't be known.
func TestRunWithTheCarriersCapture(t *testing.T) {
	needsSim(t)
	file := filepath.Join(t.TempDir(), "waiting.yaml")
	require.NoError(t, os.WriteFile(file, []byte(waiting), 0o644))
	for sim, want := range map[string]verdict.Verdict{
		"tap=peek":               verdict.Pass,
		"tap=peek,mirror_lose=7": verdict.Inconclusive,
		"tap=mirror":             verdict.Pass,
	} {
		r, err := Run(t.Context(), file, Options{Out: t.TempDir(), Sim: sim, Strict: true})
		require.NoError(t, err, sim)
		require.Equal(t, want, r.Verdict, "%s: %s %+v", sim, r.Trace.Trouble, r.Findings)
		e := r.Trace.Evidence.Taps[0]
		require.True(t, e.CanaryBefore && e.CanaryAfter && e.Flushed, "%s: %+v", sim, e)
		if strings.HasPrefix(sim, "tap=peek") {
			require.NotEmpty(t, e.Doubt)
		}
		noSecretLinks(t, r.Dir)
	}
}

// noSecretLinks holds that nothing of a run directory is a link to a session's file.
func noSecretLinks(t *testing.T, dir string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		require.NotContains(t, string(text), "signature=", e.Name())
	}
}

// The plan says so before the run where something would wait for packets that come at its end.
func TestNothingAwaitsTheCarriersCapture(t *testing.T) {
	_, err := Run(t.Context(), "wio-lte/beam-http", Options{Out: t.TempDir(), Sim: "tap=peek"})
	var errs scenario.Errors
	require.ErrorAs(t, err, &errs)
	require.ErrorContains(t, err, "scenarios/wio-lte/beam-http.yaml:20:16: await quiet needs packets while the run goes on")
}
