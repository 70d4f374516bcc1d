package trace_test

import (
	"net"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// mirroredFragment is a fragment of a datagram from 10.0.0.1, in GRE with the mirror's number.
func mirroredFragment(t *testing.T, at time.Time, number uint32, id uint16, offset int, more bool) synth.Frame {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	ip := func(from, to byte, proto layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: proto, SrcIP: net.IP{10, 0, 0, from}, DstIP: net.IP{10, 0, 0, to}}
	}
	ether := &layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: layers.EthernetTypeIPv4}
	inner := ip(1, 2, layers.IPProtocolUDP)
	inner.Id, inner.FragOffset = id, uint16(offset/8)
	if more {
		inner.Flags = layers.IPv4MoreFragments
	}
	buf := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		ether, ip(8, 9, layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeTransparentEthernetBridging, SeqPresent: true, Seq: number},
		ether, inner, gopacket.Payload{0x9c, 0x41, 0, 53, 0, 16, 0, 0}))
	return synth.Frame{Time: at, Data: buf.Bytes(), Length: len(buf.Bytes())}
}

// A capture of days may hold more fragments without their datagrams than the decoder keeps: each is counted all the same.
func TestFragmentsGivenUpInALongCapture(t *testing.T) {
	const days = 3
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var frames []synth.Frame
	for at := time.Duration(0); at < days*24*time.Hour; at += 10 * time.Second {
		frames = append(frames, mirroredFragment(t, begin.Add(at), uint32(len(frames)), uint16(len(frames)), 0, true))
	}
	c := read(t, pcapOf(t, frames), trace.Options{})
	require.EqualValues(t, len(frames), c.Total.Tally[0].Packets+c.Total.Tally[1].Packets)
	require.EqualValues(t, len(frames), c.Tunnels["gre"])
}

// Each fragment has a number of the mirror's own, whether its datagram becomes whole or not.
func TestFragmentsAreNoGapInAMirrorsNumbers(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	frames := []synth.Frame{
		mirroredFragment(t, begin, 1, 7, 0, true),
		mirroredFragment(t, begin, 2, 7, 8, true),
		mirroredFragment(t, begin, 3, 7, 16, false),
		mirroredFragment(t, begin, 4, 8, 0, true), // alone
		mirroredFragment(t, begin, 5, 9, 0, true),
		mirroredFragment(t, begin, 6, 9, 8, false),
	}
	c := read(t, pcapOf(t, frames), trace.Options{})
	require.Equal(t, trace.Whole, c.Completeness.State, "%v", c.Completeness.Reasons)
	require.EqualValues(t, len(frames), c.Tunnels["gre"])

	for n := 2; n < len(frames); n++ {
		c := read(t, pcapOf(t, synth.Without(frames, n)), trace.Options{})
		require.Equal(t, trace.Broken, c.Completeness.State, "frame %d is missing", n)
	}
}
