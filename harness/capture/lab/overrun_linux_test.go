package lab_test

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/capture/afpacket"
	"github.com/tollgate-iot/tollgate/harness/capture/lab"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// TestOverrun drives a tap beyond what it can do: the smallest ring, and a sink that stands still while a fleet's stream
// comes. The loss is known to the packet, the record is broken, and what is judged of a device in it is what was seen, or
// nothing.
func TestOverrun(t *testing.T) {
	lab.Require(t)
	near, far := lab.Cable(t, 9000)
	gate := make(chan struct{})
	k := &tapped{}
	var first atomic.Bool
	tap, err := afpacket.New(afpacket.Options{Name: "mirror", Interface: "m0", Buffer: 1})
	require.NoError(t, err)
	k.Tap = tap
	require.NoError(t, near.Do(func() error {
		return tap.Start(limited(t), func(rec pcap.Record) {
			if first.CompareAndSwap(false, true) {
				<-gate
			}
			k.take(rec)
		})
	}))
	t.Cleanup(func() { require.NoError(t, tap.Close()) })

	known := synth.WioLTEBeamHTTP(synth.Options{Mirror: synth.GRE})
	device := netip.MustParseAddr("10.213.7.42")
	sender, err := lab.NewSender(far, "m1")
	require.NoError(t, err)
	defer func() { require.NoError(t, sender.Close()) }()
	var frames [][]byte
	for _, f := range known {
		frames = append(frames, f.Data)
	}
	frames = append(frames, fleet(t, 20_000)...)
	sent, err := sender.SendAll(frames)
	require.NoError(t, err)
	require.Greater(t, sent, 18_000, "the most part reached the interface")
	close(gate)
	accounted := func() bool { s := tap.Stats(); return s.Received+s.Dropped == uint64(sent) }
	require.Eventually(t, accounted, within, time.Millisecond, "sent = received + reported")
	require.NoError(t, tap.Flush(limited(t)))

	stats := tap.Stats()
	require.True(t, accounted(), "and it stays so")
	require.Greater(t, stats.Dropped, uint64(10_000))
	tr := k.trace(t, device)
	require.EqualValues(t, stats.Received, tr.Capture.Frames)
	complete := tr.Completeness(trace.Scope{Device: device})
	require.Equal(t, trace.Broken, complete.State)
	require.Contains(t, complete.Reasons, "tap mirror dropped "+trace.Thousands(stats.Dropped)+" packets")

	set, err := expectations.Parse("x.yaml", 1, []byte("expect:\n  - packets: {up: '>= 3'}\n  - packets: {up: '<= 2'}\n  - packets: {up: '<= 100'}\n  - resets: none\n  - teardown: clean\n"))
	require.NoError(t, err)
	var got []verdict.Verdict
	for _, f := range set.Judge(tr, expectations.Options{}) {
		got = append(got, f.Verdict)
	}
	require.Equal(t, []verdict.Verdict{verdict.Pass, verdict.Fail, verdict.Inconclusive, verdict.Inconclusive, verdict.Inconclusive}, got)
}

// fleet gives the frames of a fleet's mirror.
func fleet(t *testing.T, packets int) (frames [][]byte) {
	var file bytes.Buffer
	l := synth.FleetLoad(synth.GRE)
	l.Packets, l.Devices = packets, packets/100
	_, err := synth.WriteLoad(&file, l)
	require.NoError(t, err)
	r, err := pcap.NewReader(&file)
	require.NoError(t, err)
	for {
		rec, err := r.Next()
		if err != nil {
			return frames
		}
		frames = append(frames, bytes.Clone(rec.Data))
	}
}
