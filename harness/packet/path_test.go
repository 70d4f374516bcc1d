package packet

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"
)

// back is a frame with the addresses and ports of its outer IPv4 packet exchanged, as the mirror of the other direction
// may send it.
func back(frame []byte) []byte {
	b := append([]byte{}, frame...)
	copy(b[26:30], frame[30:34])
	copy(b[30:34], frame[26:30])
	return b
}

func TestPathsTellNetworksApart(t *testing.T) {
	inner := frame4("A", "x")
	keyed := func(key uint32) []byte {
		return outer(layers.IPProtocolGRE, gre(0x2000, typeBridged, key, inner))
	}
	tagged := func(vlan uint16) []byte {
		return outer(layers.IPProtocolGRE, gre(0, typeBridged, unpadded(typeVLAN, vlan, uint16(typeIPv4), segment4("A", "x"))))
	}
	between := func(a, b net.IP) []byte {
		return build(ether(layers.EthernetTypeIPv4), ip4(layers.IPProtocolGRE, a, b), raw(gre(0, typeBridged, inner)))
	}
	plain := outer(layers.IPProtocolGRE, gre(0, typeBridged, inner))
	teid := func(id uint32) []byte { return outerUDP(portGTPU, uint32(0x30ff0000), id, segment4("A", "x")) }
	call := func(id uint16) []byte {
		return outer(layers.IPProtocolGRE, gre(0x3001, typePPP, uint16(2+len(segment4("A", "x"))), id, uint32(5), "\x00\x21", segment4("A", "x")))
	}
	from := func(port layers.UDPPort) []byte {
		return build(ether(layers.EthernetTypeIPv4), raw(udp4(end4, other4, port, portVXLAN, vxlan(3, inner))))
	}
	f := newFeeder(t)
	number := func(b []byte) uint16 {
		require.Equal(t, Decoded, f.feed(1, b))
		require.Equal(t, TCP, f.p.Kind)
		return f.p.Path
	}
	for range 2 { // the second time by the shortcut
		different := map[uint16]string{}
		for name, b := range map[string][]byte{
			"none": inner, "gre": plain, "key 1": keyed(1), "key 2": keyed(2), "vlan 1": tagged(1), "vlan 2": tagged(2),
			"other ends": between(end4, net.IP{10, 88, 0, 9}), "vxlan": from(1000), "vni": outerUDP(portVXLAN, vxlan(4, inner)),
			"gtp": teid(1), "erspan": outer(layers.IPProtocolGRE, gre(0, greERSPAN, inner)),
			"outer vlan": unpadded(typeVLAN, uint16(1), uint16(typeIPv4), plain[14:]),
			"twice":      outer(layers.IPProtocolGRE, gre(0, typeBridged, plain)),
		} {
			n := number(b)
			require.NotContains(t, different, n, name)
			different[n] = name
		}
		require.Equal(t, number(plain), number(back(plain)), "both directions")
		require.Equal(t, number(teid(1)), number(teid(2)), "TEID")
		require.Equal(t, number(call(1)), number(call(2)), "call id")
		require.Equal(t, number(from(1000)), number(from(2000)), "outer source port")
		require.Equal(t, number(from(1000)), number(back(from(2000))))
	}
	require.Equal(t, Path{}, f.d.Path(4711))
}

func TestSameMirror(t *testing.T) {
	d := NewDecoder(Options{SameMirror: true})
	var p Packet
	for _, b := range [][]byte{
		outerUDP(portVXLAN, vxlan(3, frame4("A", "x"))), outerUDP(portVXLAN, vxlan(4, frame4("A", "x"))),
		outer(layers.IPProtocolGRE, gre(0, typeBridged, frame4("A", "x"))), frame4("A", "x"),
		unpadded(typeVLAN, uint16(3), uint16(typeIPv4), segment4("A", "x")),
	} {
		for range 2 {
			require.Equal(t, Decoded, d.Decode(&Frame{Link: 1, Data: b, Length: len(b)}, &p))
			require.Equal(t, uint16(1), p.Path)
		}
	}
	require.Equal(t, VXLAN, d.Path(1).Tunnel, "that of the first packet")
	require.Equal(t, uint32(3), d.Path(1).VNI)

	d = NewDecoder(Options{SameMirror: true})
	whole := outerUDP(portVXLAN, vxlan(7, frame4("A", "x")))
	odd, plain := slices.Clone(whole), frame4("A", "x")
	odd[14+20+8+8+14], plain[14] = 0, 0 // an IP header of version 0: the tunnel is known then, and the packet is none
	for _, b := range [][]byte{odd, plain} {
		require.Equal(t, Undecodable, d.Decode(&Frame{Link: 1, Data: b, Length: len(b)}, &p))
	}
	require.Equal(t, Decoded, d.Decode(&Frame{Link: 1, Data: whole, Length: len(whole)}, &p))
	require.Equal(t, uint32(7), d.Path(p.Path).VNI)
}

func TestVXLANPorts(t *testing.T) {
	frame := outerUDP(8472, vxlan(3, frame4("A", "x")))
	p, _, _ := decode(1, frame)
	require.Equal(t, UDP, p.Kind, "8472 is VXLAN only for who says so")
	d := NewDecoder(Options{VXLANPorts: []uint16{8472}})
	for range 2 {
		require.Equal(t, Decoded, d.Decode(&Frame{Link: 1, Data: frame, Length: len(frame)}, &p))
		require.Equal(t, TCP, p.Kind)
		require.Equal(t, VXLAN, p.Tunnel)
	}
}

// A flood of made-up tunnels costs a bounded amount of memory; what comes later shares a path.
func TestPathFlood(t *testing.T) {
	f := newFeeder(t)
	frame := append([]byte{}, outerUDP(portVXLAN, vxlan(0, frame4("A", "x")))...)
	for i := range MaxPaths + 1000 {
		binary.BigEndian.PutUint32(frame[46:], uint32(i+1)<<8)
		require.Equal(t, Decoded, f.feed(1, frame))
		require.Equal(t, uint16(min(i+1, MaxPaths-1)), f.p.Path)
	}
	require.LessOrEqual(t, len(f.d.paths.keys), MaxPaths)
	require.LessOrEqual(t, len(f.d.paths.numbers), MaxPaths)
	require.Equal(t, Path{Tunnel: VXLAN, Outer: f.d.Path(MaxPaths - 1).Outer}, f.d.Path(MaxPaths-1))
	binary.BigEndian.PutUint32(frame[46:], 7<<8)
	require.Equal(t, Decoded, f.feed(1, frame))
	require.Equal(t, uint16(7), f.p.Path, "known ones keep theirs")
}

// The sequence of GRE is counted for each sender, receiver and key, whatever is inside.
func TestGRESequence(t *testing.T) {
	numbered := func(key, sequence uint32, inner []byte) []byte {
		return outer(layers.IPProtocolGRE, gre(0x3000, typeBridged, key, sequence, inner))
	}
	f := newFeeder(t)
	source := func(b []byte, sequence uint32) uint32 {
		require.Equal(t, Decoded, f.feed(1, b))
		require.True(t, f.p.HasGRESeq)
		require.Equal(t, sequence, f.p.GRESeq)
		return f.p.GRESource
	}
	one := source(numbered(1, 10, frame4("A", "x")), 10)
	require.Equal(t, one, source(numbered(1, 11, unpadded(typeVLAN, uint16(3), uint16(typeIPv4), segment4("A", ""))), 11))
	require.Equal(t, one, source(numbered(1, 12, outerUDP(portVXLAN, vxlan(3, frame4("A", "")))), 12))
	require.Equal(t, one, source(outer(layers.IPProtocolGRE, gre(0x3000, greERSPAN, uint32(1), uint32(13), uint16(0x1000), uint16(1), uint32(0), frame4("A", "x"))), 13))
	require.NotEqual(t, one, source(numbered(2, 10, frame4("A", "x")), 10))
	require.NotEqual(t, one, source(back(numbered(1, 10, frame4("A", "x"))), 10))
	require.Equal(t, Decoded, f.feed(1, outer(layers.IPProtocolGRE, gre(0x2000, typeBridged, uint32(1), frame4("A", "x")))))
	require.False(t, f.p.HasGRESeq)
}

// The shortcuts give what the ordinary way gives, on whatever comes in the headers that they know.
func TestShortcutIsOnlyOne(t *testing.T) {
	for name, w := range around() {
		if w.link != 1 {
			continue
		}
		for _, o := range []Options{{}, {SameMirror: true}} {
			t.Run(fmt.Sprintf("%s, one mirror %t", name, o.SameMirror), func(t *testing.T) {
				used := NewDecoder(o)
				var p Packet
				for range 3 {
					require.Equal(t, Decoded, used.Decode(&Frame{Number: 1, Link: 1, Data: w.frame, Length: len(w.frame)}, &p))
				}
				sameAsNew(t, used, w.frame, len(w.frame), o)
				for i := range w.frame {
					for _, bits := range []byte{0x01, 0x20, 0x40, 0xff} {
						b := append([]byte{}, w.frame...)
						b[i] ^= bits
						sameAsNew(t, used, b, len(b), o)
					}
					sameAsNew(t, used, w.frame[:i], len(w.frame), o)
					sameAsNew(t, used, w.frame[:i], i, o)
				}
			})
		}
	}
}

// A frame whose IP packet ends inside TCP's header has padding in the place of its last fields.
func TestShortcutEndsWithThePacket(t *testing.T) {
	for _, total := range []byte{20, 30, 39, 40, 41} {
		for _, offset := range []byte{0x00, 0x10, 0x40, 0x50, 0x60} {
			b := padded(frame4("AP", ""), 60)
			b[17], b[46] = total, offset
			sameAsNew(t, NewDecoder(Options{}), b, len(b), Options{})
		}
	}
}

// sameAsNew compares what a used Decoder makes of a frame with what a new one makes of it header by header.
func sameAsNew(t *testing.T, used *Decoder, frame []byte, length int, o Options) {
	fresh := NewDecoder(o)
	got, want := Packet{}, Packet{Number: 5, Time: 5, WindowShift: -1}
	f := Frame{Number: 5, Time: 5, Link: 1, Data: frame, Length: length}
	r := fresh.decode(&f, &want, nil, frame)
	if r == Held { // it may complete what the used one holds
		return
	}
	require.Equal(t, r, used.Decode(&f, &got))
	if r != Decoded {
		return
	}
	if !o.SameMirror { // whose one path is that of the packet that was the first
		require.Equal(t, fresh.Path(want.Path), used.Path(got.Path))
		got.Path, want.Path = 0, 0
	}
	got.GRESource, want.GRESource = 0, 0
	require.Equal(t, want, got)
}

func TestDecodeAllocatesNothing(t *testing.T) {
	long := split(segment4("A", string(make([]byte, 2000))), 1400)
	for name, frames := range map[string][][]byte{
		"plain":      {frame4("SA", "")},
		"gre":        {outer(layers.IPProtocolGRE, gre(0, typeBridged, frame4("A", hello)))},
		"gre, odd":   {outer(layers.IPProtocolGRE, gre(0x3000, typeBridged, uint32(1), uint32(2), frame4("A", hello)))},
		"vxlan":      {outerUDP(portVXLAN, vxlan(3, frame4("A", hello))), outerUDP(portVXLAN, vxlan(4, frame4("A", hello)))},
		"vlan, ipv6": {build(ether(typeVLAN), raw(uint16(3), uint16(typeIPv6), segment6("A", hello)))},
		"fragments":  {unpadded(typeIPv4, long[0]), unpadded(typeIPv4, long[1])},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeeder(t)
			once := func() {
				for _, b := range frames {
					if f.feed(1, b) == Undecodable {
						t.Fatal("undecodable")
					}
				}
			}
			once()
			require.Zero(t, testing.AllocsPerRun(1000, once))
		})
	}
}
