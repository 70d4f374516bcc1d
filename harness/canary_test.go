package harness

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// wayOf gives what a place saw of a run with a canary of two packets, a datagram, and a ping of somebody else's, by a clock
// that is so far ahead.
func wayOf(ahead time.Duration) []*flow.Flow {
	at := func(s float64) int64 { return int64(s*1e9) + int64(ahead) }
	device, peer := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.0.2.1")
	return []*flow.Flow{
		{ID: 0, Kind: packet.ICMP, Device: netip.AddrPortFrom(device, 0), Peer: netip.AddrPortFrom(peer, 0), Packets: []flow.Packet{
			{Time: at(101), Dir: flow.Down, ICMPType: 8, IPID: 1}, {Time: at(101.1), Dir: flow.Up, IPID: 9},
			{Time: at(150), Dir: flow.Down, ICMPType: 8, IPID: 2}}},
		{ID: 1, Kind: packet.UDP, Device: netip.AddrPortFrom(device, 5), Peer: netip.AddrPortFrom(peer, 6), Packets: []flow.Packet{{Time: at(120), IPID: 4, Payload: 7}}},
	}
}

// The canaries at another place are found by its own clock: by how far it is ahead of the main place's.
func TestCanariesAtAnotherPlace(t *testing.T) {
	spans := []span{{100e9, 103e9}}
	for name, ahead := range map[string]time.Duration{"together": 0, "on the way": 3 * time.Millisecond, "an hour ahead": time.Hour, "a day behind": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			main, other := wayOf(0), wayOf(ahead)
			require.Equal(t, int64(ahead), trace.Ahead(main, other))
			left := withoutCanaries(other, shifted(spans, trace.Ahead(main, other)))
			require.Len(t, left, 2)
			require.Len(t, left[0].Packets, 1, "somebody else's ping stays")
			require.Len(t, other[0].Packets, 3, "flows are copied")

			tr := &trace.Trace{Timeline: []trace.Event{
				{Time: time.Unix(100, 0), Kind: trace.EventCarrier, Name: "canary", State: "begin"},
				{Time: time.Unix(103, 0), Kind: trace.EventTap, Name: "a", State: "canary"},
			}, Capture: &trace.Capture{Flows: main, Others: []*trace.Capture{{Flows: other}}}}
			require.Equal(t, map[*flow.Flow]int{main[0]: 2, other[0]: 2}, Canaries(tr))
		})
	}
	require.Zero(t, trace.Ahead(wayOf(0), nil))
	twice := append(wayOf(0), wayOf(time.Second)...)
	require.Zero(t, trace.Ahead(twice, twice), "what is there twice tells nothing")
	require.Empty(t, Canaries(&trace.Trace{}))
}
