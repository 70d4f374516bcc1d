package runner

import (
	"context"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/hub"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// A run on a tap of a whole network gets its device's packets, also those from before the address was known, and is whole by
// its canaries; others' packets are nowhere in its record.
func TestRunOnASharedTap(t *testing.T) {
	r := newRig(t)
	shared := hub.New(hub.Options{Name: "vpg", Clock: r.clock, Open: func() (bench.Tap, error) { return r.tap, nil }})
	r.bench.Taps = []bench.Tap{shared.Tap("mirror")}
	r.carrier.addr = netip.Addr{} // it gets its session in the setup
	other := frame(netip.MustParseAddr("10.0.0.77"), serverAddr, &layers.UDP{SrcPort: 1, DstPort: 2}, gopacket.Payload("another's"))
	r.device.script = func(_ *fakeDevice, _ context.Context, verb string, _ map[string]string) (string, error) {
		r.tap.push(r.clock.Now(), datagram(verb))
		r.tap.push(r.clock.Now(), other)
		r.carrier.mu.Lock()
		defer r.carrier.mu.Unlock()
		r.carrier.addr = deviceAddr
		return "", nil
	}
	tr := r.run(t.Context(), makePlan([]plan.Step{do("activate")}, []plan.Step{do("click")}, nil))
	require.NoError(t, tr.Save(r.dir))
	loaded, err := trace.Load(r.dir)
	require.NoError(t, err)
	require.EqualValues(t, 2+2, loaded.Capture.Frames, "two datagrams and two canaries")
	require.EqualValues(t, 2, loaded.Capture.Total.Tally[0].Packets)
	require.True(t, loaded.Analysis.Filtered)
	require.EqualValues(t, 2, loaded.Evidence.Mirror.Left)
	complete := loaded.Completeness(trace.Scope{})
	require.Equal(t, trace.Unproven, complete.State, "nobody counted")
	require.Contains(t, complete.Reasons[0], "not blind, but nobody counted the packets")
}
