package trace_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// An analysis of frames as they come is that of the capture that they make, however often somebody looks.
func TestLive(t *testing.T) {
	for name, frames := range map[string][]synth.Frame{
		"numbered": synth.WioLTEHTTP(synth.Options{Mirror: synth.GRESeq}),
		"lossy":    synth.Without(synth.WioLTEHTTPS(synth.Options{Mirror: synth.VXLAN}), 4, 9),
		"none":     nil,
	} {
		t.Run(name, func(t *testing.T) {
			var file bytes.Buffer
			require.NoError(t, synth.WritePcap(&file, frames))
			want, err := trace.Read(&file, "x", trace.Options{})
			require.NoError(t, err)
			seen := 0
			live := trace.NewLive("x", trace.Options{Decoded: func(*packet.Packet) { seen++ }})
			for i, f := range frames {
				live.Add(&pcap.Record{Time: f.Time.UnixNano(), Link: pcap.LinkEthernet, Data: bytes.Clone(f.Data), Length: f.Length})
				if i%3 == 0 {
					live.Push()
				}
			}
			got, err := live.End(0)
			require.NoError(t, err)
			got.Format = want.Format
			require.Equal(t, want, got)
			require.Equal(t, len(frames), seen)
		})
	}
	dropping := trace.NewLive("x", trace.Options{})
	got, err := dropping.End(7)
	require.NoError(t, err)
	require.Equal(t, trace.Broken, got.Completeness.State)
	require.EqualValues(t, 7, got.Completeness.Holes[0].Packets)
}

// The last of a capture's times is its latest, also beside one that is further back than a difference can say.
func TestLatestTime(t *testing.T) {
	live := trace.NewLive("x", trace.Options{})
	for _, at := range []int64{math.MaxInt64 - 1, math.MinInt64 + 1} {
		live.Add(&pcap.Record{Time: at, Link: pcap.LinkEthernet})
	}
	got, err := live.End(0)
	require.NoError(t, err)
	require.Equal(t, int64(math.MaxInt64-1), got.Last)
}
