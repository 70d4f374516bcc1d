package sim_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/sim"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

func TestMirrorForms(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]sim.MirrorOptions{
		"gre": {}, "gre with sequence numbers": {Sequence: true}, "vxlan": {Wrapping: sim.VXLAN},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, sim.Options{Mirror: m})
			r.must("activate", nil)
			r.must("udp", map[string]string{"to": socket, "send": "hello"})
			r.sleep(time.Second)
			c := r.finish()
			tunnel := "gre"
			if m.Wrapping == sim.VXLAN {
				tunnel = "vxlan"
			}
			require.Equal(t, c.Frames, c.Tunnels[tunnel], "%v", c.Tunnels)
			require.Equal(t, uint64(2), c.Total.Tally[flow.Up].Packets)
			requireSound(t, c)
		})
	}
}

func TestMirrorFaults(t *testing.T) {
	t.Parallel()
	get := func(t *testing.T, m sim.MirrorOptions) *trace.Capture {
		r := newRig(t, sim.Options{Mirror: m, Seed: 7})
		r.must("activate", nil)
		r.must("http_get", map[string]string{"url": website})
		r.sleep(70 * time.Second)
		return r.finish()
	}
	t.Run("lost by number", func(t *testing.T) {
		c := get(t, sim.MirrorOptions{Lose: []int{6}}) // dns 1-2, handshake 3-5, the request's first packet
		f := only(t, c, 80)
		require.Equal(t, uint64(93), f.Sides[flow.Up].Missing)
		require.Equal(t, trace.Broken, c.Completeness.State)
	})
	t.Run("lost by chance, told by GRE's sequence numbers", func(t *testing.T) {
		c := get(t, sim.MirrorOptions{Loss: 0.5, Sequence: true})
		require.Less(t, c.Frames, uint64(17))
		require.Equal(t, trace.Broken, c.Completeness.State)
		require.True(t, slices.ContainsFunc(c.Completeness.Holes, func(h trace.Hole) bool { return h.Kind == trace.HoleGRE }), "%v", c.Completeness.Reasons)
	})
	t.Run("twice", func(t *testing.T) {
		c := get(t, sim.MirrorOptions{Duplicate: 1})
		f := only(t, c, 80)
		require.Equal(t, c.Frames, 2*c.Duplicates)
		require.Equal(t, [2]uint64{160, 338}, payloads(f))
		require.Zero(t, f.Sides[flow.Up].Retransmissions+f.Sides[flow.Down].Retransmissions)
	})
	t.Run("in another order", func(t *testing.T) {
		c := get(t, sim.MirrorOptions{Reorder: 0.4})
		require.Equal(t, flow.ResetAfterClose, only(t, c, 80).Close)
		require.Equal(t, [2]uint64{160, 338}, payloads(only(t, c, 80)))
	})
	t.Run("cut short", func(t *testing.T) {
		c := get(t, sim.MirrorOptions{SnapLen: 92}) // Ethernet, IP, GRE, Ethernet, IP, TCP
		require.Positive(t, c.Truncated)
		require.Equal(t, [2]uint64{160, 338}, payloads(only(t, c, 80)), "lengths are the headers'")
	})
}

func TestTwoCapturesAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{})
	r.must("activate", nil)
	late := r.world.Mirror()
	r.must("udp", map[string]string{"to": socket, "send": "hello"})
	r.sleep(time.Second)
	c := r.finish()
	other, err := trace.Read(late, "late", trace.Options{})
	require.NoError(t, err)
	require.Equal(t, c.Frames, other.Frames)
	require.NoError(t, late.Close())
}

func TestMirrorReadEndsWithItsClose(t *testing.T) {
	t.Parallel()
	w, err := sim.New(sim.Options{})
	require.NoError(t, err)
	defer w.Close()
	m := w.Mirror()
	head := make([]byte, 24)
	_, err = m.Read(head)
	require.NoError(t, err)
	ended := make(chan error)
	go func() {
		_, err := m.Read(head)
		ended <- err
	}()
	require.NoError(t, m.Close())
	require.Error(t, <-ended)
}
