package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/sim"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// replayBench is a bench with a board on a port of this host, and an old capture in place of a mirror.
const replayBench = `bench: desk
devices:
  wio-1: {driver: wio-lte, port: {path: %s}}
taps:
  replay: {driver: file, path: ../fixtures/captures/wio-lte-beam-http.pcap%s}
`

const replayScenario = `name: replayed
device: {driver: wio-lte}
steps:
  - device.reset:
  - wait: 1s
expect:
  - packets: {up: 8, down: 7}
  - teardown: clean
`

// An old capture stands for a live mirror: its packets pass as if the first were captured as the run begins, so that claims
// about them can be judged; with the times that it was recorded at they lie outside of the run.
func TestRunWithAReplay(t *testing.T) {
	needsSim(t)
	for _, c := range []struct {
		options string
		want    verdict.Verdict
	}{{"", verdict.Pass}, {", times: recorded", verdict.Inconclusive}, {", pace: once", verdict.Pass}} {
		t.Run("options"+c.options, func(t *testing.T) {
			world, err := sim.New(sim.Options{})
			require.NoError(t, err)
			defer world.Close()
			dir := t.TempDir()
			bench, file := filepath.Join(dir, "bench.yaml"), filepath.Join(dir, "replayed.yaml")
			require.NoError(t, os.WriteFile(bench, fmt.Appendf(nil, replayBench, world.Port(), c.options), 0o644))
			require.NoError(t, os.WriteFile(file, []byte(replayScenario), 0o644))
			r, err := Run(t.Context(), file, Options{Bench: bench, Out: dir})
			require.NoError(t, err)
			require.Equal(t, c.want, r.Verdict, "%s %+v", r.Trace.Trouble, r.Findings)
			if c.want == verdict.Inconclusive {
				require.Contains(t, r.Findings[0].Reason, "packets have times before the run began")
			}
		})
	}
}
