package trace_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// FuzzRead analyses any bytes as a capture, in both ways, and holds what must be true of every result: the sums of the
// flows are the totals, and keeping the flows changes no number.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(fixtures, "captures", "*.pcap"))
	require.NoError(f, err)
	for _, path := range files {
		data, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(data)
	}
	var ng bytes.Buffer
	require.NoError(f, synth.WritePcapng(&ng, synth.MQTTLife(synth.Options{Mirror: synth.VXLAN}, 5)))
	f.Add(ng.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := trace.Read(bytes.NewReader(data), "fuzz", trace.Options{KeepFlows: true, KeepPackets: true})
		if err != nil {
			return
		}
		var sum flow.Both[flow.Tally]
		for _, fl := range c.Flows {
			var packets uint64
			for d := range sum {
				sum[d].Add(fl.Sides[d].Tally)
				packets += fl.Sides[d].Tally.Packets
			}
			require.EqualValues(t, packets, len(fl.Packets), "every packet counted is kept")
			require.Same(t, fl, c.Flow(fl.ID))
		}
		require.Equal(t, sum, c.Total.Tally)
		lean, err := trace.Read(bytes.NewReader(data), "fuzz", trace.Options{})
		require.NoError(t, err)
		require.Equal(t, c.Total, lean.Total)
		require.Equal(t, c.Completeness.State, lean.Completeness.State)
	})
}

// FuzzLoad reads any bytes as trace.jsonl: what is accepted can be saved and loaded again, and is the same.
func FuzzLoad(f *testing.F) {
	dir := f.TempDir()
	require.NoError(f, aRun().Save(dir))
	saved, err := os.ReadFile(filepath.Join(dir, trace.TraceFile))
	require.NoError(f, err)
	f.Add(saved)
	f.Add([]byte(`{"tollgate_trace":1,"capture":false}` + "\n" + `{"event":{"kind":"step"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, trace.TraceFile), data, 0o644))
		first, err := trace.Load(dir)
		if err != nil {
			return
		}
		require.NoError(t, first.Save(dir))
		again, err := trace.Load(dir)
		require.NoError(t, err)
		require.NoError(t, again.Save(t.TempDir()))
		require.Equal(t, len(first.Timeline), len(again.Timeline))
		require.Equal(t, len(first.Windows), len(again.Windows))
		require.Equal(t, first.Account, again.Account)
	})
}
