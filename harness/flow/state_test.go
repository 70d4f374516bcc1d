package flow

import (
	"math"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// Flows that differ in anything are two, also where their hashes are alike.
func TestKeysThatDiffer(t *testing.T) {
	one := key{a: address{1, 2}, b: address{3, 4}, rest: 5}
	require.True(t, one.same(&key{a: address{1, 2}, b: address{3, 4}, rest: 5}))
	for name, change := range map[string]func(*key){
		"a's upper half": func(k *key) { k.a.high++ },
		"a's lower half": func(k *key) { k.a.low++ },
		"b's upper half": func(k *key) { k.b.high++ },
		"b's lower half": func(k *key) { k.b.low++ },
		"a's port":       func(k *key) { k.rest++ },
		"b's port":       func(k *key) { k.rest += 1 << 16 },
		"the path":       func(k *key) { k.rest += 1 << 32 },
		"the kind":       func(k *key) { k.rest += 1 << 48 },
		"the protocol":   func(k *key) { k.rest += 1 << 56 },
	} {
		other := one
		change(&other)
		require.False(t, one.same(&other), name)
	}
}

// Both directions of a flow have one key, and it gives back what it was made of.
func TestKeyOfBothDirections(t *testing.T) {
	p := packet.Packet{Kind: packet.TCP, Proto: 6, SrcPort: 40001, DstPort: 443, Path: packet.MaxPaths - 1}
	p.Src[15], p.Dst[15] = 7, 9
	var k, back key
	end := keyOf(&p, &k)
	addresses, ports := [2]packet.Addr{k.a.addr(), k.b.addr()}, [2]uint16{k.aPort(), k.bPort()}
	require.Equal(t, p.Src, addresses[end])
	require.Equal(t, p.Dst, addresses[1-end])
	require.Equal(t, p.SrcPort, ports[end])
	require.Equal(t, p.DstPort, ports[1-end])
	require.Equal(t, p.Path, k.path())
	p.Src, p.Dst, p.SrcPort, p.DstPort = p.Dst, p.Src, p.DstPort, p.SrcPort
	require.Equal(t, 1-end, keyOf(&p, &back))
	require.Equal(t, k, back)
}

// What a cell can't hold any more is counted all the same.
func TestCellsThatAreFull(t *testing.T) {
	for name, full := range map[string]cell{
		"bytes":   {packets: 10, bytes: math.MaxUint32 - 10},
		"packets": {packets: math.MaxUint32, bytes: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			var got *Flow
			tracker := NewTracker(Options{KeepFlows: true, Done: func(f *Flow) { got = f }})
			c := newConversation().open().send(Up, push, "some bytes of payload")
			for i := range c.packets {
				tracker.Add(&c.packets[i])
			}
			s := tracker.slab.at(1)
			of := s.cell(Request, int(s.device))
			require.Equal(t, uint32(1), of.packets)
			*of = full
			more := c.segment(Up, push, "more of it")
			tracker.Add(&more)
			tracker.Flush()
			want := Tally{Packets: uint64(full.packets) + 1, Bytes: uint64(full.bytes) + uint64(more.WireLen)}
			tally := got.Phases[Request][Up]
			require.Equal(t, want, Tally{Packets: tally.Packets, Bytes: tally.Bytes})
		})
	}
}

// Which set a fingerprint goes to, and so what is forgotten for it, does not depend on the seed that was drawn; the rest of
// it does, so that nobody knows how to make two alike.
func TestFingerprintsAndSeeds(t *testing.T) {
	c := newConversation().open().send(Up, push, "payload")
	for i := range c.packets {
		var k key
		keyOf(&c.packets[i], &k)
		one, other := printOf(&k, 1, 0, &c.packets[i]), printOf(&k, 2, 0, &c.packets[i])
		require.Equal(t, one&setBits, other&setBits)
		require.NotEqual(t, one, other)
		require.NotEqual(t, one, printOf(&k, 1, 1, &c.packets[i]), "of the other end")
	}
	require.GreaterOrEqual(t, setBits+1, mostSets)
}

// Packets that differ in their ends only, as ARP's do, go to different sets: else some few would push out all others.
func TestFingerprintsSpread(t *testing.T) {
	sets := map[uint64]int{}
	for i := range 1 << 12 {
		p := packet.Packet{Kind: packet.ARP, ICMPCode: 1, WireLen: 42}
		p.Src, p.Dst = packet.AddrFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})), packet.AddrFrom(netip.AddrFrom4([4]byte{10, 0, 255, 254}))
		var r Ready
		(&Front{}).name(&p, &r)
		sets[r.print&(mostSets-1)]++
	}
	require.Greater(t, len(sets), 3000, "of 4,096")
}

// Of two ends with the same port, neither of which is known to have opened the flow, the lower address is held for the
// device, whichever sent first.
func TestEqualPorts(t *testing.T) {
	low, high := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.1.1")
	for _, ends := range [][2]netip.Addr{{low, high}, {high, low}} {
		var got *Flow
		tracker := NewTracker(Options{KeepFlows: true, Done: func(f *Flow) { got = f }})
		c := newConversation()
		c.device, c.server, c.devicePort, c.serverPort = packet.AddrFrom(ends[0]), packet.AddrFrom(ends[1]), 5000, 5000
		p := c.segment(Up, push, "joined in the middle")
		tracker.Add(&p)
		tracker.Flush()
		require.Equal(t, low, got.Device.Addr())
	}
}

// However many packets pass in a moment, their fingerprints have so much room and no more: the oldest are forgotten.
func TestFingerprintsAreBounded(t *testing.T) {
	d := newDuplicates()
	p := packet.Packet{Time: 1}
	for i := range uint64(16 * mostSets) {
		d.copied(&p, mix(i+1, unseeded[0])|1)
	}
	require.Len(t, d.sets, mostSets)
}
