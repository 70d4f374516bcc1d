package packet

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"
)

// around are the ways to carry the device's segment: link type and frame. The segment is the same in all of them, and so
// are its figures but for what the inner frame has more.
func around() map[string]struct {
	link   uint16
	frame  []byte
	more   int // bytes of tags and labels of the inner frame
	tunnel Tunnel
	path   Path
} {
	four, six := segment4("AP", hello), segment6("AP", hello)
	inner := frame4("AP", hello)
	ends := [2]netip.Addr{netip.MustParseAddr("10.88.0.1"), netip.MustParseAddr("10.88.0.2")}
	ends6 := [2]netip.Addr{netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")}
	type way = struct {
		link   uint16
		frame  []byte
		more   int
		tunnel Tunnel
		path   Path
	}
	tagged := func(kind layers.EthernetType, rest ...any) []byte { return build(ether(kind), raw(rest...)) }
	greIn := func(flags, kind uint16, rest ...any) way {
		return way{link: 1, frame: outer(layers.IPProtocolGRE, gre(flags, kind, rest...)), tunnel: GRE, path: Path{Tunnel: GRE, Outer: ends}}
	}
	in := func(t Tunnel, vni uint32, frame []byte) way {
		return way{link: 1, frame: frame, tunnel: t, path: Path{Tunnel: t, Outer: ends, VNI: vni}}
	}
	keyed := greIn(0x2000, typeBridged, uint32(77), inner)
	keyed.path.VNI = 77
	inTag := greIn(0, typeBridged, tagged(typeVLAN, uint16(0x6005), uint16(typeIPv4), four))
	inTag.more, inTag.path.VLANs = 4, []uint16{5}
	span2 := in(ERSPAN, 0x155, outer(layers.IPProtocolGRE, gre(0x1000, greERSPAN, uint32(9), uint16(0x1064), uint16(0x155), uint32(0), inner)))
	span2.path.VLANs = []uint16{100}
	return map[string]way{
		"ethernet":               {link: 1, frame: inner},
		"ethernet, padded":       {link: 1, frame: padded(append([]byte{}, inner...), 200)},
		"raw 12":                 {link: 12, frame: four},
		"raw 14":                 {link: 14, frame: four},
		"raw 101":                {link: 101, frame: four},
		"raw 101, IPv6":          {link: 101, frame: six},
		"ipv4 228":               {link: 228, frame: four},
		"ipv6 229":               {link: 229, frame: six},
		"null, little-endian":    {link: 0, frame: raw("\x02\x00\x00\x00", four)},
		"null, big-endian":       {link: 0, frame: raw("\x00\x00\x00\x02", four)},
		"null, Darwin's IPv6":    {link: 0, frame: raw("\x1e\x00\x00\x00", six)},
		"null, FreeBSD's IPv6":   {link: 0, frame: raw("\x00\x00\x00\x1c", six)},
		"null, OpenBSD's IPv6":   {link: 108, frame: raw("\x00\x00\x00\x18", six)},
		"null, Linux' IPv6":      {link: 0, frame: raw("\x0a\x00\x00\x00", six)},
		"loop":                   {link: 108, frame: raw("\x00\x00\x00\x02", four)},
		"cooked":                 {link: 113, frame: raw(make([]byte, 14), uint16(typeIPv4), four)},
		"cooked, tagged":         {link: 113, frame: raw(make([]byte, 14), uint16(typeVLAN), uint16(7), uint16(typeIPv6), six), more: 4, path: Path{VLANs: []uint16{7}}},
		"cooked 2":               {link: 276, frame: raw(uint16(typeIPv6), make([]byte, 18), six)},
		"ppp":                    {link: 9, frame: raw("\xff\x03\x00\x21", four)},
		"ppp without address":    {link: 9, frame: raw("\x00\x57", six)},
		"ppp, short protocol":    {link: 9, frame: raw("\xff\x03\x21", four)},
		"ppp in hdlc":            {link: 50, frame: raw("\xff\x03\x00\x57", six)},
		"cisco hdlc":             {link: 50, frame: raw("\x0f\x00\x08\x00", four)},
		"cisco hdlc 104":         {link: 104, frame: raw("\x8f\x00\x86\xdd", six)},
		"ppp with labels":        {link: 9, frame: raw("\x02\x81", uint32(0x00012140), four), more: 4},
		"fddi":                   {link: 10, frame: raw("\x50", make([]byte, 12), "\xaa\xaa\x03\x00\x00\x00", uint16(typeIPv4), four), more: 8},
		"arcnet":                 {link: 129, frame: raw("\x01\x02\x00\x00\xf0", four)},
		"arcnet, RFC 1201":       {link: 129, frame: raw("\x01\x02\x00\x00\xd4\x00\x00\x01", four)},
		"juniper":                {link: 178, frame: raw("MGC\x80\x00\x03abc", inner)},
		"nflog":                  {link: 239, frame: raw("\x02\x00\x00\x00", "\x05\x00\x0a\x00x\x00\x00\x00", raw(int(4+len(four)), 0, 9, 0), four)},
		"nflog, big-endian":      {link: 239, frame: raw("\x02\x00\x00\x00", "\x00\x05\x00\x0ax\x00\x00\x00", uint16(4+len(four)), uint16(9), four)},
		"radiotap":               {link: 127, frame: raw("\x00\x00\x09\x00\x02\x00\x00\x00\x10", "\x08\x02", make([]byte, 22), "\xaa\xaa\x03\x00\x00\x00\x08\x00", four), more: 8},
		"radiotap, quality, pad": {link: 127, frame: raw("\x00\x00\x11\x00\x03\x00\x00\x00", make([]byte, 8), "\x20", "\x88\x02", make([]byte, 24), "..", "\xaa\xaa\x03\x00\x00\x00\x08\x00", four), more: 8},
		"802.11, four addresses": {link: 105, frame: raw("\x08\x03", make([]byte, 28), "\xaa\xaa\x03\x00\x00\x00\x08\x00", four), more: 8},
		"802.11, aggregated":     {link: 105, frame: raw("\x88\x02", make([]byte, 22), "\x80\x00", make([]byte, 12), uint16(8+len(four)), "\xaa\xaa\x03\x00\x00\x00\x08\x00", four, "next"), more: 8},

		"snap":                  {link: 1, frame: build(&layers.Ethernet{SrcMAC: mac, DstMAC: otherMAC}, raw(padded(raw("\xaa\xaa\x03\x00\x00\x00\x08\x00", four), 99))), more: 8},
		"vlan":                  {link: 1, frame: tagged(typeVLAN, uint16(42), uint16(typeIPv4), four), more: 4, path: Path{VLANs: []uint16{42}}},
		"vlan 0":                {link: 1, frame: tagged(typeVLAN, uint16(0xe000), uint16(typeIPv4), four), more: 4},
		"qinq":                  {link: 1, frame: tagged(typeQinQ, uint16(42), uint16(typeVLAN), uint16(43), uint16(typeIPv6), six), more: 8, path: Path{VLANs: []uint16{42, 43}}},
		"qinq, old":             {link: 1, frame: tagged(typeQinQOld, uint16(42), uint16(typeQinQAlt), uint16(43), uint16(typeIPv6), six), more: 8, path: Path{VLANs: []uint16{42, 43}}},
		"mpls":                  {link: 1, frame: tagged(typeMPLS, uint32(0x00012040), uint32(0x00013140), four), more: 8},
		"mpls, IPv6":            {link: 1, frame: tagged(typeMPLSUp, uint32(0x00013140), six), more: 4},
		"pseudowire":            {link: 1, frame: tagged(typeMPLS, uint32(0x00013140), uint32(0), inner)},
		"pppoe":                 {link: 1, frame: tagged(typePPPoE, "\x11\x00\x12\x34", uint16(2+len(four)), "\x00\x21", four, "pad"), more: 8},
		"provider backbone":     {link: 1, frame: tagged(typePBB, uint32(7), inner)},
		"fabric path":           {link: 1, frame: tagged(typeFabricPath, uint16(7), inner)},
		"vn-tag":                {link: 1, frame: tagged(typeVNTag, uint32(7), uint16(typeIPv4), four), more: 6},
		"e-tag":                 {link: 1, frame: tagged(typeETag, make([]byte, 6), uint16(typeIPv4), four), more: 8},
		"tags, labels, session": {link: 1, frame: tagged(typeVLAN, uint16(9), uint16(typePPPoE), "\x11\x00\x12\x34", uint16(6+len(six)), "\x02\x81", uint32(0x00013140), six), more: 16, path: Path{VLANs: []uint16{9}}},

		"gre, frame":        greIn(0, typeBridged, inner),
		"gre, padded frame": greIn(0, typeBridged, padded(append([]byte{}, inner...), 99)),
		"gre, IPv4":         greIn(0, typeIPv4, four),
		"gre, IPv6":         greIn(0, typeIPv6, six),
		"gre, PPP":          greIn(0, typePPP, "\xff\x03\x00\x21", four),
		"gre, key":          keyed,
		"gre, inner tag":    inTag,
		"gre, labels":       func() way { w := greIn(0, typeMPLS, uint32(0x00013140), four); w.more = 4; return w }(),
		"gre, checksum":     greIn(0x8000, typeBridged, uint32(0xbeef0000), inner),
		"gre, all of it": func() way {
			w := greIn(0xb000, typeIPv4, uint32(0xbeef0000), uint32(3), uint32(8), four)
			w.path.VNI = 3
			return w
		}(),
		"gre, routing":               greIn(0x4000, typeIPv4, uint32(0), "\x08\x00\x00\x04abcd", uint32(0), four),
		"gre, pptp":                  greIn(0x3001, typePPP, uint16(4+len(four)), uint16(0xca11), uint32(5), "\xff\x03\x00\x21", four, "pad"),
		"gre, pptp acknowledging":    greIn(0x3081, typePPP, uint16(4+len(four)), uint16(0xca11), uint32(5), uint32(6), "\xff\x03\x00\x21", four),
		"gre, redirected":            greIn(0, greWCCP, uint32(0x05590048), four),
		"gre, redirected, no header": greIn(0, greWCCP, four),
		"gre, 802.11": func() way {
			w := greIn(0, 0x8210, "\x08\x02", make([]byte, 22), "\xaa\xaa\x03\x00\x00\x00\x08\x00", four)
			w.more = 8
			return w
		}(),
		"erspan I":                    in(ERSPAN, 0, outer(layers.IPProtocolGRE, gre(0, greERSPAN, inner))),
		"erspan II":                   span2,
		"erspan III":                  in(ERSPAN, 0x3ff, outer(layers.IPProtocolGRE, gre(0x1000, greERSPAN3, uint32(9), uint16(0x2000), uint16(0x3ff), uint32(0), uint16(0), uint16(0), inner))),
		"erspan III, subheader":       in(ERSPAN, 0x3ff, outer(layers.IPProtocolGRE, gre(0x1000, greERSPAN3, uint32(9), uint16(0x2000), uint16(0x3ff), uint32(0), uint16(0), uint16(1), make([]byte, 8), inner))),
		"erspan III, IP":              in(ERSPAN, 0, outer(layers.IPProtocolGRE, gre(0x1000, greERSPAN3, uint32(9), uint16(0x2000), uint16(0), uint32(0), uint16(0), uint16(2<<10), four))),
		"vxlan":                       in(VXLAN, 0xabcdef, outerUDP(portVXLAN, vxlan(0xabcdef, inner))),
		"vxlan without its bit":       in(VXLAN, 0, outerUDP(portVXLAN, uint32(0), uint32(0), inner)),
		"vxlan-gpe":                   in(VXLAN, 6, outerUDP(portGPE, uint32(0x0c000003), uint32(6<<8), inner)),
		"vxlan-gpe, IPv6":             in(VXLAN, 6, outerUDP(portGPE, uint32(0x0c000002), uint32(6<<8), six)),
		"geneve":                      in(GENEVE, 5, outerUDP(portGENEVE, uint32(0x00006558), uint32(5<<8), inner)),
		"geneve, options":             in(GENEVE, 5, outerUDP(portGENEVE, uint32(0x02006558), uint32(5<<8), "options!", inner)),
		"geneve, IPv4":                in(GENEVE, 5, outerUDP(portGENEVE, uint32(0x00000800), uint32(5<<8), four)),
		"gtp-u":                       in(GTPU, 0, outerUDP(portGTPU, uint32(0x30ff0000), uint32(0x7e1d), four)),
		"gtp-u, sequence":             in(GTPU, 0, outerUDP(portGTPU, uint32(0x32ff0000), uint32(0x7e1d), uint32(0x00010000), six)),
		"gtp-u, extensions":           in(GTPU, 0, outerUDP(portGTPU, uint32(0x34ff0000), uint32(0x7e1d), uint32(0x85), "\x01ab\xc0", "\x02abcdef\x00", four)),
		"ip in ip":                    in(IPIP, 0, outer(layers.IPProtocolIPv4, four)),
		"ipv6 in ip":                  in(IPIP, 0, outer(layers.IPProtocolIPv6, six)),
		"teredo":                      in(IPIP, 0, outerUDP(portTeredo, six)),
		"teredo, indications":         in(IPIP, 0, outerUDP(portTeredo, "\x00\x01\x01\x01cv12345678c", "\x00\x00\x12\x34\x01\x02\x03\x04", six)),
		"ayiya":                       in(IPIP, 0, outerUDP(portAYIYA, "\x41\x10\x10\x29", uint32(0), make([]byte, 16), "sign", six)),
		"ip in ipv6":                  {link: 1, frame: build(ether(layers.EthernetTypeIPv6), ip6(layers.IPProtocolIPv4, other6, end6), raw(four)), tunnel: IPIP, path: Path{Tunnel: IPIP, Outer: ends6}},
		"gre in ipv6, destination":    {link: 1, frame: build(ether(layers.EthernetTypeIPv6), ip6(layers.IPProtocolIPv6Destination, other6, end6), raw("\x2f\x00\x01\x04\x00\x00\x00\x00", gre(0, typeBridged, inner))), tunnel: GRE, path: Path{Tunnel: GRE, Outer: ends6}},
		"vxlan in gre":                in(VXLAN, 8, outer(layers.IPProtocolGRE, gre(0, typeBridged, outerUDP(portVXLAN, vxlan(8, inner))))),
		"gre in vxlan on a tagged":    {link: 1, frame: tagged(typeVLAN, uint16(3), uint16(typeIPv4), outerUDP(portVXLAN, vxlan(8, outer(layers.IPProtocolGRE, gre(0, typeBridged, inner))))[14:]), tunnel: GRE, path: Path{Tunnel: GRE, Outer: ends, VLANs: []uint16{3}}},
		"authentication, hop by hop":  {link: 1, frame: build(ether(layers.EthernetTypeIPv6), ip6(layers.IPProtocolIPv6HopByHop, device6, peer6), raw("\x33\x00\x01\x04\x00\x00\x00\x00", "\x06\x04\x00\x00", make([]byte, 20), six[40:])), more: 8 + 24},
		"authentication in IPv4":      {link: 1, frame: build(ether(layers.EthernetTypeIPv4), ip4(layers.IPProtocolAH, device4, peer4), raw("\x06\x04\x00\x00", make([]byte, 20), four[20:])), more: 24},
		"routing, atomic fragment":    {link: 1, frame: build(ether(layers.EthernetTypeIPv6), ip6(layers.IPProtocolIPv6Routing, device6, peer6), raw("\x2c\x00\x00\x00\x00\x00\x00\x00", "\x06\x00\x00\x00\x00\x00\x00\x07", six[40:])), more: 16},
		"offload left the length out": {link: 1, frame: offloaded(inner)},
	}
}

// offloaded takes the IP length out of an Ethernet frame, as the card sees it before it cuts the segments.
func offloaded(frame []byte) []byte {
	frame = append([]byte{}, frame...)
	frame[16], frame[17] = 0, 0
	return frame
}

func TestEverywhereTheSameSegment(t *testing.T) {
	for name, w := range around() {
		t.Run(name, func(t *testing.T) {
			p, d, r := decode(w.link, w.frame)
			require.Equal(t, Decoded, r)
			require.Equal(t, TCP, p.Kind)
			ip, ttl := 20, uint8(63)
			src, dst := addr(device4), addr(peer4)
			if p.Src.Netip().Is6() {
				src, dst, ip, ttl = addr(device6), addr(peer6), 40, 62
			}
			require.Equal(t, src, p.Src)
			require.Equal(t, dst, p.Dst)
			require.Equal(t, uint16(40001), p.SrcPort)
			require.Equal(t, uint16(443), p.DstPort)
			require.Equal(t, uint8(6), p.Proto)
			require.Equal(t, ttl, p.TTL)
			require.Equal(t, ip == 20, p.HasIPID)
			require.Equal(t, PSH|ACK, p.Flags)
			require.Equal(t, []uint32{1000, 2000}, []uint32{p.Seq, p.Ack})
			require.Equal(t, uint16(512), p.Window)
			require.Zero(t, p.MSS)
			require.Equal(t, int8(-1), p.WindowShift)
			require.Equal(t, hello, string(p.Payload))
			require.Equal(t, len(hello), p.PayloadLen)
			require.Equal(t, 14+w.more+ip+20, p.HeaderLen)
			require.Equal(t, p.HeaderLen+p.PayloadLen, p.WireLen)
			require.False(t, p.Truncated)
			require.Nil(t, p.Pieces)
			require.Equal(t, w.tunnel, p.Tunnel)
			require.Equal(t, w.tunnel != NoTunnel, p.Nested.Has(w.tunnel))
			require.False(t, p.Nested.Has(NoTunnel))
			require.Equal(t, w.path, d.Path(p.Path))
			name, supported := LinkName(w.link)
			require.True(t, supported, name)
		})
	}
}

func TestNestedTunnelsAreAllTold(t *testing.T) {
	for name, want := range map[string]Tunnels{
		"ethernet": 0, "ip in ip": 1 << IPIP, "erspan II": 1<<GRE | 1<<ERSPAN, "vxlan in gre": 1<<GRE | 1<<VXLAN, "gre in vxlan on a tagged": 1<<GRE | 1<<VXLAN,
	} {
		w := around()[name]
		d := NewDecoder(Options{})
		var p Packet
		for range 2 { // the second time by the shortcut, where there is one
			require.Equal(t, Decoded, d.Decode(&Frame{Number: 1, Link: w.link, Data: w.frame, Length: len(w.frame)}, &p))
			require.Equal(t, want, p.Nested, name)
		}
	}
}

func TestKinds(t *testing.T) {
	arpFrame := build(ether(layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: 2, SourceHwAddress: mac, DstHwAddress: otherMAC, SourceProtAddress: device4, DstProtAddress: peer4,
	})
	icmp6 := ip6(layers.IPProtocolICMPv6, device6, peer6)
	cases := map[string]struct {
		link  uint16
		frame []byte
		want  Packet
	}{
		"syn": {1, frame4("S", ""), Packet{Kind: TCP, Proto: 6, Src: addr(device4), Dst: addr(peer4), SrcPort: 40001, DstPort: 443,
			TTL: 63, HasIPID: true, IPID: 0x1234, Flags: SYN, Seq: 1000, Ack: 2000, Window: 512, MSS: 1360, WindowShift: 7, HeaderLen: 62, WireLen: 62}},
		"fin and rst": {1, frame4("FAR", ""), Packet{Kind: TCP, Proto: 6, Src: addr(device4), Dst: addr(peer4), SrcPort: 40001, DstPort: 443,
			TTL: 63, HasIPID: true, IPID: 0x1234, Flags: FIN | ACK | RST, Seq: 1000, Ack: 2000, Window: 512, WindowShift: -1, HeaderLen: 54, WireLen: 54}},
		"udp, padded": {1, padded(build(ether(layers.EthernetTypeIPv4), raw(udp4(device4, peer4, 5353, 53, "ab"))), 60),
			Packet{Kind: UDP, Proto: 17, Src: addr(device4), Dst: addr(peer4), SrcPort: 5353, DstPort: 53,
				TTL: 63, HasIPID: true, IPID: 0x1234, WindowShift: -1, HeaderLen: 42, WireLen: 44, PayloadLen: 2, Payload: []byte("ab")}},
		"udp without its length": {228, build(ip4(17, device4, peer4), raw(uint16(1), uint16(2), uint16(0), uint16(0), "abc")),
			Packet{Kind: UDP, Proto: 17, Src: addr(device4), Dst: addr(peer4), SrcPort: 1, DstPort: 2,
				TTL: 63, HasIPID: true, IPID: 0x1234, WindowShift: -1, HeaderLen: 42, WireLen: 45, PayloadLen: 3, Payload: []byte("abc")}},
		"icmp": {1, build(ether(layers.EthernetTypeIPv4), ip4(layers.IPProtocolICMPv4, device4, peer4),
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1), Id: 1, Seq: 2}, raw(segment4("A", ""))),
			Packet{Kind: ICMP, Proto: 1, Src: addr(device4), Dst: addr(peer4), TTL: 63, HasIPID: true, IPID: 0x1234, ICMPType: 3, ICMPCode: 1,
				WindowShift: -1, HeaderLen: 42, WireLen: 82, PayloadLen: 40, Payload: segment4("A", "")}},
		"icmpv6": {1, build(ether(layers.EthernetTypeIPv6), icmp6, raw("\x80\x03\x00\x00\x00\x00\x00\x00ping")),
			Packet{Kind: ICMPv6, Proto: 58, Src: addr(device6), Dst: addr(peer6), TTL: 62, ICMPType: 128, ICMPCode: 3,
				WindowShift: -1, HeaderLen: 62, WireLen: 66, PayloadLen: 4, Payload: []byte("ping")}},
		"arp, padded": {1, padded(append([]byte{}, arpFrame...), 60),
			Packet{Kind: ARP, Src: addr(device4), Dst: addr(peer4), ICMPCode: 2, WindowShift: -1, HeaderLen: 42, WireLen: 42}},
		"arp in a tunnel": {1, outerUDP(portVXLAN, vxlan(1, padded(append([]byte{}, arpFrame...), 60))),
			Packet{Kind: ARP, Tunnel: VXLAN, Nested: 1 << VXLAN, Src: addr(device4), Dst: addr(peer4), ICMPCode: 2, WindowShift: -1, HeaderLen: 42, WireLen: 42}},
		"arp of another protocol": {1, unpadded(typeARP, "\x00\x01\x12\x34\x06\x04", make([]byte, 22)),
			Packet{Kind: Other, WindowShift: -1, HeaderLen: 14, WireLen: 42, PayloadLen: 28, Payload: raw("\x00\x01\x12\x34\x06\x04", make([]byte, 22))}},
		"another IP protocol": {1, build(ether(layers.EthernetTypeIPv4), ip4(132, device4, peer4), raw("sctp")),
			Packet{Kind: Other, Proto: 132, Src: addr(device4), Dst: addr(peer4), TTL: 63, HasIPID: true, IPID: 0x1234,
				WindowShift: -1, HeaderLen: 34, WireLen: 38, PayloadLen: 4, Payload: []byte("sctp")}},
		"another Ethernet type": {1, unpadded(0x88cc, "neighbour"),
			Packet{Kind: Other, WindowShift: -1, HeaderLen: 14, WireLen: 23, PayloadLen: 9, Payload: []byte("neighbour")}},
		"another Ethernet type in a tunnel": {1, outer(layers.IPProtocolGRE, gre(0, typeBridged, unpadded(0x88cc, "neighbour"))),
			Packet{Kind: Other, Tunnel: GRE, Nested: 1 << GRE, WindowShift: -1, HeaderLen: 14, WireLen: 23, PayloadLen: 9, Payload: []byte("neighbour")}},
		"spanning tree": {1, build(&layers.Ethernet{SrcMAC: mac, DstMAC: otherMAC}, raw("\x42\x42\x03tree")),
			Packet{Kind: Other, WindowShift: -1, HeaderLen: 14, WireLen: 21, PayloadLen: 7, Payload: []byte("\x42\x42\x03tree")}},
		"gre of another version": {228, build(ip4(47, device4, peer4), raw(gre(5, typeIPv4, "abcd"))),
			Packet{Kind: Other, Proto: 47, Src: addr(device4), Dst: addr(peer4), TTL: 63, HasIPID: true, IPID: 0x1234,
				WindowShift: -1, HeaderLen: 34, WireLen: 42, PayloadLen: 8, Payload: gre(5, typeIPv4, "abcd")}},
		"gtp echo": {1, outerUDP(portGTPU, uint32(0x32010004), uint32(0), uint32(0)),
			Packet{Kind: UDP, Proto: 17, Src: addr(end4), Dst: addr(other4), SrcPort: 33333, DstPort: portGTPU, TTL: 63, HasIPID: true, IPID: 0x1234,
				WindowShift: -1, HeaderLen: 42, WireLen: 54, PayloadLen: 12, Payload: raw(uint32(0x32010004), uint32(0), uint32(0))}},
		"what only looks like vxlan": {1, outerUDP(portVXLAN, "a game's datagram, 31 bytes long"),
			Packet{Kind: UDP, Proto: 17, Src: addr(end4), Dst: addr(other4), SrcPort: 33333, DstPort: portVXLAN, TTL: 63, HasIPID: true, IPID: 0x1234,
				WindowShift: -1, HeaderLen: 42, WireLen: 74, PayloadLen: 32, Payload: []byte("a game's datagram, 31 bytes long")}},
		"tcp header longer than the packet": {228, build(ip4(6, device4, peer4), raw(uint16(1), uint16(2), uint32(3), uint32(4), "\xf0\x10\x00\x05", uint32(0))),
			Packet{Kind: TCP, Proto: 6, Src: addr(device4), Dst: addr(peer4), SrcPort: 1, DstPort: 2, TTL: 63, HasIPID: true, IPID: 0x1234, Flags: ACK, Seq: 3, Ack: 4,
				Window: 5, WindowShift: -1, HeaderLen: 54, WireLen: 54}},
		"encrypted 802.11": {105, raw("\x08\x42", make([]byte, 22), "secret"),
			Packet{Kind: Other, WindowShift: -1, HeaderLen: 14, WireLen: 44, PayloadLen: 30, Payload: raw("\x08\x42", make([]byte, 22), "secret")}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p, _, r := decode(c.link, c.frame)
			require.Equal(t, Decoded, r)
			c.want.Number, c.want.Time = 1, 1
			if c.want.Payload == nil {
				c.want.Payload = []byte{}
			}
			if p.Payload == nil {
				p.Payload = []byte{}
			}
			p.Checksum, p.Path = 0, 0
			require.Equal(t, c.want, p)
		})
	}
}

func TestChecksumTellsCopies(t *testing.T) {
	p, _, _ := decode(1, frame4("A", "one"))
	again, _, _ := decode(101, segment4("A", "one"))
	other, _, _ := decode(1, frame4("A", "two"))
	require.NotZero(t, p.Checksum)
	require.Equal(t, p.Checksum, again.Checksum)
	require.NotEqual(t, p.Checksum, other.Checksum)
}

func TestUndecodable(t *testing.T) {
	four := segment4("A", "")
	cases := map[string]struct {
		link  uint16
		frame []byte
	}{
		"unsupported link type":     {195, four},
		"nothing":                   {1, nil},
		"short frame":               {1, []byte("short")},
		"IP version 5":              {228, append([]byte{0x55}, four[1:]...)},
		"IPv4 header of 16 bytes":   {228, append([]byte{0x44}, four[1:]...)},
		"IP length below header":    {228, raw("\x45\x00\x00\x13", four[4:])},
		"IPv4 in IPv6's type":       {1, build(ether(layers.EthernetTypeIPv6), raw(four))},
		"tcp of 12 bytes":           {228, build(ip4(6, device4, peer4), raw("twelve bytes"))},
		"cooked of 15 bytes":        {113, make([]byte, 15)},
		"half a label":              {1, unpadded(typeMPLS, "ab")},
		"labels and nothing":        {1, unpadded(typeMPLS, uint32(0x00013140))},
		"gre with a key not there":  {1, outer(layers.IPProtocolGRE, gre(0x2000, typeIPv4))},
		"gre routing without end":   {1, outer(layers.IPProtocolGRE, gre(0x4000, typeIPv4, uint32(0), "\x08\x00\x00\xff"))},
		"extension longer than all": {1, build(ether(layers.EthernetTypeIPv6), ip6(0, device6, peer6), raw("\x06\x09", make([]byte, 14)))},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, _, r := decode(c.link, c.frame)
			require.Equal(t, Undecodable, r)
		})
	}
}

// A mirror pads small frames; a snap length that takes only padding away takes nothing of the device's packet.
func TestCutInThePadding(t *testing.T) {
	padded := raw(frame4("A", ""), make([]byte, 6))
	mirrored := outer(layers.IPProtocolGRE, gre(0, typeBridged, []byte(padded)))
	for n := 38 + 54; n <= len(mirrored); n++ {
		var p Packet
		r := NewDecoder(Options{}).Decode(&Frame{Link: 1, Data: mirrored[:n], Length: len(mirrored)}, &p)
		require.Equal(t, Decoded, r)
		require.Equal(t, TCP, p.Kind)
		require.False(t, p.Truncated, "%d of %d bytes", n, len(mirrored))
	}
}

// A snap length leaves what headers there are readable, with the lengths of the packet as it was sent.
func TestCut(t *testing.T) {
	whole := frame4("AP", hello)
	mirrored := outer(layers.IPProtocolGRE, gre(0, typeBridged, whole))
	for name, c := range map[string]struct {
		frame   []byte
		headers int // bytes with which the TCP header is complete
	}{"plain": {whole, 54}, "mirrored": {mirrored, 92}} {
		t.Run(name, func(t *testing.T) {
			for n := range len(c.frame) {
				d := NewDecoder(Options{})
				var p Packet
				r := d.Decode(&Frame{Link: 1, Data: c.frame[:n], Length: len(c.frame)}, &p)
				require.Equal(t, Decoded, r, "%d bytes", n)
				require.True(t, p.Truncated, "%d bytes", n)
				if n < c.headers {
					require.Equal(t, Other, p.Kind)
					continue
				}
				require.Equal(t, TCP, p.Kind, "%d bytes", n)
				require.Equal(t, len(hello), p.PayloadLen)
				require.Equal(t, hello[:n-c.headers], string(p.Payload))
				require.Equal(t, len(whole), p.WireLen)
			}
		})
	}
	t.Run("padding only", func(t *testing.T) {
		p, _, _ := decode(1, whole)
		d := NewDecoder(Options{})
		var q Packet
		require.Equal(t, Decoded, d.Decode(&Frame{Number: 1, Time: 1, Link: 1, Data: whole, Length: len(whole) + 40}, &q))
		require.Equal(t, p, q)
	})
}

// On the wire nothing cuts a frame, so a length beyond it is damage; in a tunnel the mirror may have cut the packet to fit.
func TestLengthBeyondTheFrame(t *testing.T) {
	long := append([]byte{}, segment4("AP", hello)...)
	long[2], long[3] = 0x05, 0xdc // 1500
	p, _, r := decode(1, build(ether(layers.EthernetTypeIPv4), raw(long)))
	require.Equal(t, Decoded, r)
	require.True(t, p.Truncated)
	require.Equal(t, len(hello), p.PayloadLen)

	p, _, r = decode(1, outerUDP(portVXLAN, vxlan(1, build(ether(layers.EthernetTypeIPv4), raw(long)))))
	require.Equal(t, Decoded, r)
	require.True(t, p.Truncated)
	require.Equal(t, 1460, p.PayloadLen)
	require.Equal(t, 1514, p.WireLen)
	require.Equal(t, hello, string(p.Payload))
}

func TestDepthIsBounded(t *testing.T) {
	b := segment4("A", "x")
	for range maxDepth {
		b = build(ip4(layers.IPProtocolIPv4, end4, other4), raw(b))
	}
	p, _, r := decode(228, b)
	require.Equal(t, Decoded, r)
	require.Equal(t, TCP, p.Kind)
	p, _, r = decode(228, build(ip4(layers.IPProtocolIPv4, end4, other4), raw(b)))
	require.Equal(t, Decoded, r)
	require.Equal(t, Other, p.Kind, "a further level is left on")
	require.Equal(t, uint8(layers.IPProtocolIPv4), p.Proto)

	tags := raw(uint16(typeIPv4), segment4("A", "x"))
	for i := range 3 * maxDepth {
		tags = raw(uint16(typeVLAN), uint16(i+1), []byte(tags))
	}
	p, d, r := decode(1, raw([]byte(otherMAC), []byte(mac), []byte(tags)))
	require.Equal(t, Decoded, r)
	require.Equal(t, Other, p.Kind)
	require.Len(t, d.Path(p.Path).VLANs, maxTags)
}

func TestLinkName(t *testing.T) {
	for link, want := range map[uint16]string{1: "ETHERNET (1)", 195: "IEEE802_15_4_WITHFCS (195)", 4711: "link type 4711"} {
		name, supported := LinkName(link)
		require.Equal(t, want, name)
		require.Equal(t, link == 1, supported)
	}
	for link := range uint16(1000) { // what is said to be decoded is, and nothing else
		_, supported := LinkName(link)
		_, _, r := decode(link, padded(segment4("A", ""), 100))
		if r == Decoded {
			require.True(t, supported, link)
		}
	}
}
