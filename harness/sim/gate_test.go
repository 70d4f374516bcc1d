package sim_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/sim"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// gateRun gets a page through a gateway, and gives what both mirrors showed.
func gateRun(t *testing.T, o sim.GateOptions) (before, behind *trace.Capture) {
	o.On = true
	r := newRig(t, sim.Options{Gate: o, Mirror: sim.MirrorOptions{Sequence: true}})
	far := r.world.Gate()
	r.must("activate", nil)
	r.must("http_get", map[string]string{"url": website})
	r.sleep(70 * time.Second)
	before = r.finish()
	behind, err := trace.Read(far, "gate", trace.Options{KeepFlows: true, KeepPackets: true})
	require.NoError(t, err)
	return before, behind
}

func TestGate(t *testing.T) {
	t.Parallel()
	t.Run("passes everything as it is", func(t *testing.T) {
		t.Parallel()
		before, behind := gateRun(t, sim.GateOptions{})
		require.Equal(t, before.Frames, behind.Frames)
		require.Equal(t, before.Total.Tally, behind.Total.Tally)
		require.Equal(t, only(t, before, 80).Device, only(t, behind, 80).Device)
		requireSound(t, behind)
	})
	t.Run("translates ports, both ways", func(t *testing.T) {
		t.Parallel()
		before, behind := gateRun(t, sim.GateOptions{Translate: true})
		a, b := only(t, before, 80), only(t, behind, 80)
		require.Equal(t, a.Device.Addr(), b.Device.Addr())
		require.Equal(t, a.Device.Port()^0x4000, b.Device.Port())
		require.Equal(t, flow.ResetAfterClose, a.Close, "it works all the same")
		require.Equal(t, payloads(a), payloads(b))
		requireSound(t, before)
		requireSound(t, behind)
	})
	t.Run("loses a packet on the way", func(t *testing.T) {
		t.Parallel()
		before, behind := gateRun(t, sim.GateOptions{Drop: []int{6}}) // dns 1-2, handshake 3-5, the request's first packet
		require.Equal(t, before.Frames-1, behind.Frames)
		require.Equal(t, 1, only(t, before, 80).Sides[flow.Up].Retransmissions, "it was lost behind the first mirror")
		require.Zero(t, only(t, behind, 80).Sides[flow.Up].Missing)
	})
	t.Run("has a mirror that loses", func(t *testing.T) {
		t.Parallel()
		before, behind := gateRun(t, sim.GateOptions{Loss: 0.5})
		require.Less(t, behind.Frames, before.Frames)
		require.Equal(t, trace.Broken, behind.Completeness.State)
		require.NotEqual(t, trace.Broken, before.Completeness.State)
	})
}

func TestNoGate(t *testing.T) {
	t.Parallel()
	w, err := sim.New(sim.Options{})
	require.NoError(t, err)
	defer w.Close()
	n, err := w.Gate().Read(make([]byte, 1))
	require.Zero(t, n)
	require.Error(t, err)
}
